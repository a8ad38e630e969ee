"""Tokenizers of encoder-decoder and causal models keep their ids in step with the rows."""

from __future__ import annotations

import json

import pytest
import torch
import transformers as hf
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

from hf_afro.vocabulary import count_tokens, prune_vocabulary, select_tokens
from tests.texts import AFRICAN
from tests.vocabulary.kinds import byte_level, gemma
from tests.vocabulary.models import albert, deberta, gemma as gemma_config, gpt2, llama, mbart, t5

LINES = [line for lines in AFRICAN.values() for line in lines]


def unigram_of(tokenizer, specials, behind=()):
    """Return the pieces of the tests' Unigram tokenizer with other special tokens before and behind them."""
    vocab = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"][4:-1]
    return [
        *((piece, 0.0) for piece in specials),
        *((piece, score) for piece, score in vocab),
        *((piece, 0.0) for piece in behind),
    ]


def t5_pair(tokenizer):
    extra = [f"<extra_id_{number}>" for number in range(9, -1, -1)]
    made = hf.T5Tokenizer(vocab=unigram_of(tokenizer, ["<pad>", "</s>", "<unk>"], extra), extra_ids=10)
    settings = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None, "decoder_start_token_id": 0}
    return made, hf.T5ForConditionalGeneration(t5(len(made), **settings))


def mbart_pair(tokenizer):
    vocab = unigram_of(tokenizer, ["<s>", "<pad>", "</s>", "<unk>"], [*FAIRSEQ_LANGUAGE_CODES, "<mask>"])
    made = hf.MBartTokenizer(vocab=vocab, src_lang="en_XX", tgt_lang="ro_RO")
    code = made.convert_tokens_to_ids("ro_RO")
    return made, hf.MBartForConditionalGeneration(mbart(len(made), decoder_start_token_id=code))


def albert_pair(tokenizer):
    made = hf.AlbertTokenizer(vocab=unigram_of(tokenizer, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]))
    return made, hf.AlbertForMaskedLM(albert(len(made), pad_token_id=0, bos_token_id=2, eos_token_id=3))


def deberta_pair(tokenizer):
    made = hf.DebertaV2Tokenizer(vocab=unigram_of(tokenizer, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"]))
    return made, hf.DebertaV2ForMaskedLM(deberta(len(made), pad_token_id=0, bos_token_id=1, eos_token_id=2))


def gpt2_pair(_tokenizer):
    model = json.loads(byte_level([]).to_str())["model"]
    vocab = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    made = hf.GPT2Tokenizer(vocab=vocab, merges=[tuple(merge) for merge in model["merges"]])
    end = made.eos_token_id
    return made, hf.GPT2LMHeadModel(gpt2(len(made), bos_token_id=end, eos_token_id=end, pad_token_id=end))


def gemma_pair(_tokenizer):
    state = json.loads(gemma().backend_tokenizer.to_str())["model"]
    names = dict(
        zip(
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], ["<pad>", "<unk>", "<bos>", "<eos>", "<mask>"], strict=True
        )
    )
    vocab = {names.get(piece, piece): index for piece, index in state["vocab"].items()}
    made = hf.GemmaTokenizer(vocab=vocab, merges=[tuple(merge) for merge in state["merges"]])
    settings = {
        "pad_token_id": made.pad_token_id,
        "bos_token_id": made.bos_token_id,
        "eos_token_id": made.eos_token_id,
    }
    return made, hf.GemmaForCausalLM(gemma_config(len(made), **settings))


def llama_pair(_tokenizer):
    state = json.loads(gemma().backend_tokenizer.to_str())["model"]
    names = {"[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>"}
    vocab = {names.get(piece, piece): index for piece, index in state["vocab"].items()}
    made = hf.LlamaTokenizer(vocab=vocab, merges=[tuple(merge) for merge in state["merges"]])
    settings = {"pad_token_id": None, "bos_token_id": made.bos_token_id, "eos_token_id": made.eos_token_id}
    return made, hf.LlamaForCausalLM(llama(len(made), **settings))


PAIRS = {
    one.__name__.removesuffix("_pair"): one
    for one in (t5_pair, mbart_pair, albert_pair, deberta_pair, gpt2_pair, gemma_pair, llama_pair)
}


@pytest.mark.parametrize("name", PAIRS)
def test_tokenizer_and_model_of_one_class_stay_in_step(name, tokenizer, tmp_path):
    original, model = PAIRS[name](tokenizer)
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"], "amh": AFRICAN["amh"]}, original))
    assert len(keep) < len(original)
    pruned = prune_vocabulary(model.eval(), original, keep)
    assert pruned.save_pretrained(tmp_path / "pruned").hidden_difference == 0.0
    read = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert type(read) is type(pruned.tokenizer) is type(original)
    everything = [*LINES, *original.all_special_tokens]
    whole = [line for line in everything if keep.keeps(original(line, line)["input_ids"]).all()]
    assert len(whole) > len(original.all_special_tokens)
    for line in whole:
        before = original(line, line)["input_ids"]
        assert keep.to_old(pruned.tokenizer(line, line)["input_ids"]) == before
        assert keep.to_old(read(line, line)["input_ids"]) == before
    for line in LINES:
        assert pruned.tokenizer(line)["input_ids"] == read(line)["input_ids"]


def test_ids_of_languages_move(tokenizer, tmp_path):
    original, model = mbart_pair(tokenizer)
    keep = select_tokens(count_tokens(AFRICAN, original))
    pruned = prune_vocabulary(model.eval(), original, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    original.src_lang = "fr_XX"
    for one in (pruned.tokenizer, hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")):
        assert one.lang_code_to_id["ro_RO"] == one.convert_tokens_to_ids("ro_RO")
        assert keep.to_old([one.lang_code_to_id["ro_RO"]]) == [original.lang_code_to_id["ro_RO"]]
        assert one.fairseq_ids_to_tokens[one.lang_code_to_id["en_XX"]] == "en_XX"
        assert one.cur_lang_code == one.convert_tokens_to_ids("en_XX")
        assert one("kitabu")["input_ids"][-1] == one.convert_tokens_to_ids("en_XX")
        one.src_lang = "fr_XX"
        assert keep.to_old(one("kitabu")["input_ids"]) == original("kitabu")["input_ids"]
    read = hf.MBartForConditionalGeneration.from_pretrained(tmp_path / "pruned")
    assert read.config.decoder_start_token_id == pruned.tokenizer.convert_tokens_to_ids("ro_RO")


def test_a_language_chosen_after_loading_is_saved(tokenizer, tmp_path):
    original, model = mbart_pair(tokenizer)
    original.src_lang = "fr_XX"
    keep = select_tokens(count_tokens(AFRICAN, original))
    prune_vocabulary(model.eval(), original, keep).save_pretrained(tmp_path / "pruned")
    read = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert (read.src_lang, read.tgt_lang) == ("fr_XX", "ro_RO")
    assert keep.to_old(read("kitabu")["input_ids"]) == original("kitabu")["input_ids"]


def test_sentinels_stay_at_the_end_of_t5(tokenizer, tmp_path):
    original, model = t5_pair(tokenizer)
    keep = select_tokens(count_tokens(AFRICAN, original))
    prune_vocabulary(model.eval(), original, keep, pad_to_multiple_of=64).save_pretrained(tmp_path / "pruned")
    read = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert read.convert_tokens_to_ids(["<extra_id_9>", "<extra_id_0>"]) == [len(keep) - 10, len(keep) - 1]
    text = "Mwalimu <extra_id_0> wanafunzi <extra_id_1>"
    assert keep.to_old(read(text)["input_ids"]) == original(text)["input_ids"]
    reloaded = hf.T5ForConditionalGeneration.from_pretrained(tmp_path / "pruned").eval()
    with torch.inference_mode():
        labels = read(text, return_tensors="pt")["input_ids"]
        new = reloaded(input_ids=labels, labels=labels).logits[..., : len(keep)]
        old = model(input_ids=keep.to_old(labels), labels=keep.to_old(labels)).logits
    kept = torch.from_numpy(keep.old_ids.copy())
    assert (new - old[..., kept]).abs().max() <= 1e-6 * old.abs().max()
