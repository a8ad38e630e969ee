"""Matching of hidden states and of sentence vectors: by hand, and against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hf_afro.losses import hidden_matching, pooled_matching

# One row of two tokens and padding that holds anything, and a row without a token.
MASK = torch.tensor([[1, 1, 0], [0, 0, 0]])


def rows(first, second):
    return torch.tensor([[first, second, [math.nan, 7.0]], [[math.inf, 1.0]] * 3], requires_grad=True)


def gradient_of(loss, student):
    (gradient,) = torch.autograd.grad(loss, student)
    assert not gradient[MASK == 0].any()  # and so none of it is NaN
    return gradient[0, :2].tolist()


def test_cosine_by_hand():
    # cos((3, 4), (0, 1)) = 4/5, and its gradient is ((0, 1) - 4/5 (3/5, 4/5)) / 5; the second token's is 1
    student, teacher = rows([3.0, 4.0], [1.0, 0.0]), rows([0.0, 1.0], [2.0, 0.0])
    loss = hidden_matching(student, teacher, MASK)
    assert loss.item() == pytest.approx(1 / 5, rel=1e-6)
    assert gradient_of(loss, student) == [pytest.approx([0.096, -0.072], rel=1e-6), pytest.approx([0.0, 0.0])]


def test_mse_by_hand():
    # ((3 - 0)^2 + (4 - 1)^2) / 2 + (0^2 + 2^2) / 2, with gradients 2 (s - t) / 2
    student, teacher = rows([3.0, 4.0], [1.0, 0.0]), rows([0.0, 1.0], [1.0, -2.0])
    loss = hidden_matching(student, teacher, MASK, "mse")
    assert loss.item() == 9 + 2
    assert gradient_of(loss, student) == [[3.0, 3.0], [0.0, 2.0]]


def test_sentence_vectors_by_hand():
    # (3, 4) / 2 has the direction (3/5, 4/5), the teacher's mean that of (0, 1): (3/5)^2 + (1/5)^2. With v the sum
    # over tokens the gradient is -2 (t - (v.t / v.v) v) / |v|, the same for both tokens.
    student, teacher = rows([3.0, 0.0], [0.0, 4.0]), rows([1.0, 2.0], [-1.0, 0.0])
    loss = pooled_matching(student, teacher, MASK)
    assert loss.item() == pytest.approx(0.4, rel=1e-6)
    assert gradient_of(loss, student) == [pytest.approx([0.192, -0.144], rel=1e-6)] * 2


def unit(vector):
    return vector / math.sqrt((vector**2).sum())


def expected_losses(student, teacher, mask):
    """Cosine, mse and pooled, in explicit loops."""
    found = {"cosine": 0.0, "mse": 0.0, "pooled": 0.0}
    for row in range(len(mask)):
        places = np.flatnonzero(mask[row])
        for place in places:
            s, t = student[row, place], teacher[row, place]
            found["cosine"] += 1 - (s * t).sum() / math.sqrt((s**2).sum() * (t**2).sum())
            found["mse"] += ((s - t) ** 2).sum() / len(s)
        if len(places):
            found["pooled"] += ((unit(student[row, places].mean(0)) - unit(teacher[row, places].mean(0))) ** 2).sum()
    return found


@pytest.mark.parametrize("seed", range(20))
def test_in_float64_all_are_the_independent_computation(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, size=3))
    student, teacher = rng.normal(size=(2, *shape))
    mask = rng.integers(0, 2, size=shape[:2])
    given = torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(mask)
    expected = expected_losses(student, teacher, mask)
    for kind in ("cosine", "mse"):
        assert hidden_matching(*given, kind).item() == pytest.approx(expected[kind], rel=1e-9, abs=1e-12)
    assert pooled_matching(*given).item() == pytest.approx(expected["pooled"], rel=1e-9, abs=1e-12)


def test_half_precision_sums_in_fp32_and_states_that_agree_lose_nothing():
    student = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    mask = torch.ones(2, 3)
    for loss in (hidden_matching(student, 2 * student, mask), pooled_matching(student, 2 * student, mask)):
        assert loss.dtype == torch.float32
        assert 0 <= loss < 1e-12
    assert hidden_matching(student, 2 * student, mask, "mse") == student.float().square().mean(-1).sum()


def test_without_a_token_all_are_zero_with_their_gradient_path():
    student = torch.randn(2, 3, 4, requires_grad=True)
    nothing = torch.zeros(2, 3)
    for loss in (
        hidden_matching(student, student.detach() + 1, nothing),
        hidden_matching(student, student.detach() + 1, nothing, "mse"),
        pooled_matching(student, student.detach() + 1, nothing),
    ):
        assert loss == 0
        (gradient,) = torch.autograd.grad(loss, student)
        assert not gradient.any()


def test_what_does_not_fit_is_refused():
    student, mask = torch.zeros(2, 3, 4), torch.ones(2, 3)
    with pytest.raises(ValueError, match="unknown kind='l1'; expected one of cosine, mse"):
        hidden_matching(student, student, mask, "l1")
    for wrong in ((student, torch.zeros(2, 3, 6), mask), (student, student, torch.ones(2, 4))):
        with pytest.raises(ValueError, match=r"student has shape \(2, 3, 4\).*Project the student's hidden states"):
            pooled_matching(*wrong)
        with pytest.raises(ValueError, match=r"student has shape \(2, 3, 4\)"):
            hidden_matching(*wrong)
