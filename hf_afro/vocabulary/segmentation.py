"""Compare how the original and the pruned tokenizer split text: exactly where all tokens are kept, else in numbers."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import logging
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from tokenizers import Encoding, Tokenizer, models
from transformers import PreTrainedTokenizerBase

from hf_afro.sentence_modules import SentenceModules
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.scripts import script_pattern
from hf_afro.vocabulary.tokenizers.backend import gc_paused, kind_named, plain_backend
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

logger = logging.getLogger(__name__)

_BATCH = 1024
_PROBES, _PIECES_A_PROBE = 256, 16


def probe_texts(table: TokenizerTable, old_ids: np.ndarray, seed: int) -> list[str]:
    """Make texts of tokens drawn uniformly from those kept, `old_ids`."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(old_ids, size=(_PROBES, _PIECES_A_PROBE))
    spell = kind_named(table.kind).spell
    return [spell([table.pieces[old_id] for old_id in row]) for row in drawn.tolist()]


@gc_paused()
def ids_found_in(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, table: TokenizerTable) -> np.ndarray:
    """Return the ids that decide how texts are split: a tokenizer with only these tokens splits them alike.

    A model handles one word at a time, as the steps before it cut them, so tokens that occur in no word have no
    effect. All others are returned, and a list of merges keeps its order. The cost of an unknown character depends on
    the lowest score, whose token `TokenizerKind.companions` keeps.

    Args:
        texts: The texts.
        tokenizer: A tokenizer with the same steps around the model; its model is not used.
        table: The tokens of the tokenizer in question.

    Returns:
        Ids in ascending order, including all added tokens.
    """
    kind = kind_named(table.kind)
    found_as = [kind.found_as(piece) for piece in table.pieces]
    known, lengths = set(found_as), sorted({*map(len, found_as)})
    runs = set()
    for word in _words_before_the_model(texts, tokenizer):
        for start in range(len(word)):
            for length in lengths[: bisect.bisect_right(lengths, len(word) - start)]:
                run = word[start : start + length]
                if run in known:
                    runs.add(run)
    found = [old_id for old_id, form in enumerate(found_as) if form in runs]
    always = kind.companions(table, np.zeros(len(table), dtype=np.int64)).values()
    return np.unique([*table.always_kept, *found, *itertools.chain.from_iterable(always)])


def _words_before_the_model(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Return the words that a tokenizer passes to its model.

    A model of single bytes behind the same steps gives them back.
    """
    model = models.BPE({f"<0x{byte:02X}>": byte for byte in range(256)}, [], byte_fallback=True)
    backend = plain_backend(tokenizer, model=model)
    words = set()
    for encoding in encode(backend, list(texts)):
        spelt: dict[int | None, bytearray] = {}
        for one, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if one < 256:  # larger ids are added tokens
                spelt.setdefault(word, bytearray()).append(one)
        words |= {word.decode() for word in spelt.values()}
    return words


@dataclass(frozen=True)
class Segmentation:
    """The result of splitting texts with the original and the pruned tokenizer.

    Attributes:
        kept: Number of texts whose old tokens are all kept.
        other: Number of other texts.
        first_difference: The first text of kept tokens that is split differently; None if there is none.
    """

    kept: int
    other: int
    first_difference: str | None


def compare_segmentation(
    texts: Sequence[str],
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    keep: VocabularyMap,
    old_ids: np.ndarray | None = None,
) -> Segmentation:
    """Split texts with both tokenizers and compare the tokens, without special tokens around the texts.

    Args:
        texts: The texts.
        old: The original tokenizer, or a part of it that splits these texts alike; see `ids_found_in`.
        new: The pruned tokenizer.
        keep: The map from the original to the pruned one.
        old_ids: The original id of each id of `old`; None if it is the original.
    """
    old_backend, new_backend = plain_backend(old), plain_backend(new)
    kept = other = 0
    first_difference = None
    for batch in batches(texts):
        pairs = zip(batch, encode(old_backend, batch), encode(new_backend, batch), strict=True)
        for text, before, after in pairs:
            ids = np.array(before.ids, dtype=np.int64)
            if old_ids is not None:
                ids = old_ids[ids]
            if not keep.keeps(ids).all():
                other += 1
                continue
            kept += 1
            if first_difference is None and keep.to_new(ids).tolist() != after.ids:
                first_difference = text
    return Segmentation(kept, other, first_difference)


@dataclass(frozen=True)
class SplitCounts:
    """How texts are split by the original and by the pruned tokenizer, in numbers that add up over texts.

    Attributes:
        lines: Number of lines.
        words: Number of words, separated by spaces (U+0020).
        old_tokens: Number of tokens of the original.
        new_tokens: Number of tokens of the pruned tokenizer.
        lost_tokens: Number of tokens of the original that the pruned tokenizer does not have.
        old_unknown: Number of unknown tokens of the original.
        new_unknown: Number of unknown tokens of the pruned tokenizer.
        lines_alike: Number of lines split into the same tokens.
        lines_kept: Number of lines of which every token is kept; an exact pruning splits them alike.
        lines_kept_alike: Number of those that are split into the same tokens.
    """

    lines: int = 0
    words: int = 0
    old_tokens: int = 0
    new_tokens: int = 0
    lost_tokens: int = 0
    old_unknown: int = 0
    new_unknown: int = 0
    lines_alike: int = 0
    lines_kept: int = 0
    lines_kept_alike: int = 0

    @classmethod
    def of(
        cls, text: str, before: Sequence[int], after: Sequence[int], lost: int, unknown_id: int | None
    ) -> SplitCounts:
        """Count one line.

        Args:
            text: The line.
            before: Its ids in the original.
            after: Its ids in the pruned tokenizer as ids of the original, -1 for a token that the original lacks.
            lost: How many of `before` were not kept.
            unknown_id: The id of the unknown token in the original.
        """
        alike = before == after
        return cls(
            lines=1,
            words=sum(1 for word in text.split(" ") if word),
            old_tokens=len(before),
            new_tokens=len(after),
            lost_tokens=lost,
            old_unknown=0 if unknown_id is None else before.count(unknown_id),
            new_unknown=0 if unknown_id is None else after.count(unknown_id),
            lines_alike=alike,
            lines_kept=not lost,
            lines_kept_alike=alike and not lost,
        )

    def __add__(self, other: SplitCounts) -> SplitCounts:
        return SplitCounts(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))

    @property
    def lost_share(self) -> float:
        """Share of the original's running tokens that were not kept, 0 to 1."""
        return self.lost_tokens / max(self.old_tokens, 1)

    @property
    def unknown_rates(self) -> tuple[float, float]:
        """Share of unknown tokens before and after, 0 to 1."""
        return self.old_unknown / max(self.old_tokens, 1), self.new_unknown / max(self.new_tokens, 1)

    @property
    def tokens_per_word(self) -> tuple[float, float]:
        """Tokens per word before and after."""
        return self.old_tokens / max(self.words, 1), self.new_tokens / max(self.words, 1)


@dataclass(frozen=True)
class TextReport:
    """A comparison of one language's text before and after pruning.

    Attributes:
        lines: Number of lines.
        lines_alike: Share of lines split into the same tokens, 0 to 1.
        old_unknown_rate: Share of unknown tokens before pruning.
        new_unknown_rate: Share of unknown tokens after pruning.
        old_tokens_per_word: Tokens per word (separated by spaces) before pruning.
        new_tokens_per_word: Tokens per word after pruning.
        new_unknown: Number of characters of the normalised text that became unknown.
        new_unknown_wanted: Number of characters of the kept scripts that became unknown, expected to be 0. Characters
            of other scripts are removed first, because WordPiece turns a whole word unknown for one of them.
    """

    lines: int
    lines_alike: float
    old_unknown_rate: float
    new_unknown_rate: float
    old_tokens_per_word: float
    new_tokens_per_word: float
    new_unknown: int
    new_unknown_wanted: int


def report_on_text(
    texts: Mapping[str, Iterable[str]],
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    keep: VocabularyMap,
    *,
    scripts: Iterable[str] | None = None,
) -> dict[str, TextReport]:
    """Report per language how text is split before and after pruning, preferably text that was not counted.

    Args:
        texts: Lines by language.
        old: The original tokenizer.
        new: The pruned tokenizer.
        keep: The map between them.
        scripts: Scripts whose characters must not become unknown, see `script_pattern`; None for the scripts of the
            map.
    """
    if not texts:
        return {}
    named = keep.provenance.get("scripts", ()) if scripts is None else scripts
    wanted = script_pattern(named)
    before, after = _Splitter(old, keep.old_unknown_id), _Splitter(new, keep.new_unknown_id)
    return {language: _report_on(lines, before, after, keep, wanted) for language, lines in texts.items()}


class _Splitter:
    """A tokenizer that also finds the unknown characters of a normalised text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, unknown_id: int | None) -> None:
        self.backend = plain_backend(tokenizer)
        self.unknown_id = -1 if unknown_id is None else unknown_id  # no token has this id
        # Offsets are exact only if normalising has not deleted or joined characters, so the text is normalised first.
        self._normalizer = self.backend.normalizer
        self._normalized = plain_backend(tokenizer)
        self._normalized.normalizer = None

    def normalize(self, text: str) -> str:
        return text if self._normalizer is None else self._normalizer.normalize_str(text)

    def unknown_places(self, normalized: str) -> set[int]:
        """Return the positions of characters that unknown tokens cover."""
        encoding = self._normalized.encode(normalized, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return {place for token, (start, end) in spans if token == self.unknown_id for place in range(start, end)}


def _report_on(
    lines: Iterable[str], old: _Splitter, new: _Splitter, keep: VocabularyMap, wanted: regex.Pattern[str]
) -> TextReport:
    total, unknown, unknown_wanted = SplitCounts(), 0, 0
    for batch in batches(lines):
        for text, before, after in zip(batch, encode(old.backend, batch), encode(new.backend, batch), strict=True):
            dropped = int((~keep.keeps(np.array(before.ids, dtype=np.int64))).sum())
            own = SplitCounts.of(text, before.ids, keep.to_old(after.ids), dropped, keep.old_unknown_id)
            total += own
            if own.new_unknown:
                normalized = new.normalize(text)
                unknown += len(new.unknown_places(normalized) - old.unknown_places(normalized))
                kept = "".join(character for character in normalized if wanted.match(character))
                unknown_wanted += len(new.unknown_places(kept) - old.unknown_places(kept))
    (old_unknown, new_unknown), (old_length, new_length) = total.unknown_rates, total.tokens_per_word
    return TextReport(
        lines=total.lines,
        lines_alike=total.lines_alike / max(total.lines, 1),
        old_unknown_rate=old_unknown,
        new_unknown_rate=new_unknown,
        old_tokens_per_word=old_length,
        new_tokens_per_word=new_length,
        new_unknown=unknown,
        new_unknown_wanted=unknown_wanted,
    )


def encode(backend: Tokenizer, batch: list[str]) -> list[Encoding]:
    """Split texts, without special tokens around them."""
    return backend.encode_batch(batch, add_special_tokens=False)


def batches(texts: Iterable[str]) -> Iterable[list[str]]:
    """Yield texts in lists of at most 1,024."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def warn_of_prompts(
    modules: SentenceModules, tokenizer: PreTrainedTokenizerBase, old_ids: np.ndarray, keep: VocabularyMap
) -> None:
    """Warn about sentence-transformers prompts that the pruned tokenizer splits differently.

    Args:
        modules: The modules with the prompts.
        tokenizer: The original tokenizer, or a part of it that splits the prompts alike.
        old_ids: The original id of each of its ids.
        keep: The tokens kept.
    """
    for name, text in modules.prompts.items():
        ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
        lost = tokenizer.convert_ids_to_tokens(ids[~keep.keeps(old_ids[ids])].tolist())
        if lost:
            logger.warning(
                "the prompt %s, %r, is now split differently, which changes every vector made with it: %s not kept; "
                "keep them with --keep_texts or select_tokens(keep_texts=[...])",
                name,
                text,
                ", ".join(lost),
            )
