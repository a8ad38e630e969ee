"""Adapters by `peft_config`: what is trained, what is refused, one a language, saved apart and resumed."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from hf_afro import count_tokens, prune_vocabulary, select_tokens
from hf_afro.training.adapters import check_adapter, with_adapter
from tests.texts import AFRICAN
from tests.tiny_families import TINY, tiny
from tests.training.tiny_trainers import StopAt, checksum, maft_trainer, steps_of, text_datasets

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
LORA = LoraConfig(r=2, init_lora_weights=False)


def adapter_of(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_parameters() if "lora_" in name}


def test_only_the_adapter_learns_and_it_is_all_that_is_saved(model, tokenizer, tmp_path):
    before = checksum(model)
    trainer = maft_trainer(model, tokenizer, tmp_path, peft_config=LORA)
    assert isinstance(trainer.model, PeftModel)
    first = adapter_of(trainer.model)
    steps = steps_of(trainer)
    assert all(norm > 0 for _, norm in steps)
    last = adapter_of(trainer.model)
    assert all(not torch.equal(first[name], last[name]) for name in first)
    trainer.save_model(str(tmp_path / "adapter"))
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    assert checksum(trainer.model.unload()) == before


def test_an_adapter_a_language_saved_apart_on_one_base(model, tokenizer, tmp_path):
    base = copy.deepcopy(model)
    data = text_datasets()
    trained = {}
    for language in ("swa", "yor"):
        trainer = maft_trainer(
            model, tokenizer, tmp_path, peft_config=LORA, train_dataset={language: data[language]}, learning_rate=0.01
        )
        trainer.train()
        trainer.save_model(str(tmp_path / language))
        trained[language] = adapter_of(trainer.model)
        model = trainer.model.unload()
        assert checksum(model) == checksum(base)
    loaded = PeftModel.from_pretrained(model, tmp_path / "swa", adapter_name="swa")
    loaded.load_adapter(tmp_path / "yor", adapter_name="yor")
    found = adapter_of(loaded)
    for language, adapter in trained.items():
        for name, tensor in adapter.items():
            assert torch.equal(found[name.replace(".default.", f".{language}.")], tensor)


def test_the_first_weights_of_an_adapter_come_from_the_seed(model, tokenizer, tmp_path):
    drawn = []
    for index, seed in enumerate((3, 3, 4)):
        torch.manual_seed(index)
        trainer = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, peft_config=LORA, seed=seed)
        drawn.append(checksum(trainer.model))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_resumed_run_ends_in_the_adapter_of_an_unbroken_one(model, tokenizer, tmp_path):
    run = {"max_steps": 8, "save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "constant"}
    lora = LoraConfig(r=2, lora_dropout=0.1)

    def trainer_in(name):
        return maft_trainer(copy.deepcopy(model), tokenizer, tmp_path / name, peft_config=lora, **run)

    unbroken = trainer_in("unbroken")
    unbroken.train()
    broken = trainer_in("broken")
    broken.add_callback(StopAt(3))
    broken.train()
    resumed = trainer_in("broken")
    torch.manual_seed(999)
    resumed.train(resume_from_checkpoint=True)
    assert checksum(resumed.model) == checksum(unbroken.model) != checksum(broken.model)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_does_not_matter(model, tokenizer, tmp_path, accumulation):
    adapted = with_adapter(model, LORA)
    whole = steps_of(maft_trainer(copy.deepcopy(adapted), tokenizer, tmp_path))
    split = steps_of(maft_trainer(adapted, tokenizer, tmp_path, accumulation=accumulation))
    for one, other in zip(whole, split, strict=True):
        assert other == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("family", [name for name in TINY if "," not in name])
def test_every_family_has_projections_to_adapt(family):
    adapted = with_adapter(tiny(family), LoraConfig(r=2))
    assert sum(parameter.requires_grad for parameter in adapted.parameters()) >= 2
    before = adapted.get_base_model()(input_ids=torch.tensor([[0, 7, 9, 2]])).logits
    assert torch.isfinite(before).all()


def test_other_methods_and_ready_adapters_are_taken(model, tokenizer, tmp_path):
    config = IA3Config(target_modules=["key", "value"], feedforward_modules=[])
    assert all(
        norm > 0 for _, norm in steps_of(maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, peft_config=config))
    )
    with pytest.raises(TypeError, match="has an adapter already"):
        maft_trainer(get_peft_model(model, LORA), tokenizer, tmp_path, peft_config=LORA)


def test_an_adapter_on_a_pruned_model_names_it_and_holds_no_embedding(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "full")
    full = AutoModelForMaskedLM.from_pretrained(tmp_path / "full")
    pruned = prune_vocabulary(full, tokenizer, select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.9))
    assert pruned.model.name_or_path == ""
    pruned.save_pretrained(tmp_path / "pruned")
    run = {"peft_config": LoraConfig(r=2, target_modules=["query"]), "max_steps": 1}
    trainer = maft_trainer(pruned.model, pruned.tokenizer, tmp_path / "adapter", **run)
    trainer.train()
    trainer.save_model()
    written = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert written
    assert all("lora_" in name for name in written)
    config = LoraConfig.from_pretrained(tmp_path / "adapter")
    assert config.base_model_name_or_path == str(tmp_path / "pruned")
    assert full.name_or_path == str(tmp_path / "full")


class TestRefusals:
    def test_a_prompt(self, model, tokenizer, tmp_path):
        with pytest.raises(ValueError, match="PromptTuningConfig puts virtual tokens in front of every row"):
            maft_trainer(model, tokenizer, tmp_path, peft_config=PromptTuningConfig(num_virtual_tokens=2))

    @pytest.mark.parametrize("saved", [["lm_head"], ["decoder"], ["query", "lm_head"], ["word_embeddings"]])
    def test_a_copy_of_tied_weights(self, model, tokenizer, tmp_path, saved):
        before = checksum(model)
        with pytest.raises(ValueError, match="trains a copy of tied weights .*lost when the merged"):
            maft_trainer(model, tokenizer, tmp_path, peft_config=LoraConfig(r=2, modules_to_save=saved))
        assert checksum(model) == before
        assert not hasattr(model, "peft_config")

    @pytest.mark.parametrize("targets", [["word_embeddings"], ["query", "decoder"], r".*\.word_embeddings"])
    def test_an_adapter_of_tied_weights(self, model, targets):
        with pytest.raises(ValueError, match="adapts tied weights .*would change what they are tied to"):
            check_adapter(model, LoraConfig(r=2, target_modules=targets))

    def test_what_merges_rightly_is_taken(self, model):
        check_adapter(model, LoraConfig(r=2, target_modules="all-linear"))
        check_adapter(model, LoraConfig(r=2, modules_to_save=["word_embeddings"], ensure_weight_tying=True))
        check_adapter(model, LoraConfig(r=2, trainable_token_indices={"word_embeddings": [5, 6]}))
        untied = tiny("xlm-roberta", tie_word_embeddings=False)
        check_adapter(untied, LoraConfig(r=2, target_modules=["word_embeddings"]))

    def test_why_they_are_refused(self, model, tmp_path):
        """The measurement behind the refusal: should PEFT come to merge this rightly, the refusal may go."""
        ids = torch.tensor([[0, 7, 9, 12, 2]])
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["word_embeddings"])).eval()
        for name, tensor in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(tensor)
        with torch.no_grad():
            change = (adapted(input_ids=ids).logits - model(input_ids=ids).logits).norm()
            apart = adapted(input_ids=ids).logits
            merged = adapted.merge_and_unload()(input_ids=ids).logits
        assert (merged - apart).norm() > 0.1 * change


def test_trained_tokens_and_a_tied_copy_of_the_embedding_run_and_learn(model, tokenizer, tmp_path):
    for config in (
        LoraConfig(r=2, trainable_token_indices={"word_embeddings": [5, 6]}),
        LoraConfig(r=2, modules_to_save=["word_embeddings"], ensure_weight_tying=True),
    ):
        own = copy.deepcopy(model)
        plain = steps_of(maft_trainer(copy.deepcopy(own), tokenizer, tmp_path, max_steps=1))
        trainer = maft_trainer(own, tokenizer, tmp_path, peft_config=config, max_steps=2)
        steps = steps_of(trainer)
        assert steps[0][0] == pytest.approx(plain[0][0], rel=1e-5)  # LoRA begins as nothing
        assert steps[0][1] > 0
