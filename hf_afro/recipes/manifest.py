"""A stage's manifest: what it was made from and with, and so whether it is up to date."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_afro.files import write_whole
from hf_afro.recipes.folders import fingerprint
from hf_afro.recipes.recipe import DATA, Recipe, Stage, paths_of
from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.settings import HUB, SAMPLE
from hf_afro.version import __version__

MANIFEST = "manifest.json"
FORMAT = 2
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy")


def outside_fingerprints(stage: Stage) -> dict[str, str]:
    """Return the fingerprint of every file and folder that a stage reads from outside the run, by its path.

    Raises:
        FileNotFoundError: If one does not exist.
        RecipeError: If the recipe reads a folder of data that was not named.
    """
    found = {}
    for path in paths_of(stage.settings):
        if DATA in path:
            raise RecipeError(f"{stage.place}: {stage.name} reads {path}; name the folder of data with --data FOLDER")
        found[path] = _fingerprint_of(stage, path)
    return found


def _fingerprint_of(stage: Stage, path: str) -> str:
    if path == SAMPLE and stage.kind in ("tasks", "corpora"):
        from hf_afro import sample

        return fingerprint(Path(sample.__file__).parent)
    if path == HUB and stage.kind == "tasks":
        return HUB
    if stage.kind == "base" and not Path(path).exists():
        if not _HUB_NAME.fullmatch(path):
            raise FileNotFoundError(f"{stage.place}: {path} is neither a folder nor a name of the Hub, owner/name")
        # A name of the Hub; what is behind it is looked at when the stage runs.
        return f"{path}@{stage.settings.revision or 'main'}"
    try:
        content = fingerprint(Path(path))
        # The name of a folder of tasks is that of the data set, and chooses between settings of a preset.
        return f"{Path(path).resolve().name} {content}" if stage.kind == "tasks" else content
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{stage.place}: {stage.name} reads {path}, which does not exist") from error


def key_of(recipe: Recipe, stage: Stage, inputs: Mapping[str, str], outside: Mapping[str, str]) -> str:
    """Return what a stage's result is a function of, as one hash: settings, inputs and version.

    A stage under another name, or data in another place, is the same work; page and card show such names, and are made
    again.

    Args:
        recipe: The recipe.
        stage: The stage.
        inputs: The keys of the stages it reads, by their names.
        outside: From `outside_fingerprints`.
    """
    settings = _without_names(stage.settings, outside)
    read = {field: [inputs[name] for name in names] for field, names in stage.inputs.items()}
    facts = [FORMAT, __version__, stage.kind, settings, read]
    if stage.kind in ("report", "card"):
        facts.append([recipe.name, recipe.description, *map(_names_in, recipe.upstream(stage))])
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _names_in(stage: Stage) -> list[str]:
    return [stage.name, *(Path(path).name for path in paths_of(stage.settings))]


def _without_names(settings: Any, outside: Mapping[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            value = _without_names(value, outside)
        elif field.metadata["path"] and value is not None:
            value = outside[value]
        elif field.metadata["reads"]:
            # The names under which a table shows models do count; those of the stages do not.
            value = list(value) if isinstance(value, dict) else None
        facts[field.name] = value
    return facts


def describe(stage: Stage, key: str, inputs: Mapping[str, str], outside: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest of a stage that has begun."""
    return {
        "format": FORMAT,
        "stage": stage.name,
        "kind": stage.kind,
        "key": key,
        "settings": dataclasses.asdict(stage.settings),
        "inputs": {name: inputs[name] for name in stage.needs},
        "outside": dict(outside),
        "versions": {"hf_afro": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def finish(folder: Path, begun: Mapping[str, Any], seconds: float, facts: Mapping[str, Any]) -> None:
    """Write the manifest of a finished stage into its folder, with the sizes of all it left."""
    write(folder, {**begun, "seconds": round(seconds, 1), "facts": dict(facts), "files": _sizes_in(folder)})


def _sizes_in(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest, whole."""
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Any] | None:
    """Return the manifest in a folder; None where there is none that can be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def is_finished(folder: Path, key: str) -> bool:
    """Tell whether a folder holds the whole result of a key: finished, and every file there with its size."""
    manifest = read(folder)
    if manifest is None or manifest.get("key") != key or "files" not in manifest:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in manifest["files"].items()
    )


def edited_files(folder: Path) -> list[str]:
    """Return the files of a stage's folder that are not as the stage left them: new or of another size.

    Hidden files are left out; they are a file manager's or an editor's, and nobody's work.
    """
    left = (read(folder) or {}).get("files", {})
    hidden = re.compile(r"(^|/)\.")
    return [name for name, size in _sizes_in(folder).items() if left.get(name) != size and not hidden.search(name)]
