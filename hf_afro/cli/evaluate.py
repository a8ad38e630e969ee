"""`hf-afro evaluate`: fine-tune a model on a task and score it, or measure its bits a byte, into a report."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.cli.count import add_errors_argument, codes
from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.table import format_table

if TYPE_CHECKING:
    from hf_afro.reports import EvalReport
    from hf_afro.tasks import FineTuningSettings, TaskData

DESCRIPTION = """\
Fine-tune a model on a task and score it, or measure its bits a byte of text.

A copy of the model's encoder gets a new head and is fine-tuned for each language and seed; the best epoch on dev is
scored on test. The model itself stays as it is.

  hf-afro evaluate --model adapted --task ner --data masakhaner1 --languages swa,yor --seeds 1 2 3 --output_dir scores
  hf-afro evaluate --model adapted --task bits_per_byte --text held_out --output_dir bits

--data is a folder with a folder a language, as the sets are published: swa/train.txt, dev.txt and test.txt with a
token and its tag a line for ner (MasakhaNER); swa/train.tsv, dev.tsv and test.tsv for topic (MasakhaNEWS, ANTC) and
sentiment (AfriSenti). Settings of fine-tuning, which change the preset's: --epochs 5 --learning_rate 1e-4.
A run that was interrupted goes on after the last language and seed that ended, when the same command is given again.

What comes out: evaluation_report.json, which `EvalReport.load` reads, and predictions/ with the right and predicted
labels of every test example. Not measured here, so not in the report: speed and memory.
"""
TAKES_SETTINGS = True
BITS_PER_BYTE = "bits_per_byte"
# What the table shows of a task; the report has more.
_SHOWN = {
    "ner": ("entity_f1", "entity_precision", "entity_recall"),
    "topic": ("weighted_f1", "macro_f1", "accuracy"),
    "sentiment": ("weighted_f1", "macro_f1", "accuracy"),
    BITS_PER_BYTE: (BITS_PER_BYTE,),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--model", required=True, help="folder of a model with its tokenizer, or its name on the Hub")
    parser.add_argument("--task", required=True, choices=list(_SHOWN), help="what is measured")
    parser.add_argument("--data", metavar="FOLDER", help="of a task: one folder a language, named by its code")
    parser.add_argument("--text", metavar="FOLDER", help="for bits_per_byte: one file a language, named by its code")
    parser.add_argument("--languages", type=codes, metavar="swa,yor", help="only these; all of the folder by default")
    add_errors_argument(parser)
    parser.add_argument("--preset", default="paper", metavar="NAME", help="paper (the default) or small, for CPUs")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="N", help="a run each (default: 1 2 3 4 5)"
    )
    parser.add_argument(
        "--save_models",
        action="store_true",
        help="keep every fine-tuned model, in <output_dir>/models/<task>-<language>-<seed>, ready for pipeline()",
    )
    parser.add_argument("--name", help="what the model is called in the report; by default the name of its folder")


def run(args: Namespace) -> None:
    """Load, fine-tune, score, write and show.

    Raises:
        ValueError: If an option or a setting is missing, unknown or impossible, or model and data do not fit.
    """
    check_inputs(args)
    check_options(args)

    from hf_afro.tasks import evaluate_model

    settings = read_settings(args.settings)
    with finished_folder(args, resumable=True) as folder:
        data = [] if args.task == BITS_PER_BYTE else load_data(args)
        own = {args.task: own_settings(args, data, settings)} if data else {}
        model, tokenizer = load(args.model)
        report = evaluate_model(
            model,
            tokenizer,
            data,
            name=args.name or Path(args.model).name,
            output_dir=folder,
            settings=own,
            seeds=args.seeds,
            extra_scores=bits_per_byte(model, tokenizer, args) if args.task == BITS_PER_BYTE else (),
            provenance={"model": args.model, "command": "hf-afro evaluate", "arguments": settings_of(args)},
            model_folder=args.model if Path(args.model).is_dir() else None,
            save_models=args.save_models,
            on_run=lambda what, done, total: say(f"{done} of {total}: {what}"),
        )
    show(report, args.task)
    say(f"report written to {args.output_dir}")


def check_options(args: Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        ValueError: If so; the message says what is wanted.
    """
    from hf_afro.tasks.presets import check_seeds

    wanted, other = ("text", "data") if args.task == BITS_PER_BYTE else ("data", "text")
    if getattr(args, wanted) is None:
        raise ValueError(f"--task {args.task} needs --{wanted} FOLDER")
    if getattr(args, other) is not None:
        raise ValueError(f"--task {args.task} reads --{wanted}; leave --{other} out")
    if args.task != BITS_PER_BYTE and args.errors != "fail":
        raise ValueError(f"--errors {args.errors} is for the text of {BITS_PER_BYTE}; leave it out, and repair --data")
    of_training = [*(["--save_models"] if args.save_models else []), *args.settings]
    if args.task == BITS_PER_BYTE and of_training:
        raise ValueError(f"--task {BITS_PER_BYTE} trains nothing; leave {' '.join(of_training)} out")
    if len(set(args.seeds)) < len(args.seeds):
        raise ValueError(f"--seeds {' '.join(map(str, args.seeds))}: each seed once")
    check_seeds(args.seeds)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("evaluate runs in one process; start it without accelerate launch or torchrun")


def read_settings(words: list[str]) -> dict[str, Any]:
    """Return the settings of fine-tuning among the words of a command line.

    Raises:
        ValueError: If one is unknown, the message naming the nearest, or its value is not a number.
    """
    from hf_afro.tasks import FineTuningSettings

    settings: dict[str, Any] = {}
    rest = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while rest:
        name, *rest = rest
        if not name.startswith("--") or not rest or rest[0].startswith("--"):
            raise ValueError(f"{name!r} stands alone; expected --name value, the names being settings of fine-tuning")
        value, *rest = rest
        settings[name.removeprefix("--").replace("-", "_")] = number(name, value)
    FineTuningSettings().replace(**settings)
    return settings


def number(name: str, text: str) -> int | float | None:
    """Return a whole number, a number, or None for the word none.

    Raises:
        ValueError: If it is none of these.
    """
    if text.lower() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise ValueError(f"{name} {text!r} is not a number; none stands for no limit")


def load_data(args: Namespace) -> list[TaskData]:
    """Return the task in every language asked for, saying what was repaired."""
    from hf_afro.tasks import load_task
    from hf_afro.tasks.loading import languages_of

    languages = args.languages or list(languages_of(args.data))
    if not languages:
        raise ValueError(f"--data {args.data} holds no folder named by a language; expected such as swa")
    data = [load_task(args.task, args.data, language) for language in languages]
    for task in data:
        for what, count in task.repairs.items():
            say(f"{task.dataset}: {what}: {count}")
    return data


def own_settings(args: Namespace, data: list[TaskData], changes: dict[str, Any]) -> FineTuningSettings:
    """Return the preset's settings with those of the command line in place of its own."""
    from hf_afro.tasks import preset

    return preset(args.preset, args.task, data[0].dataset).replace(**changes)


def load(name: str) -> tuple[Any, Any]:
    """Return the model in fp32, with the head it was saved with, and its tokenizer."""
    import torch

    from hf_afro.cli.loading import load_model, load_tokenizer
    from hf_afro.tasks.heads import with_own_pooler

    tokenizer = load_tokenizer(name)
    return with_own_pooler(load_model(name, dtype=torch.float32), name), tokenizer


def bits_per_byte(model: Any, tokenizer: Any, args: Namespace) -> tuple[Any, ...]:
    """Return the scores of `--task bits_per_byte`."""
    from hf_afro.corpora import read_corpora
    from hf_afro.tasks import bits_per_byte_scores

    texts = read_corpora(args.text, args.languages, errors=args.errors)
    sentences = {language: [line for line in text if line.strip()] for language, text in texts.items()}
    return bits_per_byte_scores(model, tokenizer, sentences, dataset=Path(args.text).resolve().name)


def settings_of(args: Namespace) -> dict[str, Any]:
    """Return what was asked for, as provenance."""
    names = ("task", "data", "text", "languages", "errors", "preset", "seeds", "settings")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def show(report: EvalReport, task: str) -> None:
    """Print the table: a row a language, and their mean where there are several; F1 and accuracy in hundredths."""
    metrics = _SHOWN[task]
    scale = 1 if task == BITS_PER_BYTE else 100
    first = report.select(task=task, metric=metrics[0])
    rows: list[list[object]] = []
    for score in first:
        by_metric = {other.metric: other for other in report.select(task=task, language=score.language)}
        spread = None if score.spread is None else scale * score.spread
        rows.append(
            [score.language, score.n, *(scale * by_metric[metric].mean for metric in metrics), spread, score.note]
        )
    if len(first) > 1:
        means = [report.mean(task, metric) for metric in metrics]
        rows.append(["mean", None, *(None if mean is None else scale * mean for mean in means), None, ""])
    header = ["language", "words" if task == BITS_PER_BYTE else "examples", *metrics, "spread", ""]
    say(format_table(header, rows))
