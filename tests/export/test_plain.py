"""A student as plain XLM-R computes the same, and what XLM-R cannot express is refused or left out by name."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, XLMRobertaForMaskedLM, XLMRobertaModel

from hf_afro.export import EXPORT_FILE, export_plain, plain_student
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import HEADS, first, inputs_for, make
from tests.tiny_families import tiny


@pytest.mark.parametrize("head", HEADS)
def test_not_factorised_the_weights_are_the_same_bit_by_bit(head, batch):
    student = make(head, student_config(embedding_size=None))
    state = torch.get_rng_state()
    plain = plain_student(student)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(plain).__name__ == f"XLMRoberta{head}"
    assert plain.config.model_type == "xlm-roberta"
    assert not hasattr(plain.config, "unpad")
    assert all(torch.equal(weight, student.state_dict()[name]) for name, weight in plain.state_dict().items())
    batch = inputs_for(head, batch)
    assert torch.equal(first(plain, batch), first(student, batch))


@pytest.mark.parametrize("head", sorted(set(HEADS) - {"ForMaskedLM"}))
def test_factorised_the_states_are_the_same_to_rounding(head, batch):
    student = make(head, student_config())
    plain = plain_student(student)
    assert plain.get_input_embeddings().weight.shape == (120, 32)
    batch = inputs_for(head, batch)
    torch.testing.assert_close(first(plain, batch), first(student, batch), rtol=0, atol=1e-6)


def test_the_table_is_the_product_rounded_once():
    student = make("Model", student_config()).bfloat16()
    table, projection = (student.embeddings.word_embeddings.weight, student.embeddings.projection.weight)
    product = (table.double() @ projection.double().T).bfloat16()
    assert torch.equal(plain_student(student).get_input_embeddings().weight, product)


def test_a_plain_student_loads_by_transformers_alone(batch, tmp_path):
    student = make("ForMaskedLM", student_config(embedding_size=None, unpad=True)).bfloat16()
    plain_student(student).save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(loaded) is XLMRobertaForMaskedLM
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(first(loaded, batch), student(**batch, unpad=False).logits)


def test_without_a_pooler():
    config = student_config(embedding_size=None)
    assert plain_student(make("ForMaskedLM", config).base_model).pooler is None
    assert isinstance(plain_student(make("Model", config)), XLMRobertaModel)


def test_what_is_no_student_and_what_xlm_roberta_cannot_express(model):
    with pytest.raises(TypeError, match="the class of the model is XLMRobertaForMaskedLM; expected a student"):
        plain_student(model)
    with pytest.raises(ValueError, match="head of width 8 under layers of width 32 is not XLM-R's"):
        plain_student(make("ForMaskedLM", student_config()))


@pytest.mark.parametrize("size", [8, None], ids=["factorised", "plain"])
def test_the_folder_says_which_weights_were_left_out(size, tokenizer, tmp_path):
    student = make("ForMaskedLM", student_config(len(tokenizer), embedding_size=size))
    record = export_plain(student, tokenizer, tmp_path)
    assert record["class"] == ("XLMRobertaModel" if size else "XLMRobertaForMaskedLM")
    assert record["left_out"] == [name for name in student.state_dict() if size and name.startswith("lm_head.")]
    assert json.loads((tmp_path / EXPORT_FILE).read_text("utf-8")) == record
    plain = plain_student(student.base_model)
    assert export_plain(plain, tokenizer, tmp_path / "again")["class"] == "XLMRobertaModel"
    plain.peft_config = {"default": None}
    with pytest.raises(ValueError, match="the model carries adapters"):
        export_plain(plain, tokenizer, tmp_path / "adapted")
    with pytest.raises(ValueError, match="of type bert, which loads with transformers alone: use it as it is"):
        export_plain(tiny("bert"), tokenizer, tmp_path / "bert")
