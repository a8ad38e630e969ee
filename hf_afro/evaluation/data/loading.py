"""Loading tasks by place: folders in the published forms, described sets, the sample, and the Hub."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_afro import sample
from hf_afro.evaluation.data.conll import ConllForm, Example, Repairs, read_conll
from hf_afro.evaluation.data.descriptions import SetDescription, is_description, read_description
from hf_afro.evaluation.data.published import find_layout, hub_set_of, languages_there, load_hub_task, read_tsv
from hf_afro.evaluation.data.tables import dataset_rows, examples_of, read_rows
from hf_afro.evaluation.data.task_data import SPLITS, TaskData, make_task_data
from hf_afro.languages import LANGUAGES, find_language, languages_in
from hf_afro.reports.published_sets import key_of_folder
from hf_afro.sample import SAMPLE
from hf_afro.tasks import KINDS, kind_of

logger = logging.getLogger(__name__)

HUB = "hub"
"""Stands for the Hub where a folder of tasks is expected."""

# MasakhaNEWS publishes no full training split for five languages, but fifty examples per label.
_NAMES = {
    "train": ("train", "train.fewshot50"),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}
# AfriXNLI has no training split: its authors train on the English of XNLI.
_STAND_IN = "eng"
_TARGET = "A language without it can only be measured: name those to train on with `transfer` (--transfer)"


def load_task(task: str, place: str | os.PathLike[str], language: str, *, trained: bool = True) -> TaskData:
    """Read one task in one language.

    Args:
        task: A name in `hf_afro.tasks.KINDS`, such as `ner` or `topic`.
        place: One of

            - a folder with one folder per language, named by any of its codes, each with `train`, `dev` and `test`:
              `.txt` (CoNLL) for tagged tasks, `.tsv` for the others. Instead of `train.tsv`, `train.fewshot50.tsv` is
              accepted, and for pairs that of English;
            - a copy of the repository of a set in `LAYOUTS` (BRIGHTER, SemRel, INJONGO);
            - a folder that holds such a folder under the name of the task, as `ner/` or `ner/masakhaner1/`;
            - the YAML file of a `SetDescription`;
            - `sample`, the tasks that ship with the library;
            - `hub`, or `hub:NAME` with a name in `HUB_SETS`.
        language: In any code.
        trained: Whether a model is trained on it. Otherwise it is only measured, by models trained on other languages,
            and needs only `test`; `train` and `dev` are read where they exist (on the Hub they are not).

    Returns:
        The task. Its `dataset` is the name of the set with the language, and its `repairs` count what was repaired.

    Raises:
        FileNotFoundError: If the folder or a file does not exist.
        ValueError: If the task or the language is unknown, the set lacks the language, or a file cannot be read.
    """
    kind_of(task)
    if hub_set := _hub_set(task, place):
        return load_hub_task(task, language, dataset=hub_set, trained=trained)
    root = Path(place)
    if is_description(root):
        description = read_description(root)
        if description.task != task:
            raise ValueError(f"{root} describes a set for {description.task}; expected one for {task}")
        return load_described(description, language, root.parent, trained=trained)
    code = find_language(language).iso639_3
    if place == SAMPLE:
        return _sample_task(task, code)
    if layout := find_layout(task, root):
        return load_described(layout[0], language, layout[1], trained=trained)
    return _folder_task(task, folder_of(task, root), code, trained=trained)


def languages_of(task: str, place: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the languages of a place by ISO 639-3 code, for `load_task`.

    Folders that belong to no language are named in a warning.

    Raises:
        FileNotFoundError: If the folder or file does not exist.
        ValueError: If a description names no languages, or cannot be read; or see `load_task`.
    """
    kind_of(task)
    if hub_set := _hub_set(task, place):
        return languages_in(hub_set)
    if place == SAMPLE:
        _check_sample(task)
        return sample.task_languages()
    root = Path(place)
    if layout := find_layout(task, root):
        return languages_there(*layout)
    if not is_description(root):
        root = folder_of(task, root)
        found = language_folders(root)
        _warn_of_other_folders(root, found)
        return tuple(found)
    languages = tuple(read_description(root).languages)
    if not languages:
        raise ValueError(f"{root} names no `languages:`; list them there, or name the languages you want")
    return languages


def folder_of(task: str, root: Path) -> Path:
    """Return the folder of a task's set: `root` itself, or `ner/` or `ner/SET/` in it.

    Raises:
        ValueError: If several sets of the task are there.
    """
    home = root / task
    if not home.is_dir() or language_folders(root):
        return root
    if language_folders(home):
        return home
    sets = [path for path in sorted(home.iterdir()) if path.is_dir() and language_folders(path)]
    if len(sets) == 1:
        return sets[0]
    names = ", ".join(path.name for path in sets) or "none"
    raise ValueError(f"{home} has the sets: {names}; choose one, as in {home}/SET")


def _hub_set(task: str, place: str | os.PathLike[str]) -> str | None:
    """Return the set that `hub` or `hub:NAME` stands for; None for another place."""
    word, _, name = place.partition(":") if isinstance(place, str) else ("", "", "")
    return hub_set_of(task, name or None) if word == HUB else None


def _check_sample(task: str) -> None:
    if task not in sample.TASKS:
        raise ValueError(f"the sample has no {task}; it has {', '.join(sample.TASKS)}")


def _sample_task(task: str, code: str) -> TaskData:
    _check_sample(task)
    with tempfile.TemporaryDirectory() as folder:
        sample.write_tasks(folder, languages=[code])
        data = _folder_task(task, Path(folder) / task, code, trained=True)
    return dataclasses.replace(data, dataset=f"hf_afro-sample/{code}")


def _folder_task(task: str, root: Path, code: str, *, trained: bool) -> TaskData:
    kind, homes = kind_of(task), language_folders(root)
    if code not in homes:
        raise ValueError(
            f"{root} has no folder for {code} with a split in it; its languages are: {', '.join(homes) or 'none'}"
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
    return make_task_data(
        task,
        code,
        f"{key_of_folder(root)}/{code}",
        examples,
        repairs,
        names,
        unseen_labels=kind.has_rare_labels,
        trained=trained,
        numbers=numbers,
    )


def check_splits(task: str, place: str | os.PathLike[str], code: str, *, trained: bool = True) -> None:
    """Refuse a language that is not there or lacks a split, as `load_task` does, without reading any split.

    A set on the Hub is not checked.

    Args:
        task: See `load_task`.
        place: A folder or a description.
        code: ISO 639-3 code.
        trained: See `load_task`.

    Raises:
        FileNotFoundError: If a split that is needed does not exist.
        ValueError: If the set lacks the language.
    """
    root, kind = Path(place), kind_of(task)
    if layout := (read_description(root), root.parent) if is_description(root) else find_layout(task, root):
        description, folder = layout
        if not description.repository:
            names = description.names_in(folder, find_language(code))
            _described_files(description, names, folder, trained=trained)
        return
    homes = language_folders(folder_of(task, root))
    if code not in homes:
        raise ValueError(f"{place} has no folder for {code}; its languages are: {', '.join(homes) or 'none'}")
    _files(homes, code, ".txt" if kind.tagged else ".tsv", stand_in=kind.pairs, trained=trained)


def load_described(
    description: SetDescription, language: str, folder: str | os.PathLike[str] = ".", *, trained: bool = True
) -> TaskData:
    """Read one language of a described set.

    Args:
        description: See `SetDescription` and `read_description`.
        language: In any code.
        folder: The folder that file names are relative to; unused for a set on the Hub.
        trained: See `load_task`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the set lacks the language, or a file cannot be read or is not as described.
    """
    kind, known = kind_of(description.task), find_language(language)
    repairs = Repairs()
    examples: dict[str, list[Example]] = {}
    numbers: dict[str, list[int]] = {split: [] for split in SPLITS}
    if description.repository:
        names = description.names_of(known, language)
        files, rows = _hub_rows(description, names, SPLITS if trained else ("test",))
    else:
        names = description.names_in(Path(folder), known, language)
        files, rows = _described_files(description, names, Path(folder), trained=trained), {}
    labels = description.label_form
    for split, name in files.items():
        path = Path(folder) / name
        if not description.repository and description.format_of(split) == "conll":
            rename = labels.name if description.scheme == "none" else labels.tag
            examples[split] = [*read_conll(path, repairs, description.conll_form, rename, numbers[split])]
            continue
        source = (
            dataset_rows(rows[split], f"{description.repository}, {split}")
            if description.repository
            else read_rows(path, description.table_form, repairs)
        )
        examples[split] = examples_of(source, kind, description.columns, labels, repairs, numbers[split])
    if description.repository:
        files = dict.fromkeys(files, f"{description.repository}@{description.revision or 'main'}")
    return make_task_data(
        description.task,
        known.iso639_3,
        f"{description.name}/{known.iso639_3}",
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
    """Return the files of a language by split, under the first of its names that has all of them, or at least test."""
    tried = [description.file_of("test", name) for name in names]
    found = [name for name, file in zip(names, tried, strict=True) if (folder / file).is_file()]
    if not found:
        others = f", nor do {', '.join(tried[1:])}" if tried[1:] else ""
        raise FileNotFoundError(f"{folder / tried[0]} does not exist{others}; expected the test split there")
    by_name = [{split: description.file_of(split, name) for split in SPLITS} for name in found]
    lacking = [[file for file in files.values() if not (folder / file).is_file()] for files in by_name]
    own = lacking.index([]) if trained and [] in lacking else 0
    files, missing = by_name[own], lacking[own]
    if missing and trained:
        split = next(split for split, file in files.items() if file in missing)
        raise FileNotFoundError(f"{folder / missing[0]} does not exist; expected the {split} split there. {_TARGET}")
    return {split: file for split, file in files.items() if file not in missing}


def _hub_rows(
    description: SetDescription, names: Sequence[str], wanted: Sequence[str]
) -> tuple[dict[str, str], dict[str, object]]:
    """Return the patterns of a language by split, and its rows, under the first of its names that exists."""
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


def language_folders(root: Path) -> dict[str, Path]:
    """Return the folders in a folder that are named by a language, by ISO 639-3 code, sorted.

    Many short names are the code of some language: `ner`, `raw` and `old` are. So a code outside the table of
    `hf_afro.languages` counts only for a folder that holds a split, and never if it is the name of a task.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If two of them are the same language, and neither is named by its tag.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; expected one that holds folders such as swa")
    found: dict[str, Path] = {}
    for path in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            language = find_language(path.name)
        except ValueError:
            continue  # a folder of something else
        code = language.iso639_3
        if code not in LANGUAGES and (path.name in KINDS or not _holds_split(path)):
            continue
        # SIB-200 has Chinese in two scripts; the one of the tag is meant.
        tagged = [other for other in (found.get(code, path), path) if other.name == language.tag]
        if code in found and not tagged:
            raise ValueError(f"{found[code]} and {path} are both {code!r}; keep one")
        found[code] = tagged[0] if tagged else path
    return dict(sorted(found.items()))


def _warn_of_other_folders(root: Path, found: Mapping[str, Path]) -> None:
    others = [
        path.name
        for path in sorted(root.iterdir())
        if path.is_dir() and path not in found.values() and not path.name.startswith((".", "__"))
    ]
    if others:
        logger.warning(
            "%s: left out %s; the folder of a language is named by its code, such as swa, holds its splits, and is "
            "the only one of that language",
            root,
            ", ".join(others),
        )


def _holds_split(folder: Path) -> bool:
    names = [name for own in _NAMES.values() for name in own]
    return any((folder / f"{name}{suffix}").is_file() for name in names for suffix in (".txt", ".tsv"))


def _files(homes: Mapping[str, Path], code: str, suffix: str, *, stand_in: bool, trained: bool) -> dict[str, Path]:
    """Return the files of a language by split; with `stand_in`, train may be that of English."""
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
