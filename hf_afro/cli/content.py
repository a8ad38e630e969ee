"""What the folders and files that a command reads hold, as fingerprints; an interrupted run goes on with the same."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hf_afro.recipes.folders import fingerprint

_MODELS = ("model", "teacher", "student_model")
_OTHERS = ("text", "eval_text", "exclude", "vocabulary_map", "data", "language_adapters")


def fingerprints(args: Namespace) -> dict[str, str]:
    """Return the fingerprint of what each option names on this disk, by option; a name on the Hub has none.

    Args:
        args: The options of any command; those it does not have are passed over.
    """
    given = {name: getattr(args, name, None) for name in (*_MODELS, *_OTHERS)}
    found = {}
    for name, value in given.items():
        places = map(place_of, value if isinstance(value, list) else [] if value is None else [value])
        # What lies below a model are its checkpoints, many times as large.
        digests = [fingerprint(path, below=name not in _MODELS) for path in map(Path, places) if path.exists()]
        if digests:
            found[name] = " ".join(digests)
    return found


def place_of(word: str) -> str:
    """Return the place of what may be given as `task=place`, as of `--data`."""
    name, equals, place = word.partition("=")
    return place if equals and name.isidentifier() else word
