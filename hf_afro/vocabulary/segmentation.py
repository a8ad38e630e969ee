"""Compare how two tokenizers split text: exactly where the pieces are all kept, and in figures where they are not."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from tokenizers import Encoding, Tokenizer, models
from transformers import PreTrainedTokenizerBase

from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.scripts import script_pattern
from hf_afro.vocabulary.tokenizers.backend import kind_named, plain_backend
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

_BATCH = 1024
_PROBES, _PIECES_A_PROBE = 256, 16


def probe_texts(table: TokenizerTable, keep: VocabularyMap, seed: int) -> list[str]:
    """Make texts of kept pieces, drawn evenly, so that every kind of piece gets its turn."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(keep.old_ids, size=(_PROBES, _PIECES_A_PROBE))
    spell = kind_named(table.kind).spell
    return [spell([table.pieces[old_id] for old_id in row]) for row in drawn.tolist()]


def ids_found_in(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, table: TokenizerTable) -> np.ndarray:
    """Return the ids of all that decides how texts are split: a tokenizer of these pieces alone splits them alike.

    A model looks at one word after the other, as the steps before it cut them, and joins or finds pieces inside it
    only. So those found in no word play no part; of the others none is left out, and in a list of merges the order
    stays. An unknown character costs what the lowest score of all says, which `TokenizerKind.companions` keeps.

    Args:
        texts: The texts.
        tokenizer: One with the steps of the tokenizer asked about; of its model nothing is used.
        table: The pieces of the tokenizer asked about.

    Returns:
        Ids, ascending, the added tokens among them.
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
    """Return what a tokenizer's model is given of texts, a word at a time.

    A model of nothing but bytes, put behind the same steps, gives back all it gets.
    """
    model = models.BPE({f"<0x{byte:02X}>": byte for byte in range(256)}, [], byte_fallback=True)
    backend = plain_backend(tokenizer, model=model)
    words = set()
    for encoding in _encode(backend, list(texts)):
        spelt: dict[int | None, bytearray] = {}
        for one, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if one < 256:  # those beyond are added tokens
                spelt.setdefault(word, bytearray()).append(one)
        words |= {word.decode() for word in spelt.values()}
    return words


@dataclass(frozen=True)
class Segmentation:
    """How texts were split by an original tokenizer and its pruned one.

    Attributes:
        kept: Texts whose old pieces are all kept.
        other: The other texts.
        first_difference: The first text, of those whose pieces are all kept, that is split otherwise; None is right.
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
    """Split texts with both tokenizers and compare, special tokens around them left out.

    Args:
        texts: The texts.
        old: The original tokenizer, or one of fewer pieces that splits these texts alike, see `ids_found_in`.
        new: The pruned tokenizer.
        keep: The map from the original to the pruned one.
        old_ids: The original's id of each id of `old`; None where it is the original.
    """
    old_backend, new_backend = plain_backend(old), plain_backend(new)
    kept = other = 0
    first_difference = None
    for batch in _batches(texts):
        pairs = zip(batch, _encode(old_backend, batch), _encode(new_backend, batch), strict=True)
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
class TextReport:
    """How one language's text fares under a pruned tokenizer.

    Attributes:
        lines: Lines split.
        lines_alike: Share of them split into the same pieces, 0 to 1.
        old_unknown_rate: Unknown tokens over running tokens, before.
        new_unknown_rate: After.
        old_pieces_a_word: Running tokens over words (runs between spaces), before.
        new_pieces_a_word: After.
        new_unknown: Characters of the normalised text, of any script, that became unknown.
        new_unknown_wanted: Characters of the scripts kept that became unknown, those of other scripts taken out of
            the line first, since WordPiece gives up a whole word for one of them; 0 is right.
    """

    lines: int
    lines_alike: float
    old_unknown_rate: float
    new_unknown_rate: float
    old_pieces_a_word: float
    new_pieces_a_word: float
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
    """Report how text is split before and after pruning, a language at a time; best on text that was not counted.

    Args:
        texts: Lines by language.
        old: The original tokenizer.
        new: The pruned tokenizer.
        keep: The map between them.
        scripts: Scripts whose characters must not become unknown, as `script_pattern` takes them; None for those the
            map kept.
    """
    if not texts:
        return {}
    named = keep.provenance.get("scripts", ()) if scripts is None else scripts
    wanted = script_pattern(named)
    before, after = _Splitter(old, keep.old_unknown_id), _Splitter(new, keep.new_unknown_id)
    return {language: _report_on(lines, before, after, keep, wanted) for language, lines in texts.items()}


class _Splitter:
    """A tokenizer that can also say which characters of the normalised text it does not know."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, unknown_id: int | None) -> None:
        self.backend = plain_backend(tokenizer)
        self.unknown_id = -1 if unknown_id is None else unknown_id  # which no token has
        # Places in a text are only exact where normalising has not deleted or joined characters: so normalise first.
        self._normalizer = self.backend.normalizer
        self._normalized = plain_backend(tokenizer)
        self._normalized.normalizer = None

    def normalize(self, text: str) -> str:
        return text if self._normalizer is None else self._normalizer.normalize_str(text)

    def unknown_places(self, normalized: str) -> set[int]:
        """Return the places, in characters, that unknown tokens cover."""
        encoding = self._normalized.encode(normalized, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return {place for token, (start, end) in spans if token == self.unknown_id for place in range(start, end)}


def _report_on(
    lines: Iterable[str], old: _Splitter, new: _Splitter, keep: VocabularyMap, wanted: regex.Pattern[str]
) -> TextReport:
    total = alike = words = unknown = unknown_wanted = 0
    tokens, unknowns = [0, 0], [0, 0]
    for batch in _batches(lines):
        for text, before, after in zip(batch, _encode(old.backend, batch), _encode(new.backend, batch), strict=True):
            total += 1
            words += sum(1 for word in text.split(" ") if word)
            alike += keep.to_old(after.ids) == before.ids
            lost = [before.ids.count(old.unknown_id), after.ids.count(new.unknown_id)]
            tokens = [tokens[0] + len(before.ids), tokens[1] + len(after.ids)]
            unknowns = [unknowns[0] + lost[0], unknowns[1] + lost[1]]
            if lost[1]:
                normalized = new.normalize(text)
                unknown += len(new.unknown_places(normalized) - old.unknown_places(normalized))
                own = "".join(character for character in normalized if wanted.match(character))
                unknown_wanted += len(new.unknown_places(own) - old.unknown_places(own))
    return TextReport(
        lines=total,
        lines_alike=alike / max(total, 1),
        old_unknown_rate=unknowns[0] / max(tokens[0], 1),
        new_unknown_rate=unknowns[1] / max(tokens[1], 1),
        old_pieces_a_word=tokens[0] / max(words, 1),
        new_pieces_a_word=tokens[1] / max(words, 1),
        new_unknown=unknown,
        new_unknown_wanted=unknown_wanted,
    )


def _encode(backend: Tokenizer, batch: list[str]) -> list[Encoding]:
    return backend.encode_batch(batch, add_special_tokens=False)


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
