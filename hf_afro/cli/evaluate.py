"""`hf-afro evaluate`: fine-tune a model on a task and score it, or measure its bits a byte, into a report."""

from __future__ import annotations

import dataclasses
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.cli.count import add_errors_argument, codes
from hf_afro.cli.evaluate_data import adapters_of, load_sets, tasks_of
from hf_afro.cli.evaluate_shown import BITS_PER_BYTE, SHOWN, show, told_runs
from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.output import finished_folder, say
from hf_afro.nearest import nearest

if TYPE_CHECKING:
    from hf_afro.evaluation import FineTuningSettings, TaskData

DESCRIPTION = """\
Fine-tune a model on tasks and score it, or measure its bits a byte of text.

A copy of the model's encoder gets a new head and is fine-tuned for each task, language and seed; the best epoch on dev
is scored on test. The model itself stays as it is.

  hf-afro evaluate --model adapted --tasks ner --data masakhaner1 --languages swa,yor --seeds 3 --output_dir scores
  hf-afro evaluate --model adapted --tasks ner,topic --data ner=masakhaner1 topic=masakhanews --output_dir scores
  hf-afro evaluate --model adapted --tasks ner --data masakhaner1 --transfer swa,yor --output_dir transfer
  hf-afro evaluate --model adapted --tasks ner --data masakhaner1 --joint --output_dir joint
  hf-afro evaluate --model adapted --tasks bits_per_byte --text held_out --output_dir bits

--data is a folder with a folder a language, as the sets are published: swa/train.txt, dev.txt and test.txt with a
token and its tag a line for ner (MasakhaNER) and pos (MasakhaPOS); swa/train.tsv, dev.tsv and test.tsv for topic
(MasakhaNEWS, ANTC), sentiment (AfriSenti) and nli (AfriXNLI). It may be a set's description in YAML, or the folder of
such sets, as in data/ner/masakhaner1; TASK=FOLDER names one a task. Settings of fine-tuning, which change the
preset's: --epochs 5 --learning_rate 1e-4. They are max_length, batch_size, accumulation, epochs, learning_rate,
warmup, weight_decay, patience, max_train, max_dev, max_test, eval_batch_size, and lora_rank with --adaptation lora.
A run that was interrupted or killed goes on with those languages and seeds that are missing, when the same command is
given again; --processes may be another.

What comes out: evaluation_report.json, which `EvalReport.load` reads, and predictions/ with the right and predicted
labels of every test example.
"""
TAKES_SETTINGS = True
MOST_SEEDS = 100


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model",
        help="folder of a model with its tokenizer, or its name on the Hub; it may stand first, without --model",
    )
    parser.add_argument(
        "--tasks",
        "--task",
        required=True,
        type=codes,
        metavar="ner,topic",
        help=f"what is measured: {', '.join(SHOWN)}",
    )
    parser.add_argument(
        "--data", nargs="+", metavar="[TASK=]FOLDER", help="of the tasks: a folder a language, named by its code"
    )
    parser.add_argument("--text", metavar="FOLDER", help="for bits_per_byte: one file a language, named by its code")
    parser.add_argument("--languages", type=codes, metavar="swa,yor", help="only these; all of the folder by default")
    add_errors_argument(parser)
    parser.add_argument("--preset", default="paper", metavar="NAME", help="paper (the default) or small, for CPUs")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[5],
        metavar="N",
        help="a run each, as in 1 2 3; one number says how many, from 1 on (default: 5)",
    )
    add_training_arguments(parser)
    parser.add_argument(
        "--efficiency", action="store_true", help="measure latency, throughput and memory on the test's own sentences"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="runs at a time; each gets its share of threads, or a GPU",
    )
    parser.add_argument(
        "--save_models",
        action="store_true",
        help="keep every fine-tuned model, in <output_dir>/models/<task>-<language>-<seed>, ready for pipeline()",
    )
    parser.add_argument("--name", help="what the model is called in the report; by default the name of its folder")


def add_training_arguments(parser: ArgumentParser) -> None:
    """Add the options of what is trained and in which languages."""
    parser.add_argument(
        "--adaptation",
        default="full",
        metavar="KIND",
        help="what of the encoder is trained: full (the default), lora or frozen, the last two at ten times the rate",
    )
    parser.add_argument(
        "--transfer",
        nargs="?",
        const=[],
        type=codes,
        metavar="swa,yor",
        help="train on these languages only, or on each of all, and measure every one on all languages; those not "
        "trained on need a test split alone",
    )
    parser.add_argument(
        "--joint",
        action="store_true",
        help="train on all languages of a task at once, or those of --transfer; each is measured by itself",
    )
    parser.add_argument(
        "--language_adapters",
        metavar="FOLDER",
        help="a LoRA adapter a language, made by maft --language_adapter_rank, to lie frozen under that of the task; "
        "in another language its own takes the place (with --adaptation lora)",
    )


def run(args: Namespace) -> None:
    """Load, fine-tune, score, write and show.

    Raises:
        ValueError: If an option or a setting is missing, unknown or impossible, or model and data do not fit.
    """
    take_model(args)
    check_inputs(args)
    check_options(args)

    from hf_afro.evaluation import evaluate_model

    settings = read_settings(args.settings)
    with finished_folder(args, resumable=True) as folder, told_runs() as tell:
        bits = BITS_PER_BYTE in args.tasks
        transfer = sources_of(args)
        tokenizer = tokenizer_of(args.model)
        data = load_sets(tasks_of(args.tasks), args.data or [], args.languages, transfer)
        there = sorted({one.language for one in data})
        check_sources(transfer, there)
        model = load(args.model)
        report = evaluate_model(
            model,
            tokenizer,
            data,
            name=args.name or Path(args.model).name,
            output_dir=folder,
            settings=own_settings(args, data, settings),
            seeds=seeds_of(args.seeds),
            extra_scores=bits_per_byte(model, tokenizer, args) if bits else (),
            provenance={"model": args.model, "command": "hf-afro evaluate", "arguments": settings_of(args)},
            model_folder=args.model if Path(args.model).is_dir() else None,
            save_models=args.save_models,
            transfer=transfer if transfer != [] else there,
            joint=args.joint,
            language_adapters=None if args.language_adapters is None else adapters_of(args.language_adapters),
            efficiency=args.efficiency,
            processes=args.processes,
            on_run=tell,
        )
    show(report)
    say(f"report written to {args.output_dir}")


def take_model(args: Namespace) -> None:
    """Take the model from where it stands by itself, before any setting.

    It is no positional argument of the parser: which word one of those takes among options that the parser does not
    know, as the settings of fine-tuning are, differs between versions of Python.

    Raises:
        ValueError: If there is no model.
    """
    if args.model is None and args.settings and not args.settings[0].startswith("-"):
        args.model, *args.settings = args.settings
    if args.model is None:
        raise ValueError("no model is named; expected `hf-afro evaluate MODEL ...` or --model MODEL")


def check_options(args: Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        ValueError: If so; the message says what is wanted.
    """
    from hf_afro.evaluation.presets import ADAPTATIONS, check_seeds

    check_places(args)
    bits, trained = BITS_PER_BYTE in args.tasks, tasks_of(args.tasks)
    if not bits and args.errors != "fail":
        raise ValueError(f"--errors {args.errors} is for the text of {BITS_PER_BYTE}; leave it out, and repair --data")
    check_stack(args)
    flags = {
        "save_models": args.save_models,
        "transfer": args.transfer is not None,
        "joint": args.joint,
        "language_adapters": args.language_adapters is not None,
        "efficiency": args.efficiency,
    }
    of_training = [*(f"--{name}" for name, given in flags.items() if given), *args.settings]
    if not trained and of_training:
        raise ValueError(f"--task {BITS_PER_BYTE} trains nothing; leave {' '.join(of_training)} out")
    if args.adaptation not in ADAPTATIONS:
        raise ValueError(f"--adaptation {args.adaptation}; expected one of {', '.join(ADAPTATIONS)}")
    if args.processes < 1:
        raise ValueError(f"--processes {args.processes}; expected at least 1")
    if len(set(args.seeds)) < len(args.seeds):
        raise ValueError(f"--seeds {' '.join(map(str, args.seeds))}: each seed once")
    check_seeds(seeds_of(args.seeds))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("evaluate runs in one process; start it without accelerate launch or torchrun")


def check_stack(args: Namespace) -> None:
    """Refuse adapters of languages without one of the task, or with training on several languages at once.

    Raises:
        ValueError: If so.
        NotADirectoryError: If their folder does not exist.
    """
    if args.language_adapters is None:
        return
    if args.joint:
        raise ValueError(
            "--joint and --language_adapters: a run on several languages has no one adapter; leave one out"
        )
    if args.adaptation != "lora":
        raise ValueError("--language_adapters lie under one of the task; add --adaptation lora")
    if not Path(args.language_adapters).is_dir():
        raise NotADirectoryError(
            f"--language_adapters {args.language_adapters} is no folder; expected one a language in it"
        )


def check_places(args: Namespace) -> None:
    """Refuse tasks that do not exist, and data or text that is missing or for none of them.

    Raises:
        ValueError: If so.
    """
    for task in args.tasks:
        if task not in SHOWN:
            raise ValueError(f"--tasks has {task!r}; {nearest(task, SHOWN, every=True)}")
    kinds = {"data": tasks_of(args.tasks), "text": [task for task in args.tasks if task == BITS_PER_BYTE]}
    for option, wanted in kinds.items():
        if wanted and getattr(args, option) is None:
            raise ValueError(f"--task {','.join(wanted)} needs --{option} FOLDER")
    for option, wanted in kinds.items():
        if not wanted and getattr(args, option) is not None:
            other = "text" if option == "data" else "data"
            raise ValueError(f"--task {','.join(args.tasks)} reads --{other}; leave --{option} out")


def seeds_of(given: list[int]) -> list[int]:
    """Return the seeds of what was given: several as they are, or so many from 1 on.

    Raises:
        ValueError: If that is more than anybody would run, so that a seed was meant.
    """
    if len(given) > 1 or given[0] < 1:
        return given
    if given[0] > MOST_SEEDS:
        raise ValueError(
            f"--seeds {given[0]} asks for as many runs of each set; expected at most {MOST_SEEDS}, or several seeds"
        )
    return list(range(1, given[0] + 1))


def sources_of(args: Namespace) -> list[str] | None:
    """Return the languages to train on, none for all there are, None where each is trained and measured alone."""
    from hf_afro.languages import find_languages

    return None if args.transfer is None else list(find_languages(args.transfer))


def check_sources(transfer: list[str] | None, there: list[str]) -> None:
    """Refuse languages to train on that the data lacks.

    Raises:
        ValueError: If there is one.
    """
    if missing := [code for code in transfer or () if code not in there]:
        raise ValueError(
            f"--transfer names {', '.join(missing)}, and the data is in {', '.join(there)}; --languages names those "
            "to train on and those to measure on"
        )


def read_settings(words: list[str]) -> dict[str, Any]:
    """Return the settings of fine-tuning among the words of a command line.

    Raises:
        ValueError: If one is unknown, the message naming the nearest, or its value is not a number.
    """
    from hf_afro.evaluation import FineTuningSettings

    known = [field.name for field in dataclasses.fields(FineTuningSettings)]
    settings: dict[str, Any] = {}
    rest = [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
    while rest:
        name, *rest = rest
        if not name.startswith("--") or not rest or rest[0].startswith("--"):
            raise ValueError(f"{name!r} stands alone; expected --name value, the names being settings of fine-tuning")
        value, *rest = rest
        setting = name.removeprefix("--").replace("-", "_")
        if setting not in known:
            raise ValueError(
                f"{name} is neither an option of this command nor a setting of fine-tuning; "
                f"{nearest(setting, [*known, *options()])}"
            )
        settings[setting] = number(name, value)
    FineTuningSettings().replace(**settings)
    return settings


def options() -> list[str]:
    """Return the names of this command's own options."""
    parser = ArgumentParser(add_help=False)
    add_arguments(parser)
    return [word.removeprefix("--") for action in parser._actions for word in action.option_strings]


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


def own_settings(args: Namespace, data: list[TaskData], changes: dict[str, Any]) -> dict[str, FineTuningSettings]:
    """Return the preset's settings of each task, with those of the command line in place of its own."""
    from hf_afro.evaluation import preset
    from hf_afro.evaluation.presets import adapted

    return {
        one.task: adapted(preset(args.preset, one.task, one.dataset), args.adaptation).replace(**changes)
        for one in data
    }


def tokenizer_of(name: str) -> Any:
    """Return the tokenizer of an encoder; what is none is refused before data and weights are read."""
    from hf_afro.cli.loading import load_encoder_config, load_tokenizer

    load_encoder_config(name)
    return load_tokenizer(name)


def load(name: str) -> Any:
    """Return the model in fp32, with the head it was saved with."""
    import torch

    from hf_afro.cli.loading import load_model
    from hf_afro.evaluation.heads import with_own_pooler

    return with_own_pooler(load_model(name, dtype=torch.float32), name)


def bits_per_byte(model: Any, tokenizer: Any, args: Namespace) -> tuple[Any, ...]:
    """Return the scores of `--task bits_per_byte`."""
    from hf_afro.corpora import read_corpora
    from hf_afro.evaluation import bits_per_byte_scores
    from hf_afro.reports.published_sets import key_of_folder

    texts = read_corpora(args.text, args.languages, errors=args.errors)
    sentences = {language: [line for line in text if line.strip()] for language, text in texts.items()}
    return bits_per_byte_scores(model, tokenizer, sentences, dataset=key_of_folder(args.text))


def settings_of(args: Namespace) -> dict[str, Any]:
    """Return what was asked for, as provenance."""
    names = (
        *("tasks", "data", "text", "languages", "errors", "preset", "seeds", "adaptation", "transfer", "joint"),
        *("language_adapters", "settings"),
    )
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}
