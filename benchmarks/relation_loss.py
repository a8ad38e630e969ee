"""One relation's loss and gradient: `chunked` (and `triton` on a GPU) against `reference`, by length, and memory.

XLM-R-base to a student of width 384, 48 relation heads. Each line of memory is a process of its own: what its peak
adds over the vectors and their gradient.

python -m benchmarks.relation_loss [--small]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import torch

from benchmarks.timing import in_turn, peak_memory, print_ratios
from hf_afro.losses import attention_relation_loss, relation_loss, relations_chunked as chunked

TEACHER_WIDTH, STUDENT_WIDTH = 768, 384


def step(impl, batch, length, heads, device, attention=False):
    """Return a function that computes loss and gradient once."""
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(batch, length, width, generator=generator) for width in (TEACHER_WIDTH, STUDENT_WIDTH) * 2]
    teacher, student, teacher_key, student_key = (vectors.to(device) for vectors in draw)
    mask = torch.ones(batch, length, device=device)
    student.requires_grad_()

    def once():
        student.grad = None
        if attention:
            loss = attention_relation_loss(teacher, teacher_key, student, student_key, mask, heads, impl)
        else:
            loss = relation_loss(teacher, student, mask, heads, impl)
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return once


def print_times(options, impls):
    for batch, length in [(2, 16)] if options.small else [(8, 128), (8, 256), (4, 512), (1, 2048)]:
        sides = {impl: step(impl, batch, length, options.heads, options.device) for impl in impls}
        title = f"{batch} x {length}, {TEACHER_WIDTH} to {STUDENT_WIDTH}, {options.heads} relation heads"
        print_ratios(title, in_turn(sides, options.repeats))
    batch, length = (2, 16) if options.small else (4, 512)
    sides = {impl: step(impl, batch, length, 12, options.device, attention=True) for impl in impls}
    print_ratios(f"{batch} x {length}, attention of 12 heads", in_turn(sides, options.repeats))


def print_block_sizes(options):
    chosen = chunked.BLOCK_NUMBERS
    batch, length = (2, 16) if options.small else (4, 512)
    once = step("chunked", batch, length, options.heads, options.device)
    sides = {}
    for exponent in (16, 17, 18, 19, 20, 22):

        def blocks(exponent=exponent):
            chunked.BLOCK_NUMBERS = 2**exponent
            once()

        sides[f"blocks of 2^{exponent}"] = blocks
    print_ratios(f"chunked, {batch} x {length}, by size of block", in_turn(sides, options.repeats))
    chunked.BLOCK_NUMBERS = chosen


def print_memory(options, impls):
    """Print what loss and gradient need at each length, a batch of 1, measured in processes of their own."""
    lengths = (16, 32) if options.small else (128, 256, 512, 1024, 2048)
    print(f"peak memory over the vectors, 1 x length, {options.heads} relation heads, MB")
    print(f"  {'length':12}" + "".join(f"{length:9}" for length in lengths))
    for impl in impls:
        found = []
        for length in lengths:
            settings = ("--memory_of", impl, "--length", str(length), "--heads", str(options.heads))
            command = [sys.executable, "-m", "benchmarks.relation_loss", *settings, "--device", options.device]
            found.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"  {impl:12}" + "".join(f"{megabytes:9.1f}" for megabytes in found))


def memory(options):
    """Return the peak of one loss and gradient over what was held before, in MB, the libraries warmed up."""
    step(options.memory_of, 1, 8, options.heads, options.device)()
    once = step(options.memory_of, 1, options.length, options.heads, options.device)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        once()
        return (torch.cuda.max_memory_allocated() - held) / 1e6
    held = peak_memory()
    once()
    return (peak_memory() - held) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny shapes, one repeat: only shows that it runs")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that are counted, in turn (default 5)")
    parser.add_argument("--heads", type=int, default=48, help="relation heads (default 48)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(memory(options))
        return
    if options.small:
        options.repeats = 1
    impls = ["reference", "chunked"] + ["triton"] * (options.device == "cuda")
    print_times(options, impls)
    print_block_sizes(options)
    print_memory(options, impls)


if __name__ == "__main__":
    main()
