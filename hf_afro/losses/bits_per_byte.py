"""Bits a byte: how well masked words are predicted, in a unit that does not depend on the vocabulary.

A loss a token falls when words are cut into more pieces, so it cannot compare two vocabularies. Here the words that
are masked are chosen from the text alone, and what they cost is divided by their UTF-8 bytes.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

UNKNOWN_BITS_A_BYTE = 8.0  # what spelling a byte out costs when every byte is as likely as any other


@dataclass(frozen=True)
class MaskedWordTotals:
    """Sums over masked words; two of them add up, so languages, batches and processes can be pooled.

    A word that the tokenizer cannot write without `<unk>` is not scored by the model: it costs 8 bits a byte, since
    a model that calls everything unknown would otherwise look perfect.

    Attributes:
        nats: Minus the summed natural log of the probabilities of the pieces of scored words.
        pieces: Pieces of the scored words.
        scored_bytes: UTF-8 bytes of the scored words.
        unknown_bytes: UTF-8 bytes of the words that hold `<unk>`.
        scored_words: Words scored by the model.
        unknown_words: Words that hold `<unk>`.
        cut_words: Words that were chosen and lie beyond the longest sequence; they are in none of the other sums.
    """

    nats: float = 0.0
    pieces: float = 0.0
    scored_bytes: float = 0.0
    unknown_bytes: float = 0.0
    scored_words: float = 0.0
    unknown_words: float = 0.0
    cut_words: float = 0.0

    def __add__(self, other: MaskedWordTotals) -> MaskedWordTotals:
        """Pool two sets of words."""
        return MaskedWordTotals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def loss(self) -> float:
        """Nats a piece of the scored words; nan where there is none."""
        return self.nats / self.pieces if self.pieces else math.nan

    @property
    def perplexity(self) -> float:
        """The exponential of `loss`; inf where that overflows."""
        return math.exp(self.loss) if not self.loss > 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits a UTF-8 byte over all masked words, unknown ones at 8; nan where there is none."""
        total_bytes = self.scored_bytes + self.unknown_bytes
        if not total_bytes:
            return math.nan
        return (self.nats / math.log(2) + UNKNOWN_BITS_A_BYTE * self.unknown_bytes) / total_bytes

    @property
    def cut_share(self) -> float:
        """Share of the chosen words that were cut off, 0 to 1: figures of two models compare where it is near 0."""
        words = self.scored_words + self.unknown_words + self.cut_words
        return self.cut_words / words if words else math.nan

    @property
    def unknown_share(self) -> float:
        """Share of the masked words that hold `<unk>`, 0 to 1; nan where there is none."""
        words = self.scored_words + self.unknown_words
        return self.unknown_words / words if words else math.nan
