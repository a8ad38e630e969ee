"""count_tokens: the exact counts of encoding every line, by tokenising each distinct word once."""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from hf_afro.version import __version__
from hf_afro.vocabulary.counts import TextSize, TokenCounts
from hf_afro.vocabulary.tokenizers.backend import backend_state, plain_backend, table_of
from hf_afro.vocabulary.words import CrossingLines, cuts_at_spaces

logger = logging.getLogger(__name__)

# Characters of lines taken in one go, and distinct words held before they are tokenised and forgotten: both bound
# memory (about 0.5 GB at most with XLM-R) and neither changes a count.
_BLOCK_CHARACTERS = 4_000_000
_MAX_WORDS = 1_000_000
# Distinct words are encoded side by side in texts of this many, because each encoding costs as much as several words.
_WORDS_A_TEXT = 256
_TEXTS_A_BATCH = 256


def count_tokens(
    texts: Mapping[str, Iterable[str]], tokenizer: PreTrainedTokenizerBase, *, show_progress: bool = False
) -> TokenCounts:
    """Count how often each language uses each token, exactly as encoding every whole line would.

    Where the tokenizer splits at white space first, as XLM-R does, each distinct word is tokenised once and counted
    as often as it occurs; lines in which something reaches across a space are encoded whole. Other tokenizers get
    every line encoded in batches. The tokenizer is not changed, and truncation or padding set on it play no part.

    Args:
        texts: Lines of text by language; each text is read once, and lines may hold anything, line ends too.
        tokenizer: A fast tokenizer of a kind that can be pruned.
        show_progress: Show a bar that counts bytes of text.

    Returns:
        The counts, special tokens around a text not among them.

    Raises:
        TypeError: If a text is not an iterable of str, or the tokenizer is not a fast one.
        ValueError: If there is no language, a text holds lone surrogates, or the tokenizer's kind is not supported.

    Example:
        >>> counts = count_tokens({"swa": ["Habari ya leo"], "yor": ["Ẹ kú àárọ̀"]}, tokenizer)
        >>> counts.total["swa"]
        3
    """
    if not texts:
        raise ValueError("no text to count: expected a mapping of at least one language to its lines")
    state = backend_state(tokenizer)
    table = table_of(state, tokenizer.unk_token)
    backend = plain_backend(tokenizer)
    crossing = CrossingLines.of(state) if cuts_at_spaces(state) else None
    languages = tuple(sorted(texts))
    counts = np.zeros((len(languages), len(table)), dtype=np.int64)
    sizes = {}
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        tqdm(unit="B", unit_scale=True, disable=not show_progress) as bar,
    ):
        counter = _Counter(backend, crossing, pool)
        for language, row in zip(languages, counts, strict=True):
            bar.set_description(language)
            counter.start(language, row)
            for lines in _blocks(texts[language], language):
                bar.update(counter.add(lines))
            sizes[language] = counter.finish()
        counter.wait()
    versions = {"hf_afro": __version__, "tokenizers": importlib.metadata.version("tokenizers")}
    return TokenCounts(languages, counts, sizes, table, {"versions": versions})


def _blocks(lines: Iterable[str], language: str) -> Iterator[list[str]]:
    """Cut an iterable of lines into lists of about `_BLOCK_CHARACTERS` characters."""
    if isinstance(lines, str):
        raise TypeError(f"the text of {language!r} is one str; expected an iterable of lines, such as [text]")
    block: list[str] = []
    held = 0
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str):
            raise TypeError(f"line {number} of {language!r} is a {type(line).__name__}; expected str")
        block.append(line)
        held += len(line)
        if held >= _BLOCK_CHARACTERS:
            yield block
            block, held = [], 0
    if block:
        yield block


class _Counter:
    """Counts one language into one row of the counts.

    Lines are cut into words here while the pool, of one thread, tokenises those of before: the tokenizers library
    works outside Python's lock. Only the pool writes to the row.
    """

    def __init__(self, backend: Tokenizer, crossing: CrossingLines | None, pool: Executor) -> None:
        self._backend = backend
        self._crossing = crossing
        self._pool = pool
        self._jobs: list[Future[None]] = []

    def start(self, language: str, row: np.ndarray) -> None:
        """Begin a language, to be counted into a row."""
        self._language = language
        self._row = row
        self._size = TextSize()
        self._words: Counter[str] = Counter()
        self._whole: list[str] = []

    def add(self, lines: list[str]) -> int:
        """Count lines, and return how many bytes they have."""
        joined = f" {' '.join(lines)} "
        parts = joined.split(" ")
        added = len(lines) + 1
        size = self._byte_size(joined) - added
        self._size += TextSize(len(lines), len(parts) - parts.count(""), len(joined) - added, size)
        if self._crossing is None:
            self._whole = lines
            self._flush()
            return size
        self._words.update(parts)
        whole = [lines[position] for position in self._crossing.among(lines, joined)]
        self._words.subtract(word for line in whole for word in line.split(" "))
        self._whole += whole
        if len(self._words) >= _MAX_WORDS or sum(map(len, self._whole)) >= _BLOCK_CHARACTERS:
            self._flush()
        return size

    def _byte_size(self, text: str) -> int:
        try:
            return len(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the text of {self._language!r} holds the lone surrogate {text[error.start]!r}, which is no "
                "character; read the file as UTF-8 with errors='replace'"
            ) from error

    def finish(self) -> TextSize:
        """End a language, whose last words may still be on their way, and return the size of its text."""
        self._flush()
        return self._size

    def _flush(self) -> None:
        """Hand words and whole lines held to the pool, and forget them."""
        by_count: dict[int, list[str]] = {}
        del self._words[""]
        for word, count in self._words.items():
            by_count.setdefault(count, []).append(word)
        by_count.pop(0, None)  # left over from lines encoded whole
        self.wait()  # one piece of work at a time bounds memory
        self._jobs.append(self._pool.submit(self._encode, self._row, self._whole, by_count))
        self._words, self._whole = Counter(), []

    def wait(self) -> None:
        """Wait for the work handed over, and raise what went wrong in it."""
        while self._jobs:
            self._jobs.pop().result()

    def _encode(self, row: np.ndarray, whole: list[str], by_count: dict[int, list[str]]) -> None:
        """Add the tokens of whole lines, and those of words as often as their key says; words share encodings."""
        words = (
            (" ".join(texts[start : start + _WORDS_A_TEXT]), count)
            for count, texts in by_count.items()
            for start in range(0, len(texts), _WORDS_A_TEXT)
        )
        weighted = itertools.chain(((line, 1) for line in whole), words)
        while batch := list(itertools.islice(weighted, _TEXTS_A_BATCH)):
            encodings = self._backend.encode_batch_fast([text for text, _ in batch], add_special_tokens=False)
            ids = [encoding.ids for encoding in encodings]
            weights = np.repeat([weight for _, weight in batch], [len(one) for one in ids])
            flat = np.fromiter(itertools.chain.from_iterable(ids), dtype=np.int64, count=len(weights))
            np.add.at(row, flat, weights)
