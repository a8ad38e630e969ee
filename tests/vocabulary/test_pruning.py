"""Pruning keeps rows with their tokens, ties, types and flags, renumbers every id, and does not change its inputs."""

from __future__ import annotations

import copy
import json
import logging
import random
from importlib.metadata import version

import numpy as np
import pytest
import torch
import transformers as hf
from packaging.version import Version
from peft import LoraConfig, inject_adapter_in_model
from tokenizers import Tokenizer, models
from torch import nn
from transformers.integrations.peft import MIN_PEFT_VERSION

from hf_afro.students.configuration_afro_student import AfroStudentConfig
from hf_afro.students.modeling_afro_student import AfroStudentForMaskedLM, AfroStudentForSequenceClassification
from hf_afro.vocabulary import (
    VerificationError,
    VocabularyMap,
    count_tokens,
    prune_vocabulary,
    pruning,
    select_tokens,
)
from tests.conftest import tiny_config
from tests.texts import AFRICAN
from tests.vocabulary.kinds import model_for, modernbert, state_of


def config_of(kind, size, **overrides):
    return kind(**{**tiny_config(size).to_dict(), "model_type": kind.model_type, **overrides})


MODELS = {
    "xlm-r": lambda size: hf.XLMRobertaForMaskedLM(tiny_config(size)),
    "xlm-r untied": lambda size: hf.XLMRobertaForMaskedLM(tiny_config(size, tie_word_embeddings=False)),
    "encoder": lambda size: hf.XLMRobertaModel(tiny_config(size)),
    "tokens": lambda size: hf.XLMRobertaForTokenClassification(tiny_config(size)),
    "sequences": lambda size: hf.XLMRobertaForSequenceClassification(tiny_config(size)),
    "roberta": lambda size: hf.RobertaForMaskedLM(config_of(hf.RobertaConfig, size)),
    "bert": lambda size: hf.BertForMaskedLM(config_of(hf.BertConfig, size, pad_token_id=1)),
    "student": lambda size: AfroStudentForMaskedLM(config_of(AfroStudentConfig, size, embedding_size=8)),
    "student, full": lambda size: AfroStudentForMaskedLM(config_of(AfroStudentConfig, size)),
    "student, sequences": lambda size: AfroStudentForSequenceClassification(
        config_of(AfroStudentConfig, size, embedding_size=8)
    ),
}


@pytest.fixture(params=MODELS)
def any_model(request, tokenizer):
    torch.manual_seed(1)
    model = MODELS[request.param](len(tokenizer)).eval()
    for name, parameter in model.named_parameters():  # biases start at 0, which would hide a wrong row
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


def tensors(model):
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def test_every_row_is_that_of_its_token(any_model, tokenizer, keep):
    pruned = prune_vocabulary(any_model, tokenizer, keep)
    old, new = tensors(any_model), tensors(pruned.model)
    assert set(old) == set(new)
    old_ids, new_ids = tokenizer.get_vocab(), pruned.tokenizer.get_vocab()
    assert len(new_ids) == len(keep) == pruned.model.get_input_embeddings().weight.shape[0]
    tokens = list(new_ids)  # whatever order the tokenizer gives; rows and tokens are matched by text
    old_rows = torch.tensor([old_ids[token] for token in tokens])
    new_rows = torch.tensor([new_ids[token] for token in tokens])
    for name, tensor in old.items():
        if name in pruned.report.tensors:
            assert torch.equal(tensor[old_rows], new[name][new_rows]), name
        else:
            assert torch.equal(tensor, new[name]), name


def test_a_saved_folder_is_verified_and_loads(any_model, tokenizer, keep, tmp_path):
    pruned = prune_vocabulary(any_model, tokenizer, keep)
    report = pruned.save_pretrained(tmp_path / "pruned")
    assert report.hidden_difference == 0.0
    assert report.tokens == len(keep)
    assert (report.logit_difference is not None) == ("MaskedLM" in type(any_model).__name__)
    assert VocabularyMap.load(tmp_path / "pruned" / "vocabulary_map.json") == keep
    saved = json.loads((tmp_path / "pruned" / "pruning_report.json").read_text(encoding="utf-8"))
    assert saved["new_size"] == len(keep)
    assert saved["verification"]["hidden_difference"] == 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pruned"]


def test_ties_types_and_flags_are_kept(any_model, tokenizer, keep):
    any_model.requires_grad_(False)
    any_model.get_input_embeddings().weight.requires_grad_(True)
    pruned = prune_vocabulary(any_model, tokenizer, keep).model
    old, new = tensors(any_model), tensors(pruned)
    for first in old:
        assert old[first].requires_grad == new[first].requires_grad, first
        assert old[first].dtype == new[first].dtype
        for second in old:
            assert (old[first] is old[second]) == (new[first] is new[second]), (first, second)
    assert pruned.get_input_embeddings().padding_idx == any_model.get_input_embeddings().padding_idx
    assert pruned.training is False
    assert type(pruned) is type(any_model)


def test_layers_that_hold_the_rows_know_their_size(model, tokenizer, keep):
    pruned = prune_vocabulary(model, tokenizer, keep).model
    assert pruned.get_input_embeddings().num_embeddings == len(keep)
    assert pruned.get_output_embeddings().out_features == len(keep)
    assert pruned.lm_head.decoder.bias is pruned.lm_head.bias
    assert pruned.config.vocab_size == len(keep)


def test_a_training_step_after_pruning_keeps_the_tie(model, tokenizer, keep):
    pruned = prune_vocabulary(model, tokenizer, keep)
    inputs = pruned.tokenizer(AFRICAN["swa"][:2], return_tensors="pt", padding=True)
    loss = pruned.model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    weight = pruned.model.get_input_embeddings().weight
    assert weight.grad.abs().sum() > 0
    assert pruned.model.get_output_embeddings().weight.grad is weight.grad
    assert model.get_input_embeddings().weight.grad is None


def test_nothing_handed_in_is_changed(any_model, tokenizer, keep, tmp_path):
    any_model.train()
    before = {name: tensor.clone() for name, tensor in tensors(any_model).items()}
    config, backend = any_model.config.to_dict(), tokenizer.backend_tokenizer.to_str()
    settings = copy.deepcopy(tokenizer.init_kwargs)
    pruned = prune_vocabulary(any_model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    with torch.no_grad():
        pruned.model.get_input_embeddings().weight.zero_()
    assert any_model.config.to_dict() == config
    assert tokenizer.backend_tokenizer.to_str() == backend
    assert tokenizer.init_kwargs == settings
    assert all(module.training for module in any_model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(any_model).items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_kept_through_the_disk(model, tokenizer, keep, tmp_path, dtype):
    pruned = prune_vocabulary(model.to(dtype), tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    read = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "pruned")
    assert read.dtype == dtype
    assert torch.equal(read.lm_head.bias, model.lm_head.bias[torch.from_numpy(keep.old_ids.copy())])


def test_keeping_everything_changes_nothing(model, tokenizer, counts, tmp_path):
    everything = VocabularyMap(np.arange(len(tokenizer)), len(tokenizer), 3, counts.table.fingerprint)
    pruned = prune_vocabulary(model, tokenizer, everything)
    assert pruned.tokenizer.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert pruned.model.config.to_dict() == model.config.to_dict()
    assert all(torch.equal(tensor, tensors(pruned.model)[name]) for name, tensor in tensors(model).items())
    pruned.save_pretrained(tmp_path / "pruned")


def test_spare_rows_are_dropped_and_said(tokenizer, keep, caplog):
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer) + 7)).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[len(tokenizer) :] = torch.nan
        model.lm_head.bias[len(tokenizer) :] = torch.nan
    with caplog.at_level(logging.INFO, logger="hf_afro"):
        pruned = prune_vocabulary(model, tokenizer, keep)
    assert "the 7 spare rows are dropped" in caplog.text
    assert pruned.report.spare_rows == 7
    assert all(parameter.isfinite().all() for parameter in pruned.model.parameters())


def test_ids_in_the_configuration_move_with_their_tokens(tokenizer, keep):
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer)))
    mask = len(tokenizer) - 1
    model.config.mask_token_id = mask
    model.config.sep_token_id = None
    model.config.forced_token_ids = [2, [mask]]
    model.generation_config = hf.GenerationConfig(eos_token_id=[2, mask], pad_token_id=1, suppress_tokens=[-1, mask])
    pruned = prune_vocabulary(model, tokenizer, keep).model
    new_mask = len(keep) - 1
    assert pruned.config.mask_token_id == new_mask
    assert pruned.config.sep_token_id is None
    assert pruned.config.forced_token_ids == [2, [new_mask]]
    assert (pruned.config.bos_token_id, pruned.config.pad_token_id, pruned.config.eos_token_id) == (0, 1, 2)
    assert pruned.generation_config.eos_token_id == [2, new_mask]
    assert pruned.generation_config.suppress_tokens == [-1, new_mask]
    assert model.config.mask_token_id == mask


def test_an_id_in_the_configuration_that_was_dropped_is_refused(model, tokenizer, keep):
    dropped = int(np.setdiff1d(np.arange(len(tokenizer)), keep.old_ids)[0])
    model.config.decoder_start_token_id = dropped
    with pytest.raises(ValueError, match=f"decoder_start_token_id is {dropped}, a token that was not kept"):
        prune_vocabulary(model, tokenizer, keep)


def test_parameters_are_counted_exactly(model, tokenizer, keep):
    report = prune_vocabulary(model, tokenizer, keep).report
    dropped = report.old_size - report.new_size
    assert report.old_parameters - report.new_parameters == dropped * (32 + 1)
    assert report.old_bytes - report.new_bytes == 4 * dropped * (32 + 1)


def test_small_vocabularies_may_share_a_size_with_other_tensors(tokenizer, keep):
    size = len(tokenizer)
    model = hf.XLMRobertaModel(tiny_config(size, max_position_embeddings=size, intermediate_size=size))
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert pruned.report.tensors == ("embeddings.word_embeddings.weight",)


def test_a_tensor_of_the_vocabulary_s_size_that_nobody_knows_is_refused(model, tokenizer, keep):
    model.lm_head.token_prior = nn.Parameter(torch.zeros(len(tokenizer)))
    with pytest.raises(ValueError, match=r"lm_head.token_prior \(518,\)"):
        prune_vocabulary(model, tokenizer, keep)


def test_a_tokenizer_with_more_ids_than_rows_is_refused(tokenizer, keep):
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer) - 1))
    with pytest.raises(ValueError, match="ids up to 517, but the embedding .* has only 517 rows"):
        prune_vocabulary(model, tokenizer, keep)


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # peft asks transformers by a name on its way out
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model, config: inject_adapter_in_model(config, model),
        pytest.param(
            lambda model, config: model.add_adapter(config) or model,
            marks=pytest.mark.skipif(
                Version(version("peft")) < Version(MIN_PEFT_VERSION),
                reason=f"the installed transformers adds adapters by peft {MIN_PEFT_VERSION} or later only",
            ),
        ),
    ],
    ids=["inject_adapter_in_model", "add_adapter"],
)
def test_adapters_injected_into_a_model_are_refused(model, tokenizer, keep, wrap):
    wrapped = wrap(model, LoraConfig(target_modules=["query"]))
    with pytest.raises(TypeError, match="carries PEFT adapters"):
        prune_vocabulary(wrapped, tokenizer, keep)


def test_a_map_of_another_tokenizer_is_refused(model, tokenizer, keep):
    tokenizer.add_tokens(["[extra]"])
    with pytest.raises(ValueError, match="made for another tokenizer"):
        prune_vocabulary(model, tokenizer, keep)


def test_another_kind_of_tokenizer_is_refused(model, keep):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    other = hf.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    with pytest.raises(ValueError, match="tokenizers of kind 'WordLevel' are not supported; expected one of"):
        prune_vocabulary(model, other, keep)


def test_something_that_is_no_tokenizer_is_refused(model, keep):
    with pytest.raises(TypeError, match="expected a tokenizer backed by the tokenizers library"):
        prune_vocabulary(model, object(), keep)


def test_a_missing_special_token_is_refused(model, tokenizer, keep):
    without_mask = VocabularyMap(keep.old_ids[:-1], keep.old_size, 3, keep.tokenizer_fingerprint)
    with pytest.raises(ValueError, match="special tokens are not kept: <mask>"):
        prune_vocabulary(model, tokenizer, without_mask)


def test_an_added_token_beyond_the_pieces_keeps_its_row(tokenizer, tmp_path):
    tokenizer.add_tokens(["[swa]"], special_tokens=True)
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert pruned.tokenizer.convert_tokens_to_ids("[swa]") == len(keep) - 1
    pruned.save_pretrained(tmp_path / "pruned")
    read = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert len(read) == len(keep)
    assert read.convert_tokens_to_ids(["<mask>", "[swa]"]) == [len(keep) - 2, len(keep) - 1]


def test_only_the_files_of_the_new_vocabulary_are_written(pruned, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    assert sorted(path.name for path in (tmp_path / "pruned").iterdir()) == [
        "config.json",
        "model.safetensors",
        "pruning_report.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary_map.json",
    ]


def test_an_earlier_result_is_replaced_whole(pruned, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    (tmp_path / "pruned" / "sentencepiece.bpe.model").write_bytes(b"stale")
    pruned.save_pretrained(tmp_path / "pruned")
    assert not (tmp_path / "pruned" / "sentencepiece.bpe.model").exists()


def test_a_folder_with_other_things_is_left_alone(pruned, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds no vocabulary_map\.json"):
        pruned.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_verification_leaves_nothing_behind(pruned, tmp_path, monkeypatch):
    pruned.save_pretrained(tmp_path / "earlier")
    before = {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()}

    def fail(*_):
        raise VerificationError("a row differs")

    monkeypatch.setattr(pruning, "verify", fail)
    for name in ("new", "earlier"):
        with pytest.raises(VerificationError, match="a row differs"):
            pruned.save_pretrained(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()} == before


def test_a_model_trained_since_is_not_taken_for_the_original_cut(pruned, tmp_path):
    pruned.model.lm_head.bias.data += 1
    with pytest.raises(VerificationError, match="lm_head.bias is not what the original has"):
        pruned.save_pretrained(tmp_path / "pruned")
    assert list(tmp_path.iterdir()) == []


def rows_by_text(model, tokenizer, new_model, new_tokenizer):
    """Say whether every vocabulary row is that of the token with the same text."""
    old_vocab, new_vocab = tokenizer.get_vocab(), new_tokenizer.get_vocab()
    old_ids, new_ids = torch.tensor([old_vocab[token] for token in new_vocab]), torch.tensor(list(new_vocab.values()))
    old, new = model.get_input_embeddings().weight, new_model.get_input_embeddings().weight
    return torch.equal(old[old_ids], new[new_ids])


def reread(folder, model):
    return type(model).from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)


def json_in(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_the_order_of_the_vocabulary_s_dictionary_says_nothing(model, tokenizer, keep, tmp_path, monkeypatch):
    ordered = type(tokenizer).get_vocab

    def shuffled(self):
        entries = list(ordered(self).items())
        random.shuffle(entries)
        return dict(entries)

    monkeypatch.setattr(type(tokenizer), "get_vocab", shuffled)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert rows_by_text(model, tokenizer, *reread(tmp_path / "pruned", model))


def test_no_id_of_any_file_is_an_old_one(tmp_path):
    tokenizer = modernbert()
    model = model_for("modernbert", tokenizer)
    tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token="[PAD]")
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    state = json_in(tmp_path / "pruned", "tokenizer.json")
    vocab = {**state["model"]["vocab"], **{token["content"]: token["id"] for token in state["added_tokens"]}}
    assert sorted(vocab.values()) == list(range(len(keep)))
    assert state["padding"]["pad_id"] == vocab["[PAD]"]
    for token, special in state["post_processor"]["special_tokens"].items():
        assert special["ids"] == [vocab[token]]
    config = json_in(tmp_path / "pruned", "config.json")
    for name, token in (("pad", "[PAD]"), ("bos", "[CLS]"), ("eos", "[SEP]"), ("cls", "[CLS]"), ("sep", "[SEP]")):
        assert config[f"{name}_token_id"] == vocab[token]
    read, _ = reread(tmp_path / "pruned", model)
    assert read.get_input_embeddings().padding_idx == vocab["[PAD]"]


def test_settings_of_old_ids_register_nothing_again(model, tokenizer, keep, tmp_path):
    tokenizer.init_kwargs["added_tokens_decoder"] = {
        str(len(tokenizer) - 1): {"content": "<mask>", "special": True, "lstrip": True},
        "900": {"content": "<gone>", "special": True},
    }
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read_model, read = reread(tmp_path / "pruned", model)
    rows = read_model.get_input_embeddings().weight.shape[0]
    assert len(read) == rows == len(keep)
    assert max(read.get_vocab().values()) < rows
    assert max(read.added_tokens_decoder) < rows


def test_merges_written_as_lines_are_pruned_as_those_written_as_pairs(tmp_path):
    tokenizer = modernbert()
    state = state_of(tokenizer)
    assert isinstance(state["model"]["merges"][0], list)
    state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]
    tokenizer.save_pretrained(tmp_path / "lines")
    (tmp_path / "lines" / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    lines = hf.AutoTokenizer.from_pretrained(tmp_path / "lines")
    keep = select_tokens(count_tokens(AFRICAN, lines))
    assert keep == select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model_for("modernbert", lines), lines, keep).save_pretrained(tmp_path / "pruned")
    merges = json_in(tmp_path / "pruned", "tokenizer.json")["model"]["merges"]
    vocab = json_in(tmp_path / "pruned", "tokenizer.json")["model"]["vocab"]
    assert len(merges) > 100
    assert all(a in vocab and b in vocab and a + b in vocab for a, b in merges)
