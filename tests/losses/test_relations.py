"""The relation loss: by hand, against an independent float64 computation, and the two forms against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hf_afro.losses import (
    attention_relation_loss,
    count_sequences,
    relation_loss,
    relation_losses,
    relations_chunked as chunked,
)
from hf_afro.losses.relations import legal_relation_heads
from tests.losses.independent import independent_loss, random_case

IMPLEMENTATIONS = ["reference", "chunked"]


def value_and_gradient(impl, teacher, student, mask, heads, **settings):
    student = student.clone().requires_grad_()
    loss = relation_loss(teacher, student, mask, heads, impl, **settings)
    loss.backward()
    return loss.detach(), student.grad


def pair_value_and_gradients(kind, impl, teacher, student, mask, heads, ids):
    """Loss and gradient of a relation of the first vectors, or of the attention of both."""
    if kind == "relation":
        loss, gradient = value_and_gradient(impl, teacher[0], student[0], mask, heads, sequence_ids=ids)
        return loss, [gradient]
    student = [vectors.clone().requires_grad_() for vectors in student]
    loss = attention_relation_loss(*teacher, *student, mask, heads, impl, sequence_ids=ids)
    loss.backward()
    return loss.detach(), [vectors.grad for vectors in student]


def check_no_worse(found, naive, truth, tolerance):
    """A gradient within the tolerance of the truth, and at most twice as far from it as the naive one."""
    norm = truth.norm()
    assert norm > 0
    error, naive_error = ((gradient.double() - truth).norm() / norm for gradient in (found, naive))
    assert error <= tolerance
    # Where the naive form is right to the last digit or two by luck, twice its error is less than one rounding.
    assert error <= 2 * naive_error + torch.finfo(torch.float32).eps


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_hand_computed_case(impl):
    # The teacher attends evenly. The student's second row is softmax(0, ln 3) = (1/4, 3/4), its first is even, so the
    # loss is (1/2 ln 2 + 1/2 ln 2/3) / (1 head x 2 tokens) = ln(4/3) / 4.
    root = math.sqrt(math.log(3))
    teacher, student = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [root]]])
    loss, gradient = value_and_gradient(impl, teacher, student, torch.ones(1, 2), 1)
    assert loss.item() == pytest.approx(0.07192051811294523, rel=1e-6)
    assert gradient.flatten().tolist() == pytest.approx([-root / 8, root / 4], rel=1e-6)


@pytest.mark.parametrize("kind", ["relation", "attention"])
@pytest.mark.parametrize("seed", range(200))
def test_float64_is_the_independent_computation(kind, seed):
    teacher, student, mask, heads, ids = random_case(seed)
    teacher, student = ([vectors.double() for vectors in pair] for pair in (teacher, student))
    pairs = [(pair[0], pair[0] if kind == "relation" else pair[1]) for pair in (teacher, student)]
    expected, expected_gradients = independent_loss(*pairs, mask, heads, ids)
    for impl in IMPLEMENTATIONS:
        loss, gradients = pair_value_and_gradients(kind, impl, teacher, student, mask, heads, ids)
        assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
        for gradient, right in zip(gradients, expected_gradients, strict=True):
            assert np.allclose(gradient.numpy(), right, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["relation", "attention"])
@pytest.mark.parametrize("seed", range(200))
def test_chunked_in_fp32_is_no_worse_than_the_naive_form(kind, seed, monkeypatch):
    # Blocks of all heads, of some and of some rows of one.
    monkeypatch.setattr(chunked, "BLOCK_NUMBERS", [2**19, 3000, 400][seed % 3])
    teacher, student, mask, heads, ids = random_case(seed, longest=40 if seed % 2 else 80)
    doubles = [[vectors.double() for vectors in pair] for pair in (teacher, student)]
    truth, true_gradients = pair_value_and_gradients(kind, "reference", *doubles, mask, heads, ids)
    _, naive_gradients = pair_value_and_gradients(kind, "reference", teacher, student, mask, heads, ids)
    loss, gradients = pair_value_and_gradients(kind, "chunked", teacher, student, mask, heads, ids)
    if truth == 0:  # no sequence, or sequences of one token, which relate only to themselves
        assert loss == 0
        assert not any(gradient.any() for gradient in gradients)
        return
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    for found, naive, right in zip(gradients, naive_gradients, true_gradients, strict=True):
        check_no_worse(found, naive, right, 1e-5)


@pytest.mark.parametrize("seed", range(0, 200, 5))
def test_chunked_in_bf16_is_no_worse_than_the_naive_form(seed):
    teacher, student, mask, heads, ids = random_case(seed)
    teacher, student = teacher[0].bfloat16(), student[0].bfloat16()
    truth, true_gradient = value_and_gradient(
        "reference", teacher.double(), student.double(), mask, heads, sequence_ids=ids
    )
    _, naive_gradient = value_and_gradient("reference", teacher, student, mask, heads, sequence_ids=ids)
    loss, gradient = value_and_gradient("chunked", teacher, student, mask, heads, sequence_ids=ids)
    if truth == 0:
        assert loss == 0
        return
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    check_no_worse(gradient, naive_gradient, true_gradient, 2**-8)  # one rounding to bf16


@pytest.mark.parametrize("wrong", [torch.zeros_like, torch.neg, lambda right: 1.0001 * right])
def test_the_check_of_gradients_fails_those_that_are_wrong(wrong):
    right = torch.randn(3, 4, dtype=torch.float64)
    check_no_worse(right, right, right, 1e-5)
    with pytest.raises(AssertionError):
        check_no_worse(wrong(right), right, right, 1e-5)
    with pytest.raises(AssertionError):
        check_no_worse(right, right, torch.zeros_like(right), 1e-5)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
class TestBothForms:
    def test_equal_relations_cost_nothing(self, impl):
        vectors = torch.randn(2, 7, 12)
        loss, gradient = value_and_gradient(impl, vectors, vectors, torch.ones(2, 7), 3)
        assert loss.abs() < 1e-6
        assert gradient.abs().max() < 1e-6

    def test_padding_content_and_side_do_not_matter(self, impl):
        teacher, student = torch.randn(1, 5, 8), torch.randn(1, 5, 4)
        alone, _ = value_and_gradient(impl, teacher, student, torch.ones(1, 5), 2)
        for side in ((3, 0), (0, 3)):
            padded = [torch.nn.functional.pad(x, (0, 0, *side), value=1e4) for x in (teacher, student)]
            mask = torch.nn.functional.pad(torch.ones(1, 5), side)
            loss, gradient = value_and_gradient(impl, *padded, mask, 2)
            assert loss.item() == pytest.approx(alone.item(), rel=1e-6)
            assert (gradient[mask == 0] == 0).all()

    def test_a_batch_is_the_mean_of_its_sequences_that_hold_a_token(self, impl):
        teacher, student = torch.randn(3, 6, 8), torch.randn(3, 6, 4)
        mask = torch.tensor([[1] * 6, [0] * 6, [1, 1, 1, 0, 0, 0]])
        alone = [relation_loss(teacher[i : i + 1], student[i : i + 1], mask[i : i + 1], 2, impl) for i in (0, 2)]
        assert relation_loss(teacher, student, mask, 2, impl).item() == pytest.approx(sum(alone).item() / 2, rel=1e-6)
        total = relation_loss(teacher, student, mask, 2, impl, reduction="sum")
        assert total.item() == pytest.approx(sum(alone).item(), rel=1e-6)

    def test_no_token_at_all_gives_zero_with_a_gradient_path(self, impl):
        loss, gradient = value_and_gradient(
            impl, torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), 2
        )
        assert loss == 0
        assert (gradient == 0).all()

    def test_upstream_gradient_scales(self, impl):
        teacher, student, mask = torch.randn(2, 6, 8), torch.randn(2, 6, 4), torch.ones(2, 6)
        _, once = value_and_gradient(impl, teacher, student, mask, 2)
        student = student.clone().requires_grad_()
        (relation_loss(teacher, student, mask, 2, impl) * -2.5).backward()
        assert (student.grad + 2.5 * once).norm() <= 1e-6 * once.norm()

    def test_teacher_gets_no_gradient(self, impl):
        teacher = torch.randn(1, 4, 8, requires_grad=True)
        relation_loss(teacher, torch.randn(1, 4, 4, requires_grad=True), torch.ones(1, 4), 2, impl).backward()
        assert teacher.grad is None

    def test_half_precision_in_sums_in_fp32(self, impl):
        teacher, student = torch.randn(2, 6, 8).bfloat16(), torch.randn(2, 6, 4).bfloat16()
        loss, gradient = value_and_gradient(impl, teacher, student, torch.ones(2, 6), 2)
        expected, _ = value_and_gradient(impl, teacher.float(), student.float(), torch.ones(2, 6), 2)
        assert loss.dtype == torch.float32
        assert gradient.dtype == torch.bfloat16
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)

    def test_a_callers_autocast_does_not_reach_the_products(self, impl):
        teacher, student, mask = torch.randn(2, 6, 8), torch.randn(2, 6, 4), torch.ones(2, 6)
        expected, expected_gradient = value_and_gradient(impl, teacher, student, mask, 2)
        student = student.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = relation_loss(teacher, student, mask, 2, impl)
        loss.backward()
        assert loss == expected
        assert torch.equal(student.grad, expected_gradient)

    def test_value_alone_without_gradients(self, impl):
        teacher, student, mask = torch.randn(2, 6, 8), torch.randn(2, 6, 4), torch.ones(2, 6)
        with torch.no_grad():
            loss = relation_loss(teacher, student, mask, 2, impl)
        assert loss == value_and_gradient(impl, teacher, student, mask, 2)[0]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_loss_scale_saves_fp16_gradients(impl):
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(4, 64, 96, generator=generator)
    student = (teacher + 0.05 * torch.randn(4, 64, 96, generator=generator)).half()  # near, so its gradients are small
    _, truth = value_and_gradient("reference", teacher.double(), student.double(), torch.ones(4, 64), 12)
    student.requires_grad_()
    (relation_loss(teacher.half(), student, torch.ones(4, 64), 12, impl) * 2.0**16).backward()
    assert torch.isfinite(student.grad).all()
    error = (student.grad.double() / 2.0**16 - truth).norm() / truth.norm()
    assert error < 0.05  # the vectors themselves are fp16


@pytest.mark.parametrize("kind", ["relation", "attention"])
@pytest.mark.parametrize(
    "numbers", [20 * 20 * 5, 20 * 7, 1]
)  # heads in blocks of 5, 5 and 2; rows in blocks of 7; of 1
def test_many_blocks_agree_with_one(monkeypatch, kind, numbers):
    teacher, student = ([torch.randn(2, 20, width) for _ in range(2)] for width in (24, 12))
    whole, whole_gradients = pair_value_and_gradients(kind, "chunked", teacher, student, torch.ones(2, 20), 12, None)
    monkeypatch.setattr(chunked, "BLOCK_NUMBERS", numbers)
    loss, gradients = pair_value_and_gradients(kind, "chunked", teacher, student, torch.ones(2, 20), 12, None)
    assert torch.allclose(whole, loss, rtol=1e-6)
    for one, other in zip(whole_gradients, gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
class TestPackedRows:
    def test_a_packed_row_is_its_sequences_apart(self, impl):
        lengths = (4, 1, 6)
        teacher, student = torch.randn(1, 13, 8), torch.randn(1, 13, 4)
        ids = torch.tensor([[5] * 4 + [2] + [9] * 6 + [5, 5]])
        mask = torch.tensor([[1] * 11 + [0, 0]])  # the padding has the id of the first sequence
        packed, gradient = value_and_gradient(impl, teacher, student, mask, 2, reduction="sum", sequence_ids=ids)
        starts = (0, 4, 5)
        apart = [
            value_and_gradient(impl, teacher[:, at : at + n], student[:, at : at + n], torch.ones(1, n), 2)
            for at, n in zip(starts, lengths, strict=True)
        ]
        assert packed.item() == pytest.approx(sum(loss.item() for loss, _ in apart), rel=1e-6)
        assert torch.allclose(gradient[:, :11], torch.cat([one for _, one in apart], 1), rtol=1e-5, atol=1e-8)
        assert not gradient[:, 11:].any()
        mean = relation_loss(teacher, student, mask, 2, impl, sequence_ids=ids)
        assert mean.item() == pytest.approx(packed.item() / 3, rel=1e-6)

    def test_tokens_of_a_sequence_need_not_stand_together(self, impl):
        teacher, student, order = torch.randn(1, 9, 8), torch.randn(1, 9, 4), torch.randperm(9)
        ids = torch.tensor([[0] * 4 + [1] * 5])
        together = relation_loss(teacher, student, torch.ones(1, 9), 2, impl, sequence_ids=ids)
        mixed = relation_loss(
            teacher[:, order], student[:, order], torch.ones(1, 9), 2, impl, sequence_ids=ids[:, order]
        )
        assert mixed.item() == pytest.approx(together.item(), rel=1e-6)


def test_sequences_are_counted_where_they_hold_a_token():
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]])
    assert count_sequences(mask) == 2
    assert count_sequences(mask, torch.tensor([[7, 8, 7, 9], [1, 2, 3, 4], [1, 2, 3, 4]])) == 5
    assert count_sequences(torch.ones(2, 0)) == 0


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_nan_at_padding_does_not_matter(impl):
    teacher, student = torch.randn(2, 6, 8), torch.randn(2, 6, 4)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]])
    clean = value_and_gradient(impl, teacher, student, mask, 2)
    dirty = value_and_gradient(
        impl, *(vectors.masked_fill(mask[:, :, None] == 0, math.nan) for vectors in (teacher, student)), mask, 2
    )
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_scores_far_apart_stay_finite(impl):
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(1, 12, 8, generator=generator) for _ in range(2))
    teacher[0, 3] *= 40  # its scores are hundreds above the others'
    student[0, 7] *= 40
    truth, true_gradient = value_and_gradient("reference", teacher.double(), student.double(), torch.ones(1, 12), 2)
    loss, gradient = value_and_gradient(impl, teacher, student, torch.ones(1, 12), 2)
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    assert (gradient - true_gradient).norm() <= 1e-5 * true_gradient.norm()


def test_weighted_relations_are_the_weighted_sum():
    names, mask = ("query", "key", "value"), torch.ones(2, 6)
    teacher = {name: torch.randn(2, 6, 8) for name in names}
    student = {name: torch.randn(2, 6, 4, requires_grad=True) for name in names}
    alone = {name: relation_loss(teacher[name], student[name], mask, 2).item() for name in names}
    assert relation_losses(teacher, student, mask, 2).item() == pytest.approx(sum(alone.values()), rel=1e-6)
    loss = relation_losses(teacher, student, mask, 2, {"query": 0, "value": 2.5})
    assert loss.item() == pytest.approx(alone["key"] + 2.5 * alone["value"], rel=1e-6)
    loss.backward()
    assert student["query"].grad is None
    assert student["value"].grad.any()


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (("query",), {"key": 1.0}, r"the teacher has the relations \['query'\].*there are weights for \['key'\]"),
        (("query",), {"query": -1.0}, "the weight of relation 'query' is -1.0"),
        (("query",), {"query": math.nan}, "the weight of relation 'query' is nan"),
        (("query",), {"query": 0.0}, "every relation has weight 0"),
        ((), None, "at least one"),
    ],
)
def test_weights_that_cannot_be_are_refused(names, weights, message):
    vectors = {name: torch.zeros(1, 3, 4) for name in names}
    with pytest.raises(ValueError, match=message):
        relation_losses(vectors, vectors, torch.ones(1, 3), 2, weights)


def test_attention_refuses_keys_of_fewer_heads():
    query, key = torch.zeros(1, 3, 8), torch.zeros(1, 3, 4)
    with pytest.raises(
        ValueError, match=r"queries of the teacher have shape \(1, 3, 8\) but keys \(1, 3, 4\).*Repeat"
    ):
        attention_relation_loss(query, key, query, query, torch.ones(1, 3), 2)
    with pytest.raises(ValueError, match="num_attention_heads=3 does not divide both widths, 8 of the teacher and 8"):
        attention_relation_loss(query, query, query, query, torch.ones(1, 3), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_relation_heads": 48}, "does not divide both widths, 768 of the teacher and 256.*legal are 1, 2, 4"),
        ({"num_relation_heads": 0}, "does not divide"),
        ({"attention_mask": torch.ones(1, 4)}, r"attention_mask has shape \(1, 4\)"),
        ({"student": torch.zeros(1, 4, 256)}, "same batch and length"),
        ({"sequence_ids": torch.ones(1, 3)}, "sequence_ids has shape .* torch.float32; expected integers"),
        ({"sequence_ids": torch.ones(3, 1, dtype=torch.long)}, r"expected integers, \[batch, length\] = \(1, 3\)"),
        ({"impl": "fast"}, "unknown impl='fast'"),
        ({"reduction": "max"}, "unknown reduction='max'"),
    ],
)
def test_refusals_say_what_is_wrong(change, message):
    arguments = {
        "teacher": torch.zeros(1, 3, 768),
        "student": torch.zeros(1, 3, 256),
        "attention_mask": torch.ones(1, 3),
        "num_relation_heads": 64,
    }
    with pytest.raises(ValueError, match=message):
        relation_loss(**{**arguments, **change})


def test_legal_heads_of_the_papers_widths():
    assert {48, 64} <= set(legal_relation_heads(768, 384))
    assert 48 not in legal_relation_heads(768, 256)
    assert 64 in legal_relation_heads(1024, 256)


def test_triton_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the package triton, which is not installed"):
        relation_loss(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4), torch.ones(1, 3), 2, "triton")


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_vectors_may_lie_in_memory_in_any_order(impl):
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(2, 5, 8, generator=generator) for _ in range(2))
    gradients = []
    for laid_out in (student.clone(), student.transpose(0, 1).contiguous().transpose(0, 1)):
        laid_out.requires_grad_()
        relation_loss(teacher, laid_out, torch.ones(2, 5), 2, impl).backward()
        gradients.append(laid_out.grad)
    assert gradients[0].norm() > 1e-3
    torch.testing.assert_close(gradients[1], gradients[0])
