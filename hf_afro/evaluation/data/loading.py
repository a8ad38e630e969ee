"""Tasks from local files: in the forms they were published in, found by language in a folder, or as described."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_afro.evaluation.data.descriptions import SetDescription, read_description
from hf_afro.evaluation.data.examples import examples_of
from hf_afro.evaluation.data.formats import ConllForm, Example, Repairs, read_conll
from hf_afro.evaluation.data.kinds import KINDS, kind_of
from hf_afro.evaluation.data.published import read_tsv
from hf_afro.evaluation.data.tables import dataset_rows, read_rows
from hf_afro.evaluation.data.task_data import SPLITS, TaskData, make_task_data
from hf_afro.languages import LANGUAGES, find_language
from hf_afro.reports.published_sets import key_of_folder

logger = logging.getLogger(__name__)

# MasakhaNEWS publishes no full training split for five languages, but fifty examples a label.
_NAMES = {
    "train": ("train", "train.fewshot50"),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}
# AfriXNLI has no training split: its authors train on the English of XNLI.
_STAND_IN = "eng"
_TARGET = "A language without it can only be measured on: name those to train on by --transfer (`transfer`)"


def load_task(task: str, folder: str | os.PathLike[str], language: str, *, trained: bool = True) -> TaskData:
    """Read one task in one language.

    Args:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`, such as `ner`, `pos`, `topic`, `sentiment` or `nli`.
        folder: Holds a folder a language, named by any of its codes, each with `train`, `dev` and `test`: `.txt` where
            words are tagged, `.tsv` for the others. Where there is no `train.tsv`, `train.fewshot50.tsv` is taken; of
            pairs, that of English, if the language has none. Or the YAML of a `SetDescription`.
        language: In any code.
        trained: Whether it is to be trained on. Else it is measured on by models trained in other languages: `test` is
            all that has to be there, and `train` and `dev` are read where they are.

    Returns:
        The task; its `dataset` is the name of the set with the language, as `key_of_folder` has it of a folder; its
        `repairs` say what was not as it should be.

    Raises:
        FileNotFoundError: If the folder or a file does not exist.
        ValueError: If the task or the language is unknown, the folder has not that language, or a file cannot be read;
            see `hf_afro.evaluation.data.formats` and `hf_afro.evaluation.data.tables`.
    """
    kind = kind_of(task)
    root = Path(folder)
    if _is_description(root):
        description = read_description(root)
        if description.task != task:
            raise ValueError(f"{root} describes a set of {description.task}; expected one of {task}")
        return load_described(description, language, root.parent, trained=trained)
    code = find_language(language).iso639_3
    homes = language_folders(root)
    if code not in homes:
        raise ValueError(
            f"{folder} has no folder for {code} with a split in it; its languages are: {', '.join(homes) or 'none'}"
        )
    repairs = Repairs()
    files = _files(homes, code, ".txt" if kind.tagged else ".tsv", stand_in=kind.pairs, trained=trained)
    examples: dict[str, list[Example]] = {}
    numbers: dict[str, list[int]] = {split: [] for split in files}
    form = ConllForm(scheme="iob2" if kind.spans else "none")
    for split, path in files.items():
        own = numbers[split]
        examples[split] = (
            [*read_conll(path, repairs, form, numbers=own)] if kind.tagged else read_tsv(path, repairs, kind, own)
        )
    names = {
        split: path.name if path.parent == homes[code] else f"{path.parent.name}/{path.name}"
        for split, path in files.items()
    }
    dataset = f"{key_of_folder(root)}/{code}"
    # Of the seventeen parts of speech some are so rare that a split has one that train has not.
    rare = kind.tagged and not kind.spans
    return make_task_data(
        task, code, dataset, examples, repairs, names, unseen_labels=rare, trained=trained, numbers=numbers
    )


def load_described(
    description: SetDescription, language: str, folder: str | os.PathLike[str] = ".", *, trained: bool = True
) -> TaskData:
    """Read one language of a set as its description says.

    Args:
        description: See `SetDescription` and `read_description`.
        language: In any code.
        folder: What the names of files are relative to; not used for a set on the Hub.
        trained: See `load_task`; of a set on the Hub that is not to be trained on, test alone is read.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the set has not that language, or a file cannot be read or is not as described.
    """
    kind = kind_of(description.task)
    code = find_language(language).iso639_3
    repairs = Repairs()
    examples: dict[str, list[Example]] = {}
    numbers: dict[str, list[int]] = {split: [] for split in SPLITS}
    names = description.names_of(language)
    if description.repository:
        files, rows = _hub_rows(description, names, SPLITS if trained else ("test",))
    else:
        files, rows = _described_files(description, names, Path(folder), trained=trained), {}
    for split, name in files.items():
        if description.repository:
            source = dataset_rows(rows[split], f"{description.repository}, {split}")
        else:
            path = Path(folder) / name
            if description.format_of(split) == "conll":
                labels = description.label_form
                rename = labels.name if description.scheme == "none" else labels.tag
                examples[split] = [*read_conll(path, repairs, description.conll_form, rename, numbers[split])]
                continue
            source = read_rows(path, description.table_form, repairs)
        examples[split] = examples_of(
            source, kind, description.columns, description.label_form, repairs, numbers[split]
        )
    if description.repository:
        files = {split: f"{description.repository}@{description.revision or 'main'}" for split in files}
    return make_task_data(
        description.task,
        code,
        f"{description.name}/{code}",
        examples,
        repairs,
        files,
        unseen_labels=description.unseen_labels,
        trained=trained,
        numbers=numbers,
    )


def _described_files(
    description: SetDescription, names: Sequence[str], folder: Path, *, trained: bool
) -> dict[str, str]:
    """Return the files of a language by split, under the first of its names that all are there by, or else test."""
    tried = [description.file_of("test", name) for name in names]
    found = [name for name, file in zip(names, tried, strict=True) if (folder / file).is_file()]
    if not found:
        others = f", nor are {', '.join(tried[1:])}" if tried[1:] else ""
        raise FileNotFoundError(f"{folder / tried[0]} is no file{others}; {description.name} has its test split there")
    by_name = [{split: description.file_of(split, name) for split in SPLITS} for name in found]
    lacking = [[file for file in files.values() if not (folder / file).is_file()] for files in by_name]
    own = lacking.index([]) if trained and [] in lacking else 0
    files, missing = by_name[own], lacking[own]
    if missing and trained:
        split = next(split for split, file in files.items() if file in missing)
        raise FileNotFoundError(
            f"{folder / missing[0]} is no file; {description.name} has its {split} split there. {_TARGET}"
        )
    return {split: file for split, file in files.items() if file not in missing}


def _hub_rows(
    description: SetDescription, names: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, str], dict[str, object]]:
    """Return the patterns of a language by split, and its rows, under the first of its names that is there."""
    # A second to import, and local files need none of it.
    from datasets import load_dataset

    for name in names:
        files = {split: description.file_of(split, name) for split in wanted}
        try:
            splits = load_dataset(description.repository, data_files=files, revision=description.revision or None)
        except FileNotFoundError:
            if name == names[-1]:
                raise
            continue
        return files, {split: splits[split] for split in files}
    raise AssertionError("a language has at least one name")


def languages_of(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the languages of a folder, or those that a description names, as `load_task` takes them.

    Folders that are no language's are named in a warning.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If a description names none, or cannot be read.
    """
    root = Path(source)
    if not _is_description(root):
        found = language_folders(root)
        tell_other_folders(root, found)
        return tuple(found)
    languages = tuple(read_description(root).languages)
    if not languages:
        raise ValueError(f"{root} names no `languages:`; name them there, or say which are wanted")
    return languages


def _is_description(root: Path) -> bool:
    return root.suffix.lower() in (".yaml", ".yml") and not root.is_dir()


def check_task(task: str) -> None:
    """Raise a ValueError for a task that does not exist."""
    kind_of(task)


def language_folders(root: Path) -> dict[str, Path]:
    """Return the folders in a folder that are named by a language, by ISO 639-3 code, sorted.

    Many a short name is the code of some language: `ner`, `raw` and `old` are. So one that the table of
    `hf_afro.languages` lacks counts only for a folder with a split, or an adapter of the language, in it, and never
    where it is the name of a task.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If two of them are the same language, and neither is named by its tag.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; expected one that holds folders such as swa")
    found: dict[str, Path] = {}
    for path in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            code = find_language(path.name).iso639_3
        except ValueError:
            continue  # a folder of something else
        if code not in LANGUAGES and (path.name in KINDS or not _holds_data(path)):
            continue
        tags = [other for other in (found.get(code, path), path) if other.name == find_language(code).tag]
        if code in found and not tags:
            raise ValueError(f"{found[code]} and {path} are both {code!r}; keep one")
        # SIB-200 has Chinese in two scripts; the one of the tag is meant.
        found[code] = tags[0] if tags else path
    return dict(sorted(found.items()))


def tell_other_folders(root: Path, found: Mapping[str, Path]) -> None:
    """Warn of the folders in a folder that `language_folders` did not find; hidden ones aside."""
    others = [
        path.name
        for path in sorted(root.iterdir())
        if path.is_dir() and path not in found.values() and not path.name.startswith((".", "__"))
    ]
    if others:
        logger.warning(
            "%s: left out %s; a folder of a language is named by its code, such as swa, holds its splits and is the "
            "only one of that language",
            root,
            ", ".join(others),
        )


def _holds_data(folder: Path) -> bool:
    """Tell whether a folder holds a split of a set, or an adapter."""
    names = [name for own in _NAMES.values() for name in own]
    files = [*(f"{name}{suffix}" for name in names for suffix in (".txt", ".tsv")), "adapter_config.json"]
    return any((folder / file).is_file() for file in files)


def _files(homes: Mapping[str, Path], code: str, suffix: str, *, stand_in: bool, trained: bool) -> dict[str, Path]:
    """Return the files of a language by split, of pairs its train from English if need be."""
    files = {}
    for split in SPLITS:
        folders = [homes[code], *([homes[_STAND_IN]] if stand_in and split == "train" and _STAND_IN in homes else [])]
        names = [name + suffix for name in _NAMES[split]]
        there = [folder / name for folder in folders for name in names if (folder / name).is_file()]
        if there:
            files[split] = there[0]
        elif split == "test":
            raise FileNotFoundError(f"{homes[code]} has no {' or '.join(names)}")
        elif trained:
            raise FileNotFoundError(f"{homes[code]} has no {' or '.join(names)}. {_TARGET}")
    return files
