"""Check that several processes work together, and end their run in order."""

from __future__ import annotations

import gc
import logging
import os
from typing import TYPE_CHECKING

import torch.distributed
from accelerate.utils import parse_flag_from_env

if TYPE_CHECKING:
    from transformers import TrainingArguments

# Variables in which MPI implementations give the number of processes.
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def check_processes(args: TrainingArguments) -> None:
    """Refuse processes that do not share the work.

    Either several were launched and do not know of each other, so each would do the whole work and write the same
    files; or several were requested and one was launched, as by ``accelerate launch --cpu --num_processes 2``.

    Args:
        args: The arguments of the trainer, which know the number of processes.

    Raises:
        ValueError: If the trainer sees another number of processes than were launched or requested.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != args.world_size:
        raise ValueError(
            f"{launched} processes were launched but the trainer sees {args.world_size}; without a GPU for each, "
            "add --use_cpu, and launch with --multi_gpu (accelerate) or torchrun"
        )
    # On CPUs alone, accelerate tells one process where the others are and starts no others.
    by_accelerate = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    on_cpus = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    if by_accelerate and on_cpus and not any(name in os.environ for name in ("WORLD_SIZE", *_MPI_SIZES)):
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does with --cpu; on CPUs pass "
            "--use_cpu to the command itself and launch with --multi_gpu, or with torchrun. For one process, pass "
            "--num_processes 1, and unset MASTER_ADDR and MASTER_PORT"
        )


def warning_level(args: TrainingArguments) -> int:
    """Return the level for messages that are the same on every process: a warning on the main process only."""
    return logging.WARNING if args.process_index == 0 else logging.DEBUG


def leave_process_group() -> None:
    """Leave the process group; call it last, when no trainer is in use any more.

    The order matters with gloo. A `DistributedDataParallel` that outlives the group becomes its last owner, and ends
    the group's threads while it holds Python's lock, for which such a thread may be waiting: the process then hangs,
    most often on a busy machine (pytorch#56297). So unreachable trainers, which hold reference cycles, are collected
    first. Without a process group nothing more happens.
    """
    gc.collect()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
