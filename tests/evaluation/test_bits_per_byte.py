"""Bits per byte as scores: equal to the trainer's, and the model is not changed."""

from __future__ import annotations

import copy

import pytest
import torch
from datasets import Dataset
from transformers import AutoModel

from hf_afro import count_tokens, select_tokens
from hf_afro.evaluation.bits_per_byte import bits_per_byte_scores
from hf_afro.training import MAFTTrainer, MAFTTrainingArguments
from tests.texts import SENTENCES

TEXT = {language: SENTENCES[language] for language in ("swa", "amh")}


def test_they_are_what_the_trainer_measures(model, tokenizer, tmp_path):
    scores = bits_per_byte_scores(model, tokenizer, TEXT)
    arguments = MAFTTrainingArguments(output_dir=str(tmp_path), max_length=64, use_cpu=True, disable_tqdm=True)
    datasets = {language: Dataset.from_dict({"text": lines}) for language, lines in TEXT.items()}
    trainer = MAFTTrainer(model=model, args=arguments, eval_dataset=datasets, processing_class=tokenizer)
    metrics = trainer.evaluate()
    for score in scores:
        assert score.values[0] == pytest.approx(metrics[f"eval_{score.language}_bits_per_byte"], rel=1e-6)
        assert (score.task, score.metric, score.seeds, score.split) == (
            "bits_per_byte",
            "bits_per_byte",
            (),
            "held_out",
        )
        assert score.n > 0


def test_the_model_is_left_as_it_was(model, tokenizer):
    model.train()
    before = copy.deepcopy(model.state_dict())
    first, again = (bits_per_byte_scores(model, tokenizer, TEXT) for _ in range(2))
    assert first == again
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    ids = torch.tensor([[0, 5, 6, 2]])
    assert model(input_ids=ids).logits.shape[:2] == (1, 4)


def test_fewer_ids_to_choose_from_cost_fewer_bits(model, tokenizer):
    keep = select_tokens(count_tokens({"swa": TEXT["swa"]}, tokenizer), coverage=1.0)
    whole = bits_per_byte_scores(model, tokenizer, {"swa": TEXT["swa"]})
    restricted = bits_per_byte_scores(model, tokenizer, {"swa": TEXT["swa"]}, restrict_to=keep)
    assert restricted[0].values[0] < whole[0].values[0]
    assert restricted[0].metric == "bits_per_byte_restricted"


def test_words_that_cannot_be_written_are_told_of(model, tokenizer):
    lines = [f"今天 天气 很 好 {word}" for word in "我们 去 公园 散步 吧 看 书".split()]
    (score,) = bits_per_byte_scores(model, tokenizer, {"zho": [*lines, *TEXT["swa"]]})
    assert "of the words contain <unk>" in score.note


def test_a_model_without_a_head_for_tokens_is_refused(model, tokenizer):
    with pytest.raises(ValueError, match="has no masked-LM head"):
        bits_per_byte_scores(AutoModel.from_config(model.config), tokenizer, TEXT)


@pytest.mark.parametrize(("what", "told"), [("untrained", True), ("drawn", True), ("kept", False)])
def test_a_head_that_was_never_trained_is_told(what, told, model, tokenizer, caplog):
    model.config.masked_lm_head = what
    bits_per_byte_scores(model, tokenizer, {"swa": TEXT["swa"]})
    assert ("was never trained" in caplog.text) == told
