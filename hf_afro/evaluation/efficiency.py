"""Efficiency of a model: latency at batch size 1, throughput at batch size 32, and peak memory, on test sentences."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.evaluation.data.task_data import TaskData
from hf_afro.evaluation.encoding import Row, TaskCollator, encode, longest
from hf_afro.evaluation.models import load_encoder
from hf_afro.evaluation.processes import end_with_parent, saved_for_processes, silence_transformers
from hf_afro.families import encoder_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SENTENCES, BATCH, MAX_LENGTH = 256, 32, 512
_ALONE = 64  # sentences that are run one by one
_WARM = 3


def measure_efficiency(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Sequence[TaskData], *, rounds: int = 3
) -> dict[str, Any]:
    """Measure a model's encoder in a process of its own, so that training and its data do not count as memory.

    Args:
        model: The model, with any head; the head of a task costs little beside the encoder.
        tokenizer: Its tokenizer.
        data: Tasks; `SENTENCES` of their test sentences are used, the same number from each.
        rounds: The number of repetitions; the median counts.

    Returns:
        `latency_ms`, the median for one sentence; `sentences_per_second`, in batches of `BATCH` in the given order,
        padded to the longest; `peak_memory_bytes` above Python and its libraries, weights included, or on a GPU the
        memory allocated there; and `measured_sentences`, `measured_tokens`, `measured_threads`, `measured_device`.
        Empty without data.
    """
    if not data:
        return {}
    share = max(1, SENTENCES // len(data))
    rows: list[Row] = []
    for task in data:
        test = task.splits["test"].select(range(min(share, len(task.splits["test"]))))
        encoded = encode(task.task, test, tokenizer, longest(model, MAX_LENGTH))
        # Token types do not change the time; without them rows of all kinds are alike.
        rows += [{"input_ids": row["input_ids"], "labels": 0} for row in encoded]
    with saved_for_processes(model, tokenizer) as saved:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, end_with_parent) as pool:
            return pool.submit(_measured, saved, rows, torch.get_num_threads(), rounds).result()


def _measured(saved: str, rows: list[Row], threads: int, rounds: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    silence_transformers()
    before = _peak()
    model, tokenizer = load_encoder(saved, None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder: Any = encoder_of(model).eval().to(device)
    collate = TaskCollator(tokenizer.pad_token_id)
    alone = [_inputs(collate, [row], device) for row in rows[:: max(1, len(rows) // _ALONE)]][:_ALONE]
    batches = [_inputs(collate, rows[start : start + BATCH], device) for start in range(0, len(rows), BATCH)]
    latencies: list[float] = []
    seconds: list[float] = []
    with torch.inference_mode():
        for one in alone[:_WARM]:
            _timed(encoder, one)
        _timed(encoder, batches[0])
        for _ in range(rounds):
            latencies += [_timed(encoder, one) for one in alone]
            seconds.append(sum(_timed(encoder, batch) for batch in batches))
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else _peak() - before
    return {
        "latency_ms": round(1000 * statistics.median(latencies), 3),
        "sentences_per_second": round(len(rows) / statistics.median(seconds), 2),
        **({"peak_memory_bytes": memory} if memory else {}),
        "measured_sentences": len(rows),
        "measured_tokens": sum(len(row["input_ids"]) for row in rows),
        "measured_threads": threads,
        "measured_device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def _inputs(collate: TaskCollator, rows: list[Row], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in collate(rows).items() if name != "labels"}


def _timed(encoder: Any, inputs: dict[str, torch.Tensor]) -> float:
    started = time.perf_counter()
    encoder(**inputs)
    if next(iter(inputs.values())).is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _peak() -> int:
    """Return the peak memory of this process in bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")  # `getrusage` starts from the parent's peak
    return int(status.read_text("utf-8").partition("VmHWM:")[2].split()[0]) * 1024 if status.is_file() else 0
