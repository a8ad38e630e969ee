"""The gradients of one step of distillation on a task; started by torchrun, those of two processes together."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, TrainerCallback, XLMRobertaForMaskedLM

from hf_afro.evaluation.distillation import unlabelled_split
from hf_afro.evaluation.encoding import TaskCollator, encode, with_teacher_logits
from hf_afro.evaluation.finetuning import TaskTrainer, mean_loss, training_arguments
from hf_afro.evaluation.models import add_head
from hf_afro.evaluation.presets import FineTuningSettings
from tests.conftest import tiny_config
from tests.evaluation.conftest import make, tagged


class _Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.seen: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, **others):
        if not self.seen:
            model = others["model"]
            self.seen = {
                name.removeprefix("module."): tensor.grad.clone()
                for name, tensor in model.named_parameters()
                if tensor.grad is not None
            }


def gradients_of(accumulation: int, processes: int, folder: Path) -> dict[str, torch.Tensor]:
    """Return the gradients of a step on 16 sentences of uneven lengths, 6 of them with labels.

    Args:
        accumulation: Parts of a batch.
        processes: Parts of a step, each its own batch.
        folder: Of a tokenizer.
    """
    data, tokenizer = make("ner", train=6), AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    encoder = XLMRobertaForMaskedLM(tiny_config(len(tokenizer)))
    settings = FineTuningSettings(
        max_length=32, batch_size=16 // processes, accumulation=accumulation, logit_weight=0.7
    )
    args = dataclasses.replace(training_arguments(settings, 1, str(folder)), use_cpu=True)
    args.max_grad_norm, args.max_steps, args.eval_strategy = 0.0, 1, "no"
    texts = [" ".join([*tokens, "leo"] * (1 + index % 3)) for index, (tokens, _) in enumerate(tagged(10, seed=4))]
    rows = [
        row
        for split in (data.splits["train"], unlabelled_split("ner", texts))
        for row in encode("ner", split, tokenizer, 32)
    ]
    draw = torch.Generator().manual_seed(2)
    taught = [torch.randn(len(row["positions"]), len(data.labels), generator=draw).numpy() for row in rows]
    noted = _Gradients()
    TaskTrainer(
        model=add_head(encoder, data.task, data.labels, seed=1),
        args=args,
        data=data,
        settings=settings,
        train_dataset=[with_teacher_logits(row, logits) for row, logits in zip(rows, taught, strict=True)],
        data_collator=TaskCollator(tokenizer.pad_token_id),
        compute_loss_func=mean_loss,
        callbacks=[noted],
    ).train()
    return noted.seen


if __name__ == "__main__":
    found = gradients_of(int(sys.argv[1]), 2, Path(sys.argv[2]))
    if torch.distributed.get_rank() == 0:
        torch.save(found, Path(sys.argv[2]) / "gradients.pt")
    torch.distributed.destroy_process_group()
