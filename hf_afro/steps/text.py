"""Text for training: the settings that select and clean it, shared by all steps that read text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from datasets import Dataset
from transformers.hf_argparser import HfArg

from hf_afro.corpora import EvaluationSentences, PreparedCorpora, TextSource, prepare_corpora, read_corpora
from hf_afro.corpora.cleaning_report import CleaningReport, save_report
from hf_afro.corpora.decontamination import excluded_sentences, parts_of
from hf_afro.corpora.language_identification import DATATROVE_MODELS, THRESHOLD, LanguageCheck, identifier_named
from hf_afro.corpora.reading import Errors
from hf_afro.evaluation.data.parallel import evaluated_sentences, is_parallel
from hf_afro.sample import SAMPLE, text_folder
from hf_afro.steps.records import Record, fingerprint
from hf_afro.steps.settings import Input, Limits, OptionalLanguages, StepConfig

TRAIN, HELD_OUT, CLEANING = "train", "held_out", "cleaning.json"
"""Content of a folder of prepared text: two folders with one file per language, and the cleaning report."""

SENTENCES = "sentences.jsonl"
"""Files that `tasks` writes for `--exclude`: pairs of a data set and an evaluation text, one per line."""


@dataclass(frozen=True, kw_only=True)
class ReadingConfig(StepConfig):
    """The text to read."""

    text: Annotated[str, Input("text", default=True)] = HfArg(
        help="folder with one file per language, named by its code, as in swa.txt; the output of `hf-afro prepare`; "
        f"or `{SAMPLE}`, the text that ships with hf_afro"
    )
    languages: OptionalLanguages = HfArg(
        default=None, help="only these languages: codes, tags like swh_Latn or sets like afroxlmr; by default all"
    )
    errors: Literal["fail", "replace", "skip"] = HfArg(
        default="fail", help="if text is not UTF-8: stop with its file and line, insert U+FFFD, or skip the line"
    )


@dataclass(frozen=True, kw_only=True)
class TextConfig(ReadingConfig):
    """The text to train on, and its cleaning; prepared text is used as it is."""

    eval_text: Annotated[str | None, Input("text")] = HfArg(
        default=None, help="evaluate on this text, in any languages"
    )
    eval_lines: Annotated[int, Limits(low=0)] = HfArg(
        default=200, help="without eval_text: lines to hold out per language, at most a tenth of them; 0 for none"
    )
    exclude: Annotated[list[str] | None, Input("tasks", default=True)] = HfArg(
        default=None,
        help="evaluation sentences to remove from the text: the output of `hf-afro tasks`, dev and test of parallel "
        "text as `hf-afro evaluate --parallel` takes it, or files or folders with one sentence per line. Lines that "
        "equal or contain one, or share 8 words in a row with one, are dropped",
    )
    min_tokens: Annotated[int, Limits(low=1)] = HfArg(
        default=6, help="drop lines with fewer tokens separated by white space; 6 in the paper"
    )
    nfc: bool = HfArg(default=False, help="normalise the text to Unicode NFC")
    drop_duplicates: bool = HfArg(default=False, help="drop lines that occurred before in their language")
    near_duplicates: Annotated[float | None, Limits(above=0, high=1)] = HfArg(
        default=None, help="drop a line at least this similar to an earlier one of its language, such as 0.8"
    )
    language_id: Annotated[str | None, Input(names=tuple(DATATROVE_MODELS))] = HfArg(
        default=None,
        help="drop lines that are not in the language of their file, by this fastText model, such as GlotLID's "
        f"model.bin; or {' or '.join(DATATROVE_MODELS)}, which datatrove downloads",
    )
    language_id_threshold: Annotated[float, Limits(low=0, high=1)] = HfArg(
        default=THRESHOLD,
        help="with language_id: also drop lines whose most probable language is less probable than this",
    )
    max_lines: Annotated[int | None, Limits(low=1)] = HfArg(
        default=None, help="train on at most this many lines per language, the first ones"
    )

    def __post_init__(self) -> None:
        """Refuse a threshold without a classifier.

        Raises:
            ValueError: If there is one.
        """
        super().__post_init__()
        if self.language_id is None and self.language_id_threshold != THRESHOLD:
            raise ValueError("language_id_threshold has no effect without language_id; give both, or neither")


def is_prepared(text: str) -> bool:
    """Tell whether a folder of text was written by the step `prepare`."""
    return (Path(text) / CLEANING).is_file() and (Path(text) / TRAIN).is_dir()


def read_text(
    text: str, languages: list[str] | None = None, errors: Errors = "fail", part: str = TRAIN
) -> dict[str, TextSource]:
    """Return text by language: of a folder, of one part of prepared text, or the sample.

    Raises:
        ValueError: If a language is unknown or has no text.
    """
    folder = str(text_folder()) if text == SAMPLE else str(Path(text) / part) if is_prepared(text) else text
    return read_corpora(folder, languages, errors=errors)


def held_out_text(text: str, languages: Collection[str] | None = None) -> dict[str, list[str]]:
    """Return held-out lines by language: those of prepared text, if any, else all lines of a folder.

    Args:
        text: The folder.
        languages: Only these, by ISO 639-3 code, as far as they have any; all by default.
    """
    if is_prepared(text) and not any((Path(text) / HELD_OUT).iterdir()):
        return {}
    sources = read_text(text, part=HELD_OUT)
    return {code: list(lines) for code, lines in sources.items() if languages is None or code in languages}


def prepare_text(config: TextConfig, seed: int) -> PreparedCorpora:
    """Read and clean the text that settings name; prepared text is read as it is.

    Args:
        config: The settings.
        seed: Chooses the lines held out.

    Raises:
        FileNotFoundError: If a folder or file does not exist.
        ValueError: If a language is unknown, or one has no lines left.
    """
    evaluation = None if config.eval_text is None else read_text(config.eval_text, None, config.errors, HELD_OUT)
    if is_prepared(config.text):
        return _prepared_text(config, evaluation)
    return prepare_corpora(
        read_text(config.text, config.languages, config.errors),
        evaluation=evaluation,
        held_out_lines=config.eval_lines,
        excluded=evaluation_sentences(config.exclude or (), config.errors),
        min_tokens=config.min_tokens,
        nfc=config.nfc,
        drop_duplicates=config.drop_duplicates,
        near_duplicates=config.near_duplicates,
        language_check=None
        if config.language_id is None
        else LanguageCheck(identifier_named(config.language_id), config.language_id_threshold),
        max_lines=config.max_lines,
        seed=seed,
    )


def _prepared_text(config: TextConfig, evaluation: Mapping[str, TextSource] | None) -> PreparedCorpora:
    """Return text that was prepared; what is evaluated on or excluded now, and was not then, is removed from it."""
    defaults = {field.name: field.default for field in dataclasses.fields(TextConfig)}
    cleaning = ("eval_lines", "min_tokens", "nfc", "drop_duplicates", "near_duplicates", "language_id")
    if changed := [f"--{name}" for name in cleaning if getattr(config, name) != defaults[name]]:
        raise ValueError(f"{config.text} is prepared already; give {', '.join(changed)} to `hf-afro prepare`")
    train = read_text(config.text, config.languages)
    record = Record.load(Path(config.text))
    then = () if record is None else record.inputs.get("exclude", {}).values()
    is_excluded = all(fingerprint(Path(path)) in then for path in config.exclude or ())
    if evaluation is None and is_excluded and config.max_lines is None:
        lines = {code: list(source) for code, source in train.items()}
        return PreparedCorpora(lines, held_out_text(config.text), CleaningReport.load(Path(config.text) / CLEANING))
    again = prepare_corpora(
        train,
        evaluation=evaluation,
        held_out_lines=0,
        excluded=evaluation_sentences(config.exclude or (), config.errors),
        min_tokens=1,  # short lines were dropped, or wanted, when the text was prepared
        max_lines=config.max_lines,
    )
    return again if evaluation is not None else dataclasses.replace(again, evaluation=held_out_text(config.text))


def write_prepared(text: PreparedCorpora, folder: Path) -> None:
    """Write prepared text: ``train/`` and ``held_out/`` with one file per language, and the cleaning report."""
    for part, lines in ((TRAIN, text.train), (HELD_OUT, text.evaluation)):
        (folder / part).mkdir(exist_ok=True)
        for language, own in lines.items():
            (folder / part / f"{language}.txt").write_text("".join(f"{line}\n" for line in own), "utf-8", newline="\n")
    save_report(text.report, folder)


def datasets_of(lines: dict[str, list[str]]) -> dict[str, Dataset]:
    """Return what a trainer expects: one dataset per language, with a column `text`."""
    return {language: Dataset.from_dict({"text": own}) for language, own in lines.items()}


def evaluation_sentences(paths: Iterable[str], errors: Errors = "fail") -> EvaluationSentences:
    """Return the sentences to remove from text: of the step `tasks`, of parallel text, or of files of sentences.

    Args:
        paths: Folders and files.
        errors: What is done with bytes that are not UTF-8; see `read_corpora`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a folder holds no text file, or a file has one token and tag per line.
    """
    sentences: dict[str, list[str]] = {}
    articles: set[str] = set()
    for path in paths:
        if (Path(path) / SENTENCES).is_file():
            with (Path(path) / SENTENCES).open(encoding="utf-8") as file:
                for line in file:
                    dataset, text = json.loads(line)
                    sentences.setdefault(dataset, []).append(text)
                    articles.add(dataset)
        else:
            found = evaluated_sentences(path) if is_parallel(path) else excluded_sentences(path, errors)
            for name, own in found.items():
                sentences.setdefault(name, []).extend(own)
    # A news article is one text there and many lines in a corpus.
    return EvaluationSentences.of(sentences, {name: parts_of(sentences[name]) for name in sorted(articles)})
