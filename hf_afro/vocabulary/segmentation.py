"""Compare how two tokenizers split text: exactly where the pieces are all kept, and in figures where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.scripts import script_pattern
from hf_afro.vocabulary.tokenizers.backend import plain_backend
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from hf_afro.vocabulary.tokenizers.unigram import WORD_START

_BATCH = 1024
_PROBES, _PIECES_A_PROBE = 256, 16


def probe_texts(table: TokenizerTable, keep: VocabularyMap, seed: int) -> list[str]:
    """Make texts of kept pieces, drawn evenly, so that every kind of piece gets its turn."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(keep.old_ids, size=(_PROBES, _PIECES_A_PROBE))
    return ["".join(table.pieces[old_id] for old_id in row).replace(WORD_START, " ") for row in drawn.tolist()]


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
    texts: Sequence[str], old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase, keep: VocabularyMap
) -> Segmentation:
    """Split texts with both tokenizers and compare, special tokens around them left out."""
    old_backend, new_backend = plain_backend(old), plain_backend(new)
    kept = other = 0
    first_difference = None
    for batch in _batches(texts):
        pairs = zip(batch, _encode(old_backend, batch), _encode(new_backend, batch), strict=True)
        for text, before, after in pairs:
            if not keep.keeps(np.array(before.ids, dtype=np.int64)).all():
                other += 1
                continue
            kept += 1
            if first_difference is None and keep.to_new(before.ids) != after.ids:
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
        new_unknown: Characters, of any script, that became unknown.
        new_unknown_wanted: Those of them that are characters of the scripts kept; 0 is right.
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
        scripts: Unicode script names whose characters must not become unknown; None for those the map kept.
    """
    named = keep.provenance.get("scripts", ()) if scripts is None else scripts
    wanted = script_pattern(named)
    backends = plain_backend(old), plain_backend(new)
    return {language: _report_on(lines, *backends, keep, wanted) for language, lines in texts.items()}


def _report_on(
    lines: Iterable[str], old: Tokenizer, new: Tokenizer, keep: VocabularyMap, wanted: regex.Pattern[str]
) -> TextReport:
    total = alike = words = unknown = unknown_wanted = 0
    tokens, unknowns = [0, 0], [0, 0]
    for batch in _batches(lines):
        for text, before, after in zip(batch, _encode(old, batch), _encode(new, batch), strict=True):
            total += 1
            words += sum(1 for word in text.split(" ") if word)
            alike += keep.to_old(after.ids) == before.ids
            lost = [before.ids.count(keep.old_unknown_id), after.ids.count(keep.new_unknown_id)]
            tokens = [tokens[0] + len(before.ids), tokens[1] + len(after.ids)]
            unknowns = [unknowns[0] + lost[0], unknowns[1] + lost[1]]
            if lost[1]:
                gone = _unknown_places(after, keep.new_unknown_id) - _unknown_places(before, keep.old_unknown_id)
                unknown += len(gone)
                unknown_wanted += sum(1 for place in gone if wanted.match(text[place]) and not text[place].isspace())
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


def _unknown_places(encoding: Encoding, unknown_id: int) -> set[int]:
    """Return the places in the text, in characters, that unknown tokens cover."""
    spans = (span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token == unknown_id)
    return {place for start, end in spans for place in range(start, end)}


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
