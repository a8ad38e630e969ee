"""The masked-only head gives the loss and gradients of the full head, for every family of the table."""

from __future__ import annotations

import pytest
import torch
from transformers import ErnieConfig, ErnieForMaskedLM

from hf_afro.losses import masked_lm_loss
from hf_afro.training.masked_only import MaskedOnlyHead
from tests.tiny_families import TINY, tiny

# DeBERTa's newer head multiplies with the token embedding itself, so that its logits are made.
NOT_PROJECTED = {"deberta-v2, newer head"}
FP32_ROUNDING = 2.0**-23


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(4, 100, (4, 16), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 9:] = 0
    chosen = (torch.rand(input_ids.shape, generator=generator) < 0.3) & attention_mask.bool()
    return input_ids, attention_mask, input_ids.roll(1, 0).masked_fill(~chosen, -100)


def full_head_loss(model, input_ids, attention_mask, labels):
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def lean_loss(model, head, input_ids, attention_mask, labels):
    """The loss as the trainer takes it, without logits where the family allows it."""
    positions = (labels.flatten() != -100).nonzero().squeeze(1)
    chosen = labels.flatten()[positions]
    with head.at(positions, chosen):
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return head.summed_loss(logits, positions, chosen)


def loss_of_chosen_logits(model, head, input_ids, attention_mask, labels):
    """The loss of logits at the chosen positions, as evaluation restricted to some tokens takes it."""
    positions = (labels.flatten() != -100).nonzero().squeeze(1)
    with head.at(positions):
        logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    chosen = head.select(logits, positions)
    assert chosen.shape == (len(positions), model.config.vocab_size)
    return masked_lm_loss(chosen, labels.flatten()[positions])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("of_lean", [lean_loss, loss_of_chosen_logits])
@pytest.mark.parametrize("family", TINY)
def test_loss_and_gradients_are_those_of_the_full_head(family, of_lean, batch):
    model = tiny(family).double().train()
    head = MaskedOnlyHead(model)
    assert head.is_lean
    assert head.is_projected == (family not in NOT_PROJECTED)
    full = full_head_loss(model, *batch)
    of_full = gradients(model, full)
    lean = of_lean(model, head, *batch)
    found = gradients(model, lean)
    assert lean.item() == pytest.approx(full.item(), rel=1e-12)
    assert found.keys() == of_full.keys()
    for name, expected in of_full.items():
        assert (found[name] - expected).norm() <= 1e-12 * total_norm(of_full) + 1e-12 * expected.norm(), name


@pytest.mark.parametrize("family", TINY)
def test_in_fp32_it_is_as_near_the_truth_as_the_full_head(family, batch):
    # Far from even attention, or gradients of queries and keys would be rounding alone.
    model = tiny(family, initializer_range=0.1).train()
    head = MaskedOnlyHead(model)
    full, lean = full_head_loss(model, *batch), lean_loss(model, head, *batch)
    assert lean.item() == pytest.approx(full.item(), rel=1e-6)
    of_full, of_lean = gradients(model, full), gradients(model, lean)
    exact = tiny(family, initializer_range=0.1).double().train()
    truth = gradients(exact, full_head_loss(exact, *batch))
    whole = total_norm(truth)
    for name, true in truth.items():
        if true.norm() < 1e-9 * whole:  # the bias of keys moves no softmax: what is found of it is rounding alone
            assert of_lean[name].norm() < 1e-5 * whole
            continue
        assert (of_lean[name] - of_full[name]).norm() <= 1e-5 * of_full[name].norm(), name
        stock_error = (of_full[name] - true).norm()
        assert (of_lean[name] - true).norm() <= 2 * stock_error + FP32_ROUNDING * true.norm(), name


def total_norm(tensors):
    return torch.stack([tensor.norm() for tensor in tensors.values()]).norm()


def test_outside_the_context_the_model_is_as_it_was(batch):
    model = tiny("xlm-roberta")
    input_ids, attention_mask, _ = batch
    before = model(input_ids=input_ids, attention_mask=attention_mask).logits
    head = MaskedOnlyHead(model)
    with head.at(torch.tensor([3])):
        assert model(input_ids=input_ids, attention_mask=attention_mask).logits.shape == (1, 1, 100)
    assert torch.equal(model(input_ids=input_ids, attention_mask=attention_mask).logits, before)


def test_no_position_at_all_costs_no_logits_and_gives_zero_gradients(batch):
    model = tiny("xlm-roberta").train()
    head = MaskedOnlyHead(model)
    input_ids, attention_mask, labels = batch
    loss = lean_loss(model, head, input_ids, attention_mask, torch.full_like(labels, -100))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_a_family_not_in_the_table_falls_back_to_the_full_head_and_says_so_once(batch, caplog):
    torch.manual_seed(0)
    shape = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = ErnieForMaskedLM(ErnieConfig(**shape, intermediate_size=64)).eval()
    with caplog.at_level("WARNING", logger="hf_afro"):
        head = MaskedOnlyHead(model)
        lean = [lean_loss(model, head, *batch) for _ in range(2)]
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "'ernie' is not in the table of families" in caplog.text
    assert not head.is_lean
    assert lean[0].item() == pytest.approx(full_head_loss(model, *batch).item(), rel=1e-5)
