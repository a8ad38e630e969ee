"""Started by torchrun with two processes: both trainers on splits of one global batch, and sharded models."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_afro.training import leave_process_group
from tests.training.fully_sharded import SHARDED_STUDENTS, furthest_off
from tests.training.tiny_trainers import (
    HYBRID,
    PROJECTED,
    adapter_maft_trainer,
    checksum,
    distill_trainer,
    global_batches,
    maft_trainer,
    steps_of,
    streamed_maft_trainer,
    teacher_of,
    uneven_sentences,
)


def shard(model) -> None:
    """Shard every layer of a model in its place, and the rest as one."""
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.roberta.encoder.layer:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in model.parameters())


def sharded_evaluations(model, tokenizer, folder: Path) -> dict[str, dict[str, float]]:
    """What sharded models measure on five sentences a language, one at a time: three of the first process, then two.

    A process that ran its model once less than the other would leave that one waiting for ever.
    """
    split = {"processes": 2, "eval_dataset": uneven_sentences(), "per_device_eval_batch_size": 1}
    trainers = {
        "maft": maft_trainer(model, tokenizer, folder / "sharded", **split),
        "distill": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "sharded", **split),
    }
    for trainer in trainers.values():
        shard(trainer.model)
    return {name: trainer.evaluate() for name, trainer in trainers.items()}


def sharded_steps(model, tokenizer, folder: Path) -> list[tuple[float, float]]:
    """Loss and gradient norm of the steps of a model sharded by FSDP2.

    The Trainer turns FSDP into DDP on a CPU without a word, and would put DDP around a model that is sharded already;
    so this is a plain loop over the trainer's own batches and its `compute_loss`.
    """
    trainer = maft_trainer(model, tokenizer, folder / "sharded", processes=2)
    shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=trainer.args.learning_rate, weight_decay=0.0)
    batches = iter(trainer.get_train_dataloader())
    steps = []
    model.train()
    for _ in range(4):
        (batch,), count = trainer.get_batch_samples(batches, 1, trainer.args.device)
        loss = trainer.compute_loss(model, batch, num_items_in_batch=count)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm).full_tensor()
        optimizer.step()
        optimizer.zero_grad()
        steps.append((trainer.accelerator.reduce(loss.detach(), reduction="mean").item(), norm.item()))
    return steps


def main(folder: Path) -> None:
    """Train from the model in `folder`, and write `steps.json` there."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder)
    held_out = uneven_sentences()
    found = {}
    for accumulation in (1, 4):
        split = {
            "processes": 2,
            "accumulation": accumulation,
            "eval_dataset": held_out,
            "per_device_eval_batch_size": 2,
        }
        trainers = {
            "maft": maft_trainer(copy.deepcopy(model), tokenizer, folder / "maft", **split),
            "distill": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "distill", **split),
            "hybrid": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "hybrid", **HYBRID, **split),
            "projected": distill_trainer(teacher_of(tokenizer), tokenizer, folder / "projected", **PROJECTED, **split),
            "streamed": streamed_maft_trainer(copy.deepcopy(model), tokenizer, folder / "streamed", **split),
            "adapter": adapter_maft_trainer(copy.deepcopy(model), tokenizer, folder / "adapter", **split),
        }
        for name, trainer in trainers.items():
            # Several ways of starting two processes are silently one (and the comparison would then be empty).
            assert trainer.args.world_size == 2, trainer.args.world_size
            assert trainer.args.distributed_state.distributed_type.value == "MULTI_CPU"
            evaluation = trainer.evaluate()
            steps = steps_of(trainer)
            checksums = [None, None]
            trained = [trainer.model, *filter(None, [getattr(trainer, "projection", None)])]
            torch.distributed.all_gather_object(checksums, "".join(map(checksum, trained)))
            found[f"{name} {accumulation}"] = {
                "steps": steps,
                "evaluation": evaluation,
                "checksums": checksums,
                "tokens_seen": trainer.tokens_seen.by_language,
                "batches": global_batches(trainer, 4) if name in ("maft", "streamed") else None,
            }
    found["sharded evaluations"] = sharded_evaluations(copy.deepcopy(model), tokenizer, folder)
    found["sharded"] = sharded_steps(model, tokenizer, folder)
    found["sharded distillation"] = {name: furthest_off(name) for name in SHARDED_STUDENTS}
    if trainers["maft"].is_world_process_zero():
        (folder / "steps.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_process_group()
