"""The step `export`: a model as plain XLM-R, with its code beside it, for ONNX Runtime, for sentence-transformers."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from transformers.hf_argparser import HfArg

from hf_afro.evaluation import FineTuned
from hf_afro.evaluation.data.descriptions import described_files
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.task_evaluation import common_labels
from hf_afro.export import export_onnx, export_plain, export_sentence_transformer, export_with_code
from hf_afro.export.onnx import DEFAULT_FORMATS, check_formats
from hf_afro.export.plain import PLAIN
from hf_afro.export.quantising import FORMATS
from hf_afro.pretrained import load_encoder_config, load_model, load_tokenizer
from hf_afro.reports.formatting import describe_metric
from hf_afro.reports.tables import format_table
from hf_afro.sample import SAMPLE
from hf_afro.sentence_modules import encoder_of, sentence_modules_of
from hf_afro.steps.settings import Input, Model, OptionalLanguages, StepConfig, Words
from hf_afro.steps.step import Outcome, Step
from hf_afro.steps.tasks import load_sets
from hf_afro.steps.text import read_text
from hf_afro.tasks import kind_of

DESCRIPTION = """\
Export a model for other libraries and runtimes.

  plain                  a student as a plain XLM-R, which loads with transformers alone; for a factorised
                         student with a masked-LM head only the encoder, since XLM-R has no such head
  remote-code            a student with its code beside it, for trust_remote_code=True where hf_afro is not installed
  onnx                   for ONNX Runtime and Transformers.js, in fp32, fp16, int8 and 4 bits, compared with torch
  sentence-transformers  its encoder with pooling, for text embeddings; a sentence-transformers model keeps its own
                         modules, in this form and in the others

  hf-afro export student --to onnx --output_dir exported
  hf-afro export tagger --to onnx --formats fp16 int8 int4 --data ner=masakhaner1 --languages swa --output_dir exported
  hf-afro export student --to plain --output_dir plain

ONNX needs `pip install 'hf_afro[onnx]'`, sentence-transformers `hf_afro[sentence]`. Models of any family are written
as ONNX, without a head or with one for masked words, texts or tokens.

Output: a folder with the tokenizer. For onnx: onnx/model.onnx (fp32), model_fp16.onnx, model_quantized.onnx (int8) and
model_q4.onnx (int4), which Transformers.js calls fp32, fp16, q8 and q4, tokenizer.json, config.json, and export.json
with sizes, times, differences and scores, which `hf-afro card --export` puts on the card. For plain: export.json names
the weights that were left out.
"""
_SENTENCES_PER_LANGUAGE = 4


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The model and the form."""

    model: Model = HfArg(help="folder of a model with its tokenizer, or its name on the Hub")
    to: Literal["plain", "remote-code", "onnx", "sentence-transformers"] = HfArg(help="form to write")
    text: Annotated[str | None, Input("text")] = HfArg(
        default=None, help="for onnx: text to compare on, with one file per language; by default the sample"
    )
    formats: Annotated[list[str], Words()] = HfArg(
        default_factory=lambda: list(DEFAULT_FORMATS), help=f"for onnx: graphs to write, of {', '.join(FORMATS)}"
    )
    data: Annotated[str | None, Input("tasks", must_exist=False, files=described_files)] = HfArg(
        default=None,
        help="for onnx: TASK=FOLDER with one folder per language, on whose test split a classifier and its graphs are "
        "scored",
    )
    languages: OptionalLanguages = HfArg(default=None, help="only these languages of data; by default all")
    pooling: Literal["mean", "cls", "max"] | None = HfArg(
        default=None, help="for sentence-transformers, if the model has no modules of its own; by default mean"
    )


def check(config: Config) -> None:
    """Refuse settings of another form, unknown formats, and modules that cannot be carried.

    Raises:
        ValueError: If there are any.
    """
    for name in ("text", "data"):
        if getattr(config, name) is not None and config.to != "onnx":
            raise ValueError(f"--{name} is for --to onnx, which is compared on it; leave it out with --to {config.to}")
    if config.data is not None and "=" not in config.data:
        raise ValueError(f"--data is {config.data!r}; expected TASK=FOLDER, such as ner={config.data}")
    if config.data is None and config.languages is not None:
        raise ValueError("--languages names those of --data, which is missing")
    check_formats(config.formats)
    modules = sentence_modules_of(config.model) if Path(config.model).is_dir() else None
    if modules is not None:
        modules.check(pruned=False)


def run(config: Config, folder: Path) -> Outcome:
    """Load and write.

    Raises:
        ValueError: If the model cannot be written in this form, or its graph computes something else than torch.
    """
    modules = sentence_modules_of(config.model)
    encoder = encoder_of(config.model)
    load_encoder_config(encoder)
    tokenizer, model = load_tokenizer(encoder), load_model(encoder)
    text = _WRITERS[config.to](config, model, tokenizer, folder)
    if modules is not None:
        if config.to != "sentence-transformers":  # that form needs them to be whole
            modules.carry(folder)
        text += f"\nmodules of sentence-transformers carried: {', '.join(modules.names)}"
    return Outcome({"to": config.to}, text.strip())


def write_plain(_config: Config, model: Any, tokenizer: Any, folder: Path) -> str:
    """Write a student as a plain XLM-R, without the head that XLM-R has no place for, and say so."""
    record = export_plain(model, tokenizer, folder)
    left_out = record["left_out"]
    if model.config.model_type == PLAIN:
        return "the model is a plain XLM-R already, and is written as it is"
    if not left_out:
        return ""
    return (
        f"left out: the masked-LM head ({', '.join(left_out)}), which works at the width of the factorised "
        f"embedding, {model.config.embedding_size}, where XLM-R's works at that of the layers, "
        f"{model.config.hidden_size}; the encoder is written as {record['class']}, which cannot fill masks"
    )


def write_with_code(_config: Config, model: Any, tokenizer: Any, folder: Path) -> str:
    """Write a student with its code."""
    export_with_code(model, tokenizer, folder)
    return ""


def write_onnx(config: Config, model: Any, tokenizer: Any, folder: Path) -> str:
    """Write the graphs, compare them, and show their figures."""
    score, metric = (None, None) if config.data is None else scorer(config.data, config.languages, model, tokenizer)
    lines = sentences(config.text)
    done = export_onnx(model, tokenizer, folder, lines, formats=config.formats, score=score, metric=metric)
    figures = {"torch, fp32": done.torch, **{FORMATS[name]: one for name, one in done.graphs.items()}}
    header = ["weights", "MB", "ms", f"{done.output}: largest difference", "decisions alike"]
    rows: list[list[object]] = [
        [
            name,
            one.bytes / 1e6,
            one.milliseconds,
            one.difference and f"{one.difference:.1e}",
            one.agreement and f"{one.agreement:.2%}",
        ]
        for name, one in figures.items()
    ]
    if metric is not None:
        header += [describe_metric(metric).name, "lost"]
        for row, one in zip(rows, figures.values(), strict=True):
            row += [f"{100 * one.score:.2f}", f"{100 * (done.torch.score - one.score):.2f}"]  # type: ignore[operator]
    pairs = f" and {done.pairs} pairs of them" if done.pairs else ""
    compared = f"compared on {done.sentences} sentences{pairs}, {done.tokens:,} tokens"
    timed = f"ms for one sentence, threads: {done.threads}"
    return f"{format_table(header, rows)}\n{compared}; {timed}; inputs {', '.join(done.inputs)}"


def scorer(data: str, languages: list[str] | None, model: Any, tokenizer: Any) -> tuple[Callable[[Any], float], str]:
    """Return what scores a classifier or its graph, one sentence at a time as a browser runs it, and the metric.

    The score is the mean of the task's main metric over the languages.

    Args:
        data: ``TASK=FOLDER``.
        languages: Those to score, by ISO 639-3 code; None for all.
        model: The classifier. It may know more labels than a set has, in any order, as one that was trained jointly.
        tokenizer: Its tokenizer.

    Raises:
        ValueError: If the classifier lacks labels of a set, or is one of another kind of task.
    """
    task = data.partition("=")[0]
    sets, kind = load_sets([task], [data], languages), kind_of(task)
    labels = tuple(model.config.id2label[index] for index in sorted(model.config.id2label))
    problem = getattr(model.config, "problem_type", None)
    if not kind.tagged and problem not in (None, kind.problem_type):
        raise ValueError(f"the model has the problem_type {problem!r}; expected {kind.problem_type!r}, as {task} has")
    for each in sets:
        if not {*each.labels} <= {*labels}:
            raise ValueError(
                f"{each.dataset} has the labels {', '.join(each.labels)}; expected some of the model's, "
                f"{', '.join(labels)}"
            )
    known = [dataclasses.replace(each, labels=labels) for each in sets]
    limit = longest(model, tokenizer.model_max_length)

    def score(one: Any) -> float:
        own = FineTuned(
            model=one,
            tokenizer=tokenizer,
            task=task,
            labels=labels,
            max_length=limit,
            eval_batch_size=1,
            dev_scores=(),
            best_epoch=0,
            seconds=0,
        )
        scores = []
        for each, by_model in zip(sets, known, strict=True):
            every, predicted = common_labels(each, by_model, {0: own.predict(by_model)})
            scores.append(task_scores(task, every, each.gold(), predicted[0])[kind.main_metric])
        return statistics.fmean(scores)

    return score, kind.main_metric


def write_sentence_transformer(config: Config, model: Any, tokenizer: Any, folder: Path) -> str:
    """Write the encoder as sentence-transformers keeps one."""
    width = export_sentence_transformer(model, tokenizer, folder, pooling=config.pooling, modules_from=config.model)
    if sentence_modules_of(config.model) is not None:
        return f"a text becomes {width} numbers, by the modules of the model itself"
    return (
        f"a text becomes {width} numbers, {config.pooling or 'mean'} over its tokens; they are good if the model was "
        "trained for them, as by distill --pooled_weight"
    )


def sentences(folder: str | None) -> list[str]:
    """Return some lines of each language of a folder, of the sample by default."""
    texts = read_text(folder or SAMPLE)
    return [line for text in texts.values() for line in itertools.islice(text, _SENTENCES_PER_LANGUAGE)]


_WRITERS: dict[str, Callable[[Config, Any, Any, Path], str]] = {
    "plain": write_plain,
    "remote-code": write_with_code,
    "onnx": write_onnx,
    "sentence-transformers": write_sentence_transformer,
}


STEP = Step(
    name="export",
    description=DESCRIPTION,
    config=Config,
    run=run,
    gives="export",
    positional="model",
    check=check,
)
