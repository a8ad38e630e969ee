"""The masked-only head gives the loss and gradients of the full head, for every family of the table."""

from __future__ import annotations

import copy
import inspect
import pickle
from functools import partial

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import ErnieConfig, ErnieForMaskedLM

from hf_afro.families import FAMILIES
from hf_afro.losses import masked_lm_loss
from hf_afro.training import masked_only
from hf_afro.training.masked_only import accept_run, masked_lm_sum, masked_logits, runs_masked_only
from tests.tiny_families import TINY, tiny

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


def masked_loss(model, input_ids, attention_mask, labels):
    """The loss without logits, inside the model's forward, as the trainer computes it."""
    positions = (labels.flatten() != -100).nonzero().squeeze(1)
    accept_run(model)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "positions": positions}
    return model(run=masked_lm_sum, labels=labels.flatten()[positions], **inputs)


def loss_of_masked_logits(model, input_ids, attention_mask, labels):
    """The loss of logits at the masked positions, as evaluation restricted to some tokens computes it."""
    positions = (labels.flatten() != -100).nonzero().squeeze(1)
    logits = masked_logits(model, input_ids, attention_mask, positions)
    assert logits.shape == (len(positions), model.config.vocab_size)
    return masked_lm_loss(logits, labels.flatten()[positions])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def no_logits(monkeypatch):
    """Fails where the output embedding makes logits, or the family is not known."""
    monkeypatch.setattr(masked_only, "masked_logits", lambda *_: pytest.fail("logits were made"))


def check_against_full_head(loss_of, model, batch):
    full = full_head_loss(model, *batch)
    of_full = gradients(model, full)
    loss = loss_of(model, *batch)
    found = gradients(model, loss)
    assert loss.item() == pytest.approx(full.item(), rel=1e-12)
    assert found.keys() == of_full.keys()
    for name, expected in of_full.items():
        assert (found[name] - expected).norm() <= 1e-12 * total_norm(of_full) + 1e-12 * expected.norm(), name


@pytest.mark.parametrize("family", TINY)
def test_loss_and_gradients_are_those_of_the_full_head(family, batch, no_logits):
    check_against_full_head(masked_loss, tiny(family).double().train(), batch)
    check_against_full_head(loss_of_masked_logits, tiny(family).double().train(), batch)


def test_every_family_is_known():
    assert all(runs_masked_only(tiny(name)) for name in TINY)
    assert {tiny(name).config.model_type for name in TINY} == set(FAMILIES)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # by peft
@pytest.mark.parametrize(
    "adapter",
    [
        LoraConfig(r=2, init_lora_weights=False, target_modules=["query", "decoder"]),
        LoraConfig(r=2, init_lora_weights=False, target_modules=["query"], modules_to_save=["lm_head"]),
        LoraConfig(r=2, init_lora_weights=False, target_modules="all-linear"),
    ],
    ids=["decoder", "copy of the head", "all layers"],
)
def test_under_an_adapter(adapter, batch):
    adapted = get_peft_model(tiny("xlm-roberta", tie_word_embeddings=False), adapter).double().train()
    with torch.no_grad():  # so that a copy differs from what it is a copy of
        for name, weight in adapted.named_parameters():
            if "modules_to_save" in name:
                weight.add_(0.1)
    check_against_full_head(masked_loss, adapted, batch)
    check_against_full_head(loss_of_masked_logits, adapted, batch)


@pytest.mark.parametrize("family", TINY)
def test_in_fp32_it_is_as_near_the_truth_as_the_full_head(family, batch):
    # Far from even attention, or gradients of queries and keys would be rounding alone.
    model = tiny(family, initializer_range=0.1).train()
    full, masked = full_head_loss(model, *batch), masked_loss(model, *batch)
    assert masked.item() == pytest.approx(full.item(), rel=1e-6)
    of_full, of_masked = gradients(model, full), gradients(model, masked)
    exact = tiny(family, initializer_range=0.1).double().train()
    truth = gradients(exact, full_head_loss(exact, *batch))
    whole = total_norm(truth)
    for name, true in truth.items():
        if true.norm() < 1e-9 * whole:  # the bias of keys moves no softmax: what is found of it is rounding alone
            assert of_masked[name].norm() < 1e-5 * whole
            continue
        assert (of_masked[name] - of_full[name]).norm() <= 1e-5 * of_full[name].norm(), name
        stock_error = (of_full[name] - true).norm()
        assert (of_masked[name] - true).norm() <= 2 * stock_error + FP32_ROUNDING * true.norm(), name


def total_norm(tensors):
    return torch.stack([tensor.norm() for tensor in tensors.values()]).norm()


def test_without_run_the_model_is_as_it_was(batch):
    model = tiny("xlm-roberta")
    inputs = dict(zip(("input_ids", "attention_mask"), batch, strict=False))
    before, signature = model(**inputs).logits, inspect.signature(model.forward)
    accept_run(model)
    assert torch.equal(model(**inputs).logits, before)
    assert inspect.signature(model.forward) == signature  # the Trainer reads the columns of a dataset off it
    assert torch.equal(pickle.loads(pickle.dumps(model))(**inputs).logits, before)


def test_a_copy_of_a_model_runs_itself(batch):
    model = tiny("xlm-roberta")
    accept_run(model)
    copied = copy.deepcopy(model)
    assert copied(run=lambda own: own) is copied
    assert model(run=lambda own: own) is model


def test_under_autocast_and_the_wrapper_of_accelerate(batch):
    from accelerate import Accelerator

    model = tiny("xlm-roberta").train()
    exact = masked_loss(model, *batch)
    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    positions = (batch[2].flatten() != -100).nonzero().squeeze(1)
    run = partial(prepared, run=masked_lm_sum, input_ids=batch[0], attention_mask=batch[1], positions=positions)
    loss = run(labels=batch[2].flatten()[positions])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    assert loss.item() != exact.item()


def test_no_position_at_all_costs_no_logits_and_gives_zero_gradients(batch, no_logits):
    model = tiny("xlm-roberta").train()
    input_ids, attention_mask, labels = batch
    loss = masked_loss(model, input_ids, attention_mask, torch.full_like(labels, -100))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters())


def test_a_family_not_in_the_table_runs_its_full_head(batch):
    torch.manual_seed(0)
    shape = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = ErnieForMaskedLM(ErnieConfig(**shape, intermediate_size=64)).double().eval()
    assert not runs_masked_only(model)
    check_against_full_head(masked_loss, model, batch)
