"""Find the weight files of a checkpoint and read the headers of its safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from hf_afro.model_folders import check_no_adapter, check_tokenizer_files
from hf_afro.sentence_modules import sentence_modules_of

_WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_OTHER_WEIGHTS = ("pytorch_model*.bin", "*.pt", "*.pth", "tf_model.h5", "flax_model.msgpack", "*.gguf")
# Files of a model that do not depend on its vocabulary, besides the modules of sentence-transformers. A README is not
# among them: it is the card of another model, whose numbers are not this one's.
CARRIED = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*.py")
_TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", *CARRIED)
_LONGEST_HEADER = 100_000_000  # that of the safetensors library
ITEM_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


@dataclass(frozen=True)
class StoredTensor:
    """The type, shape and place of a tensor in a file.

    Attributes:
        dtype: Type, in safetensors' spelling, such as ``BF16``.
        shape: Its shape.
        start: Offset of its first byte in the file.
        size: Number of bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class SafetensorsFile:
    """A safetensors file whose header was read and checked.

    Attributes:
        path: The file.
        tensors: Its tensors by name, in the order in which they are stored.
        metadata: The metadata of the header.
    """

    path: Path
    tensors: dict[str, StoredTensor]
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointWeights:
    """The weight files of a checkpoint, of which only the headers were read.

    Attributes:
        files: The one file, or the shards.
        index: The content of the index of shards; None for a single file.
    """

    files: tuple[SafetensorsFile, ...]
    index: dict[str, Any] | None

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors by name."""
        return {name: tensor for file in self.files for name, tensor in file.tensors.items()}


def checkpoint_folder(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a checkpoint, downloading a repository of the Hub unless it is cached.

    Args:
        source: A folder, or a repository of the Hub.
        revision: Branch, tag or commit of the repository.

    Raises:
        ValueError: If there is none.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        folder = Path(snapshot_download(str(source), revision=revision, allow_patterns=list(_TEXTS)))
        modules = sentence_modules_of(folder)
        encoder = folder if modules is None else modules.encoder
        names = [str((encoder / name).relative_to(folder)) for name in _weight_names(encoder) or [_WEIGHTS]]
        inside = [] if modules is None else [f"{entry['path']}/*" for entry in modules.entries[1:]]
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=[*names, *inside]))
    except (OSError, ValueError) as error:  # errors of the Hub are OSErrors, an impossible name is a ValueError
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(
            f"no checkpoint could be read from {str(source)!r}: {reason}; expected a folder, or a Hub name"
        ) from error


def has_safetensors(source: str | os.PathLike[str], revision: str | None = None) -> bool:
    """Return whether the weights of a checkpoint are in safetensors; see `checkpoint_folder`."""
    folder = checkpoint_folder(source, revision)
    modules = sentence_modules_of(folder)
    return bool(_weight_names(folder if modules is None else modules.encoder))


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors that a folder stores in safetensors by name; empty if a file is missing."""
    files = [folder / name for name in _weight_names(folder)]
    if not all(file.is_file() for file in files):
        return {}
    return {name: tensor for file in files for name, tensor in read_header(file).tensors.items()}


def read_weights(folder: Path) -> CheckpointWeights:
    """Read the headers of a checkpoint's weights.

    Raises:
        ValueError: If the folder cannot be pruned file by file: it has an adapter, weights in another format or no
            tokenizer; or if a shard is missing, a file is damaged, or the index disagrees with the files.
    """
    check_no_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no model; expected config.json, weights in safetensors and a tokenizer")
    check_tokenizer_files(folder)
    names = _weight_names(folder)
    if not names:
        others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
        found = f"has its weights in {', '.join(others)}" if others else "holds no weights"
        raise ValueError(
            f"{folder} {found}; expected {_WEIGHTS}, or {INDEX} and its shards. Convert them by loading the model "
            "with from_pretrained and saving it with save_pretrained, or prune it in memory with prune_vocabulary"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which its index names; copy the folder again")
    files = tuple(read_header(folder / name) for name in names)
    if (folder / _WEIGHTS).is_file():
        return CheckpointWeights(files, None)
    index = _read_index(folder)
    held = {tensor: file.path.name for file in files for tensor in file.tensors}
    astray = sorted({*index["weight_map"].items()} ^ {*held.items()})
    if astray or sum(len(file.tensors) for file in files) != len(held):
        raise ValueError(
            f"{folder / INDEX} and the shards disagree about {astray[0][0] if astray else 'a tensor held twice'}; "
            "copy the folder again"
        )
    return CheckpointWeights(files, index)


def _weight_names(folder: Path) -> list[str]:
    """Return the names of the weight files: the single file or else the shards, as transformers prefers."""
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    return sorted({*_read_index(folder)["weight_map"].values()}) if (folder / INDEX).is_file() else []


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    message = f"{path} is no index of shards; copy the folder again"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        weight_map = index["weight_map"]
        outside = [name for name in weight_map.values() if Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(message) from error
    if outside:
        raise ValueError(f"{message} (it names {outside[0]!r}, expected files beside it)")
    return index


def read_header(path: str | os.PathLike[str]) -> SafetensorsFile:
    """Read the header of a safetensors file.

    Raises:
        ValueError: If the file is not a safetensors file, is truncated, has bytes that belong to no tensor, or has a
            tensor of an unknown type or one smaller than a byte.
    """
    path = Path(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        end_of_file = os.fstat(file.fileno()).st_size
        if not 2 <= length <= min(_LONGEST_HEADER, end_of_file - 8):
            raise ValueError(f"{path} is not a safetensors file, or is truncated; copy it again")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            tensors = {name: _stored(one, 8 + length) for name, one in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} has a header that cannot be read ({error}); copy it again") from error
    tensors = dict(sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].size)))
    place = 8 + length
    for name, one in tensors.items():
        if one.start != place:
            raise ValueError(f"{path} holds {name} at byte {one.start}, expected {place}; copy it again")
        place += one.size
    if place != end_of_file:
        raise ValueError(f"{path} has {end_of_file} bytes, its header says {place}: it is truncated; copy it again")
    return SafetensorsFile(path, tensors, metadata)


def _stored(entry: Mapping[str, Any], offset: int) -> StoredTensor:
    start, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if dtype not in ITEM_SIZES:
        raise ValueError(f"tensors of type {dtype} are not supported; expected one of {', '.join(ITEM_SIZES)}")
    if end - start != prod(shape) * ITEM_SIZES[dtype]:
        raise ValueError(f"{end - start} bytes for a tensor {list(shape)} of type {dtype}")
    return StoredTensor(dtype, shape, offset + start, end - start)
