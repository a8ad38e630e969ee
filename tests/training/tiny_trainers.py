"""What the training tests share: tiny datasets, settings, and a run of a few steps that says what each step did."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import peft
import torch
from datasets import Dataset
from transformers import TrainerCallback, XLMRobertaForMaskedLM

from hf_afro.training import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
)
from tests.conftest import tiny_config
from tests.texts import AFRICAN, SENTENCES

WINDOW = 16
MAFT_PARTS = ("train_dataset", "eval_dataset", "restrict_to", "peft_config", "callbacks")

# Three terms with two counts: sequences, and masked tokens.
HYBRID = {"objective": "hybrid", "mlm_weight": 0.5}

# Hidden states and sentence vectors beside relations, through a projection: sequences, and tokens.
PROJECTED = {"hidden_weight": 0.7, "pooled_weight": 2.0}


def text_datasets(repeat: int = 3) -> dict[str, Dataset]:
    """A small dataset a language, `text` only; lines of very different lengths."""
    return {
        language: Dataset.from_dict(
            {"text": [" ".join(sentences[i : i + 1 + i % 3]) for i in range(len(sentences))] * repeat}
        )
        for language, sentences in AFRICAN.items()
    }


def uneven_sentences() -> dict[str, Dataset]:
    """Five sentences a language, of different lengths: no batch of two or four goes into them evenly."""
    return {
        code: Dataset.from_dict({"text": [" ".join(SENTENCES[code][: 1 + i % 3]) for i in range(5)]})
        for code in ("swa", "amh", "yor")
    }


def settings(output_dir: Path, processes: int = 1, accumulation: int = 1, **overrides) -> dict:
    """Settings of a run whose global batch is `WINDOW` samples however it is split."""
    return {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": WINDOW // (processes * accumulation),
        "gradient_accumulation_steps": accumulation,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "max_length": 48,
        "packing": False,  # a line a row: ragged, so that every micro-batch holds another number of tokens
        "seed": 3,
        **overrides,
    }


def maft_trainer(model, tokenizer, output_dir, **kwargs) -> MAFTTrainer:
    """A MAFT trainer on the small datasets."""
    data = {name: kwargs.pop(name) for name in MAFT_PARTS if name in kwargs}
    return MAFTTrainer(
        model=model,
        args=MAFTTrainingArguments(**settings(output_dir, **kwargs)),
        processing_class=tokenizer,
        **{"train_dataset": text_datasets(), **data},
    )


def streamed_maft_trainer(model, tokenizer, output_dir, **kwargs) -> MAFTTrainer:
    """A MAFT trainer that reads the small datasets while it trains, packed."""
    data = {code: part.to_iterable_dataset(num_shards=2) for code, part in text_datasets().items()}
    streaming = {"streaming": True, "language_alpha": 0, "packing": True}
    return maft_trainer(model, tokenizer, output_dir, train_dataset=data, **streaming, **kwargs)


def adapter_maft_trainer(model, tokenizer, output_dir, **kwargs) -> MAFTTrainer:
    """A MAFT trainer of a LoRA adapter on queries and values."""
    torch.manual_seed(5)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False)
    )
    return maft_trainer(adapted, tokenizer, output_dir, **kwargs)


def global_batches(trainer, steps: int) -> list[list[list[int]]]:
    """The rows of each of the first steps in their global order, without padding: masked ids, then labels."""
    accumulation = trainer.args.gradient_accumulation_steps
    own = []
    for batch in itertools.islice(trainer.get_train_dataloader(), steps * accumulation):
        columns = zip(batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True)
        own.append([[*ids[mask].tolist(), *labels[mask].tolist()] for ids, labels, mask in columns])
    ranks = [own]
    if trainer.args.world_size > 1:
        ranks = [None] * trainer.args.world_size
        torch.distributed.all_gather_object(ranks, own)
    parts = [[row for rank in ranks for row in rank[number]] for number in range(len(own))]
    return [sum(parts[step * accumulation : (step + 1) * accumulation], []) for step in range(steps)]


def student_of(tokenizer) -> XLMRobertaForMaskedLM:
    """An untrained student of one layer and half the width; its relations, like the teacher's, are far from even."""
    torch.manual_seed(1)
    config = tiny_config(
        len(tokenizer), num_hidden_layers=1, hidden_size=16, num_attention_heads=2, initializer_range=0.1
    )
    return XLMRobertaForMaskedLM(config)


def teacher_of(tokenizer) -> XLMRobertaForMaskedLM:
    """An untrained teacher of two layers and width 32, whose relations say something."""
    torch.manual_seed(0)
    return XLMRobertaForMaskedLM(tiny_config(len(tokenizer), initializer_range=0.1)).eval()


def distill_trainer(teacher, tokenizer, output_dir, **kwargs) -> RelationDistillTrainer:
    """A distillation trainer on the small datasets, teacher of width 32 to a student of width 16."""
    own = {
        name: kwargs.pop(name)
        for name in ("model", "train_dataset", "eval_dataset", "vocabulary_map", "callbacks")
        if name in kwargs
    }
    return RelationDistillTrainer(
        teacher_model=teacher,
        args=RelationDistillTrainingArguments(**settings(output_dir, **kwargs)),
        processing_class=tokenizer,
        **{"model": student_of(tokenizer), "train_dataset": text_datasets(), **own},
    )


def steps_of(trainer) -> list[tuple[float, float]]:
    """Train, and return loss and gradient norm of every step."""
    trainer.train()
    return [(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "grad_norm" in entry]


def checksum(model: torch.nn.Module) -> str:
    """A hash of every parameter, bit for bit."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


class StopAt(TrainerCallback):
    """Ends training after a step, as a time limit would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = True
