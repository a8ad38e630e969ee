"""Count tokens per language, exactly as encoding every line would, by tokenising each distinct word once."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import logging
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow
import pyarrow.compute as compute
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from hf_afro.files import written_whole
from hf_afro.progress_log import ProgressLog
from hf_afro.tokenizer_checks import warn_of_unknown
from hf_afro.version import __version__
from hf_afro.vocabulary.counts import TextSize, TokenCounts
from hf_afro.vocabulary.tokenizers.backend import backend_state, gc_paused, plain_backend, table_of
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.tokenizers.word_cut import WordCut, word_cut

logger = logging.getLogger(__name__)

# Characters per block of lines, and bytes of distinct words collected before they are tokenised. Both bound memory;
# the counts do not depend on them.
_BLOCK_CHARACTERS = 8_000_000
_HELD_BYTES = 100_000_000
_TEXTS_A_BATCH = 256
# Threads that cut lines into words; more would wait for lines to be read.
_CUTTERS = min(4, os.cpu_count() or 1)
# Arrow's strings have 31-bit offsets, and a character has up to four bytes.
_LONGEST_LINE = 500_000_000
_MEGABYTE = 1_000_000
# Words are encoded together in texts of this many, because each call costs as much as several words.
_WORDS_A_TEXT = 256
_SCHEMA = pyarrow.schema([("word", pyarrow.string()), ("count", pyarrow.int64())])
# Increase it when counting or the cache files change in meaning; files of another format are ignored.
_FORMAT = 1


def count_tokens(
    texts: Mapping[str, Iterable[str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count how often each language uses each token, exactly as encoding every whole line would.

    If the tokenizer splits each word independently of its neighbours, each distinct word is tokenised once and counted
    as often as it occurs; only lines in which something reaches across a space are encoded whole. This holds for
    tokenizers built like XLM-R's, BERT's, RoBERTa's and Gemma's (see `word_cut`); for others every line is encoded.
    All cores are used. Memory is bounded: texts are streamed, and distinct words are tokenised and dropped once there
    are many. The tokenizer is not changed; truncation and padding set on it are ignored.

    Args:
        texts: Lines of text by language; each text is read once, and lines may contain any character, line ends too.
        tokenizer: A fast tokenizer of a kind that can be pruned.
        show_progress: Show a progress bar in bytes of text.
        text_bytes: Bytes of each language's text including line ends, if known, for the total of the progress bar.

    Returns:
        The counts, without the special tokens around a text. A warning names languages with a large share of unknown
        tokens; see `TokenCounts.unknown_share`.

    Raises:
        TypeError: If a text is not an iterable of str, or the tokenizer is not a fast one.
        ValueError: If there is no language, a text has lone surrogates or a line of more than half a billion
            characters, or the tokenizer's kind is not supported.

    Example:
        >>> counts = count_tokens({"swa": ["Habari ya leo"], "yor": ["Ẹ kú àárọ̀"]}, tokenizer)
        >>> counts.total["swa"]
        3
    """
    read = ReadTokenizer.read(tokenizer)
    counts = count_as_read(texts, read, show_progress=show_progress, text_bytes=text_bytes)
    warn_of_unknown(counts.unknown_share)
    return counts


@dataclass(frozen=True)
class ReadTokenizer:
    """A tokenizer with what counting needs to know about it, without its large JSON form.

    Attributes:
        tokenizer: The tokenizer.
        table: Its tokens.
        cut: How lines are cut into words that are tokenised independently; None if they cannot be.
        added_tokens: Its added tokens in JSON form.
    """

    tokenizer: PreTrainedTokenizerBase
    table: TokenizerTable
    cut: WordCut | None
    added_tokens: list[dict[str, Any]]

    @classmethod
    @gc_paused()
    def read(cls, tokenizer: PreTrainedTokenizerBase) -> ReadTokenizer:
        """Read a tokenizer; see `count_tokens` for the errors."""
        state = backend_state(tokenizer)
        return cls(tokenizer, table_of(state, tokenizer.unk_token), word_cut(state), state["added_tokens"])


def count_as_read(
    texts: Mapping[str, Iterable[str]],
    read: ReadTokenizer,
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count with a tokenizer that was already read; see `count_tokens`."""
    if not texts:
        raise ValueError("no text to count: expected a mapping of at least one language to its lines")
    table = read.table
    languages = tuple(sorted(texts))
    counts = np.zeros((len(languages), len(table)), dtype=np.int64)
    sizes = {}
    total = (
        sum(text_bytes[language] for language in languages) if text_bytes and set(texts) <= set(text_bytes) else None
    )
    with (
        ThreadPoolExecutor(max_workers=_CUTTERS) as cutters,
        ThreadPoolExecutor(max_workers=1) as tokenising,  # the tokenizers library uses all cores
        tqdm(total=total, unit="B", unit_scale=True, disable=not show_progress) as bar,
    ):
        counter = _Counter(read.tokenizer, read.cut, cutters, tokenising)
        log = ProgressLog("counting", None if total is None else total / _MEGABYTE, unit="MB")
        counted = 0
        for language, row in zip(languages, counts, strict=True):
            bar.set_postfix_str(language)
            counter.start(row)
            for block in _blocks(texts[language], language):
                lines = _as_arrow(block, language)
                counter.add(lines)
                size = byte_size(lines) + len(lines)
                counted += size
                bar.update(size)
                log.update(counted / _MEGABYTE)
            sizes[language] = counter.finish()
        counter.wait()
    return TokenCounts(languages, counts, sizes, table, {"versions": versions()})


def versions() -> dict[str, str]:
    """Return the versions to store with counts."""
    return {"hf_afro": __version__, "tokenizers": importlib.metadata.version("tokenizers")}


def _blocks(lines: Iterable[str], language: str) -> Iterator[list[str]]:
    """Split an iterable of lines into lists of about `_BLOCK_CHARACTERS` characters."""
    if isinstance(lines, str):
        raise TypeError(f"the text of {language!r} is one str; expected an iterable of lines, such as [text]")
    block: list[str] = []
    held = 0
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str):
            raise TypeError(f"line {number} of {language!r} is a {type(line).__name__}; expected str")
        if len(line) > _LONGEST_LINE:
            raise ValueError(
                f"line {number} of {language!r} has {len(line):,} characters; expected {_LONGEST_LINE:,} at most, so "
                "cut the text into lines"
            )
        if held + len(line) > _BLOCK_CHARACTERS and block:
            yield block
            block, held = [], 0
        block.append(line)
        held += len(line)
    if block:
        yield block


def _as_arrow(lines: list[str], language: str) -> pyarrow.StringArray:
    try:
        return pyarrow.array(lines, type=pyarrow.string())
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text of {language!r} holds the lone surrogate {error.object[error.start]!r}, which is no "
            "character; read the file as UTF-8 with errors='replace'"
        ) from error


class _Counter:
    """Counter of one language after the other, each into one row of the counts.

    Arrow and the tokenizers library release Python's global lock, so threads are enough. Only the tokenising thread
    writes to a row; lines are cut meanwhile.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, cut: WordCut | None, cutters: Executor, tokenising: Executor
    ) -> None:
        self._whole_backend = plain_backend(tokenizer)
        self._word_backend = plain_backend(tokenizer, added_tokens=False)
        self._cut = cut
        self._cutters = cutters
        self._tokenising = tokenising
        self._being_cut: deque[Future[CutLines]] = deque()
        self._jobs: list[Future[None]] = []

    def start(self, row: np.ndarray) -> None:
        """Start a language, counted into a row."""
        self._row = row
        self._size = TextSize()
        self._words: list[pyarrow.Table] = []
        self._whole: list[str] = []

    def add(self, lines: pyarrow.StringArray) -> None:
        """Count lines."""
        self._being_cut.append(self._cutters.submit(cut_lines, lines, self._cut))
        if len(self._being_cut) > _CUTTERS:
            self._take()

    def _take(self) -> None:
        """Collect the words of the oldest block, and tokenise all words once they take too much memory."""
        words, whole, size = self._being_cut.popleft().result()
        self._size += size
        self._words.append(words)
        self._whole += whole
        if sum(table.nbytes for table in self._words) > _HELD_BYTES:
            self._words = [merge(self._words)]
        if self._words[0].nbytes > _HELD_BYTES // 2 or sum(map(len, self._whole)) > _BLOCK_CHARACTERS:
            self._flush()

    def finish(self) -> TextSize:
        """Finish a language and return the size of its text; its last words may still be being tokenised."""
        while self._being_cut:
            self._take()
        self._flush()
        return self._size

    def _flush(self) -> None:
        """Submit the collected words and whole lines for tokenising."""
        self.wait()  # one job at a time bounds memory
        self._jobs.append(self._tokenising.submit(self._tokenise, self._row, self._whole, self._words))
        self._words, self._whole = [], []

    def wait(self) -> None:
        """Wait for submitted jobs and raise their errors."""
        while self._jobs:
            self._jobs.pop().result()

    def _tokenise(self, row: np.ndarray, whole: list[str], words: list[pyarrow.Table]) -> None:
        """Add to a row the tokens of whole lines, and the tokens of words times the count of each word."""
        _add_tokens(row, self._whole_backend, ((line, 1) for line in whole))
        if self._cut is not None:
            texts = weighted_texts(merge(words), with_space=self._cut.with_space)
            _add_tokens(row, self._word_backend, texts)


def _add_tokens(row: np.ndarray, backend: Tokenizer, weighted: Iterator[tuple[str, int]]) -> None:
    while batch := list(itertools.islice(weighted, _TEXTS_A_BATCH)):
        encodings = backend.encode_batch_fast([text for text, _ in batch], add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        weights = np.repeat([weight for _, weight in batch], [len(one) for one in ids])
        flat = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int64, count=len(weights))
        np.add.at(row, flat, weights)


class CutLines(NamedTuple):
    """The words of some lines.

    Attributes:
        words: Columns ``word`` and ``count``; words tokenised with the space before them begin with it.
        whole: The lines that must be encoded whole.
        size: The size of all lines.
    """

    words: pyarrow.Table
    whole: list[str]
    size: TextSize


def cut_lines(lines: pyarrow.StringArray, cut: WordCut | None) -> CutLines:
    """Cut lines into words, except those in which something reaches across a space, or all if `cut` is None."""
    characters, utf8_bytes = compute.sum(compute.utf8_length(lines)), byte_size(lines)
    crossing = pyarrow.array(np.ones(len(lines), dtype=bool)) if cut is None else cut.crosses(lines)
    whole = lines.filter(crossing)
    parts = compute.split_pattern(lines.filter(compute.invert(crossing)), " ")
    if cut is not None and cut.with_space:
        first = compute.list_element(parts, 0).value_counts()
        other = compute.list_slice(parts, 1).flatten().value_counts()
        spaced = compute.binary_join_element_wise("", other.field(0), " ")
        words = pyarrow.concat_tables([_table(first.field(0), first.field(1)), _table(spaced, other.field(1))])
    else:
        counted = parts.flatten().value_counts()
        words = _table(counted.field(0), counted.field(1))
        words = words.filter(compute.not_equal(words["word"], ""))  # between adjacent spaces
    number = compute.sum(words["count"]).as_py() or 0
    number += compute.sum(compute.count_substring_regex(whole, "[^ ]+")).as_py() or 0
    return CutLines(words, whole.to_pylist(), TextSize(len(lines), number, characters.as_py() or 0, utf8_bytes))


def byte_size(lines: pyarrow.StringArray) -> int:
    """Return the bytes of lines in UTF-8, without line ends."""
    return compute.sum(compute.binary_length(lines)).as_py() or 0


def _table(words: pyarrow.StringArray, counts: pyarrow.Int64Array) -> pyarrow.Table:
    return pyarrow.table([words, counts], schema=_SCHEMA)


def merge(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """Return one table with each word once and the sum of its counts."""
    if len(tables) < 2:
        return tables[0] if tables else _SCHEMA.empty_table()
    grouped = pyarrow.concat_tables(tables).group_by("word").aggregate([("count", "sum")])
    return _table(grouped["word"], grouped["count_sum"])


def weighted_texts(words: pyarrow.Table, *, with_space: bool) -> Iterator[tuple[str, int]]:
    """Yield texts to encode that together contain each word once, with the count shared by all words of a text.

    Args:
        words: A table from `merge`.
        with_space: Whether words are encoded with the space before them; then each first word of a line, which has
            none, is a text of its own.
    """
    if not with_space:
        yield from _joined(words, " ", _WORDS_A_TEXT)
        return
    spaced = compute.starts_with(words["word"], " ")
    yield from _joined(words.filter(spaced), "", _WORDS_A_TEXT)
    yield from _joined(words.filter(compute.invert(spaced)), "", 1)


def _joined(words: pyarrow.Table, between: str, words_a_text: int) -> Iterator[tuple[str, int]]:
    # In alphabetical order, neighbours take similar paths through the vocabulary: a sixth less time.
    words = words.sort_by([("count", "ascending"), ("word", "ascending")])
    counts = words["count"].to_numpy()
    runs = np.flatnonzero(np.diff(counts, prepend=0, append=0))  # start of each run of equal counts, and the end
    starts = [np.arange(start, end, words_a_text) for start, end in zip(runs[:-1], runs[1:], strict=True)]
    if not starts:
        return
    offsets = np.append(np.concatenate(starts), len(counts)).astype(np.int32)
    texts = pyarrow.ListArray.from_arrays(offsets, words["word"].combine_chunks())
    for text, count in zip(compute.binary_join(texts, between), counts[offsets[:-1]].tolist(), strict=True):
        yield text.as_py(), count


class FingerprintedText(Protocol):
    """Lines of text that can be read repeatedly, such as those of `hf_afro.corpora`."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all lines in UTF-8, each followed by a line feed, in hexadecimal."""

    def __iter__(self) -> Iterator[str]:
        """Iterate from the first line."""


def count_with_cache(
    texts: Mapping[str, FingerprintedText],
    tokenizer: PreTrainedTokenizerBase,
    cache_dir: str | os.PathLike[str],
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count like `count_tokens`, but only languages whose counts are not in the cache.

    A cache file holds the counts of one language. Its key is made of the fingerprints of the text and the tokenizer
    and the versions of the tokenizers library and the format. A file that is damaged or has another key inside is
    ignored and written again.

    Args:
        texts: Lines of text by language, with their fingerprints.
        tokenizer: See `count_tokens`.
        cache_dir: The folder of the cache, created if missing.
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
    """Return everything in a tokenizer that counts depend on."""
    return {
        "format": _FORMAT,
        "tokenizers": versions()["tokenizers"],
        "table": known.table.fingerprint,
        # The table's fingerprint covers their contents, but not how they are matched.
        "added_tokens": known.added_tokens,
        "split_special_tokens": known.tokenizer.split_special_tokens,
    }


@dataclasses.dataclass(frozen=True)
class _Entry:
    """The counts of one language, ``[old_size]``, and the size of its text."""

    counts: np.ndarray
    size: TextSize


class _Digested:
    """A text that is fingerprinted while it is read, so that a change during counting is noticed."""

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
    """Return the counts in a file; None if it is missing or damaged, or has counts of something else."""
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
