"""The masked-LM losses: from logits, straight from hidden states, and restricted to kept tokens."""

from __future__ import annotations

import pytest
import torch

from hf_afro.losses import masked_lm, masked_lm_loss, projected_masked_lm_loss, restrict_to_kept


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


TOKENS, WIDTH, VOCABULARY = 37, 24, 501


def parts(dtype=torch.float64, tokens=TOKENS, bias=True, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, WIDTH, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64) * scale / WIDTH**0.5
    shift = torch.randn(VOCABULARY, generator=generator, dtype=torch.float64)
    labels = torch.randint(VOCABULARY, (tokens,), generator=generator)
    leaves = [part.to(dtype).requires_grad_() for part in (hidden, weight, *([shift] if bias else []))]
    return leaves, labels


def usual(leaves, labels):
    return masked_lm_loss(torch.nn.functional.linear(*leaves), labels)


def projected(leaves, labels):
    hidden, weight, *bias = leaves
    return projected_masked_lm_loss(hidden, weight, bias[0] if bias else None, labels)


def value_and_gradients(loss_of, leaves, labels, upstream=0.37):
    loss = loss_of(leaves, labels)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return loss, torch.autograd.grad(loss * upstream, wanted)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 1000])
def test_value_and_gradients_are_those_of_cross_entropy(monkeypatch, chunk, bias):
    monkeypatch.setattr(masked_lm, "CHUNK_NUMBERS", chunk * VOCABULARY)
    loss, gradients = value_and_gradients(projected, *parts(bias=bias))
    expected, of_expected = value_and_gradients(usual, *parts(bias=bias))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
    for found, wanted in zip(gradients, of_expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("chunk", [4, 1000])
def test_in_fp32_it_is_as_near_the_truth_as_the_usual_way(monkeypatch, chunk):
    monkeypatch.setattr(masked_lm, "CHUNK_NUMBERS", chunk * VOCABULARY)
    _, truth = value_and_gradients(usual, *parts())
    loss, gradients = value_and_gradients(projected, *parts(torch.float32))
    expected, of_expected = value_and_gradients(usual, *parts(torch.float32))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for found, wanted, true in zip(gradients, of_expected, truth, strict=True):
        assert (found - true).norm() <= 2 * (wanted - true).norm()
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_large_logits_and_sure_predictions_stay_finite():
    leaves, labels = parts(torch.float32, scale=2000.0)
    loss, gradients = value_and_gradients(projected, leaves, labels)
    expected, of_expected = value_and_gradients(usual, *parts(torch.float32, scale=2000.0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for found, wanted in zip(gradients, of_expected, strict=True):
        assert torch.isfinite(found).all()
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_as_near_the_truth_as_the_usual_way(half):
    _, truth = value_and_gradients(usual, *parts())
    with torch.autocast("cpu", dtype=half):
        loss, gradients = value_and_gradients(projected, *parts(torch.float32))
        expected, of_expected = value_and_gradients(usual, *parts(torch.float32))
    assert loss.dtype == expected.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3)
    assert loss.item() != value_and_gradients(projected, *parts(torch.float32))[0].item()  # the products were in half
    for found, wanted, true in zip(gradients, of_expected, truth, strict=True):
        assert found.dtype == torch.float32
        assert (found - true).norm() <= 1.2 * (wanted - true).norm()


def test_half_weights_get_half_gradients_and_an_fp32_loss():
    loss, gradients = value_and_gradients(projected, *parts(torch.bfloat16))
    assert loss.dtype == torch.float32
    assert {gradient.dtype for gradient in gradients} == {torch.bfloat16}
    _, truth = value_and_gradients(usual, *parts())
    _, of_usual = value_and_gradients(usual, *parts(torch.bfloat16))
    for found, wanted, true in zip(gradients, of_usual, truth, strict=True):
        assert (found - true).norm() <= 1.2 * (wanted - true).norm()


def test_no_token_costs_nothing_and_gives_zero_gradients():
    loss, gradients = value_and_gradients(projected, *parts(tokens=0))
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients)
    assert gradients[1].shape == (VOCABULARY, WIDTH)


def test_what_is_frozen_gets_no_gradient():
    leaves, labels = parts()
    _, of_all = value_and_gradients(projected, *parts())
    leaves[1].requires_grad_(False)
    leaves[2].requires_grad_(False)
    _, (of_hidden,) = value_and_gradients(projected, leaves, labels)
    torch.testing.assert_close(of_hidden, of_all[0])
    with torch.no_grad():
        assert not projected(leaves, labels).requires_grad


def test_a_second_backward_pass_is_refused():
    leaves, labels = parts()
    loss = projected(leaves, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="ran a second time"):
        loss.backward()


def test_chunks_hold_no_more_than_they_may(monkeypatch):
    monkeypatch.setattr(masked_lm, "CHUNK_NUMBERS", 10 * VOCABULARY)
    seen = []
    inner = masked_lm._softmax_gradient_
    monkeypatch.setattr(masked_lm, "_softmax_gradient_", lambda own, ids: (seen.append(own.shape), inner(own, ids))[1])
    projected(*parts())
    assert seen == [(10, VOCABULARY)] * 3 + [(7, VOCABULARY)]
