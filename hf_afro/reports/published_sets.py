"""The evaluation sets that are known by name: what they are called, where they are on the Hub, and their folders."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedSet:
    """A published set.

    Attributes:
        name: As in its paper.
        hub_id: Its id on the Hub; empty where none is known.
        folders: What the folder of its files, or of its repository, is also called, in lower-case letters and digits.
    """

    name: str
    hub_id: str = ""
    folders: tuple[str, ...] = ()


PUBLISHED_SETS: dict[str, PublishedSet] = {
    "masakhaner1": PublishedSet(
        "MasakhaNER 1.0", "masakhane/masakhaner", ("masakhaner", "masakhaner10", "masakhanener")
    ),
    "masakhaner2": PublishedSet("MasakhaNER 2.0", "masakhane/masakhaner2", ("masakhaner20",)),
    "masakhapos": PublishedSet("MasakhaPOS", "masakhane/masakhapos", ("masakhanepos",)),
    "masakhanews": PublishedSet("MasakhaNEWS", "masakhane/masakhanews", ("masakhanenews",)),
    "antc": PublishedSet("ANTC"),
    "sib200": PublishedSet("SIB-200", "Davlan/sib200"),
    "afrisenti": PublishedSet(
        "AfriSenti",
        "shmuhammad/AfriSenti-twitter-sentiment",
        ("afrisentitwittersentiment", "afrisentisemeval2023", "afrisentsemeval2023"),
    ),
    "afrixnli": PublishedSet("AfriXNLI", "masakhane/afrixnli"),
}
"""By the part of a score's dataset that is before the slash."""

_FOLDERS = {folder: key for key, one in PUBLISHED_SETS.items() for folder in (key, *one.folders)}
# What a folder is called whatever it holds.
_GENERIC = ("data", "dataset", "datasets", "train", "files", "annotated")


def set_title(dataset: str) -> str:
    """Return what a set is called, of a score's dataset such as `masakhaner1/swa`."""
    key = dataset.partition("/")[0]
    return PUBLISHED_SETS[key].name if key in PUBLISHED_SETS else key


def hub_id_of(dataset: str) -> str:
    """Return the id of a set on the Hub, of a score's dataset such as `masakhaner1/swa`; empty where none is known."""
    key = dataset.partition("/")[0]
    return PUBLISHED_SETS[key].hub_id if key in PUBLISHED_SETS else ""


def key_of_folder(folder: str | os.PathLike[str]) -> str:
    """Return what the set in a folder is called: its key where it is published, else the folder's name.

    A name such as `data` says nothing, so that the first folder above it with another name is taken in its place.
    """
    whole = Path(folder).resolve()
    for path in (whole, *whole.parents):
        if not path.name or path == Path.home():  # whose name is no set's
            break
        if path.name.lower() not in _GENERIC:
            return _FOLDERS.get(re.sub(r"[^a-z0-9]", "", path.name.lower()), path.name)
    return whole.name
