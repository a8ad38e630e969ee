"""The orderly end of a run of several processes."""

from __future__ import annotations

import gc

import torch.distributed


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
