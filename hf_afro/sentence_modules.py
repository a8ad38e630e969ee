"""Modules of sentence-transformers models, as `modules.json` lists them: read, checked and copied."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

logger = logging.getLogger(__name__)

MODULES_FILE = "modules.json"
POOLINGS = ("mean", "cls", "max", "lasttoken")
"""How the vectors of a text's tokens become one: their mean, the first one, their maximum, or the last one."""
_SETTINGS = "config_sentence_transformers.json"
_ENCODER_SETTINGS = "sentence_*_config.json"
_PACKAGE = "sentence_transformers."
_ENCODER = "Transformer"
# Modules that do not depend on the vocabulary. Others have a row, weight or list entry per token, or hold encoders.
_ANY_VOCABULARY = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "CNN", "LSTM", "WeightedLayerPooling")
_WITHOUT_FILES = ("Normalize",)
# Modules without weights, which take vectors of any width.
_ANY_WIDTH = ("Pooling", "Normalize", "Dropout")
# The width in the settings of a pooling, in the present form and in the older one.
_WIDTHS = ("embedding_dimension", "word_embedding_dimension")
# Tasks of an encoder whose output is hidden states or label scores, not one number per token.
_TASKS = ("feature-extraction", "sequence-classification")
_PICKLE, _SAFETENSORS = "pytorch_model.bin", "model.safetensors"
# Copies of the weights for other frameworks.
_OTHER_WEIGHTS = (".ot", ".h5", ".msgpack", ".onnx")


@dataclass(frozen=True)
class SentenceModules:
    """The modules of a sentence-transformers model, the encoder first.

    Attributes:
        folder: The folder of the model.
        entries: The entries of its `modules.json`.
    """

    folder: Path
    entries: tuple[dict[str, Any], ...]

    @property
    def encoder(self) -> Path:
        """Folder of the encoder: the model's own, or in older models a subfolder such as `0_Transformer`."""
        return self.folder / self.entries[0]["path"]

    @property
    def names(self) -> tuple[str, ...]:
        """Class names of the modules, without the package, which depends on the version of sentence-transformers."""
        return tuple(_class_of(entry) for entry in self.entries)

    @property
    def model_type(self) -> str:
        """Class name of the model: `SentenceTransformer`, `CrossEncoder` or another."""
        return _read(self.folder / _SETTINGS).get("model_type", "SentenceTransformer")

    @property
    def prompts(self) -> dict[str, str]:
        """Prompts that are put before texts, by name, without empty ones."""
        return {name: text for name, text in _read(self.folder / _SETTINGS).get("prompts", {}).items() if text}

    @property
    def default_prompt(self) -> str:
        """The prompt that is put before a text if none is asked for; empty if there is none."""
        return self.prompts.get(_read(self.folder / _SETTINGS).get("default_prompt_name") or "", "")

    @property
    def max_length(self) -> int | None:
        """The number of tokens that texts are truncated to; None if only the tokenizer limits it."""
        return next((one["max_seq_length"] for one in self._encoder_settings if one.get("max_seq_length")), None)

    @property
    def of_one_width(self) -> tuple[str, ...]:
        """Class names of the modules whose weights take vectors of one width."""
        return tuple(name for name in self.names[1:] if name not in _ANY_WIDTH)

    @property
    def pooling(self) -> str:
        """The way in which the vectors of tokens become one vector, one of `POOLINGS`.

        Raises:
            ValueError: If the vectors are made of more than a pooling and a normalisation.
        """
        reasons = [f"the module {name}" for name in self.of_one_width]
        if self.model_type != "SentenceTransformer":
            reasons.append(f"a {self.model_type}")
        if any(one.get("do_lower_case") for one in self._encoder_settings):
            reasons.append("do_lower_case")
        poolings = [entry for entry in self.entries if _class_of(entry) == "Pooling"]
        found = "+".join(_pooling_of(_read(self.folder / entry["path"] / "config.json")) for entry in poolings)
        if found not in POOLINGS:
            reasons.append(f"the pooling {found}" if found else "no pooling")
        if reasons:
            raise ValueError(
                f"{self.folder} makes its vectors with {', '.join(reasons)}, which only sentence-transformers does; "
                f"measure it with mteb, or name a pooling of the tokens to use instead: {', '.join(POOLINGS)}"
            )
        return found

    @property
    def _encoder_settings(self) -> list[dict[str, Any]]:
        return [_read(path) for path in sorted(self.encoder.glob(_ENCODER_SETTINGS))]

    def check(self, *, pruned: bool) -> None:
        """Refuse modules that cannot be copied.

        Args:
            pruned: Whether the vocabulary is pruned, so that modules must not depend on it.

        Raises:
            ValueError: If a module is not from sentence-transformers, its files are missing or cannot be read safely,
                or it depends on a vocabulary that is pruned.
        """
        for place, (entry, name) in enumerate(zip(self.entries, self.names, strict=True)):
            if not entry["type"].startswith(_PACKAGE) or (place == 0) != (name == _ENCODER):
                self._refuse(entry, f"expected a {_ENCODER} and then other modules of sentence-transformers")
            if place and pruned and name not in _ANY_VOCABULARY:
                self._refuse(entry, f"it may depend on the vocabulary, which {', '.join(_ANY_VOCABULARY)} do not")
            if place and name not in _WITHOUT_FILES and not _files_in(self.folder / entry["path"]):
                self._refuse(entry, "its files are missing; copy the folder again", by_itself=False)
            for path in _files_in(self.folder / entry["path"]) if place else ():
                if path.name == _PICKLE and not path.with_name(_SAFETENSORS).is_file():
                    _unpickled(path)
        for path in sorted(self.encoder.glob(_ENCODER_SETTINGS)) if pruned else ():
            task = _read(path).get("transformer_task", _TASKS[0])
            if task not in _TASKS:
                self._refuse(self.entries[0], f"its task is {task!r}, which gives one number per token")

    def carry(self, target: Path, *, width: int | None = None) -> None:
        """Copy all modules but the encoder to a new folder, which holds the encoder itself.

        Weights in pickles are saved as safetensors.

        Args:
            target: Folder in which the new encoder and its tokenizer are saved.
            width: The width of the new encoder's vectors, if it is another one.

        Raises:
            ValueError: If the width is another one, and a module has weights of the old one.
        """
        if width is not None and self.of_one_width:
            raise ValueError(
                f"{self.folder} has {', '.join(self.of_one_width)}, whose weights do not take vectors of width {width}"
            )
        for entry in self.entries[1:]:
            source = self.folder / entry["path"]
            (target / entry["path"]).mkdir(parents=True, exist_ok=True)
            for path in _files_in(source):
                _copy(path, target / path.relative_to(self.folder))
            if width is not None and _class_of(entry) == "Pooling":
                _set_width(target / entry["path"] / "config.json", width)
        for path in (self.folder / _SETTINGS, *self.encoder.glob(_ENCODER_SETTINGS)):
            if path.is_file():
                shutil.copyfile(path, target / path.name)
        entries = [{**self.entries[0], "path": ""}, *self.entries[1:]]
        (target / MODULES_FILE).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")

    def _refuse(self, entry: dict[str, Any], reason: str, *, by_itself: bool = True) -> None:
        advice = f"; to have the encoder by itself, copy the folder without {MODULES_FILE}" if by_itself else ""
        raise ValueError(
            f"{self.folder / MODULES_FILE} names the module {entry['type']} in "
            f"{entry['path'] or 'the folder itself'}: {reason}{advice}"
        )


def sentence_modules_of(name: str | os.PathLike[str], revision: str | None = None) -> SentenceModules | None:
    """Return the modules of a sentence-transformers model; None for any other model.

    Args:
        name: Folder, or Hub repository, whose modules are downloaded.
        revision: Branch, tag or commit of the repository.

    Raises:
        ValueError: If `modules.json` is damaged, refers to a place outside the folder, or cannot be downloaded
            although the Hub may have it.
    """
    folder = Path(name) if Path(name).is_dir() else _fetched_list(str(name), revision)
    if folder is None or not (folder / MODULES_FILE).is_file():
        return None
    modules = SentenceModules(folder, _entries(folder))
    if not Path(name).is_dir():
        from huggingface_hub import snapshot_download

        inside = [f"{entry['path']}/*" for entry in modules.entries[1:]]
        settings = [MODULES_FILE, _SETTINGS, _ENCODER_SETTINGS, f"*/{_ENCODER_SETTINGS}"]
        snapshot_download(str(name), revision=revision, allow_patterns=[*settings, *inside])
    return modules


def encoder_of(name: str, revision: str | None = None) -> str:
    """Return the name to load a model's encoder from: the model's own, or the subfolder that holds the encoder.

    Args:
        name: Folder, or Hub repository, whose encoder is downloaded if it has a subfolder of its own.
        revision: Branch, tag or commit of the repository.
    """
    modules = sentence_modules_of(name, revision)
    if modules is None or not modules.entries[0]["path"]:
        return name
    if not Path(name).is_dir():
        from huggingface_hub import snapshot_download

        snapshot_download(name, revision=revision, allow_patterns=[f"{modules.entries[0]['path']}/*"])
    return str(modules.encoder)


def _entries(folder: Path) -> tuple[dict[str, Any], ...]:
    """Return the entries of a `modules.json`, checked."""
    path = folder / MODULES_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        places = [PureWindowsPath(entry["path"]) for entry in entries]
        kinds = [entry["type"].rpartition(".") for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a list of modules ({error!r}); copy the folder again") from error
    if not kinds:
        raise ValueError(f"{path} names no modules; copy the folder again, or leave that file out")
    for number, (entry, place) in enumerate(zip(entries, places, strict=True)):
        leads_out = not (folder / place.as_posix()).resolve().is_relative_to(folder.resolve())
        if place.anchor or ".." in place.parts or leads_out or (number and not place.parts):
            raise ValueError(
                f"{path} has the module {entry['type']} at {entry['path']!r}; expected a folder of its own inside the "
                "model's"
            )
    return tuple({**entry, "path": "/".join(PurePosixPath(entry["path"]).parts)} for entry in entries)


def _class_of(entry: dict[str, Any]) -> str:
    return str(entry["type"]).rpartition(".")[2]


def _pooling_of(settings: dict[str, Any]) -> str:
    """Return the pooling that a module's settings name: one word, or several joined by a plus, which add their widths.

    The older form has one flag for each, such as `pooling_mode_mean_tokens`.
    """
    modes = settings.get("pooling_mode") or [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, used in settings.items()
        if name.startswith("pooling_mode_") and used
    ]
    words = [modes] if isinstance(modes, str) else list(modes)
    return "+".join(words or ["mean"]) + ("" if settings.get("include_prompt", True) else " without the prompt")


def _set_width(path: Path, width: int) -> None:
    """Write another width into the settings of a pooling."""
    settings = _read(path)
    settings |= {name: width for name in _WIDTHS if name in settings}
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _fetched_list(name: str, revision: str | None) -> Path | None:
    """Download `modules.json` of a repository and return its cached folder; None if there is none."""
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name, MODULES_FILE, revision=revision)).parent
    except (RemoteEntryNotFoundError, HFValidationError):
        return None
    except OSError as error:
        if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
            return None  # the error is raised when the model is loaded
        if try_to_load_from_cache(name, MODULES_FILE, revision=revision) is _CACHED_NO_EXIST:
            return None
        answered = isinstance(error.__cause__, HfHubHTTPError | FileMetadataError)
        if answered or not isinstance(error, LocalEntryNotFoundError):
            raise ValueError(
                f"{MODULES_FILE} of {name} could not be fetched: {error.__cause__ or error}; without it the modules "
                "of a sentence-transformers model would be lost. Ask for access to the repository, or try again"
            ) from error
        is_cached = isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)
        if is_cached or not isinstance(error.__cause__, OfflineModeIsEnabled):
            _warn_of_modules(name)
    return None


@cache
def _warn_of_modules(name: str) -> None:
    """Warn once that a model may have modules that are not known."""
    logger.warning(
        "%s of %s is not cached and cannot be downloaded; if this is a sentence-transformers model, its modules are "
        "not copied",
        MODULES_FILE,
        name,
    )


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in _OTHER_WEIGHTS)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a settings file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; expected JSON, in UTF-8") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no object; expected settings of sentence-transformers")
    return settings


def _copy(path: Path, target: Path) -> None:
    """Copy a file of a module; save a pickle as safetensors unless these exist beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.name != _PICKLE:
        shutil.copyfile(path, target)
    elif not path.with_name(_SAFETENSORS).is_file():
        from safetensors.torch import save_file

        weights = {name: tensor.clone().contiguous() for name, tensor in _unpickled(path).items()}
        save_file(weights, target.with_name(_SAFETENSORS), metadata={"format": "pt"})


def _unpickled(path: Path) -> dict[str, Any]:
    """Return the weights in a pickle, as sentence-transformers reads them: tensors only, never code."""
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # errors of torch, or of the pickle module, which is not imported here
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path} holds no weights that can be read safely: {reason}; expected tensors alone"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(one, torch.Tensor) for one in weights.values()):
        raise ValueError(f"{path} holds something other than weights; expected tensors by name")
    return weights
