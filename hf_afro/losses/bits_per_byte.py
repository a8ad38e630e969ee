"""Bits per byte: the prediction of masked words, in a unit that does not depend on the vocabulary.

The loss per token falls when words are split into more subwords, so it cannot compare two vocabularies. Here the
masked words are chosen from the text alone, and their cost is divided by their UTF-8 bytes.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

UNKNOWN_BITS_PER_BYTE = 8.0  # the cost of a byte if all bytes are equally likely


@dataclass(frozen=True)
class MaskedWordTotals:
    """Sums over masked words, which can be added to pool languages, batches and processes.

    A word that the tokenizer cannot write without `<unk>` is not scored by the model: it costs 8 bits per byte, since
    a model that calls everything unknown would otherwise look perfect.

    Attributes:
        nats: Minus the summed natural logarithm of the probabilities of the subwords of scored words.
        pieces: Subwords of the scored words.
        scored_bytes: UTF-8 bytes of the scored words.
        unknown_bytes: UTF-8 bytes of the words that hold `<unk>`.
        scored_words: Words scored by the model.
        unknown_words: Words that hold `<unk>`.
        cut_words: Words that were chosen but lie beyond the longest sequence; they are in none of the other sums.
    """

    nats: float = 0.0
    pieces: float = 0.0
    scored_bytes: float = 0.0
    unknown_bytes: float = 0.0
    scored_words: float = 0.0
    unknown_words: float = 0.0
    cut_words: float = 0.0

    def __add__(self, other: MaskedWordTotals) -> MaskedWordTotals:
        """Add two sets of words."""
        return MaskedWordTotals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def loss(self) -> float:
        """Nats per subword of the scored words; nan without any."""
        return self.nats / self.pieces if self.pieces else math.nan

    @property
    def perplexity(self) -> float:
        """The exponential of `loss`; inf if that overflows."""
        return math.exp(self.loss) if not self.loss > 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte over all masked words, unknown ones at 8; nan without any."""
        total_bytes = self.scored_bytes + self.unknown_bytes
        if not total_bytes:
            return math.nan
        return (self.nats / math.log(2) + UNKNOWN_BITS_PER_BYTE * self.unknown_bytes) / total_bytes

    @property
    def cut_share(self) -> float:
        """Share of the chosen words that were cut off, 0 to 1: two models can be compared if it is near 0."""
        words = self.scored_words + self.unknown_words + self.cut_words
        return self.cut_words / words if words else math.nan

    @property
    def unknown_share(self) -> float:
        """Share of the masked words that hold `<unk>`, 0 to 1; nan without any."""
        words = self.scored_words + self.unknown_words
        return self.unknown_words / words if words else math.nan
