"""What a published file must not tell: places on the machine it was made on, and tokens."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_token

# Folders at the root under which people and clusters keep their work. A path is one only where no word, dot or slash
# stands before it, so that the addresses of web pages are none.
_ROOTS = (
    "home|root|Users|users|tmp|private|var|mnt|media|opt|srv|data|scratch|work|workspace|workdir|content|kaggle|gpfs"
    "|lustre|nfs|dbfs|project|projects|cluster|export|ssd|raid|storage"
)
_BEFORE = r"(?<![\w.:/\\~-])"
_REST = r"[^\s\"'`<>()\[\]{},;|*]*"
_GENERAL = (
    rf"{_BEFORE}/(?:{_ROOTS})/[\w.@+~-]+{_REST}",
    rf"file://{_REST}",
    # Of Windows: under its own folders, or two folders deep on a drive in capitals. A letter, a colon and a backslash
    # alone are as likely an escape or a formula.
    rf"{_BEFORE}[A-Za-z]:\\{{1,2}}(?i:{_ROOTS}|Windows|Temp|Program Files)\\{{1,2}}[\w.]{_REST}",
    rf"{_BEFORE}[A-Z]:(?:\\{{1,2}}[\w.~-]{{2,}}){{2,}}{_REST}",
    rf"{_BEFORE}~/[\w.]+{_REST}",
)
_ABSOLUTE = re.compile(r"(/[^/\s]+){2,}/?")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}\b")
# Where a tokenizer's file holds its pieces, which are text of the world and not of this machine.
_PIECES = (
    *("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"),
    *("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens"),
)
_PIECE = "_token"  # as in `mask_token`


class Traces:
    """Finds places of this machine, and tokens, in text and bytes.

    Args:
        folder: The folder that is published; those above it are places of this machine.
        tokens: Tokens in use, beside the one that the machine is logged in with.
    """

    def __init__(self, folder: Path, tokens: Iterable[str | None] = ()) -> None:
        places = {
            str(Path(place).resolve())
            for place in (folder, folder.parent, Path.home(), Path.cwd(), tempfile.gettempdir(), sys.prefix)
        }
        places |= {str(folder.absolute().parent), constants.HF_HOME}
        known = sorted((re.escape(place) for place in places if len(place) > 3), key=len, reverse=True)
        self._paths = re.compile("|".join([rf"{_BEFORE}(?:{'|'.join(known)})(?![\w-]){_REST}", *_GENERAL]))
        # In files that are no text, whatever surrounds a place may look like a word.
        self._bytes = re.compile("|".join(f"{place}/" for place in known).encode())
        deep = [place for place in known if place.count("/") > 1]
        self._deep = re.compile("|".join(f"{place}/" for place in deep).encode()) if deep else None
        self.tokens = tuple({one for one in (*tokens, get_token()) if one})

    def first_path(self, text: str) -> str | None:
        """Return the first place of a machine that a text names, None where there is none."""
        found = self._paths.search(text)
        return None if found is None else found[0].rstrip(".:")

    def has_token(self, text: str) -> bool:
        """Tell whether a text holds a token of the Hub."""
        return _TOKEN.search(text) is not None or any(token in text for token in self.tokens)

    def in_bytes(self, content: bytes, *, pieces: bool = False) -> str | None:
        """Return what some bytes hold, in words: a token, or a folder of this machine. None where there is neither.

        Args:
            content: The bytes.
            pieces: Whether they are a vocabulary's, where a name such as ``/tmp/`` is a piece: only places two folders
                deep are looked for.
        """
        if any(token.encode() in content for token in self.tokens):
            return "a token"
        places = self._deep if pieces else self._bytes
        found = None if places is None else places.search(content)
        return None if found is None else f"the local path {found[0].decode()}"

    def cleaned(self, value: Any, *, tokenizer: bool = False) -> tuple[Any, list[str]]:
        """Return a value of JSON without places of a machine, and the places that were taken out.

        A place that is named is cut to its last part, so that what it was called can still be read.

        Args:
            value: As `json` reads it.
            tokenizer: Whether it is a file of a tokenizer, whose pieces are left as they are.
        """
        found: list[str] = []
        if tokenizer and isinstance(value, dict):
            rest = {name: one for name, one in value.items() if name not in _PIECES and not name.endswith(_PIECE)}
            clean = self._clean(rest, found)
            return {name: clean.get(name, one) for name, one in value.items()}, found
        return self._clean(value, found), found

    def _clean(self, value: Any, found: list[str]) -> Any:
        if isinstance(value, dict):
            return {self._clean(name, found): self._clean(one, found) for name, one in value.items()}
        if isinstance(value, list):
            return [self._clean(one, found) for one in value]
        if not isinstance(value, str):
            return value
        if _ABSOLUTE.fullmatch(value):
            found.append(value)
            return _last_part(value)

        def cut(match: re.Match[str]) -> str:
            found.append(match[0])
            return _last_part(match[0])

        return self._paths.sub(cut, value)


def without_secrets(text: str, tokens: Iterable[str | None]) -> str:
    """Return a text without tokens, and without the queries of addresses, which may be signed."""
    for token in filter(None, tokens):
        text = text.replace(token, "hf_***")
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1", _TOKEN.sub("hf_***", text))


def _last_part(path: str) -> str:
    return os.path.basename(re.sub(r"[/\\]+$", "", path).replace("\\", "/"))
