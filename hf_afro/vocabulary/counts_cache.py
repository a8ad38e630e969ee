"""count_with_cache: languages whose counts are on the disk are read from there, the others counted and put there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from hf_afro.files import written_whole
from hf_afro.unknown_text import warn_of_unknown
from hf_afro.vocabulary.counting import ReadTokenizer, count_as_read, versions
from hf_afro.vocabulary.counts import TextSize, TokenCounts

logger = logging.getLogger(__name__)

# To be raised whenever counting or the files change in meaning; files of another format are not found.
_FORMAT = 1


class FingerprintedText(Protocol):
    """Lines of text that can be read again, as `hf_afro.corpora` opens them."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all lines in UTF-8, each with a line feed, in hexadecimal."""

    def __iter__(self) -> Iterator[str]:
        """Begin at the first line."""


def count_with_cache(
    texts: Mapping[str, FingerprintedText],
    tokenizer: PreTrainedTokenizerBase,
    cache_dir: str | os.PathLike[str],
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count as `count_tokens` does, but only the languages of which the cache holds no counts.

    A file of the cache is the counts of one language. It is found by the fingerprints of the text and of the
    tokenizer, the version of the tokenizers library and that of the format, which it also holds: other text, a part of
    the text or another tokenizer finds nothing, and a file that is damaged or holds something else is counted anew.

    Args:
        texts: Lines of text by language, with their fingerprints.
        tokenizer: See `count_tokens`.
        cache_dir: The folder of the cache; made where it is not there.
        show_progress: See `count_tokens`.
        text_bytes: See `count_tokens`.

    Returns:
        The same as `count_tokens`.

    Raises:
        TypeError: See `count_tokens`.
        ValueError: See `count_tokens`.
    """
    known = ReadTokenizer.read(tokenizer)
    common = _identity(known)
    keys = {language: {**common, "text": text.fingerprint} for language, text in texts.items()}
    read = {language: _read(_place(cache_dir, key), key, len(known.table)) for language, key in keys.items()}
    found = {language: entry for language, entry in read.items() if entry is not None}
    missing = {language: _Digested(texts[language]) for language in texts if language not in found}
    logger.info("%d of %d languages are in the cache %s", len(texts) - len(missing), len(texts), cache_dir)
    if missing or not texts:
        counted = count_as_read(missing, known, show_progress=show_progress, text_bytes=text_bytes)
        for language, text in missing.items():
            found[language] = _Entry(counted.of(language), counted.sizes[language])
            if text.fingerprint == keys[language]["text"]:
                _write(_place(cache_dir, keys[language]), keys[language], found[language])
            else:
                logger.warning("the text of %s changed while it was counted, and is not put into the cache", language)
    languages = tuple(sorted(texts))
    counts = np.stack([found[language].counts for language in languages])
    sizes = {language: found[language].size for language in languages}
    together = TokenCounts(languages, counts, sizes, known.table, {"versions": versions()})
    warn_of_unknown(together.unknown_share)
    return together


def _identity(known: ReadTokenizer) -> dict[str, Any]:
    """Return all of a tokenizer that counts depend on."""
    return {
        "format": _FORMAT,
        "tokenizers": versions()["tokenizers"],
        "table": known.table.fingerprint,
        # The table's fingerprint knows their texts, but not how they are found.
        "added_tokens": known.added_tokens,
        "split_special_tokens": known.tokenizer.split_special_tokens,
    }


@dataclasses.dataclass(frozen=True)
class _Entry:
    """The counts of one language, ``[old_size]``, and the size of its text."""

    counts: np.ndarray
    size: TextSize


class _Digested:
    """A text that is fingerprinted while it is read, so that counts never stand for a text they are not of."""

    def __init__(self, text: FingerprintedText) -> None:
        self._text = text
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        for line in self._text:
            self._digest.update(line.encode("utf-8", "surrogatepass"))  # refused by name where they are counted
            self._digest.update(b"\n")
            yield line

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()


def _place(cache_dir: str | os.PathLike[str], key: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Path(cache_dir) / f"{digest[:32]}.npz"


def _write(place: Path, key: dict[str, Any], entry: _Entry) -> None:
    (ids,) = np.nonzero(entry.counts)
    facts = json.dumps({"key": key, "size": dataclasses.asdict(entry.size)})
    with written_whole(place) as beside, open(beside, "wb") as file:
        np.savez_compressed(
            file, facts=np.frombuffer(facts.encode(), dtype=np.uint8), ids=ids, counts=entry.counts[ids]
        )


def _read(place: Path, key: dict[str, Any], old_size: int) -> _Entry | None:
    """Return what a file holds; None where there is none, or it is damaged or holds the counts of something else."""
    if not place.is_file():
        return None
    try:
        with np.load(place, allow_pickle=False) as file:
            facts = json.loads(file["facts"].tobytes())
            ids, counted = file["ids"], file["counts"]
        if facts["key"] != key:
            raise ValueError("it holds the counts of something else")
        counts = np.zeros(old_size, dtype=np.int64)
        counts[ids] = counted
        return _Entry(counts, TextSize(**facts["size"]))
    except (EOFError, IndexError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s is not used (%s); counting anew", place, error)
        return None
