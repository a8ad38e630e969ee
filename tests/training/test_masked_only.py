"""The masked-only head gives the loss and gradients of the full head, for every family of the table."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ErnieConfig,
    ErnieForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaForMaskedLM,
)

from hf_afro.objectives import masked_lm_loss
from hf_afro.students import AfroStudentConfig, AfroStudentForMaskedLM
from hf_afro.training.masked_only import MaskedOnlyHead
from tests.conftest import tiny_config

SHAPE = {
    name: getattr(tiny_config(100), name)
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
    )
}


def modernbert_config():
    sizes = {name: size for name, size in SHAPE.items() if not name.endswith("dropout_prob")}
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "cls_token_id"), 0) | {"eos_token_id": 1, "sep_token_id": 1}
    return ModernBertConfig(**sizes, **ids)


MODELS = {
    "xlm-roberta": lambda: XLMRobertaForMaskedLM(tiny_config(100)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SHAPE)),
    "bert": lambda: BertForMaskedLM(BertConfig(**SHAPE)),
    "modernbert": lambda: ModernBertForMaskedLM(modernbert_config()),
    "afro-student": lambda: AfroStudentForMaskedLM(AfroStudentConfig(**SHAPE, embedding_size=16)),
}


@pytest.fixture
def batch():
    input_ids = torch.randint(4, 100, (3, 12), generator=torch.Generator().manual_seed(1))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 7:] = 0
    labels = torch.full_like(input_ids, -100)
    labels[0, [2, 5]] = torch.tensor([7, 9])
    labels[1, 3] = 20
    return input_ids, attention_mask, labels


def full_head_loss(model, input_ids, attention_mask, labels):
    logits = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def lean_loss(model, head, input_ids, attention_mask, labels):
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


@pytest.mark.parametrize("family", MODELS)
def test_loss_and_gradients_are_those_of_the_full_head(family, batch):
    torch.manual_seed(0)
    model = MODELS[family]().double().train()
    head = MaskedOnlyHead(model)
    assert head.is_lean
    full = full_head_loss(model, *batch)
    of_full = gradients(model, full)
    lean = lean_loss(model, head, *batch)
    of_lean = gradients(model, lean)
    assert lean.item() == pytest.approx(full.item(), rel=1e-9)
    assert of_lean.keys() == of_full.keys()
    for name, expected in of_full.items():
        assert expected.norm() > 0 or "token_type" in name or "pooler" in name or name.endswith("key.bias"), name
        assert (of_lean[name] - expected).norm() <= 1e-9 * expected.norm() + 1e-12, name


def test_outside_the_context_the_model_is_as_it_was(batch):
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(tiny_config(100)).eval()
    input_ids, attention_mask, _ = batch
    before = model(input_ids=input_ids, attention_mask=attention_mask).logits
    head = MaskedOnlyHead(model)
    with head.at(torch.tensor([3])):
        assert model(input_ids=input_ids, attention_mask=attention_mask).logits.shape == (1, 1, 100)
    assert torch.equal(model(input_ids=input_ids, attention_mask=attention_mask).logits, before)


def test_no_position_at_all_costs_no_logits_and_gives_zero_gradients(batch):
    model = XLMRobertaForMaskedLM(tiny_config(100)).train()
    head = MaskedOnlyHead(model)
    input_ids, attention_mask, labels = batch
    loss = lean_loss(model, head, input_ids, attention_mask, torch.full_like(labels, -100))
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_a_family_not_in_the_table_falls_back_to_the_full_head_and_says_so_once(batch, caplog):
    torch.manual_seed(0)
    model = ErnieForMaskedLM(ErnieConfig(**SHAPE)).eval()
    with caplog.at_level("WARNING", logger="hf_afro"):
        head = MaskedOnlyHead(model)
        lean = [lean_loss(model, head, *batch) for _ in range(2)]
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "'ernie' is not in the table of families" in caplog.text
    assert not head.is_lean
    assert lean[0].item() == pytest.approx(full_head_loss(model, *batch).item(), rel=1e-5)
