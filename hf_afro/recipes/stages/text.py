"""The stages `tasks` and `corpora`: what a model is judged by, and text that holds none of it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.settings import HUB, SAMPLE, TaskSource, codes_of
from hf_afro.recipes.stages.context import StageContext

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_afro.corpora import EvaluationSentences, PreparedCorpora
    from hf_afro.evaluation import TaskData
    from hf_afro.recipes.recipe import Stage

TASKS = ("ner", "topic", "sentiment")
SENTENCES, TASKS_FILE, SAMPLE_TASKS = "sentences.jsonl", "tasks.json", "sample"
TRAIN, HELD_OUT, CLEANING = "train", "held_out", "cleaning.json"

# Where a sentence ends inside a text: closing marks of Latin, Arabic and Ge'ez script, then white space.
_SENTENCE_END = re.compile(r"(?<=[.!?؟።፧])\s+")


def run_tasks(context: StageContext) -> dict[str, Any]:
    """Read every task once, write down what it is and the sentences that no model may have been trained on."""
    sampled = [source.languages for _, source in sources_of(context.settings) if source.folder == SAMPLE]
    if sampled:
        from hf_afro.sample import write_tasks

        languages = sorted({code for words in sampled for code in codes_of(words)})
        write_tasks(context.folder / SAMPLE_TASKS, seed=0, languages=languages)
    found, sentences = [], 0
    with (context.folder / SENTENCES).open("w", encoding="utf-8", newline="\n") as file:
        for task, source in sources_of(context.settings):
            context.progress.length(len(source.languages), task)
            for language in codes_of(source.languages):
                data = load(
                    context.folder, task, source, language, trained=trained_on(context, context.stage, language)
                )
                for split in [split for split in ("dev", "test") if split in data.splits]:
                    for sentence in data.sentences(split):
                        file.write(json.dumps([data.dataset, sentence]) + "\n")
                        sentences += 1
                found.append(facts_of(data))
                context.progress.advance()
    context.write_json(TASKS_FILE, found)
    return {"sets": len(found), "evaluation_sentences": sentences}


def sources_of(settings: Any) -> list[tuple[str, TaskSource]]:
    """Return the tasks that a `tasks` stage names, in order."""
    return [(task, source) for task in TASKS if (source := getattr(settings, task)) is not None]


def trained_on(context: StageContext, tasks: Stage, language: str) -> bool:
    """Tell whether an `evaluate` stage trains on a language of a `tasks` stage; else its test split is enough."""
    return any(
        bool(stage.settings.trained([language]))
        for stage in context.recipe.stages
        if stage.kind == "evaluate" and stage.inputs.get("tasks") == (tasks.name,)
    )


def load(folder: Path, task: str, source: TaskSource, language: str, *, trained: bool) -> TaskData:
    """Return one task in one language.

    Args:
        folder: Of the `tasks` stage, finished or not.
        task: Its name.
        source: Where it is.
        language: ISO 639-3.
        trained: See `trained_on`.
    """
    from hf_afro.evaluation import load_hub_task, load_task

    if source.folder == HUB:
        return load_hub_task(task, language, trained=trained)
    if source.folder != SAMPLE:
        return load_task(task, source.folder, language, trained=trained)
    data = load_task(task, folder / SAMPLE_TASKS / task, language)
    # Called by what it is; the folder it was written to is named by the task alone.
    return dataclasses.replace(data, dataset=f"hf_afro-sample/{language}")


def facts_of(data: TaskData) -> dict[str, Any]:
    """Return what a task is, for the record."""
    return {
        "task": data.task,
        "language": data.language,
        "dataset": data.dataset,
        "labels": list(data.labels),
        "examples": {name: len(split) for name, split in data.splits.items()},
        "repairs": dict(data.repairs),
        "fingerprint": data.fingerprint,
    }


def evaluation_sentences(folder: Path) -> EvaluationSentences:
    """Return the evaluation sentences of a `tasks` stage by data set: each text, and its lines and sentences.

    A news article is one text there and many lines in a corpus.
    """
    from hf_afro.corpora import EvaluationSentences

    texts: dict[str, list[str]] = {}
    with (folder / SENTENCES).open(encoding="utf-8") as file:
        for line in file:
            dataset, text = json.loads(line)
            texts.setdefault(dataset, []).append(text)
    return EvaluationSentences.of(texts, {dataset: _parts(own) for dataset, own in texts.items()})


def _parts(texts: list[str]) -> Iterator[str]:
    for text in texts:
        for paragraph in text.split("\n"):
            yield paragraph
            yield from _SENTENCE_END.split(paragraph)


def run_corpora(context: StageContext) -> dict[str, Any]:
    """Read, clean, take out evaluation sentences, hold lines out, and write a text file a language."""
    from hf_afro.corpora import prepare_corpora, read_corpora
    from hf_afro.corpora.cleaning_page import save_report

    settings = context.settings
    codes = None if settings.languages is None else codes_of(settings.languages)
    prepared = prepare_corpora(
        read_corpora(text_folder(settings.text), codes, errors=settings.errors),
        held_out_lines=settings.held_out_lines,
        excluded=evaluation_sentences(context.input("tasks")) if context.has("tasks") else (),
        min_tokens=settings.min_tokens,
        nfc=settings.nfc,
        drop_duplicates=settings.drop_duplicates,
        near_duplicates=settings.near_duplicates,
        max_lines=settings.max_lines,
        seed=settings.seed,
    )
    _check_languages(context, prepared)
    for name, lines in ((TRAIN, prepared.train), (HELD_OUT, prepared.evaluation)):
        (context.folder / name).mkdir(exist_ok=True)
        for language, own in lines.items():
            text = "".join(f"{line}\n" for line in own)
            (context.folder / name / f"{language}.txt").write_text(text, "utf-8", newline="\n")
    report = prepared.report
    save_report(report, context.folder)
    return {
        "languages": len(prepared.train),
        "lines_read": sum(report.read.values()),
        "lines_kept": sum(report.kept.values()),
        "evaluation_lines_taken_out": sum(report.leaked.values()),
    }


def _check_languages(context: StageContext, prepared: PreparedCorpora) -> None:
    """Refuse text that lacks what a later stage asks of it, before hours of training end in that."""
    for stage in context.recipe.stages:
        if stage.inputs.get("text") != (context.stage.name,):
            continue
        own = f"{stage.place}: {stage.name}: {context.stage.name}"
        wanted = codes_of(getattr(stage.settings, "languages", None) or tuple(prepared.train))
        missing = [code for code in wanted if code not in prepared.train]
        if missing:
            raise RecipeError(f"{own} has no text of {', '.join(missing)}; it has {', '.join(prepared.train)}")
        missing = [code for code in wanted if code not in prepared.evaluation]
        # Without languages of its own, it measures those that there are.
        if stage.kind == "evaluate" and missing and (stage.settings.languages or not prepared.evaluation):
            raise RecipeError(
                f"{own} holds no lines of {', '.join(missing)} out; a language needs ten lines or more after "
                "cleaning: give it more text, or leave it out of languages"
            )


def text_folder(text: str) -> Path:
    """Return the folder that a `corpora` stage reads."""
    if text != SAMPLE:
        return Path(text)
    from hf_afro import sample

    return Path(sample.text_folder())


def read_text(folder: Path, part: str, languages: tuple[str, ...] | None = None) -> dict[str, list[str]]:
    """Return the lines of a finished `corpora` stage.

    Args:
        folder: Of the stage.
        part: `TRAIN` or `HELD_OUT`.
        languages: Only these; all where None.

    Raises:
        ValueError: If a language is not there.
    """
    found = {path.stem: path for path in sorted((folder / part).glob("*.txt"))}
    wanted = tuple(found) if languages is None else codes_of(languages)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise ValueError(f"{folder.name} has no {part} text of {', '.join(missing)}; it has {', '.join(found)}")
    return {code: _lines_of(found[code]) for code in sorted(wanted)}


def _lines_of(path: Path) -> list[str]:
    # A line of running text may hold a carriage return, which reading would otherwise turn into a line feed.
    with path.open(encoding="utf-8", newline="\n") as file:
        return [line.removesuffix("\n") for line in file]


def as_datasets(lines: dict[str, list[str]]) -> dict[str, Dataset]:
    """Return what a trainer takes: a dataset a language, with a column `text`."""
    from datasets import Dataset

    return {language: Dataset.from_dict({"text": own}) for language, own in lines.items()}
