"""Started by `accelerate launch` with two processes: a trainer as a user subclasses it, and what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForMaskedLM, AutoTokenizer, TrainerCallback

from hf_afro import MAFTTrainer, MAFTTrainingArguments
from hf_afro.batching import MaskingCollator, PaddingCollator
from hf_afro.training import leave_process_group


# What a user writes: ten lines.
class Halved(MAFTTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return 0.5 * super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)


class Steps(TrainerCallback):
    def on_log(self, args, state, control, logs, **kwargs):
        seen.append(logs)


class Unmasked(MaskingCollator):
    def __call__(self, samples):
        return super().__call__(samples) | {"input_ids": PaddingCollator.__call__(self, samples)["input_ids"]}


seen: list[dict[str, float]] = []


def main(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    arguments = MAFTTrainingArguments(
        output_dir=str(folder / "out"),
        max_steps=2,
        max_length=16,
        packing=False,
        per_device_train_batch_size=2,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
    )
    runs = {}
    for trainer_class in (MAFTTrainer, Halved):
        seen.clear()
        trainer = trainer_class(
            model=AutoModelForMaskedLM.from_pretrained(folder),
            args=arguments,
            train_dataset={"swa": Dataset.from_dict({"text": ["Mvua kubwa ilinyesha", "Watu walikimbia"] * 8})},
            processing_class=tokenizer,
            data_collator=Unmasked.from_tokenizer(tokenizer, seed=1, probability=0.5, keep_place=True),
            callbacks=[Steps()],
        )
        assert trainer.args.world_size == 2
        trainer.train()
        batch = next(iter(trainer.get_train_dataloader()))
        runs[trainer_class.__name__] = {
            "losses": [logs["loss"] for logs in seen if "loss" in logs],
            "labelled": int((batch["labels"] != -100).sum()),
            "masks": int((batch["input_ids"] == tokenizer.mask_token_id).sum()),
        }
    if trainer.is_world_process_zero():
        (folder / "seen.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_process_group()
