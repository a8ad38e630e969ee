"""Student models: equal to XLM-R without factorisation, and complete transformers models in both forms."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import transformers
from torch import nn
from transformers import XLMRobertaForMaskedLM, XLMRobertaModel

from hf_afro import families, students
from tests.conftest import tiny_config
from tests.students.conftest import student_config

HEADS = (
    "Model",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)


def make(head, config, seed=0):
    torch.manual_seed(seed)
    return getattr(students, f"AfroStudent{head}")(config).eval()


def inputs_for(head, batch):
    return {name: value[None] for name, value in batch.items()} if head == "ForMultipleChoice" else batch


def first(model, batch):
    with torch.no_grad():
        return model(**batch)[0]


@pytest.mark.parametrize("head", HEADS)
def test_not_factorised_equals_xlm_roberta(head, batch):
    student = make(head, student_config(embedding_size=None))
    torch.manual_seed(0)
    plain = getattr(transformers, f"XLMRoberta{head}")(tiny_config(120)).eval()
    assert list(student.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(student.state_dict())
    batch = inputs_for(head, batch)
    assert torch.equal(first(student, batch), first(plain, batch))


def test_factorised_equals_xlm_roberta_with_the_product_as_its_table(batch):
    student = make("Model", student_config())
    plain = XLMRobertaModel(tiny_config(120)).eval()
    weights = student.state_dict()
    weights["embeddings.word_embeddings.weight"] = (
        weights["embeddings.word_embeddings.weight"] @ weights.pop("embeddings.projection.weight").T
    )
    plain.load_state_dict(weights)
    torch.testing.assert_close(first(student, batch), first(plain, batch), rtol=0, atol=1e-6)


def test_parameters_of_a_factorised_student():
    model = make("ForMaskedLM", student_config())
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters(remove_duplicate=False)}
    embeddings = "roberta.embeddings"
    assert shapes[f"{embeddings}.word_embeddings.weight"] == (120, 8)
    assert shapes[f"{embeddings}.projection.weight"] == (32, 8)
    assert f"{embeddings}.projection.bias" not in shapes
    assert shapes[f"{embeddings}.position_embeddings.weight"] == (66, 32)
    assert shapes[f"{embeddings}.token_type_embeddings.weight"] == (1, 32)
    assert shapes["lm_head.dense.weight"] == (8, 32)
    assert shapes["lm_head.layer_norm.weight"] == (8,)
    assert shapes["lm_head.bias"] == (120,)
    assert shapes["lm_head.decoder.weight"] == (120, 8)
    head = 32 * 8 + 8 + 2 * 8 + 120
    layers = sum(weight.numel() for weight in model.roberta.encoder.parameters())
    assert model.num_parameters() == (120 + 32) * 8 + (66 + 1 + 2) * 32 + layers + head


def test_the_paths_in_the_table_of_families_hold(config):
    model = make("ForMaskedLM", config)
    family = families.family_of(model)
    layer = families.layers_of(model)[1]
    assert all(isinstance(layer.get_submodule(path), nn.Linear) for path in (family.query, family.key, family.value))
    assert model.base_model.get_submodule(family.word_embeddings) is model.get_input_embeddings()
    assert all(len(model.get_parameter(path)) == 120 for path in family.masked_lm_rows)


@pytest.mark.parametrize("head", HEADS)
def test_initialised_like_xlm_roberta(head, config):
    model = make(head, config)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            assert not module.weight[1].any(), name
        if isinstance(module, (nn.Linear, nn.Embedding)):
            assert 0.012 < module.weight.std() < 0.028 or module.weight.numel() < 100, name
    assert not any(bias.any() for name, bias in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("head", HEADS)
def test_saved_and_loaded_exactly(head, config, batch, tmp_path):
    model = make(head, config)
    model.save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    batch = inputs_for(head, batch)
    assert torch.equal(first(model, batch), first(loaded, batch))
    for name, buffer in model.named_buffers():  # not saved, so made anew by _init_weights
        assert torch.equal(buffer, loaded.get_buffer(name)), name


def test_a_head_loads_a_base_checkpoint_and_the_other_way(config, tmp_path):
    base = make("Model", config)
    base.save_pretrained(tmp_path / "base")
    head = students.AfroStudentForTokenClassification.from_pretrained(tmp_path / "base", num_labels=5)
    for name, weight in head.roberta.state_dict().items():
        assert torch.equal(weight, base.state_dict()[name]), name
    assert torch.isfinite(head.classifier.weight).all()
    assert head.classifier.weight.shape == (5, 32)

    language_model = make("ForMaskedLM", config, seed=1)
    language_model.save_pretrained(tmp_path / "mlm")
    encoder = students.AfroStudentModel.from_pretrained(tmp_path / "mlm", add_pooling_layer=False)
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, language_model.roberta.state_dict()[name]), name


def test_decoder_weight_and_bias_are_tied(config, tmp_path):
    model = make("ForMaskedLM", config)
    model.save_pretrained(tmp_path)
    for each in (model, copy.deepcopy(model), type(model).from_pretrained(tmp_path)):
        assert each.get_output_embeddings().weight is each.get_input_embeddings().weight
        assert each.lm_head.decoder.bias is each.lm_head.bias


@pytest.mark.parametrize("rows", [100, 137])
def test_resizing_the_vocabulary(config, batch, rows, tmp_path):
    model = make("ForMaskedLM", config)
    nn.init.normal_(model.lm_head.bias)
    batch["input_ids"].clamp_(max=99)
    before = first(model, batch)
    model.resize_token_embeddings(rows, mean_resizing=False)
    assert model.config.vocab_size == rows
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.lm_head.decoder.bias is model.lm_head.bias
    kept = min(rows, 120)
    after = first(model, batch)
    assert after.shape[-1] == rows
    torch.testing.assert_close(after[..., :kept], before[..., :kept], rtol=0, atol=1e-6)
    model.save_pretrained(tmp_path)
    assert torch.equal(first(type(model).from_pretrained(tmp_path), batch), after)


def test_inputs_embeds_are_rows_of_the_narrow_table(config, batch):
    model = make("ForMaskedLM", config)
    batch = {"input_ids": batch["input_ids"][:1]}  # without padding: with it XLM-R counts positions otherwise
    rows = model.get_input_embeddings()(batch["input_ids"])
    assert rows.shape[-1] == config.word_embedding_width
    assert torch.equal(first(model, batch), first(model, {"inputs_embeds": rows}))


def test_new_embeddings_can_be_set(config):
    model = make("ForMaskedLM", config)
    table, decoder = nn.Embedding(7, config.word_embedding_width), nn.Linear(config.word_embedding_width, 7)
    model.set_input_embeddings(table)
    model.set_output_embeddings(decoder)
    assert model.roberta.embeddings.word_embeddings is table
    assert model.lm_head.decoder is decoder


def test_padding_changes_nothing(config, batch):
    model = make("Model", config)
    short = first(model, {name: value[1:, :6] for name, value in batch.items()})
    torch.testing.assert_close(first(model, batch)[1:, :6], short, rtol=0, atol=1e-6)


def test_eager_and_sdpa_agree(config, batch):
    model = make("ForMaskedLM", config)
    assert model.config._attn_implementation == "sdpa"
    fused = first(model, batch)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(first(model, batch), fused, rtol=0, atol=1e-6)
    with torch.no_grad():
        outputs = model(**batch, output_attentions=True, output_hidden_states=True)
    assert [tuple(attention.shape) for attention in outputs.attentions] == [(2, 4, 9, 9)] * 2
    assert [tuple(hidden.shape) for hidden in outputs.hidden_states] == [(2, 9, 32)] * 3


# The name that every version of transformers 5 knows; 5.23 calls it activation_checkpointing_enable.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_activation_checkpointing_gives_the_same_gradients(config, batch):
    model = make("ForMaskedLM", config).train()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    assert model.base_model.encoder.layer[0].gradient_checkpointing
    model(**batch, labels=labels).loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_give_the_same(config, batch, duplicate):
    model = make("ForMaskedLM", config)
    other = duplicate(model)
    assert torch.equal(first(model, batch), first(other, batch))
    with torch.no_grad():
        other.get_input_embeddings().weight.add_(1.0)
    assert not torch.equal(first(model, batch), first(other, batch))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft still reads it
def test_lora_on_query_and_value_merges(config, batch):
    from peft import LoraConfig, get_peft_model

    model = make("ForMaskedLM", config)
    adapted = get_peft_model(model, LoraConfig(target_modules=["query", "value"], init_lora_weights=False)).eval()
    with_adapter = first(adapted, batch)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(first(merged, batch), with_adapter, rtol=0, atol=1e-5)
    assert not torch.equal(with_adapter, first(make("ForMaskedLM", config), batch))


def test_a_plain_student_loads_a_checkpoint_of_xlm_roberta(batch, tmp_path):
    torch.manual_seed(0)
    plain = XLMRobertaForMaskedLM(tiny_config(120)).eval()
    plain.save_pretrained(tmp_path)
    config = student_config(embedding_size=None)
    student = students.AfroStudentForMaskedLM.from_pretrained(tmp_path, config=config)
    assert torch.equal(first(plain, batch), first(student, batch))
