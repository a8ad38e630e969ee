"""Models and tokenizers are read whole or refused in one line; nothing is drawn at random unsaid."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertForPreTraining, ElectraForPreTraining, XLMRobertaModel

from hf_afro.pretrained import check_folder, load_config, load_model, load_tokenizer
from tests.vocabulary.models import bert, make


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def configure(folder, **changed) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def test_a_model_comes_back_with_its_head_and_its_weights(folder, model, caplog):
    read = load_model(str(folder))
    assert type(read) is type(model)
    assert all(torch.equal(one, other) for one, other in zip(read.parameters(), model.parameters(), strict=True))
    assert caplog.records == []


@pytest.mark.parametrize("name", ["t5", "mt5, untied", "mbart", "two berts", "gpt2", "llama"])
def test_models_that_write_text_keep_their_heads(name, tmp_path):
    made = make(name, 300)
    made.save_pretrained(tmp_path / "m")
    read = load_model(str(tmp_path / "m"))
    assert type(read) is type(made)
    assert all(torch.equal(one, other) for one, other in zip(read.parameters(), made.parameters(), strict=True))


def test_a_model_of_two_heads_keeps_both_where_it_is_written_again(tmp_path):
    saved = BertForPreTraining(bert(100))
    saved.save_pretrained(tmp_path)
    assert type(load_model(str(tmp_path), all_heads=True)) is BertForPreTraining
    read = load_model(str(tmp_path))
    assert type(read) is BertForMaskedLM
    assert torch.equal(read.cls.predictions.transform.dense.weight, saved.cls.predictions.transform.dense.weight)


def test_a_discriminator_has_no_other_head(tmp_path):
    make("electra, discriminator", 300).save_pretrained(tmp_path)
    assert type(load_model(str(tmp_path))) is ElectraForPreTraining


def test_an_encoder_gets_a_head_and_a_warning(folder, model, tokenizer, caplog):
    XLMRobertaModel(model.config).save_pretrained(folder)
    with caplog.at_level(logging.WARNING):
        load_model(str(folder), auto_class="AutoModelForMaskedLM")
    (message,) = (record.getMessage() for record in caplog.records if record.name.startswith("hf_afro"))
    assert "lacks lm_head." in message
    assert message.endswith("the head is drawn at random, and has to be trained")
    assert "\n" not in message


def test_a_new_head_comes_from_the_seed_and_the_global_random_state_stays(folder, model):
    XLMRobertaModel(model.config).save_pretrained(folder)
    heads = []
    for index, seed in enumerate((3, 3, 4)):
        torch.manual_seed(index)
        state = torch.random.get_rng_state()
        read = load_model(str(folder), auto_class="AutoModelForMaskedLM", seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)
        heads.append(read.lm_head.dense.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_head_left_out_is_no_mistake_and_is_logged(folder, caplog):
    with caplog.at_level(logging.INFO, "hf_afro"):
        load_model(str(folder), auto_class="AutoModel")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage().endswith(
        "also stores lm_head.bias, lm_head.dense.bias, lm_head.dense.weight and 2 more, which XLMRobertaModel does "
        "not take; left out"
    )


@pytest.mark.parametrize("auto_class", [None, "AutoModel", "AutoModelForTokenClassification"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_hidden_layers": 4}, r"lacks .*encoder\.layer\.2\..* and 29 more; expected the weights that"),
        ({"num_hidden_layers": 1}, r"has .*encoder\.layer\.1\..* and 13 more, and its configuration has not"),
        ({"hidden_size": 64}, r"is \[32.*\], its configuration says \[64.*\]; expected the weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, changed, message, auto_class, caplog):
    configure(folder, **changed)
    with pytest.raises(ValueError, match=message):
        load_model(str(folder), auto_class=auto_class)
    assert caplog.records == []


def test_a_weight_that_is_not_finite_is_named(folder):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.dense.weight"][3, 4] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FloatingPointError, match="lm_head.dense.weight of .* holds numbers that are not finite"):
        load_model(str(folder))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}", b"\xff" * 9])
def test_files_of_something_else_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="no model could be read from .*; expected a folder that holds a whole one"):
        load_model(str(folder))
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match="no tokenizer could be read from .*; expected a folder that holds"):
        load_tokenizer(str(folder))
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="no model could be read from"):
        load_config(str(folder))


def test_a_failure_that_is_not_of_the_file_stays_what_it_is(folder, monkeypatch):
    def fail(*arguments, **settings):
        raise MemoryError

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", fail)
    with pytest.raises(MemoryError):
        load_tokenizer(str(folder))


def test_a_folder_is_looked_at_without_reading_weights(folder):
    assert check_folder(folder)["hidden_size"] == 32
    for name, message in (
        ("tokenizer.json", "holds no tokenizer"),
        ("model.safetensors", "holds no weights; expected"),
        ("config.json", "holds no model; expected config.json, weights and a tokenizer"),
    ):
        (folder / name).unlink()
        with pytest.raises(ValueError, match=message):
            check_folder(folder)
    for content, message in (("[]", "holds no object"), ("{", "cannot be read: Expecting")):
        (folder / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            check_folder(folder)
