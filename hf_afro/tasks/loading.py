"""Tasks from local files in the forms they were published in, found by language in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from hf_afro.languages import find_language
from hf_afro.tasks.data import SPLITS, TASKS, TaskData, make_task_data
from hf_afro.tasks.formats import Example, Repairs, read_conll, read_tsv

# MasakhaNEWS publishes no full training split for five languages, but fifty examples a label.
_NAMES = {
    "train": ("train", "train.fewshot50"),
    "dev": ("dev", "validation", "valid"),
    "test": ("test",),
}


def load_task(task: str, folder: str | os.PathLike[str], language: str) -> TaskData:
    """Read one task in one language.

    Args:
        task: `ner`, `topic` or `sentiment`.
        folder: Holds a folder a language, named by any of its codes, each with `train`, `dev` and `test`: `.txt` for
            `ner`, `.tsv` for the others. Where there is no `train.tsv`, `train.fewshot50.tsv` is taken.
        language: In any code.

    Returns:
        The task; its `dataset` is the folder's name with the language, its `repairs` say what was not as it should be.

    Raises:
        FileNotFoundError: If the folder or a file does not exist.
        ValueError: If the task or the language is unknown, the folder has not that language, or a file cannot be read;
            see `hf_afro.tasks.formats`.
    """
    check_task(task)
    code = find_language(language).iso639_3
    root = Path(folder)
    home = language_folders(root).get(code)
    if home is None:
        there = ", ".join(language_folders(root)) or "none"
        raise ValueError(f"{folder} has no folder for {code}; its languages are: {there}")
    repairs = Repairs()
    files = {split: _file(home, split, ".txt" if task == "ner" else ".tsv") for split in SPLITS}
    examples: dict[str, list[Example]] = {}
    for split, path in files.items():
        examples[split] = list(read_conll(path, repairs) if task == "ner" else read_tsv(path, repairs))
    names = {split: path.name for split, path in files.items()}
    return make_task_data(task, code, f"{root.resolve().name}/{code}", examples, repairs, names)


def check_task(task: str) -> None:
    """Raise a ValueError for a task that does not exist."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; expected one of {', '.join(TASKS)}")


def language_folders(root: Path) -> dict[str, Path]:
    """Return the folders in a folder that are named by a language, by ISO 639-3 code, sorted.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If two of them are the same language.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; expected one that holds folders such as swa")
    found: dict[str, Path] = {}
    for path in sorted(path for path in root.iterdir() if path.is_dir()):
        try:
            code = find_language(path.name).iso639_3
        except ValueError:
            continue  # a folder of something else
        if code in found:
            raise ValueError(f"{found[code]} and {path} are both {code!r}; keep one")
        found[code] = path
    return dict(sorted(found.items()))


def _file(home: Path, split: str, suffix: str) -> Path:
    for name in _NAMES[split]:
        if (home / (name + suffix)).is_file():
            return home / (name + suffix)
    raise FileNotFoundError(f"{home} has no {' or '.join(name + suffix for name in _NAMES[split])}")
