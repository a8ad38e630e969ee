"""The relation loss: by hand, against an independent float64 computation, and the two forms against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hf_afro.objectives import relation_loss
from hf_afro.objectives.relations import legal_relation_heads

IMPLEMENTATIONS = ["reference", "chunked"]


def independent_loss(teacher, student, mask, heads):
    """Value and student gradient in float64, one sequence, head and row at a time, sharing no code with ours."""
    teacher, student = teacher.double().numpy(), student.double().numpy()
    gradient = np.zeros_like(student)
    losses = []
    for b in range(len(student)):
        places = np.flatnonzero(mask[b].numpy())
        if len(places) == 0:
            continue
        total = 0.0
        for h in range(heads):
            slices = [slice(h * x.shape[-1] // heads, (h + 1) * x.shape[-1] // heads) for x in (teacher, student)]
            xs = [x[b][places, s] for x, s in zip((teacher, student), slices, strict=True)]
            relations = []
            for x in xs:
                scores = np.einsum("id,jd->ij", x, x) / math.sqrt(x.shape[1])
                weights = np.exp(scores - scores.max(1, keepdims=True))
                relations.append(weights / weights.sum(1, keepdims=True))
            of_teacher, of_student = relations
            total += (of_teacher * np.log(of_teacher / of_student)).sum()
            difference = (of_student - of_teacher) / math.sqrt(xs[1].shape[1]) / (heads * len(places))
            own = np.einsum("ij,jd->id", difference, xs[1]) + np.einsum("ij,id->jd", difference, xs[1])
            gradient[b][places, slices[1]] += own
        losses.append(total / (heads * len(places)))
    return sum(losses) / max(1, len(losses)), gradient / max(1, len(losses))


def random_case(seed):
    """A ragged batch with padding on a random side, an empty row now and then, and random widths and heads."""
    rng = np.random.default_rng(seed)
    batch, length = int(rng.integers(1, 5)), int(rng.integers(1, 40))
    heads = int(rng.choice([1, 2, 3, 4, 8]))
    widths = [heads * int(rng.integers(1, 9)) for _ in range(2)]
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(batch, length, width, generator=generator) for width in widths)
    mask = torch.zeros(batch, length, dtype=torch.long)
    for row in mask:
        tokens = int(rng.integers(0, length + 1))
        row[:tokens] = 1
        if rng.random() < 0.5:
            row.copy_(row.flip(0))
    return teacher, student, mask, heads


def value_and_gradient(impl, teacher, student, mask, heads, **settings):
    student = student.clone().requires_grad_()
    loss = relation_loss(teacher, student, mask, heads, impl, **settings)
    loss.backward()
    return loss.detach(), student.grad


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_hand_computed_case(impl):
    # The teacher attends evenly. The student's second row is softmax(0, ln 3) = (1/4, 3/4), its first is even, so the
    # loss is (1/2 ln 2 + 1/2 ln 2/3) / (1 head x 2 tokens) = ln(4/3) / 4.
    root = math.sqrt(math.log(3))
    teacher, student = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [root]]])
    loss, gradient = value_and_gradient(impl, teacher, student, torch.ones(1, 2), 1)
    assert loss.item() == pytest.approx(0.07192051811294523, rel=1e-6)
    assert gradient.flatten().tolist() == pytest.approx([-root / 8, root / 4], rel=1e-6)


@pytest.mark.parametrize("seed", range(200))
def test_reference_in_float64_is_the_independent_computation(seed):
    teacher, student, mask, heads = random_case(seed)
    expected, expected_gradient = independent_loss(teacher, student, mask, heads)
    loss, gradient = value_and_gradient("reference", teacher.double(), student.double(), mask, heads)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert np.allclose(gradient.numpy(), expected_gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(200))
def test_chunked_in_fp32_is_no_worse_than_the_naive_form(seed):
    teacher, student, mask, heads = random_case(seed)
    truth, true_gradient = value_and_gradient("reference", teacher.double(), student.double(), mask, heads)
    naive, naive_gradient = value_and_gradient("reference", teacher, student, mask, heads)
    loss, gradient = value_and_gradient("chunked", teacher, student, mask, heads)
    if truth == 0:  # no sequence, or sequences of one token, which relate only to themselves
        assert loss == 0
        assert (gradient == 0).all()
        return
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    norm = true_gradient.norm()
    assert norm > 0
    error, naive_error = ((found - true_gradient).norm() / norm for found in (gradient, naive_gradient))
    assert error <= 1e-5
    # Where the naive form is right to the last digit or two by luck, twice its error is less than one rounding.
    assert error <= 2 * naive_error + torch.finfo(torch.float32).eps


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


def test_many_blocks_agree_with_one(monkeypatch):
    teacher, student, mask = torch.randn(2, 20, 24), torch.randn(2, 20, 12), torch.ones(2, 20)
    whole = value_and_gradient("chunked", teacher, student, mask, 12)
    monkeypatch.setattr("hf_afro.objectives.chunked.BLOCK_NUMBERS", 20 * 20 * 5)  # 12 heads in blocks of 5, 5 and 2
    blocks = value_and_gradient("chunked", teacher, student, mask, 12)
    assert torch.allclose(whole[0], blocks[0], rtol=1e-6)
    assert torch.allclose(whole[1], blocks[1], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_relation_heads": 48}, "does not divide both widths, 768 of the teacher and 256.*legal are 1, 2, 4"),
        ({"num_relation_heads": 0}, "does not divide"),
        ({"attention_mask": torch.ones(1, 4)}, r"attention_mask has shape \(1, 4\)"),
        ({"student": torch.zeros(1, 4, 256)}, "same batch and length"),
        ({"impl": "fast"}, "impl='fast' is not known"),
        ({"reduction": "max"}, "reduction='max' is not known"),
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
