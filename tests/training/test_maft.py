"""`MAFTTrainer`: learning, splits, resuming, evaluation, datasets, and its options."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import EarlyStoppingCallback, TrainingArguments, XLMRobertaForMaskedLM

from hf_afro import count_tokens, prune_vocabulary, select_tokens
from hf_afro.training import MAFTTrainer, MAFTTrainingArguments
from hf_afro.training.gradients import vocabulary_parameters
from hf_afro.training.maft import words_of_pieces
from tests.conftest import tiny_config
from tests.texts import SENTENCES
from tests.tiny_families import tiny
from tests.training.tiny_trainers import StopAt, checksum, maft_trainer, settings, steps_of, text_datasets


def test_loss_falls(model, tokenizer, tmp_path):
    steps = steps_of(maft_trainer(model, tokenizer, tmp_path, max_steps=30, learning_rate=5e-3))
    assert steps[0][0] == pytest.approx(math.log(len(tokenizer)), rel=0.05)  # an untrained model guesses evenly
    assert sum(loss for loss, _ in steps[-5:]) / 5 < steps[0][0] - 0.5


@pytest.mark.parametrize("accumulation", [2, 4, 16])
def test_accumulation_does_not_matter(model, tokenizer, tmp_path, accumulation):
    whole = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path))
    split = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, accumulation=accumulation))
    assert len(whole) == len(split) == 4
    for (loss, norm), (split_loss, split_norm) in zip(whole, split, strict=True):
        assert split_loss == pytest.approx(loss, rel=1e-5)
        assert split_norm == pytest.approx(norm, rel=1e-5)


def test_first_step_is_the_mean_over_the_masked_tokens_of_the_global_batch(model, tokenizer, tmp_path):
    trainer = maft_trainer(model, tokenizer, tmp_path, accumulation=4, max_steps=1, learning_rate=0.0)
    batches = list(trainer.get_train_dataloader())[:4]
    losses, count = [], 0
    for batch in batches:
        labels = batch.pop("labels")
        logits = model(**batch).logits
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum"))
        count += int((labels != -100).sum())
    assert steps_of(trainer)[0][0] == pytest.approx((sum(losses) / count).item(), rel=1e-6)


@pytest.mark.parametrize("stop", [3, 8, 10, 12])  # an epoch has 10 steps; 12 is the end
def test_a_resumed_run_ends_in_the_weights_of_an_unbroken_one(model, tokenizer, tmp_path, stop):
    for dropout in (module for module in model.modules() if isinstance(module, torch.nn.Dropout)):
        dropout.p = 0.1  # drawn from the global generator, which resuming has to restore
    # At a constant rate, or a step too many at the end would change nothing.
    run = {"accumulation": 2, "max_steps": 12, "save_strategy": "steps", "save_steps": stop}
    run["lr_scheduler_type"] = "constant"
    unbroken = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "unbroken", **run)
    assert unbroken.args.max_steps > len(unbroken.get_train_dataloader()) / 2  # more than one epoch
    unbroken.train()

    broken = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "broken", **run)
    broken.add_callback(StopAt(stop))
    broken.train()
    assert broken.state.global_step == stop
    resumed = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / "broken", **run)
    torch.manual_seed(999)  # whatever the new process did before
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    assert checksum(resumed.model) == checksum(unbroken.model)
    assert (checksum(resumed.model) == checksum(broken.model)) == (stop == 12)


def test_settings_reach_the_batches(model, tokenizer, tmp_path):
    def first(**changed):
        return next(iter(maft_trainer(model, tokenizer, tmp_path, **changed).get_train_dataloader()))

    def share(batch):
        return ((batch["labels"] != -100).sum() / batch["attention_mask"].sum()).item()

    assert share(first(mlm_probability=0.6)) > 2 * share(first())
    assert not torch.equal(first(data_seed=4)["labels"], first()["labels"])
    assert torch.equal(first(data_seed=3)["labels"], first()["labels"])
    uneven = {**text_datasets(), "swa": text_datasets(repeat=30)["swa"]}
    drawn = [
        maft_trainer(model, tokenizer, tmp_path, train_dataset=uneven, language_alpha=alpha)
        .get_train_dataloader()
        .batch_sampler.mixture.quotas["swa"]
        for alpha in (1.0, 0.0)
    ]
    assert drawn[0] > 2 * drawn[1]


def test_a_step_without_a_masked_token_is_zero(model, tokenizer, tmp_path):
    steps = steps_of(maft_trainer(model, tokenizer, tmp_path, mlm_probability=1e-12))
    assert steps == [(0.0, 0.0)] * 4


def test_bf16_is_near_fp32(model, tokenizer, tmp_path):
    expected = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path))
    found = steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, bf16=True))
    assert found[0][0] == pytest.approx(expected[0][0], rel=0.01)
    assert found[0] != expected[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft still reads it
def test_a_lora_model_is_trained_through_its_adapter(model, tokenizer, tmp_path):
    from peft import LoraConfig, get_peft_model

    before = checksum(model)
    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(target_modules=["query", "value"], r=2))
    trainer = maft_trainer(adapted, tokenizer, tmp_path)
    whole = steps_of(trainer)
    assert checksum(adapted.unload()) == before
    assert all(norm > 0 for _, norm in whole)


def test_a_second_trainer_on_a_model_is_as_good_as_the_first(model, tokenizer, tmp_path):
    maft_trainer(model, tokenizer, tmp_path)
    again = steps_of(maft_trainer(model, tokenizer, tmp_path))
    assert again[0][0] == pytest.approx(math.log(len(tokenizer)), rel=0.05)


def test_workers_do_not_matter(model, tokenizer, tmp_path):
    plain = list(maft_trainer(model, tokenizer, tmp_path).get_train_dataloader())
    loader = maft_trainer(model, tokenizer, tmp_path, dataloader_num_workers=2).get_train_dataloader()
    for batch, same in zip(plain, loader, strict=True):
        assert all(torch.equal(batch[name], same[name]) for name in batch)


class TestEvaluation:
    @pytest.fixture
    def held_out(self):
        return {code: Dataset.from_dict({"text": SENTENCES[code]}) for code in ("swa", "amh", "rus")}

    def test_figures_by_language_and_pooled(self, model, tokenizer, tmp_path, held_out):
        metrics = maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out).evaluate()
        for code in held_out:
            assert metrics[f"eval_{code}_perplexity"] == pytest.approx(math.exp(metrics[f"eval_{code}_loss"]))
            assert 0 < metrics[f"eval_{code}_bits_per_byte"] < 20
            assert 0 <= metrics[f"eval_{code}_unknown_share"] <= 1
        mean = sum(metrics[f"eval_{code}_bits_per_byte"] for code in held_out) / 3
        assert metrics["eval_bits_per_byte"] == pytest.approx(mean)
        losses = [metrics[f"eval_{code}_loss"] for code in held_out]
        assert min(losses) < metrics["eval_loss"] < max(losses)

    def test_an_even_guesser_costs_the_log_of_the_vocabulary_per_subword(self, model, tokenizer, tmp_path, held_out):
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        metrics = maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out).evaluate()
        assert metrics["eval_loss"] == pytest.approx(math.log(len(tokenizer)), rel=1e-6)

    def test_batch_size_and_time_do_not_matter(self, model, tokenizer, tmp_path, held_out):
        one = maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out, per_device_eval_batch_size=1)
        many = maft_trainer(model, tokenizer, tmp_path, eval_dataset=held_out, per_device_eval_batch_size=64)
        expected = one.evaluate()
        assert one.evaluate() == expected
        assert many.evaluate() == pytest.approx(expected, rel=1e-5)

    def test_a_full_model_restricted_to_the_kept_tokens_equals_its_pruned_form(self, model, tokenizer, tmp_path):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # far from even, so that the choice of tokens matters
        texts = {code: Dataset.from_dict({"text": SENTENCES[code]}) for code in ("swa", "yor")}
        keep = select_tokens(count_tokens({code: SENTENCES[code] for code in texts}, tokenizer), coverage=1.0)
        pruned = prune_vocabulary(model, tokenizer, keep)
        full = maft_trainer(model, tokenizer, tmp_path, eval_dataset=texts, restrict_to=keep).evaluate()
        small = maft_trainer(pruned.model, pruned.tokenizer, tmp_path, eval_dataset=texts).evaluate()
        for name in ("eval_swa", "eval_yor", "eval"):
            bits = small[f"{name}_bits_per_byte"]
            assert full[f"{name}_restricted_bits_per_byte"] == pytest.approx(bits, rel=1e-5)
            assert full[f"{name}_bits_per_byte"] > bits

    def test_words_cut_off_are_told_and_a_language_of_nothing_else_is_refused(self, model, tokenizer, tmp_path):
        texts = {"swa": Dataset.from_dict({"text": [" ".join(SENTENCES["swa"]), *SENTENCES["swa"]]})}
        metrics = maft_trainer(model, tokenizer, tmp_path, eval_dataset=texts, max_length=32).evaluate()
        assert 0 < metrics["eval_swa_cut_share"] < 1
        assert math.isfinite(metrics["eval_bits_per_byte"])
        with pytest.raises(ValueError, match="no sentence of swa has a masked word within max_length=3"):
            maft_trainer(model, tokenizer, tmp_path, eval_dataset=texts, max_length=3)

    def test_evaluation_during_training_finds_the_best_checkpoint(self, model, tokenizer, tmp_path, held_out):
        trainer = maft_trainer(
            model,
            tokenizer,
            tmp_path,
            eval_dataset=held_out,
            eval_strategy="steps",
            eval_steps=2,
            save_strategy="steps",
            save_steps=2,
            load_best_model_at_end=True,
            metric_for_best_model="eval_bits_per_byte",
            greater_is_better=False,
        )
        trainer.train()
        logged = [entry["eval_bits_per_byte"] for entry in trainer.state.log_history if "eval_loss" in entry]
        assert len(logged) == 2
        assert trainer.state.best_metric == min(logged)
        assert trainer.evaluate()["eval_bits_per_byte"] == pytest.approx(min(logged), rel=1e-6)


class TestDatasets:
    def test_one_dataset_with_a_language_column_is_the_same_as_a_dict(self, model, tokenizer, tmp_path):
        parts = text_datasets()
        rows = [{"language": code, "text": text} for code, part in parts.items() for text in part["text"]]
        whole = Dataset.from_list(rows).cast_column("language", ClassLabel(names=sorted(parts)))
        one = maft_trainer(model, tokenizer, tmp_path, train_dataset=whole)
        for batch, same in zip(
            one.get_train_dataloader(), maft_trainer(model, tokenizer, tmp_path).get_train_dataloader(), strict=True
        ):
            assert torch.equal(batch["input_ids"], same["input_ids"])

    def test_ready_ids_and_streams_are_the_same_as_text(self, model, tokenizer, tmp_path):
        parts = text_datasets()
        model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer), max_position_embeddings=130))
        tokenizer.model_max_length = 128
        ids = {
            code: Dataset.from_dict({"input_ids": tokenizer(list(part["text"]))["input_ids"]})
            for code, part in parts.items()
        }
        streamed = {code: part.to_iterable_dataset() for code, part in parts.items()}
        expected = list(
            maft_trainer(model, tokenizer, tmp_path, train_dataset=parts, max_length=128).get_train_dataloader()
        )
        for other in (ids, streamed):
            found = maft_trainer(
                model, tokenizer, tmp_path, train_dataset=other, max_length=128
            ).get_train_dataloader()
            for batch, same in zip(expected, found, strict=True):
                assert torch.equal(batch["input_ids"], same["input_ids"])
                assert torch.equal(batch["labels"], same["labels"])

    def test_packed_rows_are_full(self, model, tokenizer, tmp_path):
        batch = next(
            iter(maft_trainer(model, tokenizer, tmp_path, packing=True, max_length=32).get_train_dataloader())
        )
        assert batch["attention_mask"].float().mean() > 0.9

    @pytest.mark.parametrize(
        ("dataset", "error", "message"),
        [
            (
                {"swa": Dataset.from_dict({"line": ["a"]})},
                ValueError,
                r"swa has the columns \['line'\]; expected 'text'",
            ),
            ({"swa": ["a"]}, TypeError, "swa is list"),
            (["a"], TypeError, "got list; expected a dict"),
            (Dataset.from_dict({"text": ["a"]}), ValueError, "no 'language'"),
            ({"swa": Dataset.from_dict({"text": [""]})}, ValueError, "'swa' has no text"),
            ({"swa": Dataset.from_dict({"input_ids": [[5] * 99]})}, ValueError, "99 tokens"),
            (
                DatasetDict(train=Dataset.from_dict({"text": ["a"]})),
                TypeError,
                "DatasetDict of train, which names splits",
            ),
            (
                Dataset.from_dict({"text": ["a"], "language": [None]}),
                ValueError,
                "row 0 of the dataset has no language",
            ),
        ],
    )
    def test_refusals(self, model, tokenizer, tmp_path, dataset, error, message):
        with pytest.raises(error, match=message):
            maft_trainer(model, tokenizer, tmp_path, train_dataset=dataset)


class TestArguments:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"auto_find_batch_size": True}, "auto_find_batch_size=True has no meaning"),
            ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 has no meaning"),
            ({"dataloader_drop_last": True}, "dataloader_drop_last=True has no meaning"),
            ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy=group_by_length has no meaning"),
            ({"average_tokens_across_devices": False}, "average_tokens_across_devices=False has no meaning"),
            ({"enable_jit_checkpoint": True}, "enable_jit_checkpoint=True has no meaning"),
            ({"ignore_data_skip": True}, "ignore_data_skip=True has no meaning"),
            ({"label_names": ["labels"]}, "label_names=.* has no meaning"),
            ({"accelerator_config": {"dispatch_batches": True}}, "accelerator_config sets split_batches or disp"),
            ({"streaming": True, "dataloader_num_workers": 2}, "dataloader_num_workers=2 with streaming"),
            (
                {"max_length": 65},
                "max_length=65 exceeds the 64 positions of the xlm-roberta model; set max_length to 64",
            ),
        ],
    )
    def test_what_does_not_fit_the_trainer(self, model, tokenizer, tmp_path, setting, message):
        with pytest.raises(ValueError, match=message):
            maft_trainer(model, tokenizer, tmp_path, **setting)

    def test_a_stream_does_not_know_its_sizes(self, model, tokenizer, tmp_path):
        trainer = maft_trainer(model, tokenizer, tmp_path, streaming=True)
        with pytest.raises(ValueError, match="language_sizes is None; expected a number for each of amh, ara, hau, s"):
            trainer.train()

    def test_there_are_no_predictions(self, model, tokenizer, tmp_path):
        with pytest.raises(TypeError, match=r"MAFTTrainer makes no predictions; call evaluate"):
            maft_trainer(model, tokenizer, tmp_path).predict(text_datasets())

    def test_the_callers_arguments_are_not_changed(self, model, tokenizer, tmp_path):
        args = MAFTTrainingArguments(**settings(tmp_path))
        before = copy.deepcopy(args.to_dict())
        MAFTTrainer(model=model, args=args, train_dataset=text_datasets(), processing_class=tokenizer)
        assert args.to_dict() == before
        assert isinstance(args, TrainingArguments)


def test_a_tokenizer_is_needed_and_must_fit(model, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="pass processing_class=tokenizer"):
        maft_trainer(model, None, tmp_path)
    with pytest.raises(ValueError, match="XLMRobertaModel has no masked-LM head"):
        maft_trainer(model.roberta, tokenizer, tmp_path)
    tokenizer.add_tokens(["ŋŋŋ"])
    with pytest.raises(ValueError, match="do not belong together"):
        maft_trainer(model, tokenizer, tmp_path)


def test_training_and_evaluation_without_data_say_so(model, tokenizer, tmp_path):
    trainer = maft_trainer(model, tokenizer, tmp_path, train_dataset=None)
    with pytest.raises(ValueError, match="train needs a train_dataset"):
        trainer.train()
    with pytest.raises(ValueError, match="evaluate needs an eval_dataset"):
        trainer.evaluate()


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

    @pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
    def test_refusals(self, model, tokenizer, tmp_path):
        from peft import LoraConfig

        with pytest.raises(ValueError, match="embedding_warmup_steps=-1 is less than 0"):
            maft_trainer(model, tokenizer, tmp_path, embedding_warmup_steps=-1)
        with pytest.raises(ValueError, match="embedding_warmup_steps=2, but no embedding of PeftModel is trained"):
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
            ({"core": "swa"}, "expected a list of languages for each name"),
            ({"core": []}, "expected a list of languages for each name"),
            ({"swa": ["swa"]}, "names a set 'swa'"),
            ({"in_mix": ["swa"]}, "names a set 'in_mix'"),
            ({"rus": ["swa"]}, "names a set 'rus' like a language that is evaluated"),
            ({"core": ["swa", "yor"]}, "has yor in 'core', but the eval_dataset has only amh, rus, swa"),
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
