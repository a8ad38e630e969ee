"""The loss straight from hidden states is that of logits and cross-entropy, in value, gradient, type and memory."""

from __future__ import annotations

import pytest
import torch

from hf_afro.losses import masked_lm_loss, projected, projected_masked_lm_loss

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


def lean(leaves, labels):
    hidden, weight, *bias = leaves
    return projected_masked_lm_loss(hidden, weight, bias[0] if bias else None, labels)


def value_and_gradients(loss_of, leaves, labels, upstream=0.37):
    loss = loss_of(leaves, labels)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return loss, torch.autograd.grad(loss * upstream, wanted)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 1000])
def test_value_and_gradients_are_those_of_cross_entropy(monkeypatch, chunk, bias):
    monkeypatch.setattr(projected, "CHUNK_NUMBERS", chunk * VOCABULARY)
    loss, gradients = value_and_gradients(lean, *parts(bias=bias))
    expected, of_expected = value_and_gradients(usual, *parts(bias=bias))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
    for found, wanted in zip(gradients, of_expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("chunk", [4, 1000])
def test_in_fp32_it_is_as_near_the_truth_as_the_usual_way(monkeypatch, chunk):
    monkeypatch.setattr(projected, "CHUNK_NUMBERS", chunk * VOCABULARY)
    _, truth = value_and_gradients(usual, *parts())
    loss, gradients = value_and_gradients(lean, *parts(torch.float32))
    expected, of_expected = value_and_gradients(usual, *parts(torch.float32))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for found, wanted, true in zip(gradients, of_expected, truth, strict=True):
        assert (found - true).norm() <= 2 * (wanted - true).norm()
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_large_logits_and_sure_predictions_stay_finite():
    leaves, labels = parts(torch.float32, scale=2000.0)
    loss, gradients = value_and_gradients(lean, leaves, labels)
    expected, of_expected = value_and_gradients(usual, *parts(torch.float32, scale=2000.0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for found, wanted in zip(gradients, of_expected, strict=True):
        assert torch.isfinite(found).all()
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_as_near_the_truth_as_the_usual_way(half):
    _, truth = value_and_gradients(usual, *parts())
    with torch.autocast("cpu", dtype=half):
        loss, gradients = value_and_gradients(lean, *parts(torch.float32))
        expected, of_expected = value_and_gradients(usual, *parts(torch.float32))
    assert loss.dtype == expected.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3)
    assert loss.item() != value_and_gradients(lean, *parts(torch.float32))[0].item()  # the products were in half
    for found, wanted, true in zip(gradients, of_expected, truth, strict=True):
        assert found.dtype == torch.float32
        assert (found - true).norm() <= 1.2 * (wanted - true).norm()


def test_half_weights_get_half_gradients_and_an_fp32_loss():
    loss, gradients = value_and_gradients(lean, *parts(torch.bfloat16))
    assert loss.dtype == torch.float32
    assert {gradient.dtype for gradient in gradients} == {torch.bfloat16}
    _, truth = value_and_gradients(usual, *parts())
    _, of_usual = value_and_gradients(usual, *parts(torch.bfloat16))
    for found, wanted, true in zip(gradients, of_usual, truth, strict=True):
        assert (found - true).norm() <= 1.2 * (wanted - true).norm()


def test_no_token_costs_nothing_and_gives_zero_gradients():
    loss, gradients = value_and_gradients(lean, *parts(tokens=0))
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients)
    assert gradients[1].shape == (VOCABULARY, WIDTH)


def test_what_is_frozen_gets_no_gradient():
    leaves, labels = parts()
    _, of_all = value_and_gradients(lean, *parts())
    leaves[1].requires_grad_(False)
    leaves[2].requires_grad_(False)
    _, (of_hidden,) = value_and_gradients(lean, leaves, labels)
    torch.testing.assert_close(of_hidden, of_all[0])
    with torch.no_grad():
        assert not lean(leaves, labels).requires_grad


def test_a_second_backward_pass_is_refused():
    leaves, labels = parts()
    loss = lean(leaves, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="ran a second time"):
        loss.backward()


def test_chunks_hold_no_more_than_they_may(monkeypatch):
    monkeypatch.setattr(projected, "CHUNK_NUMBERS", 10 * VOCABULARY)
    seen = []
    inner = projected._softmax_gradient_
    monkeypatch.setattr(projected, "_softmax_gradient_", lambda own, ids: (seen.append(own.shape), inner(own, ids))[1])
    lean(*parts())
    assert seen == [(10, VOCABULARY)] * 3 + [(7, VOCABULARY)]
