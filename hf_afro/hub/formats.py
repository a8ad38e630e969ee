"""Formats that run code when they are read, or may: pickles in all their wrappings, and weights but safetensors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5", ".keras", ".msgpack", ".ot")
_SAFETENSORS_ONLY = "weights are published in safetensors alone: load the model and save it with save_pretrained"
# The first byte of every pickle since protocol 2, and the protocols.
_PICKLE, _PROTOCOLS = 0x80, range(2, 6)


def refusal_of(path: Path) -> str:
    """Say why a file may not be published for what it is; nothing where it may. No file is unpickled.

    Args:
        path: A file.
    """
    if path.suffix.lower() in _UNSAFE:
        return f"is {path.suffix}, which may run code when it is read; {_SAFETENSORS_ONLY}"
    if path.suffix == ".safetensors":
        return ""
    with path.open("rb") as file:
        start = file.read(2)
    if len(start) == 2 and start[0] == _PICKLE and start[1] in _PROTOCOLS:
        return "is a pickle under another name, which runs code when it is read; leave it out"
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return _refusal_of_array(file)
    if zipfile.is_zipfile(path):
        return _refusal_of_archive(path)
    return ""


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return what the header of a file of weights holds beside the tensors.

    Raises:
        ValueError: If the file is no safetensors file, is cut short, or holds bytes of no tensor.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"is no whole safetensors file ({error}); save the model again") from error


def _refusal_of_archive(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if Path(name).suffix in _UNSAFE:
                return f"is an archive that holds {name}, which may run code when it is read; leave it out"
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    refusal = _refusal_of_array(member)
                if refusal:
                    return f"holds {name}, which {refusal}"
    return ""


def _refusal_of_array(file: object) -> str:
    """Say whether an array of numpy's holds objects, which are pickled, from its header alone."""
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read(file)  # type: ignore[arg-type]
    except ValueError as error:
        return f"is no array of numpy's ({error})"
    return "holds Python objects, which are pickled; save plain arrays" if dtype.hasobject else ""
