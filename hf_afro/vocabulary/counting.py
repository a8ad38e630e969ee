"""count_tokens: the exact counts of encoding every line, by tokenising each distinct word once."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from hf_afro.progress_log import ProgressLog
from hf_afro.unknown_text import warn_of_unknown
from hf_afro.version import __version__
from hf_afro.vocabulary.counts import TextSize, TokenCounts
from hf_afro.vocabulary.distinct_words import CutLines, byte_size, cut_lines, merge, weighted_texts
from hf_afro.vocabulary.tokenizers.backend import backend_state, plain_backend, table_of
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.words import WordCut, word_cut

# Characters of lines taken in one go, and bytes of distinct words held before they are tokenised and forgotten: both
# bound memory and neither changes a count.
_BLOCK_CHARACTERS = 8_000_000
_HELD_BYTES = 100_000_000
_TEXTS_A_BATCH = 256
# Threads that cut lines: more than lines can be read for.
_CUTTERS = min(4, os.cpu_count() or 1)
# Arrow's strings have an offset of 31 bits, and a character has up to four bytes.
_LONGEST_LINE = 500_000_000
_MEGABYTE = 1_000_000


def count_tokens(
    texts: Mapping[str, Iterable[str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count how often each language uses each token, exactly as encoding every whole line would.

    Where the tokenizer cannot look from one word into another, each distinct word is tokenised once and counted as
    often as it occurs; lines in which something reaches across a space are encoded whole. `word_cut` says of which
    tokenizers this holds: those built as XLM-R's, BERT's, RoBERTa's or Gemma's are among them, Unigram with marked
    spaces only if its normaliser makes no spaces of its own. Others get every line encoded in batches. All cores are
    used. Memory is bounded: texts are streamed, and distinct words are tokenised and forgotten when they are many. The
    tokenizer is not changed, and truncation or padding set on it play no part.

    Args:
        texts: Lines of text by language; each text is read once, and lines may hold anything, line ends too.
        tokenizer: A fast tokenizer of a kind that can be pruned.
        show_progress: Show a bar that counts bytes of text.
        text_bytes: Bytes of the text of each language, line ends among them, where they are known; from them the bar
            knows the end.

    Returns:
        The counts, special tokens around a text not among them. Languages of which the tokenizer does not know a large
        share are warned of; see `TokenCounts.unknown_share`.

    Raises:
        TypeError: If a text is not an iterable of str, or the tokenizer is not a fast one.
        ValueError: If there is no language, a text holds lone surrogates or a line of half a billion characters, or
            the tokenizer's kind is not supported.

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
    """A tokenizer with what counting needs to know of it; the JSON form it is read from, which is large, is let go.

    Attributes:
        tokenizer: The tokenizer.
        table: Its pieces.
        cut: How text is cut into words that can be tokenised apart; None where it cannot.
        added_tokens: Its added tokens in JSON form.
    """

    tokenizer: PreTrainedTokenizerBase
    table: TokenizerTable
    cut: WordCut | None
    added_tokens: list[dict[str, Any]]

    @classmethod
    def read(cls, tokenizer: PreTrainedTokenizerBase) -> ReadTokenizer:
        """Read a tokenizer; see `count_tokens` for what is refused."""
        state = backend_state(tokenizer)
        return cls(tokenizer, table_of(state, tokenizer.unk_token), word_cut(state), state["added_tokens"])


def count_as_read(
    texts: Mapping[str, Iterable[str]],
    read: ReadTokenizer,
    *,
    show_progress: bool = False,
    text_bytes: Mapping[str, int] | None = None,
) -> TokenCounts:
    """Count with a tokenizer that was read before; see `count_tokens`."""
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
        ThreadPoolExecutor(max_workers=1) as tokenising,  # the library itself uses all cores
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
    """Return the versions that counts carry with them."""
    return {"hf_afro": __version__, "tokenizers": importlib.metadata.version("tokenizers")}


def _blocks(lines: Iterable[str], language: str) -> Iterator[list[str]]:
    """Cut an iterable of lines into lists of about `_BLOCK_CHARACTERS` characters."""
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
    """Counts one language after the other, each into one row of the counts.

    Arrow and the tokenizers library work outside Python's lock, so threads are enough. Only the thread that tokenises
    writes to a row; while it is at work, lines are cut.
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
        """Begin a language, to be counted into a row."""
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
        """Take what the oldest lines were cut into, and hand all held over once it is too much to hold."""
        words, whole, size = self._being_cut.popleft().result()
        self._size += size
        self._words.append(words)
        self._whole += whole
        if sum(table.nbytes for table in self._words) > _HELD_BYTES:
            self._words = [merge(self._words)]
        if self._words[0].nbytes > _HELD_BYTES // 2 or sum(map(len, self._whole)) > _BLOCK_CHARACTERS:
            self._flush()

    def finish(self) -> TextSize:
        """End a language, whose last words may still be on their way, and return the size of its text."""
        while self._being_cut:
            self._take()
        self._flush()
        return self._size

    def _flush(self) -> None:
        """Hand words and whole lines held to be tokenised, and forget them."""
        self.wait()  # one piece of work at a time bounds memory
        self._jobs.append(self._tokenising.submit(self._tokenise, self._row, self._whole, self._words))
        self._words, self._whole = [], []

    def wait(self) -> None:
        """Wait for the work handed over, and raise what went wrong in it."""
        while self._jobs:
            self._jobs.pop().result()

    def _tokenise(self, row: np.ndarray, whole: list[str], words: list[pyarrow.Table]) -> None:
        """Add the tokens of whole lines to a row, and those of words as often as the words occur."""
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
