"""Several processes: whether those launched work together, and the orderly end of their run."""

from __future__ import annotations

import gc
import logging
import os
from typing import TYPE_CHECKING

import torch.distributed
from accelerate.utils import parse_flag_from_env

if TYPE_CHECKING:
    from transformers import TrainingArguments

# What MPI tells each process of how many there are, by implementation.
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def check_processes(args: TrainingArguments) -> None:
    """Refuse processes that do not share the work.

    Either several were launched and do not know of each other, so that each would do the whole work and write the same
    files; or several were asked for and one was launched, as by ``accelerate launch --cpu --num_processes 2``.

    Args:
        args: The arguments of the trainer, which know how many processes there are.

    Raises:
        ValueError: If the trainer sees another number of processes than were launched or asked for.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != args.world_size:
        raise ValueError(
            f"{launched} processes were launched and the trainer sees {args.world_size}; without a GPU for each, "
            "add --use_cpu, and launch with --multi_gpu (accelerate) or by torchrun"
        )
    # accelerate tells one process where the others are, and starts no others. It does so on CPUs alone.
    by_accelerate = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    on_cpus = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    if by_accelerate and on_cpus and not any(name in os.environ for name in ("WORLD_SIZE", *_MPI_SIZES)):
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does with --cpu; on CPUs give "
            "--use_cpu to the command itself and launch with --multi_gpu, or by torchrun. For one process, give "
            "--num_processes 1, and unset MASTER_ADDR and MASTER_PORT"
        )


def warning_level(args: TrainingArguments) -> int:
    """Return the level at which to log what is the same on every process: a warning on the main one alone."""
    return logging.WARNING if args.process_index == 0 else logging.DEBUG


def leave_process_group() -> None:
    """Leave the process group; call it last, when no trainer is in use any more.

    The order matters with gloo. A `DistributedDataParallel` that outlives the group becomes its last owner, and ends
    its threads without letting go of Python's lock, for which such a thread may be waiting: the process then hangs for
    good, most often on a busy machine (pytorch#56297). So trainers that are no longer reachable, which refer to
    themselves in circles, are collected first. Without a process group it does nothing more.
    """
    gc.collect()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
