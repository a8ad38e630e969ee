"""Matching of logits and of attention maps: by hand and against an independent float64 computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hf_afro.losses import attention_map_matching, logit_distance, logit_matching
from tests.losses.independent import independent_map_loss, random_case


def test_logits_by_hand():
    # softmax(0, 2 ln 3 / 2) = (1/4, 3/4) against an even teacher: T^2 (1/2 ln 2 + 1/2 ln 2/3) = 4 x ln(4/3) / 2
    student = torch.tensor([[0.0, 2 * math.log(3)]], requires_grad=True)
    loss = logit_matching(student, torch.ones(1, 2), temperature=2.0)
    assert loss.item() == pytest.approx(2 * math.log(4 / 3), rel=1e-6)
    loss.backward()
    assert student.grad.flatten().tolist() == pytest.approx([-0.5, 0.5], rel=1e-6)


@pytest.mark.parametrize("seed", range(50))
def test_logits_in_float64_are_the_independent_computation(seed):
    rng = np.random.default_rng(seed)
    rows, vocabulary, temperature = int(rng.integers(1, 6)), int(rng.integers(2, 40)), float(rng.uniform(0.5, 4))
    student, teacher = rng.normal(size=(2, rows, vocabulary)) * 3
    expected, expected_gradient = 0.0, np.zeros_like(student)
    for i in range(rows):
        p, q = (np.exp(x[i] / temperature) / np.exp(x[i] / temperature).sum() for x in (teacher, student))
        expected += temperature**2 * sum(p[v] * math.log(p[v] / q[v]) for v in range(vocabulary))
        expected_gradient[i] = temperature * (q - p)
    logits = torch.from_numpy(student).requires_grad_()
    loss = logit_matching(logits, torch.from_numpy(teacher), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert np.allclose(logits.grad.numpy(), expected_gradient, rtol=1e-9, atol=1e-12)


def test_logits_of_half_precision_sum_in_fp32_and_none_is_zero():
    student = torch.randn(3, 7).bfloat16().requires_grad_()
    assert logit_matching(student, torch.randn(3, 7).bfloat16(), 2.0).dtype == torch.float32
    loss = logit_matching(student[:0], torch.randn(0, 7))
    loss.backward()
    assert loss == 0
    assert not student.grad.any()


def test_the_distance_of_logits_by_hand():
    student = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, 6.0], [3.0, 0.0, 0.0]], requires_grad=True)
    loss = logit_distance(student, teacher)
    assert loss.item() == pytest.approx((0 + 4 + 9) / 3 + 9 / 3)
    loss.backward()
    assert student.grad.flatten().tolist() == pytest.approx([0, 4 / 3, -2, -2, 0, 0])
    assert teacher.grad is None
    assert logit_distance(student.bfloat16(), teacher.bfloat16()).dtype == torch.float32
    assert logit_distance(student[:0], teacher[:0]).item() == 0
    with pytest.raises(ValueError, match=r"student_logits has shape \(2, 3\) and teacher_logits \(2, 2\)"):
        logit_distance(student, teacher[:, :2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_logits": torch.zeros(2, 9)}, r"student_logits has shape \(2, 5\) and teacher_logits \(2, 9\)"),
        ({"temperature": 0.0}, "temperature=0.0 is not a finite number above 0"),
        ({"temperature": math.nan}, "temperature=nan"),
    ],
)
def test_logits_that_do_not_fit_are_refused(change, message):
    arguments = {"student_logits": torch.zeros(2, 5), "teacher_logits": torch.zeros(2, 5), "temperature": 1.0}
    with pytest.raises(ValueError, match=message):
        logit_matching(**{**arguments, **change})


@pytest.mark.parametrize("seed", range(100))
def test_maps_in_float64_are_the_independent_computation(seed):
    teacher, student, mask, heads, ids = random_case(seed)
    teacher, student = ([vectors.double() for vectors in pair] for pair in (teacher, student))
    expected, expected_gradients = independent_map_loss(teacher, student, mask, 1, heads, ids)
    learnt = [vectors.clone().requires_grad_() for vectors in student]
    loss = attention_map_matching(*teacher, *learnt, mask, 1, heads, sequence_ids=ids)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
    for vectors, right in zip(learnt, expected_gradients, strict=True):
        assert np.allclose(vectors.grad.numpy(), right, rtol=1e-9, atol=1e-12)


def test_the_sum_of_maps_and_equal_maps():
    teacher, student = ([torch.randn(2, 6, width) for _ in range(2)] for width in (12, 8))
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    mean = attention_map_matching(*teacher, *student, mask, 3, 2)
    total = attention_map_matching(*teacher, *student, mask, 3, 2, reduction="sum")
    assert total.item() == pytest.approx(2 * mean.item(), rel=1e-6)
    assert attention_map_matching(*teacher, *teacher, mask, 3, 3) < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_teacher_heads": 5}, "num_teacher_heads=5 does not divide the width 12"),
        ({"num_student_heads": 3}, "num_student_heads=3 does not divide the width 8"),
        ({"student_key": torch.zeros(1, 3, 4)}, "queries of the student have shape"),
        ({"reduction": "max"}, "unknown reduction='max'"),
    ],
)
def test_maps_that_do_not_fit_are_refused(change, message):
    arguments = {
        "teacher_query": torch.zeros(1, 3, 12),
        "teacher_key": torch.zeros(1, 3, 12),
        "student_query": torch.zeros(1, 3, 8),
        "student_key": torch.zeros(1, 3, 8),
        "attention_mask": torch.ones(1, 3),
        "num_teacher_heads": 3,
        "num_student_heads": 2,
    }
    with pytest.raises(ValueError, match=message):
        attention_map_matching(**{**arguments, **change})
