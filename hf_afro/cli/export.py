"""`hf-afro export`: a model as plain XLM-R, with its code beside it, for ONNX Runtime, for sentence-transformers."""

from __future__ import annotations

import itertools
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.table import format_table
from hf_afro.files import write_whole
from hf_afro.sentence_modules import encoder_of, sentence_modules_of
from hf_afro.version import __version__

DESCRIPTION = """\
Write a model in the form that others take.

  plain                  a student as a plain XLM-R, which loads with transformers alone; of a factorised student
                         with a masked-LM head the encoder, since XLM-R has no such head
  remote-code            a student with its code beside it, for trust_remote_code=True where hf_afro is not installed
  onnx                   for ONNX Runtime and Transformers.js, in fp32 and int8, compared with torch before it is there
  sentence-transformers  its encoder with a pooling on it, for vectors of texts; a model of sentence-transformers keeps
                         its own modules, in this form and beside the others

  hf-afro export student --to onnx --output_dir exported
  hf-afro export student --to plain --output_dir plain

ONNX needs `pip install 'hf_afro[onnx]'`, sentence-transformers `hf_afro[sentence]`. Models of any family are written
as ONNX, without a head or with one for masked words, texts or tokens.

What comes out: a folder with the tokenizer. Of ONNX: onnx/model.onnx, onnx/model_quantized.onnx, tokenizer.json,
config.json, and export.json with sizes and differences, which `hf-afro card --export` puts on the card. Of a plain
XLM-R: export.json names the weights that were left out.
"""
TAKES_SETTINGS = False
EXPORT_FILE = "export.json"
_SENTENCES_A_LANGUAGE = 4


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("model", help="folder of a model with its tokenizer, or its name on the Hub")
    parser.add_argument("--to", required=True, choices=tuple(_WRITERS), help="the form")
    parser.add_argument(
        "--text", metavar="FOLDER", help="of onnx: text to compare on, a file a language (default: the sample)"
    )
    parser.add_argument("--no_int8", action="store_true", help="of onnx: leave the quantised graph out")
    parser.add_argument(
        "--pooling",
        choices=("mean", "cls", "max"),
        help="of sentence-transformers, for a model without modules of its own (default: mean)",
    )


def run(args: Namespace) -> None:
    """Load, write and say what was written.

    Raises:
        ValueError: If the model cannot be had in this form, or its graph is not what torch computes.
    """
    check_inputs(args)
    if args.text is not None and args.to != "onnx":
        raise ValueError(f"--text is for --to onnx, which is compared on it; leave it out with --to {args.to}")

    modules = sentence_modules_of(args.model)
    if modules is not None:
        modules.check(pruned=False)

    from hf_afro.cli.loading import load_encoder_config, load_model, load_tokenizer

    with finished_folder(args) as folder:
        encoder = encoder_of(args.model)
        load_encoder_config(encoder)
        tokenizer, model = load_tokenizer(encoder), load_model(encoder)
        _WRITERS[args.to](args, model, tokenizer, folder)
        if modules is not None and args.to != "sentence-transformers":  # that form needs them to be whole
            modules.carry(folder)
    if modules is not None:
        say(f"modules of sentence-transformers carried: {', '.join(modules.names)}")
    say(f"model written to {args.output_dir}")


def write_plain(_args: Namespace, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a student as a plain XLM-R, without the head that XLM-R has no place for, and say so."""
    from hf_afro.export import plain_student
    from hf_afro.export.plain import weights_without_place

    left_out = weights_without_place(_a_student(model, "plain"))
    plain = plain_student(model.base_model if left_out else model)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {"to": "plain", "class": type(plain).__name__, "left_out": left_out, "versions": {"hf_afro": __version__}}
    write_whole(folder / EXPORT_FILE, json.dumps(record, indent=1) + "\n")
    if left_out:
        say(
            f"left out: the masked-LM head ({', '.join(left_out)}), which works at the width of the factorised "
            f"embedding, {model.config.embedding_size}, where XLM-R's works at that of the layers, "
            f"{model.config.hidden_size}; the encoder is written as {type(plain).__name__}, which fills no masks"
        )


def write_with_code(_args: Namespace, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a student with its code."""
    from hf_afro.export import add_remote_code

    _a_student(model, "remote-code").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    add_remote_code(folder)


def write_onnx(args: Namespace, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the graphs, compare them, and show how they did."""
    from hf_afro.export import export_onnx

    done = export_onnx(model, tokenizer, folder, sentences(args.text), int8=not args.no_int8)
    rows: list[list[object]] = [["torch, fp32", done.torch_bytes / 1e6, None, None]]
    figures = ((done.fp32_difference, None), (done.int8_difference, done.int8_agreement))
    for (path, size), (difference, agreement) in zip(done.bytes.items(), figures, strict=False):
        rows.append([path, size / 1e6, f"{difference:.1e}", agreement and f"{agreement:.2%}"])
    say(format_table(["weights", "MB", f"{done.output}: largest difference", "decisions alike"], rows))
    pairs = f" and {done.pairs} pairs of them" if done.pairs else ""
    say(f"compared on {done.sentences} sentences{pairs}, {done.tokens:,} tokens; inputs {', '.join(done.inputs)}")


def write_sentence_transformer(args: Namespace, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the encoder as sentence-transformers keeps one."""
    from hf_afro.export import export_sentence_transformer

    width = export_sentence_transformer(model, tokenizer, folder, pooling=args.pooling, modules_from=args.model)
    if sentence_modules_of(args.model) is not None:
        say(f"a text becomes {width} numbers, by the modules of the model itself")
    else:
        say(f"a text becomes {width} numbers, {args.pooling or 'mean'} over its tokens; nothing was trained for it")


def sentences(folder: str | None) -> list[str]:
    """Return some lines of each language of a folder, of the sample by default."""
    from hf_afro.corpora import read_corpora
    from hf_afro.sample import text_folder

    texts = read_corpora(folder or text_folder())
    return [line for text in texts.values() for line in itertools.islice(text, _SENTENCES_A_LANGUAGE)]


def _a_student(model: Any, form: str) -> Any:
    if model.config.model_type != "afro-student":
        raise ValueError(
            f"the model is of type {model.config.model_type}, which loads with transformers alone as it is; "
            f"--to {form} is for an afro-student"
        )
    return model


_WRITERS: dict[str, Callable[[Namespace, Any, Any, Path], None]] = {
    "plain": write_plain,
    "remote-code": write_with_code,
    "onnx": write_onnx,
    "sentence-transformers": write_sentence_transformer,
}
