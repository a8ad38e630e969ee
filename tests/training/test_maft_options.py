"""The options of `MAFTTrainer`: whole words, embedding warm-up, stopping by a set of languages, fast settings."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, TrainerState

from hf_afro.training.embedding_warmup import EmbeddingWarmup, vocabulary_parameters
from hf_afro.training.whole_words import words_of_pieces
from tests.texts import SENTENCES
from tests.tiny_families import tiny
from tests.training.recipes import StopAt, checksum, maft_trainer, steps_of


class TestWholeWords:
    def test_batches_hold_whole_words(self, model, tokenizer, tmp_path):
        trainer = maft_trainer(model, tokenizer, tmp_path, whole_word_masking=True, mlm_probability=0.3)
        words_of, several = words_of_pieces(tokenizer), 0
        for batch in trainer.get_train_dataloader():
            labels = batch["labels"].numpy()
            for row, own in zip(np.where(labels != -100, labels, batch["input_ids"].numpy()), labels, strict=True):
                ordinary = ~np.isin(row, tokenizer.all_special_ids)
                words = words_of(row)
                for word in np.unique(words[ordinary]):
                    chosen = (own != -100)[(words == word) & ordinary]
                    assert chosen.all() or not chosen.any()
                    several += chosen.sum() > 1
        assert several > 50

    @pytest.mark.parametrize("accumulation", [2, 4])
    def test_accumulation_does_not_matter(self, model, tokenizer, tmp_path, accumulation):
        whole = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, whole_word_masking=True))
        split = steps_of(maft_trainer(model, tokenizer, tmp_path, whole_word_masking=True, accumulation=accumulation))
        for one, other in zip(whole, split, strict=True):
            assert other == pytest.approx(one, rel=1e-5)


class TestEmbeddingWarmup:
    @pytest.mark.parametrize("tied", [True, False])
    def test_only_the_embeddings_learn_at_first(self, tokenizer, tmp_path, tied):
        model = tiny("xlm-roberta", vocab_size=len(tokenizer), tie_word_embeddings=tied)
        own = {id(parameter) for parameter in vocabulary_parameters(model)}
        assert len(own) == (2 if tied else 3)
        first = {name: tensor.clone() for name, tensor in model.named_parameters()}
        run = {"embedding_warmup_steps": 2, "max_steps": 2, "lr_scheduler_type": "constant", "weight_decay": 0.1}
        steps_of(maft_trainer(model, tokenizer, tmp_path, **run))
        for name, tensor in model.named_parameters():
            assert torch.equal(tensor, first[name]) == (id(tensor) not in own), name

    def test_then_all_learns_and_a_resumed_run_is_the_same(self, model, tokenizer, tmp_path):
        before = {name: tensor.clone() for name, tensor in model.named_parameters()}
        run = {
            "embedding_warmup_steps": 3,
            "max_steps": 6,
            "lr_scheduler_type": "constant",
            "save_strategy": "steps",
            "save_steps": 2,
        }
        unbroken = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "unbroken", **run)
        unbroken.train()
        query = "roberta.encoder.layer.0.attention.self.query.weight"
        assert not torch.equal(unbroken.model.get_parameter(query), before[query])
        broken = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "broken", callbacks=[StopAt(2)], **run)
        broken.train()
        assert torch.equal(broken.model.get_parameter(query), before[query])
        resumed = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "broken", **run)
        resumed.train(resume_from_checkpoint=True)
        assert checksum(resumed.model) == checksum(unbroken.model)

    def test_parameters_that_fsdp_has_replaced_are_known_by_name(self, model):
        warmup = EmbeddingWarmup(model, 1)
        query = model.roberta.encoder.layer[0].attention.self.query
        query.weight = torch.nn.Parameter(query.weight.detach().clone())
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        warmup.on_pre_optimizer_step(None, TrainerState(global_step=0), None, model=model)
        own = {id(parameter) for parameter in vocabulary_parameters(model)}
        for name, parameter in model.named_parameters():
            assert (parameter.grad is None) == (id(parameter) not in own), name

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
    def test_refusals(self, model, tokenizer, tmp_path):
        from peft import LoraConfig

        with pytest.raises(ValueError, match="embedding_warmup_steps=-1 is less than 0"):
            maft_trainer(model, tokenizer, tmp_path, embedding_warmup_steps=-1)
        with pytest.raises(ValueError, match="embedding_warmup_steps=2, and no embedding of PeftModel is trained"):
            maft_trainer(model, tokenizer, tmp_path, embedding_warmup_steps=2, peft_config=LoraConfig(r=2))


class TestSetsOfLanguages:
    @pytest.fixture
    def held_out(self):
        return {code: Dataset.from_dict({"text": SENTENCES[code]}) for code in ("swa", "amh", "rus")}

    def test_means_of_sets_and_of_the_mix(self, model, tokenizer, tmp_path, held_out):
        sets = {"core": ["swa", "rus"]}
        metrics = maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out, language_sets=sets).evaluate()
        bits = {code: metrics[f"eval_{code}_bits_per_byte"] for code in held_out}
        assert metrics["eval_core_bits_per_byte"] == pytest.approx((bits["swa"] + bits["rus"]) / 2)
        assert metrics["eval_in_mix_bits_per_byte"] == pytest.approx((bits["swa"] + bits["amh"]) / 2)
        assert metrics["eval_out_of_mix_bits_per_byte"] == bits["rus"]
        assert metrics["eval_bits_per_byte"] == pytest.approx(sum(bits.values()) / 3)

    def test_a_mean_without_a_language_is_not_given(self, model, tokenizer, tmp_path, held_out):
        trainer = maft_trainer(
            model, tokenizer, tmp_path, eval_dataset=held_out, language_sets={"core": ["swa", "rus"]}
        )
        metrics = trainer.evaluate({"swa": held_out["swa"]})
        assert "eval_core_bits_per_byte" not in metrics
        assert "eval_out_of_mix_bits_per_byte" not in metrics
        assert metrics["eval_in_mix_bits_per_byte"] == metrics["eval_swa_bits_per_byte"]

    def test_training_stops_early_by_the_mean_of_a_set(self, model, tokenizer, tmp_path, held_out):
        trainer = maft_trainer(
            model,
            tokenizer,
            tmp_path,
            eval_dataset=held_out,
            language_sets={"core": ["swa", "amh"]},
            metric_for_best_model="core_bits_per_byte",
            greater_is_better=False,
            load_best_model_at_end=True,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            max_steps=12,
            learning_rate=10.0,  # each step makes it worse than the first
            max_grad_norm=0.0,
            callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        )
        trainer.train()
        seen = [entry["eval_core_bits_per_byte"] for entry in trainer.state.log_history if "eval_loss" in entry]
        assert 3 <= len(seen) < 12
        assert trainer.state.best_metric == min(seen)
        assert min(seen) not in seen[-2:]
        assert trainer.evaluate()["eval_core_bits_per_byte"] == pytest.approx(min(seen), rel=1e-6)

    @pytest.mark.parametrize(
        ("sets", "message"),
        [
            ({"core": "swa"}, "expected a name and a list of languages each"),
            ({"core": []}, "expected a name and a list of languages each"),
            ({"swa": ["swa"]}, "names a set 'swa'"),
            ({"in_mix": ["swa"]}, "names a set 'in_mix'"),
            ({"rus": ["swa"]}, "names a set 'rus' as a language that is evaluated"),
            ({"core": ["swa", "yor"]}, "has yor in 'core', and the eval_dataset only amh, rus, swa"),
        ],
    )
    def test_refusals(self, model, tokenizer, tmp_path, held_out, sets, message):
        with pytest.raises(ValueError, match=message):
            maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out, language_sets=sets)


class TestFastSettings:
    """Each runs and gives the loss that it should, beside a plain run."""

    @pytest.fixture
    def plain(self, model, tokenizer, tmp_path):
        return steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path))

    def test_activation_checkpointing_is_the_same(self, model, tokenizer, tmp_path, plain):
        found = steps_of(maft_trainer(model, tokenizer, tmp_path, activation_checkpointing=True))
        for one, other in zip(plain, found, strict=True):
            assert other == pytest.approx(one, rel=1e-6)

    @pytest.mark.slow
    def test_a_compiled_model_is_the_same(self, tokenizer, tmp_path):
        model = tiny("xlm-roberta", vocab_size=len(tokenizer), num_hidden_layers=1)
        run = {"max_steps": 2, "packing": True, "lr_scheduler_type": "constant"}
        plain = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, **run))
        # The cheapest backend: what could go wrong here is what Dynamo makes of the hooks.
        run |= {"torch_compile": True, "torch_compile_backend": "eager"}
        trainer = maft_trainer(model, tokenizer, tmp_path, **run)
        found = steps_of(trainer)
        assert trainer.model_wrapped is not trainer.model
        for one, other in zip(plain, found, strict=True):
            assert other == pytest.approx(one, rel=1e-5)

    @pytest.mark.parametrize("optimizer", ["adamw_torch_fused", "adamw_torch"])
    def test_fused_and_unfused_optimizer(self, model, tokenizer, tmp_path, plain, optimizer):
        found = steps_of(maft_trainer(model, tokenizer, tmp_path, optim=optimizer))
        for one, other in zip(plain, found, strict=True):
            assert other == pytest.approx(one, rel=1e-4)

    def test_bf16_with_checkpointing_whole_words_and_30_percent(self, model, tokenizer, tmp_path):
        run = {"whole_word_masking": True, "mlm_probability": 0.3}
        exact = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, **run))
        found = steps_of(maft_trainer(model, tokenizer, tmp_path, bf16=True, activation_checkpointing=True, **run))
        for (loss, norm), (half, half_norm) in zip(exact, found, strict=True):
            assert half == pytest.approx(loss, rel=0.01)
            assert half_norm == pytest.approx(norm, rel=0.05)
        assert exact[0][0] == pytest.approx(math.log(len(tokenizer)), rel=0.05)
