"""Tasks from local files: in the forms they were published in, found by language in a folder, or as described."""

from __future__ import annotations

import os
from pathlib import Path

from hf_afro.languages import find_language
from hf_afro.tasks.data import SPLITS, TaskData, make_task_data
from hf_afro.tasks.descriptions import SetDescription, read_description
from hf_afro.tasks.examples import examples_of
from hf_afro.tasks.formats import ConllForm, Example, Repairs, read_conll
from hf_afro.tasks.kinds import kind_of
from hf_afro.tasks.published import read_tsv
from hf_afro.tasks.tables import dataset_rows, read_rows

# MasakhaNEWS publishes no full training split for five languages, but fifty examples a label.
_NAMES = {
    "train": ("train", "train.fewshot50"),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}
# AfriXNLI has no training split: its authors train on the English of XNLI.
_STAND_IN = "eng"


def load_task(task: str, folder: str | os.PathLike[str], language: str) -> TaskData:
    """Read one task in one language.

    Args:
        task: A name of `hf_afro.tasks.kinds.KINDS`, such as `ner`, `pos`, `topic`, `sentiment` or `nli`.
        folder: Holds a folder a language, named by any of its codes, each with `train`, `dev` and `test`: `.txt` where
            words are tagged, `.tsv` for the others. Where there is no `train.tsv`, `train.fewshot50.tsv` is taken; of
            pairs, that of English, if the language has none. Or the YAML of a `SetDescription`.
        language: In any code.

    Returns:
        The task; its `dataset` is the folder's name with the language, its `repairs` say what was not as it should be.

    Raises:
        FileNotFoundError: If the folder or a file does not exist.
        ValueError: If the task or the language is unknown, the folder has not that language, or a file cannot be read;
            see `hf_afro.tasks.formats` and `hf_afro.tasks.tables`.
    """
    kind = kind_of(task)
    root = Path(folder)
    if _is_description(root):
        description = read_description(root)
        if description.task != task:
            raise ValueError(f"{root} describes a set of {description.task}; expected one of {task}")
        return load_described(description, language, root.parent)
    code = find_language(language).iso639_3
    homes = language_folders(root)
    if code not in homes:
        raise ValueError(f"{folder} has no folder for {code}; its languages are: {', '.join(homes) or 'none'}")
    repairs = Repairs()
    suffix = ".txt" if kind.tagged else ".tsv"
    files = {split: _file(homes[code], split, suffix) for split in SPLITS if split != "train" or not kind.pairs}
    if kind.pairs:
        files["train"] = _file(homes[code], "train", suffix, homes.get(_STAND_IN))
    examples: dict[str, list[Example]] = {}
    form = ConllForm(scheme="iob2" if kind.spans else "none")
    for split in SPLITS:
        path = files[split]
        examples[split] = [*read_conll(path, repairs, form)] if kind.tagged else read_tsv(path, repairs, kind)
    names = {
        split: path.name if path.parent == homes[code] else f"{path.parent.name}/{path.name}"
        for split, path in files.items()
    }
    dataset = f"{root.resolve().name}/{code}"
    # Of the seventeen parts of speech some are so rare that a split has one that train has not.
    rare = kind.tagged and not kind.spans
    return make_task_data(task, code, dataset, examples, repairs, names, unseen_labels=rare)


def load_described(description: SetDescription, language: str, folder: str | os.PathLike[str] = ".") -> TaskData:
    """Read one language of a set as its description says.

    Args:
        description: See `SetDescription` and `read_description`.
        language: In any code.
        folder: What the names of files are relative to; not used for a set on the Hub.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the set has not that language, or a file cannot be read or is not as described.
    """
    kind = kind_of(description.task)
    code = find_language(language).iso639_3
    own = description.folder_of(language)
    files = {split: description.files[split].replace("{language}", own) for split in SPLITS}
    repairs = Repairs()
    examples: dict[str, list[Example]] = {}
    rows = _hub_rows(description, files) if description.repository else {}
    for split, name in files.items():
        if description.repository:
            source = dataset_rows(rows[split], f"{description.repository}, {split}")
        else:
            path = Path(folder) / name
            if not path.is_file():
                raise FileNotFoundError(f"{path} is no file; {description.name} has its {split} split there")
            if description.format_of(split) == "conll":
                labels = description.label_form
                rename = labels.name if description.scheme == "none" else labels.tag
                examples[split] = [*read_conll(path, repairs, description.conll_form, rename)]
                continue
            source = read_rows(path, description.table_form, repairs)
        examples[split] = examples_of(source, kind, description.columns, description.label_form, repairs)
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
    )


def _hub_rows(description: SetDescription, files: dict[str, str]) -> dict[str, object]:
    # A second to import, and local files need none of it.
    from datasets import load_dataset

    splits = load_dataset(description.repository, data_files=files, revision=description.revision or None)
    return {split: splits[split] for split in files}


def languages_of(source: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the languages of a folder, or those that a description names, as `load_task` takes them.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        ValueError: If a description names none, or cannot be read.
    """
    root = Path(source)
    if not _is_description(root):
        return tuple(language_folders(root))
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
        tags = [other for other in (found.get(code, path), path) if other.name == find_language(code).tag]
        if code in found and not tags:
            raise ValueError(f"{found[code]} and {path} are both {code!r}; keep one")
        # SIB-200 has Chinese in two scripts; the one of the tag is meant.
        found[code] = tags[0] if tags else path
    return dict(sorted(found.items()))


def _file(home: Path, split: str, suffix: str, stand_in: Path | None = None) -> Path:
    for folder in (home, *([stand_in] if stand_in else [])):
        for name in _NAMES[split]:
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    raise FileNotFoundError(f"{home} has no {' or '.join(name + suffix for name in _NAMES[split])}")
