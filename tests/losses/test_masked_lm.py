"""The masked-LM sum against a direct computation, and the restriction to kept tokens."""

from __future__ import annotations

import pytest
import torch

from hf_afro.losses import masked_lm_loss, restrict_to_kept


def test_sum_of_negative_log_probabilities():
    logits, labels = torch.randn(5, 11), torch.tensor([0, 3, 10, 3, 7])
    expected = -sum(logits[row].log_softmax(0)[label] for row, label in enumerate(labels))
    assert masked_lm_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_nothing_masked_is_zero_with_a_gradient_path():
    logits = torch.randn(0, 11, requires_grad=True)
    loss = masked_lm_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None


def test_half_precision_logits_are_summed_in_fp32():
    logits, labels = torch.randn(64, 1000).bfloat16(), torch.arange(64)
    loss = masked_lm_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(masked_lm_loss(logits.double(), labels).item(), rel=1e-5)


def test_restriction_is_a_softmax_over_the_kept_tokens_alone():
    logits, kept = torch.randn(3, 10), torch.tensor([1, 4, 9])
    restricted = restrict_to_kept(logits, kept).softmax(-1)
    assert torch.allclose(restricted[:, kept], logits[:, kept].softmax(-1))
    assert restricted.sum(-1).tolist() == pytest.approx([1.0] * 3)
    assert (restricted[:, [0, 2, 3, 5, 6, 7, 8]] == 0).all()
