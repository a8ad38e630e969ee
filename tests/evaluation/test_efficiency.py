"""Efficiency figures exist and say what they were measured on."""

from __future__ import annotations

from hf_afro.evaluation.efficiency import measure_efficiency
from tests.evaluation.conftest import make


def test_figures_say_what_they_rest_on(model, tokenizer):
    data = [make("ner"), make("topic", "yor")]
    figures = measure_efficiency(model, tokenizer, data, rounds=1)
    assert figures["measured_sentences"] == 32
    assert figures["measured_tokens"] > 5 * 32
    assert figures["latency_ms"] > 0
    assert figures["sentences_per_second"] > 0
    # It includes the weights, and not the memory of this process.
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    assert weights < figures["peak_memory_bytes"] < 2 << 30
    assert measure_efficiency(model, tokenizer, []) == {}
