"""Half-precision weights are trained in float32: what comes out is what comes of the same checkpoint in float32."""

from __future__ import annotations

import copy
import logging

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments, XLMRobertaForMaskedLM

from hf_afro.training.precision import train_in_float32
from tests.tiny_families import tiny
from tests.training.recipes import checksum, distill_trainer, maft_trainer, student_of, teacher_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft reads it
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
    assert said.startswith(f"The weights to be trained were {str(dtype)[6:]}: they are trained and saved in float32")
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
