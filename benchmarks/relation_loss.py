"""One relation's loss and gradient: `chunked` against `reference`, and block sizes of `chunked` against each other.

python -m benchmarks.relation_loss [--small]
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.timing import in_turn, print_ratios
from hf_afro.objectives import chunked, relation_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny shapes, one repeat: only shows that it runs")
    small = parser.parse_args().small
    shapes = [(2, 16)] if small else [(8, 128), (8, 256), (4, 512)]
    repeats = 1 if small else 5
    for batch, length in shapes:
        generator = torch.Generator().manual_seed(0)
        teacher = torch.randn(batch, length, 768, generator=generator)
        student = torch.randn(batch, length, 384, generator=generator, requires_grad=True)
        mask = torch.ones(batch, length)

        def step(impl, teacher=teacher, student=student, mask=mask):
            student.grad = None
            relation_loss(teacher, student, mask, 48, impl).backward()

        sides = {"reference": lambda step=step: step("reference")}
        chosen = chunked.BLOCK_NUMBERS
        for exponent in (16, 18, 20, 22):

            def blocks(step=step, exponent=exponent):
                chunked.BLOCK_NUMBERS = 2**exponent
                step("chunked")

            sides[f"chunked, blocks of 2^{exponent}"] = blocks
        print_ratios(f"{batch} x {length}, 768 to 384, 48 relation heads", in_turn(sides, repeats))
        chunked.BLOCK_NUMBERS = chosen


if __name__ == "__main__":
    main()
