"""Store how often each language uses each token of a tokenizer: `TokenCounts` and `TextSize`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_afro.files import written_whole
from hf_afro.model_folders import counts_file
from hf_afro.vocabulary.tokenizers import TokenizerTable

_FORMAT = 1
_MOST_UNPACKED = 4 << 30  # bytes; counts of 50 languages by 250,000 tokens have a tenth


@dataclass(frozen=True)
class TextSize:
    """The size of a text.

    Attributes:
        lines: Number of lines, including empty ones.
        words: Number of words, separated by spaces (U+0020).
        characters: Number of Unicode characters.
        utf8_bytes: Bytes in UTF-8, without line ends.
    """

    lines: int = 0
    words: int = 0
    characters: int = 0
    utf8_bytes: int = 0

    def __add__(self, other: TextSize) -> TextSize:
        return TextSize(
            self.lines + other.lines,
            self.words + other.words,
            self.characters + other.characters,
            self.utf8_bytes + other.utf8_bytes,
        )


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Merge two provenance records; values that differ become lists."""
    return {
        name: _both(one[name], other[name]) if name in one and name in other else (one | other)[name]
        for name in sorted({*one, *other})
    }


def _both(one: Any, other: Any) -> Any:
    if one == other:
        return one
    if _is_by_name(one) and _is_by_name(other):
        return _merged(one, other)
    values = [*(one if isinstance(one, list) else [one]), *(other if isinstance(other, list) else [other])]
    distinct = {json.dumps(value, sort_keys=True): value for value in values}
    return [distinct[text] for text in sorted(distinct)]  # independent of which part came first


def _check_unpacked(path: str | os.PathLike[str]) -> None:
    """Raise a ValueError if the unpacked arrays would be larger than any counts, as in a zip bomb."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_UNPACKED:
            raise ValueError(f"{path} has {size:,} bytes once unpacked; expected counts, {_MOST_UNPACKED:,} at most")


def _is_by_name(facts: Any) -> bool:
    """Return whether a value is a dict of records, such as one record per language."""
    return isinstance(facts, dict) and all(isinstance(own, dict | list) for own in facts.values())


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """Token counts per language; the counts of parts of a corpus add up to those of the whole.

    Attributes:
        languages: The language codes, sorted.
        counts: Number of occurrences, ``[languages, old_size]`` int64, without the special tokens around a text. Text
            that the tokenizer does not know counts as its unknown token; see `unknown_share`.
        sizes: The size of each language's text.
        table: The tokens of the tokenizer.
        provenance: Library versions, and anything the caller adds.
    """

    languages: tuple[str, ...]
    counts: np.ndarray
    sizes: dict[str, TextSize]
    table: TokenizerTable
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = (len(self.languages), len(self.table))
        if self.counts.shape != expected or self.counts.dtype != np.int64:
            raise ValueError(
                f"counts have shape {self.counts.shape} and type {self.counts.dtype}; expected {expected} and int64"
            )
        if list(self.languages) != sorted(set(self.languages)) or set(self.sizes) != set(self.languages):
            raise ValueError(f"languages must be sorted, distinct and those of sizes; received {self.languages}")
        self.counts.flags.writeable = False

    @property
    def total(self) -> dict[str, int]:
        """Total number of tokens per language."""
        return {language: int(row.sum()) for language, row in zip(self.languages, self.counts, strict=True)}

    @property
    def unknown_share(self) -> dict[str, float]:
        """Share of unknown tokens per language, 0 to 1; 0 if the tokenizer falls back to bytes.

        The share of text that is lost may be larger: in WordPiece one unknown token can stand for a whole word.
        """
        unknown = self.counts[:, list(self.table.lost_ids)].sum(axis=1)
        return {
            language: int(lost) / max(total, 1)
            for (language, total), lost in zip(self.total.items(), unknown, strict=True)
        }

    @property
    def fingerprint(self) -> str:
        """Hash of languages, counts and tokenizer."""
        digest = hashlib.sha256(json.dumps([self.languages, self.table.fingerprint]).encode())
        digest.update(np.ascontiguousarray(self.counts).tobytes())
        return digest.hexdigest()[:32]

    def pooled(self, smoothing: float = 0.3) -> np.ndarray:
        """Return the share of each token among running tokens, with the languages taken together.

        Each language's own shares count in proportion to n^smoothing, with n its number of tokens, as languages are
        sampled by XLM-R and by `select_tokens`: 1 adds the counts up, 0 gives all languages the same weight.

        Args:
            smoothing: Exponent of the sizes of the languages, 0 to 1.

        Returns:
            ``[old_size]`` float64, sum 1; zeros if no language has a token.
        """
        totals = self.counts.sum(axis=1)
        seen = totals > 0
        weights = totals[seen].astype(np.float64) ** smoothing
        return (weights / weights.sum()) @ (self.counts[seen] / totals[seen, None])

    def of(self, language: str) -> np.ndarray:
        """Return the counts of one language, ``[old_size]``.

        Raises:
            ValueError: If the language was not counted.
        """
        if language not in self.languages:
            raise ValueError(f"no counts of {language!r}; counted were {', '.join(self.languages)}")
        return self.counts[self.languages.index(language)]

    def only(self, languages: Iterable[str]) -> TokenCounts:
        """Return the counts of some of the languages.

        Raises:
            ValueError: If one was not counted.
        """
        chosen = tuple(sorted(set(languages)))
        rows = np.array([self.of(language) for language in chosen], dtype=np.int64).reshape(-1, len(self.table))
        sizes = {language: self.sizes[language] for language in chosen}
        return TokenCounts(chosen, rows, sizes, self.table, self.provenance)

    def merge(self, other: TokenCounts) -> TokenCounts:
        """Return the counts of both texts together, independent of the order.

        Raises:
            ValueError: If the two were counted with different tokenizers.
        """
        if self.table.fingerprint != other.table.fingerprint:
            raise ValueError(
                f"counts of different tokenizers cannot be merged: {self.table.fingerprint} ({len(self.table)} tokens)"
                f" and {other.table.fingerprint} ({len(other.table)} tokens); count both texts with one tokenizer"
            )
        languages = tuple(sorted({*self.languages, *other.languages}))
        merged = np.zeros((len(languages), len(self.table)), dtype=np.int64)
        sizes = dict.fromkeys(languages, TextSize())
        for part in (self, other):
            for language, row in zip(part.languages, part.counts, strict=True):
                merged[languages.index(language)] += row
                sizes[language] = sizes[language] + part.sizes[language]
        return TokenCounts(languages, merged, sizes, self.table, _merged(self.provenance, other.provenance))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts atomically to one ``.npz`` file of plain arrays."""
        row, column = np.nonzero(self.counts)
        table = {**dataclasses.asdict(self.table), "scores": None, "merges": None}
        facts = {
            "format": _FORMAT,
            "languages": self.languages,
            "sizes": {language: dataclasses.asdict(size) for language, size in self.sizes.items()},
            "table": table,
            "provenance": self.provenance,
        }
        with written_whole(path) as beside, open(beside, "wb") as file:
            np.savez_compressed(
                file,
                facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
                scores=self.table.scores,
                merges=self.table.merges.astype(np.int32),
                row=row.astype(np.int32),
                column=column.astype(np.int32),
                count=self.counts[row, column],
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TokenCounts:
        """Read counts written by `save`.

        Args:
            path: The file, or the folder that `hf-afro count` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else.
        """
        path = counts_file(path)
        try:
            _check_unpacked(path)
            with np.load(path, allow_pickle=False) as file:
                if "facts" not in file.files:
                    raise ValueError(f"{path} holds no token counts; expected a file written by TokenCounts.save")
                facts: Mapping[str, Any] = json.loads(file["facts"].tobytes())
                if facts["format"] != _FORMAT:
                    raise ValueError(f"{path} has format {facts['format']}, expected {_FORMAT}; count again")
                arrays = {name: file[name] for name in ("scores", "row", "column", "count")}
                # Files of the first version have none.
                merges = file["merges"] if "merges" in file.files else np.empty((0, 2))
        except (EOFError, KeyError, json.JSONDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}); copy it again, or count again") from error
        fields = facts["table"]
        table = TokenizerTable(
            **{
                **fields,
                "pieces": tuple(fields["pieces"]),
                "special_ids": tuple(fields["special_ids"]),
                "scores": arrays["scores"],
                "merges": merges.astype(np.int64),
            }
        )
        counts = np.zeros((len(facts["languages"]), len(table)), dtype=np.int64)
        counts[arrays["row"], arrays["column"]] = arrays["count"]
        sizes = {language: TextSize(**size) for language, size in facts["sizes"].items()}
        return cls(tuple(facts["languages"]), counts, sizes, table, dict(facts["provenance"]))
