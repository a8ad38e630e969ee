"""Runs in processes of their own, each with its share of the threads, a GPU where there are some, and the model."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.evaluation.facts import model_fingerprint
from hf_afro.evaluation.heads import load_encoder
from hf_afro.evaluation.predictions import Run, copies_of
from hf_afro.evaluation.worker_start import begin

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.evaluation.run_table import Job

# Of a process: what it fine-tunes copies of, and where its runs go.
_here: dict[str, Any] = {}


def in_processes(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    jobs: Mapping[int, Job],
    folder: Path,
    processes: int,
) -> Iterator[tuple[int, Run]]:
    """Make runs, several at a time, and give each as it ends.

    A process has `torch.get_num_threads()` over their number of threads. Sums of floating-point numbers depend on how
    many threads share them, so that the numbers are the same as in one process with as many threads.

    Args:
        model: The encoder; each process loads a copy, which is checked to be the same.
        tokenizer: Its tokenizer.
        jobs: What is run, in this order.
        folder: Where runs are kept.
        processes: How many at a time.

    Raises:
        RuntimeError: If a process was killed; the runs that ended are kept.
    """
    processes = min(processes, len(jobs))
    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for place in range(processes):
        places.put(place)
    threads = max(1, torch.get_num_threads() // processes)
    with saved_for_processes(model, tokenizer, copies_of(folder)) as saved:
        level = logging.getLogger("hf_afro").getEffectiveLevel()
        facts = (places, threads, torch.cuda.device_count(), saved, model_fingerprint(model), folder, level)
        pool = ProcessPoolExecutor(processes, context, begin, facts)
        try:
            futures = {pool.submit(_make, job): index for index, job in jobs.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {processes} processes was killed, perhaps for want of memory; runs that ended are kept, so "
                "start the same again with fewer processes"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def saved_for_processes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, home: Path | None = None
) -> Iterator[str]:
    """Give a folder that other processes load a model from, while the block runs.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        home: The folder that holds it, emptied of what a killed call left there; None for that of the system.
    """
    if home is not None:
        if home.is_dir():
            shutil.rmtree(home)
        home.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="hf_afro_", dir=home) as saved:
        model.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        yield saved


def prepare(threads: int, saved: str, fingerprint: str, folder: Path) -> None:
    """Load the model in a process that makes runs; see `hf_afro.evaluation.worker_start`.

    Raises:
        RuntimeError: If the model is not the one that was saved.
    """
    torch.set_num_threads(threads)
    be_quiet()
    model, tokenizer = load_encoder(saved, None)
    if model_fingerprint(model) != fingerprint:
        raise RuntimeError(
            f"{type(model).__name__} is not the same once it is saved and loaded; fine-tune it in one process"
        )
    _here.update(model=model, tokenizer=tokenizer, folder=folder)


def be_quiet() -> None:
    """Leave bars and warnings of transformers out: the process that started this one tells what is done."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def _make(job: Job) -> Run:
    return job.make(_here["model"], _here["tokenizer"], _here["folder"])
