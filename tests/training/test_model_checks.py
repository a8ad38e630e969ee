"""Checks before training: padding ids, lengths, causal models, and weights in half precision."""

from __future__ import annotations

import copy
import logging

import peft
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LongformerConfig,
    LongformerForMaskedLM,
    TrainingArguments,
    XLMRobertaForMaskedLM,
)

from benchmarks.padding_table import BOS, PAD, cells, is_right, line, word_tokenizer
from hf_afro import build_student
from hf_afro.families import counted_padding_of, positions_of
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.training.model_checks import check_length, fit_padding, train_in_float32
from tests.conftest import tiny_config
from tests.tiny_families import TINY, VOCABULARY, tiny
from tests.training.tiny_trainers import (
    checksum,
    distill_trainer,
    maft_trainer,
    settings,
    steps_of,
    student_of,
    teacher_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # by peft

COUNTING = ("xlm-roberta", "xlm-roberta-xl", "roberta", "camembert", "afro-student", "afro-student, factorised")


@pytest.mark.parametrize("name", TINY)
def test_what_is_trained_is_what_is_read_back(name):
    found = line(name, agrees=True)
    assert found["MAFT"] == found["distillation"] == (0.0, True)
    assert found["full copy"] == (None if name.startswith("albert") else 0.0)
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
    assert "pad_token_id=0 but its text is padded with 1: corrected to 1" in said
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
    with pytest.raises(ValueError, match="counts positions from its padding id 1, but its text is padded with 0"):
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
    with pytest.raises(ValueError, match="the xlm-roberta teacher counts positions from its padding id 0, but its"):
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
    with pytest.raises(ValueError, match=f"exceeds the {positions} positions of the bert model"):
        check_length(model, positions + 1)


HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def pair(model, dtype, folder):
    """The same checkpoint as it was saved, in half precision, and loaded in float32."""
    copy.deepcopy(model).to(dtype).save_pretrained(folder)
    half = XLMRobertaForMaskedLM.from_pretrained(folder)
    assert half.dtype == dtype
    return half, XLMRobertaForMaskedLM.from_pretrained(folder, dtype=torch.float32)


def trained(trainer, folder) -> str:
    """Train and save; the folder holds float32 alone, and says so."""
    trainer.train()
    trainer.save_model(str(folder))
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert XLMRobertaForMaskedLM.from_pretrained(folder).dtype == torch.float32
    return checksum(trainer.model)


@HALF
def test_maft_of_half_precision_is_maft_in_float32(model, tokenizer, tmp_path, dtype, caplog):
    half, single = pair(model, dtype, tmp_path / "saved")
    with caplog.at_level(logging.WARNING, logger="hf_afro"):
        trainer = maft_trainer(half, tokenizer, tmp_path)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"The weights to train were {str(dtype)[6:]}: they are trained and saved in float32")
    expected = trained(maft_trainer(single, tokenizer, tmp_path), tmp_path / "single")
    assert trained(trainer, tmp_path / "half") == expected
    assert half.get_output_embeddings().weight is half.get_input_embeddings().weight


@HALF
def test_a_student_in_half_precision_learns_in_float32(tokenizer, tmp_path, dtype, caplog):
    half, single = pair(student_of(tokenizer), dtype, tmp_path / "saved")
    teacher = teacher_of(tokenizer)
    with caplog.at_level(logging.WARNING, logger="hf_afro"):
        trainer = distill_trainer(copy.deepcopy(teacher), tokenizer, tmp_path, model=half)
    assert sum("float32" in record.getMessage() for record in caplog.records) == 1
    expected = trained(distill_trainer(teacher, tokenizer, tmp_path, model=single), tmp_path / "single")
    assert trained(trainer, tmp_path / "half") == expected


def test_the_teacher_keeps_its_precision(tokenizer, tmp_path):
    trainer = distill_trainer(teacher_of(tokenizer).bfloat16(), tokenizer, tmp_path, bf16=True)
    trainer.train()
    assert trainer.teacher_model.dtype == torch.bfloat16
    assert trainer.model.dtype == torch.float32


@HALF
def test_a_base_that_is_frozen_stays_and_its_adapter_learns_in_float32(model, tokenizer, tmp_path, dtype):
    lora = peft.LoraConfig(r=2, target_modules=["query", "value"])
    base = model.to(dtype)
    adapted = peft.get_peft_model(base, lora, autocast_adapter_dtype=False)
    assert {weight.dtype for weight in adapted.parameters()} == {dtype}
    trainer = maft_trainer(adapted, tokenizer, tmp_path)
    kinds = {(weight.requires_grad, weight.dtype) for weight in trainer.model.parameters()}
    assert kinds == {(False, dtype), (True, torch.float32)}
    trainer.train()


def test_a_model_of_which_a_part_is_frozen_is_converted_whole(model, tokenizer, tmp_path):
    model.bfloat16().get_input_embeddings().weight.requires_grad_(False)
    maft_trainer(model, tokenizer, tmp_path).train()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_float32_is_left_alone(model, caplog):
    before = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    train_in_float32(model)
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == before
    assert caplog.records == []


def test_the_main_process_alone_warns(tokenizer, tmp_path, caplog, monkeypatch):
    """Of the precision, and of a padding id that is corrected."""
    monkeypatch.setattr(TrainingArguments, "process_index", property(lambda args: 1))
    with caplog.at_level(logging.DEBUG, logger="hf_afro"):
        for trainer_of in (
            maft_trainer,
            lambda model, *rest: distill_trainer(teacher_of(tokenizer), *rest, model=model),
        ):
            model = tiny("bert", vocab_size=len(tokenizer), pad_token_id=0).bfloat16()
            trainer_of(model, tokenizer, tmp_path)
    said = [one for one in caplog.records if "corrected to 1" in one.getMessage() or "float32" in one.getMessage()]
    assert [one.levelno for one in said] == [logging.DEBUG] * 4
