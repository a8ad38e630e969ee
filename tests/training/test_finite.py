"""Training ends where a number is not finite: said with its step, and before a checkpoint is written of it."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from transformers import TrainerCallback

from hf_afro.training.finite import first_not_finite
from tests.training.tiny_trainers import distill_trainer, maft_trainer, teacher_of, text_datasets


def first(model, tokenizer, output_dir, **settings):
    return maft_trainer(model, tokenizer, output_dir, **settings)


def second(model, tokenizer, output_dir, **settings):
    return distill_trainer(teacher_of(tokenizer), tokenizer, output_dir, **settings)


@pytest.mark.parametrize("trainer_of", [first, second], ids=["maft", "distill"])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_an_absurd_learning_rate_ends_at_the_next_step(model, tokenizer, tmp_path, trainer_of, accumulation):
    trainer = trainer_of(model, tokenizer, tmp_path, learning_rate=1e30, accumulation=accumulation)
    batches = list(trainer.get_train_dataloader())[accumulation : 2 * accumulation]
    with pytest.raises(FloatingPointError, match=r"the loss of step 2 is nan, with learning_rate 1e\+30; .* lower"):
        trainer.train()
    (path,) = tmp_path.rglob("*.safetensors")
    assert path == tmp_path / "not_finite" / "step-2-process-0.safetensors"
    with safe_open(path, "pt") as file:
        facts = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    assert (facts["step"], facts["languages"]) == ("2", '["amh", "ara", "hau", "swa", "yor"]')
    assert len(kept.pop("losses")) == accumulation
    expected = {f"{number}.{name}": tensor for number, one in enumerate(batches) for name, tensor in one.items()}
    assert kept.keys() == expected.keys()
    assert {"0.input_ids", "0.attention_mask", "0.language", "0.sample_id", "0.pass_index"} <= kept.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("trainer_of", [first, second], ids=["maft", "distill"])
def test_a_model_of_no_numbers_is_not_evaluated(model, tokenizer, tmp_path, trainer_of):
    trainer = trainer_of(model, tokenizer, tmp_path, eval_dataset=text_datasets(1))
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss on held-out text of amh, ara, hau, swa, yor is not finite"):
        trainer.evaluate()


class Break(TrainerCallback):
    """Puts infinity into a weight after a step, as an update that overflows does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_optimizer_step(self, args, state, control, model, **parts):
        if state.global_step == self.step - 1:
            with torch.no_grad():
                model.roberta.embeddings.word_embeddings.weight[0, 0] = float("inf")


@pytest.mark.parametrize(
    "saving", [{"save_strategy": "steps", "save_steps": 2}, {"save_strategy": "epoch", "num_train_epochs": 1}]
)
def test_weights_that_are_not_finite_are_in_no_checkpoint(model, tokenizer, tmp_path, saving):
    steps = {"max_steps": -1} if "num_train_epochs" in saving else {}
    trainer = first(model, tokenizer, tmp_path, **saving, **steps)
    last = 2 if "save_steps" in saving else len(trainer.get_train_dataloader())
    trainer.add_callback(Break(last))
    with pytest.raises(FloatingPointError, match=f"weight holds numbers that are not finite after step {last}"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_weights_are_looked_at_when_training_ends_without_a_checkpoint(model, tokenizer, tmp_path):
    trainer = first(model, tokenizer, tmp_path)
    trainer.add_callback(Break(4))
    with pytest.raises(FloatingPointError, match="not finite after step 4"):
        trainer.train()


FINE = {
    "zeros": torch.zeros(3),
    "ids": torch.arange(3),
    "empty": torch.empty(0, 4),
    "elsewhere": torch.empty(3, device="meta"),
    "half": torch.full((100, 100), 60_000.0, dtype=torch.float16),
    "largest": torch.full((4,), torch.finfo(torch.float32).max),
}


def test_finite_tensors_pass():
    assert first_not_finite(FINE.items()) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_first_that_is_not_finite_is_named(value, dtype):
    broken = torch.zeros(2, 3, dtype=dtype)
    broken[1, 2] = value
    assert first_not_finite([*FINE.items(), ("broken", broken), ("later", broken)]) == "broken"


def test_infinities_that_cancel_out_are_found():
    assert first_not_finite([("both", torch.tensor([float("inf"), float("-inf")]))]) == "both"
