"""A tensor that holds NaN or infinity is named; one whose sum merely overflows is not."""

from __future__ import annotations

import pytest
import torch

from hf_afro.losses.finite import first_not_finite

FINE = {
    "zeros": torch.zeros(3),
    "ids": torch.arange(3),
    "empty": torch.empty(0, 4),
    "elsewhere": torch.empty(3, device="meta"),
    "half": torch.full((100, 100), 60_000.0, dtype=torch.float16),
    "largest": torch.full((4,), torch.finfo(torch.float32).max),
}


def test_finite_tensors_pass():
    assert first_not_finite(FINE.items()) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_first_that_is_not_finite_is_named(value, dtype):
    broken = torch.zeros(2, 3, dtype=dtype)
    broken[1, 2] = value
    assert first_not_finite([*FINE.items(), ("broken", broken), ("later", broken)]) == "broken"


def test_infinities_that_cancel_out_are_found():
    assert first_not_finite([("both", torch.tensor([float("inf"), float("-inf")]))]) == "both"
