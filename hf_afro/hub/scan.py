"""Find what must not be published: pickles, Hub tokens and paths of this machine.

Every check returns the reason to refuse the file, or an empty string. Nothing is ever unpickled.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from huggingface_hub import constants, get_token
from safetensors import SafetensorError, safe_open

_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5", ".keras", ".msgpack", ".ot")
_PICKLE = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # how every pickle since protocol 2 begins

# Folders at the root that hold people's work. A path has no word, dot or slash before it, or it is part of a URL.
_ROOTS = (
    "home|root|Users|users|tmp|private|var|mnt|media|opt|srv|data|scratch|work|workspace|workdir|content|kaggle|gpfs"
    "|lustre|nfs|dbfs|project|projects|cluster|export|ssd|raid|storage"
)
_BEFORE, _REST = r"(?<![\w.:/\\~-])", r"[^\s\"'`<>()\[\]{},;|*]*"
_ANYWHERE = (
    rf"{_BEFORE}/(?:{_ROOTS})/[\w.@+~-]+{_REST}",
    rf"{_BEFORE}~/[\w.]+{_REST}",
    rf"file://{_REST}",
    # Windows: in a known folder, or two folders deep. A letter, a colon and a backslash alone may be an escape.
    rf"{_BEFORE}[A-Za-z]:\\{{1,2}}(?i:{_ROOTS}|Windows|Temp|Program Files)\\{{1,2}}[\w.]{_REST}",
    rf"{_BEFORE}[A-Z]:(?:\\{{1,2}}[\w.~-]{{2,}}){{2,}}{_REST}",
)
_ABSOLUTE = re.compile(r"(/[^/\s]+){2,}/?")
_TOKEN = r"hf_[A-Za-z0-9]{30,}"
_TOKEN_FOUND = "holds a token of the Hub; remove it, and revoke the token if the file was ever shared"

# The tokens of a vocabulary may look like paths: in these files, and under these keys of a tokenizer's JSON.
VOCABULARIES = ("vocab.txt", "merges.txt", "vocab.json", "added_tokens.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_TOKEN_KEYS = re.compile(
    "model|added_tokens|normalizer|pre_tokenizer|post_processor|decoder|added_tokens_decoder|"
    "additional_special_tokens|extra_special_tokens|.*_token"
)


def unsafe_format(path: Path) -> str:
    """Return why a file may run code when it is read: a pickle under any name, or weights in an unsafe format."""
    if path.suffix.lower() in _UNSAFE:
        return (
            f"is {path.suffix}, which may run code when it is read; save the model with save_pretrained (safetensors)"
        )
    with path.open("rb") as file:
        if file.read(2) in _PICKLE and path.suffix != ".safetensors":
            return "is a pickle under another name, which runs code when it is read; remove it"
        file.seek(0)
        if path.suffix == ".npy":
            return _object_array(file)
        if path.suffix == ".safetensors" or not zipfile.is_zipfile(file):
            return ""
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if Path(name).suffix in _UNSAFE:
                    return f"is an archive that holds {name}, which may run code when it is read; remove it"
                if name.endswith(".npy"):
                    with archive.open(name) as member:
                        if reason := _object_array(member):
                            return f"holds {name}, which {reason}"
    return ""


def _with_members(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file and, if it is a zip archive, each of its members unpacked."""
    with path.open("rb") as file:
        yield file
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    yield member


def _object_array(file: IO[bytes]) -> str:
    """Return why a NumPy array may run code: an array of objects is a pickle."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        dtype = read(file)[2]
    except ValueError as error:
        return f"is not a NumPy array ({error})"
    return "holds Python objects, which are pickled; save plain arrays" if dtype.hasobject else ""


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file, or raise a ValueError if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f"is not a complete safetensors file ({error}); save the model again") from error


class Traces:
    """Finds tokens and paths of this machine in text, JSON and binary files.

    Args:
        folder: The folder to publish; it and the folders above it are paths of this machine.
        token: The token of the push, in addition to the one this machine is logged in with.
    """

    def __init__(self, folder: Path, token: str | None) -> None:
        here = (folder, folder.parent, Path.home(), Path.cwd(), Path(tempfile.gettempdir()), Path(sys.prefix))
        places = {str(place.resolve()) for place in here} | {str(folder.absolute().parent), constants.HF_HOME}
        known = sorted((re.escape(place) for place in places if len(place) > 3), key=len, reverse=True)
        self._paths = re.compile("|".join([rf"{_BEFORE}(?:{'|'.join(known)})(?![\w-]){_REST}", *_ANYWHERE]))
        tokens = [_TOKEN, *(re.escape(one) for one in (token, get_token()) if one)]
        self._tokens = re.compile("|".join([rf"\b{tokens[0]}\b", *tokens[1:]]))
        # Vocabularies have tokens such as `/tmp/`, so only deeper paths are searched for in them.
        deep = [place for place in known if place.count("/") > 1]
        self._in_vocabulary, self._in_binary = _in_bytes(deep, tokens), _in_bytes(known, tokens)

    def token_in(self, text: str) -> str:
        """Return a reason if a text contains a token."""
        return _TOKEN_FOUND if self._tokens.search(text) else ""

    def in_text(self, text: str) -> str:
        """Return a reason if a text contains a token or a local path."""
        if reason := self.token_in(text):
            return reason
        if found := self._paths.search(text):
            line = text.count("\n", 0, found.start()) + 1
            return f"names the local path {found[0].rstrip('.:')} (line {line}); remove it"
        return ""

    def in_binary(self, path: Path) -> str:
        """Return a reason if a binary file or a vocabulary contains a token or a local path; it is read in blocks.

        The compressed arrays of `.npz` and the members of other zip archives are unpacked.
        """
        vocabulary = path.name in VOCABULARIES or path.suffix == ".model"
        wanted = self._in_vocabulary if vocabulary else self._in_binary
        for file in _with_members(path):
            block = b""
            while more := file.read(1 << 20):
                block = block[-256:] + more  # a match may span two blocks
                if found := wanted.search(block):
                    place = found.groupdict().get("path")
                    return f"holds the local path {place.decode()}; create it again without" if place else _TOKEN_FOUND
        return ""

    def cleaned(self, name: str, value: Any) -> tuple[Any, list[str]]:
        """Shorten each local path in parsed JSON to its last part, and return the original paths too.

        Args:
            name: The file name; vocabularies in tokenizer files are left unchanged.
            value: The parsed JSON.
        """
        cut: list[str] = []
        if name in _TOKENIZERS and isinstance(value, dict):
            value = {key: one if _TOKEN_KEYS.fullmatch(key) else self._clean(one, cut) for key, one in value.items()}
            return value, cut
        return self._clean(value, cut), cut

    def _clean(self, value: Any, cut: list[str]) -> Any:
        if isinstance(value, dict):
            return {self._clean(key, cut): self._clean(one, cut) for key, one in value.items()}
        if isinstance(value, list):
            return [self._clean(one, cut) for one in value]
        if not isinstance(value, str):
            return value

        def last_part(match: re.Match[str]) -> str:
            cut.append(match[0])
            return os.path.basename(match[0].replace("\\", "/").rstrip("/"))

        return (_ABSOLUTE if _ABSOLUTE.fullmatch(value) else self._paths).sub(last_part, value)


def _in_bytes(places: list[str], tokens: list[str]) -> re.Pattern[bytes]:
    """Search for known folders only, since anything may precede a path in a binary file."""
    paths = [f"(?P<path>{'|'.join(places)})/"] if places else []
    return re.compile("|".join([*paths, *tokens]).encode())


def without_secrets(text: str, token: str | None) -> str:
    """Return a message on one line, without tokens and without the queries of URLs, which may be signed."""
    if token:
        text = text.replace(token, "hf_***")
    text = re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1", re.sub(rf"\b{_TOKEN}\b", "hf_***", text))
    return " ".join(text.split())
