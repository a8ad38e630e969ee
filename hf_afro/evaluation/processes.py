"""Fine-tuning runs in processes of their own, each with a share of the threads, a GPU if there are any, and the model.

A process ends with the one that started it, even if that is killed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils import logging as transformers_logging

from hf_afro.evaluation.models import load_encoder, model_fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.evaluation.runs import Job, Run

# In a process that makes runs: the model, its tokenizer, and the folder of runs.
_here: dict[str, Any] = {}


def in_processes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    jobs: Mapping[int, Job],
    folder: Path,
    copies: Path,
    processes: int,
) -> Iterator[tuple[int, Run]]:
    """Make runs, several at a time, and yield each as it ends.

    Each process has `torch.get_num_threads()` divided by their number of threads. Floating-point sums depend on the
    number of threads, so results equal those of one process with as many threads.

    Args:
        model: The encoder; each process loads a copy and compares its fingerprint.
        tokenizer: Its tokenizer.
        jobs: The runs, in this order.
        folder: Where runs are kept.
        copies: Where the copy of the model is kept meanwhile.
        processes: How many run at a time.

    Raises:
        RuntimeError: If a process was killed; finished runs are kept.
    """
    processes = min(processes, len(jobs))
    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for place in range(processes):
        places.put(place)
    threads = max(1, torch.get_num_threads() // processes)
    with saved_for_processes(model, tokenizer, copies) as saved:
        level = logging.getLogger("hf_afro").getEffectiveLevel()
        facts = (places, threads, torch.cuda.device_count(), saved, model_fingerprint(model), folder, level)
        pool = ProcessPoolExecutor(processes, context, begin, facts)
        try:
            futures = {pool.submit(_make, job): index for index, job in jobs.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {processes} processes was killed, perhaps for lack of memory; finished runs are kept, so "
                "repeat the command with fewer processes"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def saved_for_processes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, home: Path | None = None
) -> Iterator[str]:
    """Save a model for other processes to load, and yield its folder, which is removed at the end.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        home: The parent folder, emptied first of what a killed call left; None for the system's temporary folder.
    """
    if home is not None:
        if home.is_dir():
            shutil.rmtree(home)
        home.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="hf_afro_", dir=home) as saved:
        model.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        yield saved


def begin(places: Any, threads: int, gpus: int, saved: str, fingerprint: str, folder: Path, log_level: int) -> None:
    """Prepare a process before its first run.

    Args:
        places: A queue with one number per process.
        threads: Of torch.
        gpus: The number of GPUs; each process sees one. It is chosen before anything in the process looks for one.
        saved: The folder of the model.
        fingerprint: Of its encoder.
        folder: Where runs are kept.
        log_level: Of this library's logger in the process that started this one.
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
    prepare(threads, saved, fingerprint, folder)


def end_with_parent() -> None:
    """End this process when its parent ends; a killed parent does not end its children by itself."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def prepare(threads: int, saved: str, fingerprint: str, folder: Path) -> None:
    """Load the model in a process that makes runs.

    Raises:
        RuntimeError: If it is not the model that was saved.
    """
    torch.set_num_threads(threads)
    silence_transformers()
    model, tokenizer = load_encoder(saved, None)
    if model_fingerprint(model) != fingerprint:
        raise RuntimeError(f"{type(model).__name__} changes when it is saved and loaded; fine-tune it in one process")
    _here.update(model=model, tokenizer=tokenizer, folder=folder)


def silence_transformers() -> None:
    """Turn off progress bars and warnings of transformers; the starting process reports instead."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _make(job: Job) -> Run:
    return job.make(_here["model"], _here["tokenizer"], _here["folder"])
