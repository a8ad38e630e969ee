"""A model trained on some rows of its embedding is the model trained on all of them, to the last bit."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from hf_afro.evaluation import finetuning
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.heads import add_head
from hf_afro.evaluation.used_rows import UsedRows, only_used_rows
from tests.evaluation.conftest import make
from tests.tiny_families import tiny

ROWS = [{"input_ids": [0, 7, 2]}, {"input_ids": [0, 9, 7, 2]}]


@pytest.fixture
def classifier(model):
    return add_head(model, "topic", ("a", "b"), seed=1)


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_training_is_the_same_as_with_all_rows(model, tokenizer, quick, task, monkeypatch):
    data, settings = make(task), quick.replace(epochs=3)
    some = finetune(model, tokenizer, data, settings, seed=1)
    monkeypatch.setattr(finetuning, "only_used_rows", lambda *_: nullcontext())
    whole = finetune(model, tokenizer, data, settings, seed=1)
    assert some.dev_scores == whole.dev_scores
    weights = whole.model.state_dict()
    assert list(some.model.state_dict()) == list(weights)
    for name, tensor in some.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert not torch.equal(whole.model.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_with_weight_decay_every_row_shrinks(model, tokenizer, quick):
    tuned = finetune(model, tokenizer, make("ner"), quick.replace(epochs=1, weight_decay=0.1), seed=1)
    before, after = (one.get_input_embeddings().weight for one in (model, tuned.model))
    moved = (before != after).any(dim=1)
    assert moved.sum() == len(before) - 1  # the row of the padding is zero


def test_within_only_the_rows_used_are_parameters_and_after_it_all_are_there(classifier):
    table = classifier.get_input_embeddings()
    before = table.weight.detach().clone()
    batch = torch.tensor([[0, 9, 7, 2]])
    classifier.eval()
    expected = classifier(batch).logits
    with only_used_rows(classifier, ROWS, pad_id=1):
        some = classifier.get_input_embeddings()
        assert some.weight.shape[0] == 5  # <s>, <pad>, </s> and two more
        assert torch.equal(classifier(batch).logits, expected)
        with torch.no_grad():
            some.weight += 1
    assert classifier.get_input_embeddings() is table
    changed = (table.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [0, 1, 2, 7, 9]


def test_a_padding_of_the_tokenizers_own_is_a_row_too(tokenizer, quick, monkeypatch):
    """It need not be the padding of the model, where that is no matter of positions, and no text has it."""
    model = tiny("bert", vocab_size=len(tokenizer))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(len(tokenizer) - 1)
    assert tokenizer.pad_token_id not in (model.config.pad_token_id, tokenizer.eos_token_id)
    data, settings = make("topic"), quick.replace(epochs=1)
    some = finetune(model, tokenizer, data, settings, seed=1)
    monkeypatch.setattr(finetuning, "only_used_rows", lambda *_: nullcontext())
    whole = finetune(model, tokenizer, data, settings, seed=1)
    assert some.dev_scores == whole.dev_scores
    for name, tensor in some.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name]), name


def test_rows_come_back_where_training_fails(classifier):
    table = classifier.get_input_embeddings()
    with pytest.raises(FloatingPointError), only_used_rows(classifier, ROWS, pad_id=1):
        raise FloatingPointError
    assert classifier.get_input_embeddings() is table


def test_an_id_that_was_not_announced_is_an_error(classifier):
    with only_used_rows(classifier, ROWS, pad_id=1), pytest.raises(IndexError):
        classifier(torch.tensor([[0, 8, 2]]))


def test_the_row_of_the_padding_gets_no_gradient():
    table = nn.Embedding(10, 4, padding_idx=1)
    some = UsedRows(table, torch.tensor([1, 3]))
    some(torch.tensor([[1, 3]])).sum().backward()
    assert some.weight.grad.tolist() == [[0.0] * 4, [1.0] * 4]


def test_an_embedding_that_does_more_than_look_up_is_left_alone(classifier):
    table = nn.Embedding(50, 32, max_norm=1.0)
    classifier.set_input_embeddings(table)
    with only_used_rows(classifier, ROWS, pad_id=1):
        assert classifier.get_input_embeddings() is table
