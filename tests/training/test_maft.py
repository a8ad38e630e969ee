"""`MAFTTrainer`: it learns, splits do not matter, resuming ends in the same weights, evaluation is what it says."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from transformers import TrainingArguments, XLMRobertaForMaskedLM

from hf_afro import count_tokens, prune_vocabulary, select_tokens
from hf_afro.training import MAFTTrainer, MAFTTrainingArguments
from tests.conftest import tiny_config
from tests.texts import SENTENCES
from tests.training.recipes import StopAt, checksum, maft_trainer, settings, steps_of, text_datasets


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
    assert trainer.head.is_lean
    assert checksum(adapted.unload()) == before
    assert all(norm > 0 for _, norm in whole)


def test_a_second_trainer_on_a_model_is_as_good_as_the_first(model, tokenizer, tmp_path):
    first = maft_trainer(model, tokenizer, tmp_path)
    again = steps_of(maft_trainer(model, tokenizer, tmp_path))
    assert again[0][0] == pytest.approx(math.log(len(tokenizer)), rel=0.05)
    pickle.loads(pickle.dumps(model))
    hooks = len(model.base_model._forward_hooks)
    first.head.remove()
    assert len(model.base_model._forward_hooks) == hooks - 1


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

    def test_an_even_guesser_costs_the_log_of_the_vocabulary_a_piece(self, model, tokenizer, tmp_path, held_out):
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
                "row 0 of the dataset names no language",
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
            ({"mlm_probability": 0.0}, r"mlm_probability=0.0 is outside \(0, 1\)"),
            ({"max_length": 2}, "max_length=2 leaves no room"),
            ({"language_alpha": 1.5}, r"language_alpha=1.5 is outside \[0, 1\]"),
            ({"streaming": True}, "streaming=True with max_steps=-1: a stream does not know how long it is"),
            ({"language_sizes": {"swa": 1}}, "language_sizes was given without streaming"),
            ({"streaming": True, "max_steps": 1, "language_sizes": {"swa": 0}}, "expected a number above 0"),
        ],
    )
    def test_bounds(self, tmp_path, setting, message):
        with pytest.raises(ValueError, match=message):
            MAFTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **setting)

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
            ({"accelerator_config": {"dispatch_batches": True}}, "accelerator_config asks for split_batches or disp"),
            ({"streaming": True, "dataloader_num_workers": 2}, "dataloader_num_workers=2 with streaming"),
            ({"max_length": 65}, "max_length=65, and the xlm-roberta model holds 64 positions; set max_length to 64"),
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
        with pytest.raises(TypeError, match=r"MAFTTrainer has no predictions to give; call evaluate"):
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
    with pytest.raises(ValueError, match="without a train_dataset"):
        trainer.train()
    with pytest.raises(ValueError, match="without an eval_dataset"):
        trainer.evaluate()
