"""Tokenizers that spell all text in bytes need no unknown token: EuroBERT, Qwen, Llama 3."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers as hf
from datasets import Dataset
from tokenizers import processors

from hf_afro import MAFTTrainer, MAFTTrainingArguments
from hf_afro.vocabulary import (
    TokenCounts,
    VocabularyMap,
    count_tokens,
    prune_checkpoint,
    prune_vocabulary,
    select_tokens,
)
from hf_afro.vocabulary.tokenizers.backend import piece_bytes
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.kinds import byte_level
from tests.vocabulary.test_counting import by_lines

SPECIALS = ["<|begin|>", "<|end|>", "<|mask|>", "<|pad|>"]
ODD = "漢字 \U0001f600 é"


@pytest.fixture(scope="module")
def tokenizer():
    backend = byte_level(SPECIALS)
    backend.model.ignore_merges = True  # as Llama 3 and EuroBERT have it
    ends = [(one, backend.token_to_id(one)) for one in SPECIALS[:2]]
    backend.post_processor = processors.TemplateProcessing("<|begin|> $A <|end|>", special_tokens=ends)
    begin, end, mask, pad = SPECIALS
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=begin, eos_token=end, mask_token=mask, pad_token=pad, model_max_length=64
    )


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "mask")}
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
    config = hf.EuroBertConfig(vocab_size=len(tokenizer), hidden_size=32, max_position_embeddings=64, **sizes, **ids)
    return hf.EuroBertForMaskedLM(config).eval()


@pytest.fixture(scope="module")
def keep(tokenizer):
    return select_tokens(count_tokens(AFRICAN, tokenizer), scripts=["Latin"], coverage=0.8)


def test_it_is_counted_exactly_and_nothing_is_unknown(tokenizer, tmp_path):
    counts = count_tokens(SENTENCES, tokenizer)
    np.testing.assert_array_equal(counts.counts, by_lines(SENTENCES, tokenizer))
    assert counts.table.unknown_id is None
    assert set(counts.unknown_share.values()) == {0.0}
    counts.save(tmp_path / "counts.npz")
    assert select_tokens(TokenCounts.load(tmp_path / "counts.npz")) == select_tokens(counts)
    report = select_tokens(counts).provenance["coverage"]
    assert all(one["unknown_rate"] == 0.0 and one["coverage"] >= 0.9995 for one in report.values())
    assert len(piece_bytes(counts.table, tokenizer.all_special_ids)) == len(tokenizer)


@pytest.mark.parametrize("low_memory", [False, True])
def test_it_is_pruned_and_spells_all_text(low_memory, tokenizer, model, keep, tmp_path):
    held_out = {"rus": SENTENCES["rus"]}
    if low_memory:
        model.save_pretrained(tmp_path / "whole")
        tokenizer.save_pretrained(tmp_path / "whole")
        report = prune_checkpoint(tmp_path / "whole", keep, tmp_path / "pruned", held_out=held_out).verification
    else:
        report = prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned", held_out=held_out)
        assert report.hidden_difference == 0.0
    assert report.texts_kept > 20
    assert (report.held_out["rus"].old_unknown_rate, report.held_out["rus"].new_unknown) == (0.0, 0)
    pruned = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert len(pruned) == len(keep) < len(tokenizer)
    assert pruned.unk_token is None
    assert pruned.decode(pruned(ODD)["input_ids"], skip_special_tokens=True) == ODD
    assert VocabularyMap.load(tmp_path / "pruned" / "vocabulary_map.json") == keep
    assert keep.old_unknown_id is None


def test_an_id_that_was_dropped_has_no_new_one(keep):
    dropped = int(np.setdiff1d(np.arange(keep.old_size), keep.old_ids)[0])
    kept = keep.old_ids[-3:].tolist()
    for ids in ([*kept, -100], [kept, [kept]], np.array(kept), torch.tensor([kept, kept])):
        back = keep.to_old(keep.to_new(ids))
        assert np.array_equal(back, ids) if not isinstance(ids, list) else back == ids
    for ids in ([dropped], [[0], [dropped, -100]], np.array([0, dropped]), torch.tensor([[dropped]])):
        with pytest.raises(ValueError, match=f"old id {dropped} was not kept, .* no unknown token"):
            keep.to_new(ids)


def test_it_is_adapted(tokenizer, model, keep, tmp_path):
    pruned = prune_vocabulary(model, tokenizer, keep)
    text = {language: Dataset.from_dict({"text": lines[:20]}) for language, lines in AFRICAN.items()}
    settings = {"max_steps": 1, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
    args = MAFTTrainingArguments(output_dir=str(tmp_path), max_length=32, whole_word_masking=True, **settings)
    trainer = MAFTTrainer(
        model=pruned.model, args=args, train_dataset=text, eval_dataset=text, processing_class=pruned.tokenizer
    )
    trainer.train()
    assert set(trainer.unknown_shares.values()) == {0.0}
    figures = trainer.evaluate()
    assert all(figures[f"eval_{language}_unknown_share"] == 0.0 for language in text)
