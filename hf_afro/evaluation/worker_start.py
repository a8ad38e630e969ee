"""Start of a process for fine-tuning: its GPU is chosen before anything looks for one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any


def begin(places: Any, threads: int, gpus: int, saved: str, fingerprint: str, folder: Path, log_level: int) -> None:
    """Prepare a process, before its first run.

    Args:
        places: A queue with a number a process.
        threads: Of torch.
        gpus: How many there are; each process sees one, by its number.
        saved: The folder of the model.
        fingerprint: Of the encoder in it.
        folder: Where runs are kept.
        log_level: Of the library's log in the process that started this one.
    """
    end_with_parent()
    # Warnings are shown without a handler too; lines of progress are not.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("hf_afro").setLevel(log_level)
    place = places.get()
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(gpu) for gpu in range(gpus)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place % gpus]
    from hf_afro.evaluation import workers

    workers.prepare(threads, saved, fingerprint, folder)


def end_with_parent() -> None:
    """Let this process end when its parent does, however that is: a killed one takes nobody with it by itself."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
