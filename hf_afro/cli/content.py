"""What the folders and files that a command reads hold, as fingerprints; an interrupted run goes on with the same."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from pathlib import Path

from hf_afro.recipes.folders import fingerprint

_MODELS = ("model", "teacher", "student_model")
_OTHERS = ("text", "eval_text", "exclude", "vocabulary_map", "data")


def fingerprints(args: Namespace) -> dict[str, str]:
    """Return the fingerprint of what each option names on this disk, by option; a name on the Hub has none.

    Args:
        args: The options of any command; those it does not have are passed over.
    """
    given = {name: getattr(args, name, None) for name in (*_MODELS, *_OTHERS)}
    paths = {name: Path(value) for name, value in given.items() if value is not None and Path(value).exists()}
    return {
        name: _of_model(path) if name in _MODELS and path.is_dir() else fingerprint(path)
        for name, path in paths.items()
    }


def _of_model(folder: Path) -> str:
    """Of the files in the folder alone: those below are checkpoints, many times as large, and are not read."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(f"{file.name}\0{fingerprint(file)}\n".encode())
    return digest.hexdigest()
