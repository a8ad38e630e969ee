"""Bits per byte by hand, and the sum of totals."""

from __future__ import annotations

import math

import pytest

from hf_afro.losses import MaskedWordTotals


def test_hand_computed():
    # Two scored words of 3 and 5 bytes in 4 pieces at probability 1/4 each: 8 bits over 8 bytes.
    totals = MaskedWordTotals(nats=4 * math.log(4), pieces=4, scored_bytes=8, scored_words=2)
    assert totals.bits_per_byte == pytest.approx(1.0)
    assert totals.perplexity == pytest.approx(4.0)
    # A third word of 2 bytes holds an unknown: 8 bits a byte, 16 bits more over 10 bytes.
    totals += MaskedWordTotals(unknown_bytes=2, unknown_words=1)
    assert totals.bits_per_byte == pytest.approx(2.4)
    assert totals.unknown_share == pytest.approx(1 / 3)
    assert totals.loss == pytest.approx(math.log(4))


def test_nothing_masked_is_nan_and_not_zero():
    assert math.isnan(MaskedWordTotals().bits_per_byte)
    assert math.isnan(MaskedWordTotals().loss)
    assert math.isnan(MaskedWordTotals().perplexity)


def test_a_huge_loss_has_an_infinite_perplexity():
    assert MaskedWordTotals(nats=1e4, pieces=1).perplexity == math.inf
