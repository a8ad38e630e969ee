"""Padding ids of configuration, modules and tokenizer: the model on disk is the one trained, or none is trained."""

from __future__ import annotations

import logging

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import BertConfig, BertForMaskedLM, LongformerConfig, LongformerForMaskedLM

from benchmarks.padding_table import BOS, PAD, cells, is_right, line, word_tokenizer
from hf_afro import build_student
from hf_afro.families import counted_padding_of, positions_of
from hf_afro.students.building import LIKE_XLMR
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.checks import check_length
from hf_afro.training.padding import fit_padding
from tests.conftest import tiny_config
from tests.tiny_families import TINY, VOCABULARY, tiny
from tests.training.recipes import distill_trainer, maft_trainer, settings, steps_of, student_of, teacher_of

COUNTING = ("xlm-roberta", "xlm-roberta-xl", "roberta", "camembert", "afro-student", "afro-student, factorised")


@pytest.mark.parametrize("name", TINY)
def test_what_is_trained_is_what_is_read_back(name):
    found = line(name, agrees=True)
    assert found["MAFT"] == found["distillation"] == (0.0, True)
    assert found["full copy"] == (0.0 if tiny(name).config.model_type in LIKE_XLMR else None)
    assert is_right(found)


@pytest.mark.parametrize("name", TINY)
def test_a_configuration_that_disagrees_is_corrected_or_refused(name):
    found = line(name, agrees=False)
    assert is_right(found)
    refused = [kind for kind, one in found.items() if isinstance(one, ValueError)]
    if name not in COUNTING:
        assert not refused
        assert found["MAFT"] == found["distillation"] == (0.0, True)
        return
    assert "MAFT" in refused
    assert "distillation" in refused
    assert cells(found)[1].startswith("refused: the ")
    for kind in refused:
        assert "counts positions from its padding id 0" in str(found[kind])
        assert "with 1" in str(found[kind])


def bert(pad_token_id: int, **more) -> BertForMaskedLM:
    """A tiny BERT that is as free of a padding id as any: nothing in its forward pass depends on it."""
    return tiny("bert", pad_token_id=pad_token_id, **more)


def test_the_first_token_of_a_text_learns_where_the_configuration_took_it_for_padding(tmp_path, caplog):
    """In multilingual-e5-small id 0 is `<s>`, and `padding_idx=0` kept it from ever getting a gradient."""
    teacher, student, tokenizer = bert(PAD), bert(BOS, seed=1), word_tokenizer()
    before = student.get_input_embeddings().weight.detach().clone()
    with caplog.at_level(logging.WARNING, logger="hf_afro"):
        trainer = distill_trainer(teacher, tokenizer, tmp_path, model=student)
    (said,) = [line for record in caplog.records if "pad_token_id" in (line := record.getMessage())]
    assert "pad_token_id=0 and its text is padded with 1: corrected to 1" in said
    trainer.train()
    moved = (student.get_input_embeddings().weight != before).any(1)
    assert moved[BOS]
    assert not moved[PAD]
    assert (student.config.pad_token_id, student.get_input_embeddings().padding_idx) == (PAD, PAD)


def test_ids_that_agree_are_left_as_they_are(caplog):
    for model in (bert(PAD), tiny("xlm-roberta"), tiny("mpnet")):
        assert fit_padding(model, word_tokenizer()) == PAD
    assert caplog.records == []


def test_mpnet_counts_from_1_whatever_its_configuration_says():
    model = tiny("mpnet", pad_token_id=0)
    assert counted_padding_of(model) == 1
    assert positions_of(model) == 64
    fit_padding(model, word_tokenizer())
    assert model.config.pad_token_id == 1
    tokenizer = word_tokenizer()
    tokenizer.pad_token = "<s>"
    with pytest.raises(ValueError, match="counts positions from its padding id 1, and its text is padded with 0"):
        fit_padding(model, tokenizer)


def test_a_family_outside_the_table_that_counts_positions_is_found():
    config = LongformerConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        attention_window=4,
        max_position_embeddings=66,
        pad_token_id=0,
    )
    model = LongformerForMaskedLM(config)
    assert positions_of(model) == 65
    with pytest.raises(ValueError, match="the longformer model counts positions from its padding id 0"):
        fit_padding(model, word_tokenizer())


def test_a_student_built_with_the_wrong_id_says_how_it_is_built_right(tokenizer, tmp_path):
    teacher = teacher_of(tokenizer)
    student = build_student(teacher, num_hidden_layers=1, hidden_size=16)
    tokenizer.pad_token = "<s>"
    right = "If build_student has just made it, build it again with tokenizer=.*set tokenizer.pad_token = '<pad>'"
    with pytest.raises(ValueError, match=right):
        maft_trainer(student, tokenizer, tmp_path)
    with pytest.raises(ValueError, match=right):
        distill_trainer(bert(PAD, vocab_size=len(tokenizer)), tokenizer, tmp_path, model=student)


def test_a_teacher_that_counts_from_another_id_is_refused(tokenizer, tmp_path):
    teacher = type(teacher_of(tokenizer))(tiny_config(len(tokenizer), pad_token_id=0))
    with pytest.raises(ValueError, match="the xlm-roberta teacher counts positions from its padding id 0, and its"):
        distill_trainer(teacher, tokenizer, tmp_path)


def test_what_the_configuration_of_a_teacher_that_does_not_count_says_does_not_matter(tokenizer, tmp_path):
    losses = []
    weights = bert(PAD, vocab_size=len(tokenizer)).state_dict()
    for pad in (0, 1):
        teacher = bert(pad, vocab_size=len(tokenizer))
        teacher.load_state_dict(weights)
        losses.append(steps_of(distill_trainer(teacher, tokenizer, tmp_path, num_relation_heads=4)))
        assert teacher.config.pad_token_id == pad
    assert losses[0] == losses[1]


def test_without_a_tokenizer_rows_are_padded_with_what_the_student_counts_from(tokenizer, tmp_path):
    student = student_of(tokenizer)
    student.config.pad_token_id = 0  # as something else may have written since
    rows = {"swa": [[0, 7, 9, 2], [0, 8, 2]] * 8}
    data = {code: Dataset.from_dict({"input_ids": own}) for code, own in rows.items()}
    args = RelationDistillTrainingArguments(**settings(tmp_path))
    trainer = RelationDistillTrainer(student, teacher_of(tokenizer), args, train_dataset=data)
    assert trainer.data_collator.pad_id == student.config.pad_token_id == 1


def test_a_model_or_a_tokenizer_without_a_padding_id_is_refused(tokenizer, tmp_path):
    model = type(teacher_of(tokenizer))(tiny_config(len(tokenizer), pad_token_id=None))
    with pytest.raises(ValueError, match=r"built with pad_token_id=None; load it again with .*pad_token_id=1\)"):
        maft_trainer(model, tokenizer, tmp_path)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="has no padding token; set tokenizer.pad_token first"):
        maft_trainer(teacher_of(tokenizer), tokenizer, tmp_path)


def test_a_decoder_is_refused(model, tokenizer, tmp_path):
    model.config.is_decoder = True
    with pytest.raises(ValueError, match="the xlm-roberta model has is_decoder=True.*is_decoder=False"):
        maft_trainer(model, tokenizer, tmp_path)
    for role, pair in (("teacher", (model, student_of(tokenizer))), ("student", (teacher_of(tokenizer), model))):
        with pytest.raises(ValueError, match=f"the xlm-roberta {role} has is_decoder=True"):
            distill_trainer(pair[0], tokenizer, tmp_path, model=pair[1])


@pytest.mark.parametrize(("rows", "limit", "positions"), [(40, 66, 40), (66, 40, 40), (66, 66, 66)])
def test_the_length_is_that_of_the_rows_there_are_and_of_the_configuration(rows, limit, positions):
    model = BertForMaskedLM(BertConfig(**{**bert(PAD).config.to_dict(), "max_position_embeddings": rows}))
    assert isinstance(model.bert.embeddings.position_embeddings, nn.Embedding)
    model.config.max_position_embeddings = limit
    check_length(model, positions)
    with torch.no_grad():
        model(input_ids=torch.full((1, positions), 9))
    with pytest.raises(ValueError, match=f"holds {positions} positions; set max_length to {positions} or less"):
        check_length(model, positions + 1)
