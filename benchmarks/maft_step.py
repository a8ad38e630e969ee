"""A MAFT step's forward and backward against the stock head, in seconds and in memory, XLM-R-base's shape.

python -m benchmarks.maft_step [--small] [--vocabulary 250002 70000] [--length 128 256] [--rounds 3] [--no_memory]

`stock head` makes logits for every position, as `XLMRobertaForMaskedLM(labels=...)` does; `masked logits` for the
masked ones alone; `masked only` is what `MAFTTrainer` does: their loss without logits. The sides take turns in one
process; memory is measured in one process per side, above the weights and their gradients.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from benchmarks.timing import in_turn, peak_memory, print_ratios
from hf_afro.losses import masked_lm_loss
from hf_afro.training.masked_only import accept_run, masked_lm_sum, masked_logits

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIDES = ("stock head", "masked logits", "masked only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model, one round: only shows that it runs")
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[250_002, 70_000])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no_memory", action="store_true", help="seconds alone")
    args = parser.parse_args()
    if args.small:
        args.vocabulary, args.length, args.rounds = [1000], [128], 1
    for vocabulary in args.vocabulary:
        for length in args.length:
            shape = (vocabulary, args.batch, length, args.small)
            print_ratios(f"{args.batch} x {length}, vocabulary of {vocabulary:,}", in_turn(steps(*shape), args.rounds))
            if not args.no_memory:
                print_memory({side: memory_of(side, shape) for side in SIDES})


def steps(vocabulary: int, batch: int, length: int, small: bool) -> dict[str, Callable[[], object]]:
    """Return one function per side that runs forward and backward of one model."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(vocab_size=vocabulary, max_position_embeddings=514, **(SMALL if small else {}))
    model = XLMRobertaForMaskedLM(config).train()
    accept_run(model)
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(5, vocabulary, (batch, length), generator=generator)
    labels = input_ids.masked_fill(torch.rand(input_ids.shape, generator=generator) >= 0.15, -100)
    positions = (labels.flatten() != -100).nonzero().squeeze(1)
    chosen = labels.flatten()[positions]
    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "positions": positions}

    def run_stock() -> None:
        model.zero_grad()
        model(input_ids=input_ids, attention_mask=inputs["attention_mask"], labels=labels).loss.backward()

    def run_masked_logits() -> None:
        model.zero_grad()
        (masked_lm_loss(model(run=masked_logits, **inputs), chosen) / len(positions)).backward()

    def run_masked_only() -> None:
        model.zero_grad()
        (model(run=masked_lm_sum, labels=chosen, **inputs) / len(positions)).backward()

    return dict(zip(SIDES, (run_stock, run_masked_logits, run_masked_only), strict=True))


def memory_of(side: str, shape: tuple[int, int, int, bool]) -> int:
    """Return the bytes that one step of a side takes at its peak above the weights and their gradients."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_here, (side, shape))


def _memory_here(side: str, shape: tuple[int, int, int, bool]) -> int:
    step = steps(*shape)[side]
    model = next(
        cell.cell_contents for cell in step.__closure__ or () if isinstance(cell.cell_contents, torch.nn.Module)
    )
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from now on
    before = peak_memory()
    step()
    return peak_memory() - before - gradients


def print_memory(bytes_of: dict[str, int]) -> None:
    """Print each side's memory and its share of the first side's."""
    first = next(iter(bytes_of.values()))
    for side, size in bytes_of.items():
        print(
            f"  {side:32} {size / 2**20:9.0f} MiB above weights and gradients, {size / max(first, 1):.2f} of the first"
        )


if __name__ == "__main__":
    main()
