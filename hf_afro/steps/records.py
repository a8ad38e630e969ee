"""`Record`: the file in every folder a step writes, which shows whether it is finished and up to date."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.files import write_whole
from hf_afro.sample import SAMPLE
from hf_afro.steps.settings import NoEffect, inputs_of, markers_of, place_of
from hf_afro.steps.step import Step
from hf_afro.version import __version__

RECORD_FILE = "hf_afro_run.json"
_FORMAT = 3
_BLOCK = 1 << 20
_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy")
_SHOWN_ELSEWHERE = ("report_to", "run_name", "project", "trackio_space_id", "disable_tqdm")  # arguments without effect


@dataclass(frozen=True)
class Record:
    """Inputs, settings and versions that a folder was made from.

    Attributes:
        step: The name of the step.
        settings: Its settings, as they were given.
        inputs: The fingerprints of what each setting names, by setting and place: ``{"model": {"base": "1f..."}}``.
        key: Hash of the step, its settings, the fingerprints and the version: all that the result depends on.
        versions: Of this package and of the libraries that compute.
        seconds: How long the work took; None if it is not finished.
        facts: Its figures.
        files: The size of every file it wrote, by path; None if it is not finished.
    """

    step: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]]
    key: str
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] | None = None

    @classmethod
    def begun(cls, step: Step, config: Any) -> Record:
        """Return the record of work that starts now.

        Raises:
            FileNotFoundError: If a file or folder to read does not exist.
        """
        inputs = fingerprints(config)
        facts = [_FORMAT, __version__, step.name, _without_places(config, inputs)]
        facts += getattr(config, "shown_names", [])
        if step.shows_names:
            facts.append({name: sorted(Path(place).name for place in places) for name, places in inputs.items()})
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        versions = {"hf_afro": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES}
        settings = dataclasses.asdict(config)
        arguments = settings.get("arguments") or {}
        settings |= {"arguments": {name: arguments[name] for name in arguments if not name.endswith("_token")}}
        return cls(step.name, settings, inputs, key, versions)

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """Return the record in a folder; None where there is none that can be read."""
        try:
            facts = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
            return None
        return cls(**facts)

    def save(self, folder: Path) -> None:
        """Write the record into a folder, atomically."""
        facts = {"format": _FORMAT, **dataclasses.asdict(self)}
        write_whole(folder / RECORD_FILE, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")

    def finished(self, folder: Path, seconds: float, facts: Mapping[str, Any]) -> Record:
        """Return the record of the work once it is done, with the sizes of all files it wrote to a folder."""
        return dataclasses.replace(self, seconds=round(seconds, 1), facts=dict(facts), files=_sizes_in(folder))

    def is_whole(self, folder: Path) -> bool:
        """Tell whether the work was finished and every file it wrote is in a folder, with its size."""
        return self.files is not None and all(
            (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in self.files.items()
        )

    def edited(self, folder: Path) -> list[str]:
        """Return the files in a folder that were added, or whose size changed, after the step had finished.

        Hidden files are ignored, since file managers and editors write them.
        """
        left, hidden = self.files or {}, re.compile(r"(^|/)\.")
        return [name for name, size in _sizes_in(folder).items() if left.get(name) != size and not hidden.search(name)]

    def differences(self, other: Record) -> list[str]:
        """Return in which settings and inputs another record differs, with its values and then those of this one."""
        then, now = _flat(self), _flat(other)
        differing = [
            f"{name} (then {_shown(then.get(name))}, now {_shown(now.get(name))})"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        changed = [
            f"the content of --{name}"
            for name, places in other.inputs.items()
            if then.get(name) == now.get(name) and dict(self.inputs.get(name, {})) != dict(places)
        ]
        return differing + changed


def history(folder: Path) -> list[tuple[Path, Record]]:
    """Return the folders that a folder was made from, in order and itself last, as far as they have records.

    A folder that was moved along with those it was made from is found beside it by its name; whatever is found has to
    have the recorded key, so that no unrelated folder is taken for it.
    """
    record = Record.load(folder)
    if record is None:
        return []
    found: dict[Path, Record] = {}
    for places in record.inputs.values():
        for place, fingerprint in places.items():
            for candidate in (Path(place), folder.parent / Path(place).name):
                earlier = Record.load(candidate)
                if earlier is not None and earlier.key == fingerprint:
                    found |= dict(history(candidate))
                    break
    return [*found.items(), (folder, record)]


def fingerprints(config: Any) -> dict[str, dict[str, str]]:
    """Return the fingerprint of every file and folder that settings name, by setting and place.

    Raises:
        FileNotFoundError: If one that has to be on this machine does not exist.
    """
    found: dict[str, dict[str, str]] = {}
    for name, marker, values in inputs_of(config):
        for place in map(place_of, values):
            path = Path(place)
            if path.exists():
                digest = fingerprint(path, below=not marker.is_model)
                if marker.files is not None and (named := marker.files(path)):
                    digest = _digest_of_files(path.parent, (path, *named))
            elif place == SAMPLE:
                digest = f"{SAMPLE} {__version__}"
            elif marker.must_exist and place not in marker.names:
                raise FileNotFoundError(f"--{name} {place} does not exist")
            else:
                digest = place  # on the Hub, or a name
            found.setdefault(name, {})[place] = digest
    return found


def fingerprint(path: Path, *, below: bool = True) -> str:
    """Return the fingerprint of a file or folder: the key of a step's complete result, else a hash of the content.

    Links are followed, as they are when the files are read.

    Args:
        path: The file or folder.
        below: Whether the files in folders inside count too.

    Raises:
        FileNotFoundError: If there is none.
    """
    if path.is_file():
        return _digest_of(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; expected a file or a folder")
    record = Record.load(path)
    # What was added to the folder of a model, such as a card, does not change the model.
    if record is not None and record.is_whole(path) and not (below and record.edited(path)):
        return record.key
    return _digest_of_files(path, _files_in(path, (path.resolve(),), below=below))


def _files_in(folder: Path, above: tuple[Path, ...], *, below: bool) -> Iterator[Path]:
    """Yield the files, sorted; links to one of the folders `above` are skipped, since they lead in a circle."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != RECORD_FILE:
            yield path
        elif below and path.is_dir() and path.name != "__pycache__" and (real := path.resolve()) not in above:
            yield from _files_in(path, (*above, real), below=below)


def _digest_of_files(folder: Path, files: Iterable[Path]) -> str:
    """Return the hash of files and of their names seen from a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        name = Path(os.path.relpath(file, folder)).as_posix()
        digest.update(f"{name}\0{_digest_of(file)}\n".encode())
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sizes_in(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD_FILE
    }


def _without_places(config: Any, inputs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the settings that decide the result, with each place replaced by its fingerprint.

    A name before a place, as in ``ner=folder``, stays.
    """
    settings = dataclasses.asdict(config)
    for name in _without_effect(config):
        del settings[name]
    if "arguments" in settings:
        settings["arguments"] = {
            name: value for name, value in settings["arguments"].items() if name not in _SHOWN_ELSEWHERE
        }
    for name, _, values in inputs_of(config):
        settings[name] = [value.removesuffix(place_of(value)) + inputs[name][place_of(value)] for value in values]
    return settings


def _without_effect(config: Any) -> list[str]:
    return [
        name
        for name, markers in markers_of(type(config)).items()
        if any(isinstance(marker, NoEffect) for marker in markers)
    ]


def _flat(record: Record) -> dict[str, Any]:
    settings = dict(record.settings)
    return {**settings, **(settings.pop("arguments", None) or {}), "version": record.versions.get("hf_afro")}


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
