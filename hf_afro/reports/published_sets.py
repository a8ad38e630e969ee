"""Published evaluation sets: their names, their ids on the Hub and the names of their folders."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PublishedSet:
    """A published evaluation set.

    Attributes:
        name: The name in its paper.
        hub_id: Its id on the Hub; empty if none is known.
        folders: Other names of the folder of its files or its repository, in lower-case letters and digits.
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
    "afrihate": PublishedSet("AfriHate", "afrihate/afrihate"),
    "injongo": PublishedSet("INJONGO", "masakhane/InjongoIntent", ("injongointent",)),
    "brighter": PublishedSet(
        "BRIGHTER",
        "brighter-dataset/BRIGHTER-emotion-categories",
        ("brighteremotioncategories", "semeval2025task11", "semeval2025task11dataset"),
    ),
    "semrel": PublishedSet(
        "SemRel2024", "SemRel/SemRel2024", ("semrel2024", "semanticrelatednesssemeval2024", "semanticrelatedness")
    ),
    "mafand": PublishedSet("MAFAND-MT", "masakhane/mafand", ("mafandmt", "lafandmt")),
}
"""Keyed by the part of `Score.dataset` before the slash."""

BENCHMARK_TASKS: dict[str, str] = {}
"""By `Score.dataset`, such as `masakhaner2/swa`: the id of the task in the `eval.yaml` of the set's repository, if the
Hub accepts that as a benchmark. It does so on request (https://huggingface.co/docs/hub/eval-results); in November 2026
we knew of none among `PUBLISHED_SETS`, so cards write no scores for leaderboards yet."""

_FOLDERS = {folder: key for key, one in PUBLISHED_SETS.items() for folder in (key, *one.folders)}
# Folder names that say nothing about the content.
_GENERIC = ("data", "dataset", "datasets", "train", "files", "annotated")


def set_title(dataset: str) -> str:
    """Return the name of a set for a `Score.dataset` such as `masakhaner1/swa`."""
    key = dataset.partition("/")[0]
    return PUBLISHED_SETS[key].name if key in PUBLISHED_SETS else key


def hub_id_of(dataset: str) -> str:
    """Return the Hub id of a set for a `Score.dataset` such as `masakhaner1/swa`; empty if none is known."""
    key = dataset.partition("/")[0]
    return PUBLISHED_SETS[key].hub_id if key in PUBLISHED_SETS else ""


def key_of_folder(folder: str | os.PathLike[str]) -> str:
    """Return the key of the published set in a folder, or the name of the folder for any other set.

    Names such as `data` say nothing; the nearest parent folder with another name is used instead.
    """
    whole = Path(folder).resolve()
    for path in (whole, *whole.parents):
        if not path.name or path == Path.home():  # the user's name is not a set's
            break
        if path.name.lower() not in _GENERIC:
            return _FOLDERS.get(re.sub(r"[^a-z0-9]", "", path.name.lower()), path.name)
    return whole.name
