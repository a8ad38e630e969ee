"""Verification finds everything that could be wrong in a pruned folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from hf_afro.vocabulary import (
    VerificationError,
    VocabularyMap,
    count_tokens,
    prune_vocabulary,
    report_on_text,
    select_tokens,
    verify,
)
from tests.conftest import tiny_config
from tests.texts import AFRICAN, SENTENCES


@pytest.fixture
def folder(pruned, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    return tmp_path / "pruned"


def rewrite_json(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def swap_rows(tensors):
    weight = tensors["roberta.embeddings.word_embeddings.weight"]
    weight[[10, 11]] = weight[[11, 10]]


def change_bias(tensors):
    tensors["lm_head.bias"][10] += 1e-7


def change_layer(tensors):
    tensors["roberta.encoder.layer.1.output.dense.weight"][0, 0] += 1e-7


def swap_pieces(state):
    vocab = state["model"]["vocab"]
    vocab[10], vocab[11] = vocab[11], vocab[10]


def raise_a_score(state):
    state["model"]["vocab"][40][1] = -0.001


def change_the_normalizer(state):
    state["normalizer"] = {"type": "Lowercase"}


def drop_a_piece(state):
    state["model"]["vocab"].pop(60)


def test_a_whole_folder_passes_with_text_of_ones_own(folder, model, tokenizer):
    report = verify(folder, model, tokenizer, texts=SENTENCES["swa"])
    assert report.texts_kept + report.texts_other == 256 + len(SENTENCES["swa"])
    assert report.texts_kept > 128
    assert report.vocabulary_tensors == 4
    assert report.tokenizer_classes[0] == "XLMRobertaTokenizer"
    assert verify(folder, model, tokenizer, texts=SENTENCES["swa"]) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_rows, r"(word_embeddings|decoder)\.weight is not what the original has"),
        (change_bias, "lm_head.bias is not what the original has"),
        (change_layer, "layer.1.output.dense.weight is not what the original has"),
    ],
)
def test_a_changed_weight_is_found(folder, model, tokenizer, change, message):
    change_weights(folder, change)
    with pytest.raises(VerificationError, match=message):
        verify(folder, model, tokenizer)


def swap_the_template(state):
    ids = state["post_processor"]["special_tokens"]
    ids["<s>"]["ids"], ids["</s>"]["ids"] = ids["</s>"]["ids"], ids["<s>"]["ids"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_the_template, "puts the id 0 around texts for '</s>', expected 2"),
        (swap_pieces, "id 10 is the token"),
        (raise_a_score, "gives a token another score"),
        (change_the_normalizer, "the tokenizer's normalizer is"),
        (drop_a_piece, "the tokenizer has 395 tokens"),
    ],
)
def test_a_changed_tokenizer_is_found(folder, model, tokenizer, change, message):
    rewrite_json(folder / "tokenizer.json", change)
    with pytest.raises(VerificationError, match=message):
        verify(folder, model, tokenizer)


def test_a_setting_that_got_lost_is_found(folder, model, tokenizer):
    rewrite_json(folder / "tokenizer_config.json", lambda settings: settings.pop("model_max_length"))
    with pytest.raises(VerificationError, match="model_max_length"):
        verify(folder, model, tokenizer)


def test_another_tokenizer_class_is_found(folder, model, tokenizer):
    rewrite_json(folder / "tokenizer_config.json", lambda one: one.update(tokenizer_class="PreTrainedTokenizerFast"))
    with pytest.raises(VerificationError, match="expected XLMRobertaTokenizer"):
        verify(folder, model, tokenizer)


def test_a_folder_without_tokenizer_is_found(folder, model, tokenizer):
    # transformers builds a tokenizer of five tokens from config.json alone, and says nothing.
    (folder / "tokenizer.json").unlink()
    with pytest.raises(VerificationError, match="the tokenizer has 5 tokens"):
        verify(folder, model, tokenizer)


def test_another_original_is_found(folder, tokenizer):
    torch.manual_seed(5)
    other = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer)))
    with pytest.raises(VerificationError, match="is not what the original has"):
        verify(folder, other, tokenizer)


def test_a_map_that_disagrees_is_found(folder, model, tokenizer, keep):
    other = np.setdiff1d(np.arange(len(tokenizer)), keep.old_ids)[0]
    old_ids = np.sort(np.append(np.delete(keep.old_ids, 20), other))
    shifted = VocabularyMap(old_ids, keep.old_size, 3, keep.tokenizer_fingerprint, keep.provenance)
    shifted.save(folder / "vocabulary_map.json")
    with pytest.raises(VerificationError, match="but its row belongs to"):
        verify(folder, model, tokenizer)


def test_a_tie_that_got_lost_is_found(folder, model, tokenizer):
    rewrite_json(folder / "config.json", lambda config: config.update(tie_word_embeddings=False))
    with pytest.raises(VerificationError, match=r"tied in one of the two|not what the original has"):
        verify(folder, model, tokenizer)


@pytest.mark.slow
def test_the_real_vocabulary_is_pruned_exactly(shared_data, tmp_path):
    tokenizer = hf.AutoTokenizer.from_pretrained(shared_data / "xlm-roberta-base")
    texts = {}
    for language in ("afr", "amh", "ara", "hau", "wol", "yor"):
        text = (shared_data / "corpora" / f"{language}.txt").read_text(encoding="utf-8")
        texts[language] = text[:1_500_000].split("\n")
    counted = {language: lines[::2] for language, lines in texts.items()}
    unseen = {language: lines[1::20] for language, lines in texts.items()} | {"rus": ["Мвалиму аливаамбиа."]}
    keep = select_tokens(count_tokens(counted, tokenizer), 50_000)
    assert keep.old_ids[[0, 1, 2, 3, -1]].tolist() == [0, 1, 2, 3, 250_001]
    assert keep.provenance["below_floor"] == []
    model = hf.XLMRobertaForMaskedLM(
        tiny_config(250_002, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    pruned = prune_vocabulary(model, tokenizer, keep)
    report = pruned.save_pretrained(tmp_path / "pruned")
    assert report.hidden_difference == 0.0
    assert verify(tmp_path / "pruned", model, tokenizer, texts=AFRICAN["yor"] + unseen["amh"]).texts_kept > 250
    for language, one in report_on_text(unseen, tokenizer, pruned.tokenizer, keep).items():
        assert one.new_unknown_wanted == 0, language
        assert one.new_tokens_per_word < 1.05 * one.old_tokens_per_word or language == "rus"
