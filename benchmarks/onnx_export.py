r"""A model in ONNX Runtime beside XLM-R-base in torch, on the same real sentences: difference, size, time, entity F1.

    python -m benchmarks.onnx_export --tokenizer xlm-roberta-base --text corpora --ner masakhaner1/swa

First `--model`, such as a student that `benchmarks.real_text` left, or else a new model of random weights, is
fine-tuned for entities and exported in every format; the F1 of its test set is taken in torch and of each graph. (For
a model that is fine-tuned already, `hf-afro export MODEL --to onnx --formats fp32 fp16 int8 int4 --data ner=FOLDER`
prints one table of size, milliseconds and F1.) Then encoders of random weights, on which times do not depend, are
timed on the same sentences, each split by its own tokenizer: XLM-R-base of 250,002 tokens, and a student of 6 layers
and width 384 whose vocabulary is pruned to `--budget` tokens counted on the text.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import AutoTokenizer, PreTrainedModel, XLMRobertaConfig, XLMRobertaForMaskedLM

import hf_afro
from benchmarks.student_inference import SHAPES, Batches, batched, mixed_sentences, over
from benchmarks.timing import in_turn, print_ratios
from hf_afro import AfroStudentConfig, AfroStudentModel
from hf_afro.corpora import read_corpora
from hf_afro.evaluation import load_task, preset
from hf_afro.evaluation.encoding import encode, words_of
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.metrics import task_scores
from hf_afro.export import OnnxExport, export_onnx
from hf_afro.export.quantising import FORMATS

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
STUDENT = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "intermediate_size": 1536}
TAGGER = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="XLM-R's")
    parser.add_argument("--text", required=True, help="folder with a text file a language")
    parser.add_argument("--ner", required=True, help="folder of MasakhaNER, in which is one of --language")
    parser.add_argument("--language", default="swa")
    parser.add_argument("--model", help="fine-tune this model instead of a new one of random weights")
    parser.add_argument("--languages", nargs="+", default=["amh", "eng", "swa", "yor"])
    parser.add_argument("--lines", type=int, default=4000, help="lines counted of each language")
    parser.add_argument("--budget", type=int, default=30_000)
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch and of ONNX Runtime")
    parser.add_argument("--small", action="store_true", help="tiny models: only shows that it runs")
    return parser.parse_args()


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def outputs(run: onnxruntime.InferenceSession, batch: dict[str, torch.Tensor]) -> np.ndarray:
    return run.run(None, {name: batch[name].numpy() for name in ("input_ids", "attention_mask")})[0]


def timed(run: onnxruntime.InferenceSession, batches: Batches) -> Callable[[], None]:
    """Return what runs a graph over the batches."""
    return lambda: [outputs(run, batch) for batch in batches] and None


def told(name: str, done: OnnxExport) -> None:
    """Print how far the graphs are from torch, and how large they are."""
    print(f"{name}: {done.sentences} sentences, {done.tokens:,} tokens; torch fp32 {done.torch.bytes / 1e6:.1f} MB")
    for form, graph in done.graphs.items():
        agreement = "" if graph.agreement is None else f", decisions alike {graph.agreement:.2%}"
        print(f"  {form} {graph.bytes / 1e6:.1f} MB, {graph.difference:.2g} from torch{agreement}", flush=True)


def pruned(args: argparse.Namespace, tokenizer):
    """Return the tokenizer cut to the text, and a map of old ids to new."""
    texts = read_corpora(args.text, args.languages)
    counts = hf_afro.count_tokens(
        {language: itertools.islice(text, args.lines) for language, text in texts.items()}, tokenizer
    )
    tiny = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=len(tokenizer), **SHAPES, **TINY)).eval()
    return hf_afro.prune_vocabulary(tiny, tokenizer, hf_afro.select_tokens(counts, budget=args.budget)).tokenizer


def entities(args: argparse.Namespace, tokenizer, sentences: list[str], folder: Path) -> None:
    """Fine-tune, export, and print the F1 of torch and of each graph."""
    from hf_afro.pretrained import load_model, load_tokenizer

    data = load_task("ner", args.ner, args.language)
    if args.model:
        body, tokenizer = load_model(args.model), load_tokenizer(args.model)
    else:
        torch.manual_seed(1)
        body = XLMRobertaForMaskedLM(
            XLMRobertaConfig(vocab_size=len(tokenizer), **SHAPES, **(TINY if args.small else TAGGER))
        )
    settings = preset("small", "ner", data.dataset).replace(
        epochs=args.epochs, learning_rate=5e-4 if args.model else 1e-3
    )
    tuned = finetune(body, tokenizer, data, settings, seed=1)
    model: PreTrainedModel = tuned.model.eval()
    told("tagger", export_onnx(model, tokenizer, folder, sentences, formats=list(FORMATS)))
    rows = encode("ner", data.splits["test"], tokenizer, 128)
    found = {"torch": tuned.predict(data)}
    for graph in FORMATS.values():
        run = session(folder / graph, args.threads)
        found[graph] = []
        for row in rows:
            (batch,) = batched([row["input_ids"]], 1, tokenizer)
            found[graph].append(words_of(row, outputs(run, batch)[0].argmax(-1)))
    gold = data.gold("test")
    for name, predicted in found.items():
        pairs = list(zip(itertools.chain(*found["torch"]), itertools.chain(*predicted), strict=True))
        otherwise = sum(one != other for one, other in pairs)
        scores = task_scores(data.task, data.labels, gold, predicted)
        print(
            f"  {name:28} entity F1 {100 * scores['entity_f1']:.3f} ({len(gold)} sentences), "
            f"{otherwise} of {len(pairs):,} words labelled otherwise than by torch"
        )


def times(args: argparse.Namespace, full, cut, sentences: list[str], folder: Path) -> None:
    """Time XLM-R-base in torch and the student in torch and in every graph."""
    torch.manual_seed(0)
    shapes = (TINY, TINY) if args.small else (BASE, STUDENT)
    config = XLMRobertaConfig(vocab_size=len(full), **SHAPES, **shapes[0])
    base = XLMRobertaForMaskedLM(config).eval().base_model
    student = AfroStudentModel(
        AfroStudentConfig(vocab_size=len(cut), unpad=True, **SHAPES, **shapes[1]), add_pooling_layer=False
    ).eval()
    done = export_onnx(student, cut, folder, sentences, formats=list(FORMATS))
    told("encoder", done)
    size = sum(weight.numel() * 4 for weight in base.parameters())
    print(f"  XLM-R-base in torch {size / 1e6:.1f} MB")
    encoded = [one(sentences, truncation=True, max_length=256)["input_ids"] for one in (full, cut)]
    graphs = {f"student, ONNX {form}": path for form, path in FORMATS.items()}
    for batch_size in (1, args.batch_size):
        wide, narrow = (batched(rows, batch_size, one) for rows, one in zip(encoded, (full, cut), strict=True))
        sides = {"XLM-R-base, torch": over(base, wide), "student, torch": over(student, narrow)}
        sides |= {name: timed(session(folder / path, args.threads), narrow) for name, path in graphs.items()}
        medians = in_turn(sides, args.repeats)
        print_ratios(f"batch {batch_size}", medians)
        each = {name: f"{1000 * seconds / len(sentences):.1f}" for name, seconds in medians.items()}
        print(f"  ms a sentence: {each}", flush=True)


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    sentences = mixed_sentences(Path(args.text), args.languages, args.sentences)
    cut = pruned(args, tokenizer)
    print(f"{len(sentences)} sentences of {', '.join(args.languages)}; {len(tokenizer):,} to {len(cut):,} tokens")
    with tempfile.TemporaryDirectory() as folder:
        entities(args, cut, sentences, Path(folder) / "tagger")
        times(args, tokenizer, cut, sentences, Path(folder) / "encoder")


if __name__ == "__main__":
    main()
