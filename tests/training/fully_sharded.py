"""Steps of distillation under `fully_shard` on two processes, against the whole models.

The Trainer makes DDP of FSDP on a CPU, so the step is taken without it.
"""

from __future__ import annotations

import copy

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from hf_afro.families import layers_of
from hf_afro.losses import hidden_matching, relation_loss
from hf_afro.training.capture import HIDDEN, RELATIONS, StudentCapture, TeacherCapture
from tests.tiny_families import tiny

SHARDED_STUDENTS = ("xlm-roberta", "modernbert")
LAYERS = (2, 4)


def inputs(rank: int) -> dict[str, torch.Tensor]:
    """Another batch for each process."""
    ids = torch.randint(4, 100, (2, 10), generator=torch.Generator().manual_seed(rank))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def shard(model: torch.nn.Module) -> torch.nn.Module:
    """Shard every layer, and the rest as one."""
    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def losses_of(
    teacher: TeacherCapture, student: StudentCapture, model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]
) -> torch.Tensor:
    """The mean loss over some batches."""
    losses = []
    for batch in batches:
        taught = teacher(**batch)
        learnt = student(model, **batch)["vectors"]
        losses += [
            relation_loss(taught[layer][one], learnt[layer][one], batch["attention_mask"], 8)
            for layer in LAYERS
            for one in RELATIONS
        ]
        losses += [
            hidden_matching(learnt[layer][HIDDEN], taught[layer][HIDDEN], batch["attention_mask"]) for layer in LAYERS
        ]
    return torch.stack(losses).sum() / len(batches)


def furthest_off(name: str) -> dict[str, float]:
    """Take three steps, and return the furthest that loss and gradients were off."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    teacher, whole = tiny("xlm-roberta"), tiny(name, seed=1).train()
    model = copy.deepcopy(whole)
    expected_teacher, expected = TeacherCapture(teacher, LAYERS, LAYERS), StudentCapture(whole, LAYERS, LAYERS)
    sharded_teacher = copy.deepcopy(tiny("xlm-roberta"))
    capture_teacher = TeacherCapture(sharded_teacher, LAYERS, LAYERS)
    capture = StudentCapture(model, LAYERS, LAYERS)
    shard(sharded_teacher.base_model)
    model = shard(model)
    furthest = {"loss": 0.0, "gradient": 0.0}
    optimizers = [torch.optim.AdamW(one.parameters(), lr=1e-2, weight_decay=0.1) for one in (model, whole)]
    for step in range(3):
        loss = losses_of(capture_teacher, capture, model, [inputs(10 * step + rank)])
        loss.backward()
        reference = losses_of(expected_teacher, expected, whole, [inputs(10 * step + r) for r in range(world)])
        reference.backward()
        total = loss.detach().clone()
        torch.distributed.all_reduce(total)
        furthest["loss"] = max(furthest["loss"], abs(total.item() / world / reference.item() - 1))
        of_whole = dict(whole.named_parameters())
        for parameter_name, parameter in model.named_parameters():
            mine, theirs = parameter.grad, of_whole[parameter_name].grad
            assert (mine is None) == (theirs is None), parameter_name
            if mine is not None:
                distance = (mine.full_tensor() - theirs).norm() / theirs.norm().clamp_min(1e-4)
                furthest["gradient"] = max(furthest["gradient"], distance.item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return furthest
