"""The Triton form: in Triton's interpreter where there is no GPU, and compiled for GPUs that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_afro.losses import attention_relation_loss, relation_loss
from tests.losses.independent import random_case
from tests.losses.test_relations import check_no_worse, pair_value_and_gradients

pytest.importorskip("triton", reason="triton is not installed; pip install hf_afro[gpu] (a wheel of 198 MB, Linux)")

from hf_afro.losses import relations_triton  # noqa: E402 - it imports triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """The module of the kernels, with tiles so small that short sequences have several."""
    monkeypatch.setattr(relations_triton, "ROWS", 32)
    monkeypatch.setattr(relations_triton, "COLUMNS", 16)
    return relations_triton


def check(kind, teacher, student, mask, heads, ids):
    """Value and gradients in the dtype given are no worse than the naive form's in that dtype."""
    on_device = [[vectors.to(DEVICE) for vectors in pair] for pair in (teacher, student)]
    doubles = [[vectors.double() for vectors in pair] for pair in on_device]
    mask, ids = mask.to(DEVICE), None if ids is None else ids.to(DEVICE)
    truth, true_gradients = pair_value_and_gradients(kind, "reference", *doubles, mask, heads, ids)
    _, naive_gradients = pair_value_and_gradients(kind, "reference", *on_device, mask, heads, ids)
    loss, gradients = pair_value_and_gradients(kind, "triton", *on_device, mask, heads, ids)
    if truth == 0:
        assert loss.abs() < 1e-6
        return
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    tolerance = 1e-5 if student[0].dtype == torch.float32 else 2**-8
    for found, naive, right in zip(gradients, naive_gradients, true_gradients, strict=True):
        assert found.dtype == student[0].dtype
        check_no_worse(found, naive, right, tolerance)


@pytest.mark.parametrize("kind", ["relation", "attention"])
@pytest.mark.parametrize("seed", [3, 4, 6, 10, 12, 13])
def test_random_ragged_cases(kind, seed):
    teacher, student, mask, heads, ids = random_case(seed)
    check(kind, teacher, student, mask, heads, ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dims", [(12, 6), (16, 8), (64, 48), (32, 32)])
def test_dtypes_and_dimensions_of_heads(dtype, dims):
    generator = torch.Generator().manual_seed(0)
    teacher, student = ([torch.randn(1, 37, 2 * dim, generator=generator).to(dtype) for _ in range(2)] for dim in dims)
    check("relation", teacher, student, torch.ones(1, 37), 2, None)


def test_padding_empty_rows_and_nan_take_no_part():
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(3, 20, 8, generator=generator).to(DEVICE) for _ in range(2))
    mask = torch.ones(3, 20, device=DEVICE)
    mask[0, :7], mask[1], mask[2, 11:] = 0, 0, 0
    expected = relation_loss(teacher, student, mask, 2, "reference")
    teacher, student = (vectors.masked_fill(mask[:, :, None] == 0, float("nan")) for vectors in (teacher, student))
    student.requires_grad_()
    loss = relation_loss(teacher, student, mask, 2, "triton")
    (-2.5 * loss).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not student.grad[mask == 0].any()
    assert torch.isfinite(student.grad).all()
    nothing = relation_loss(teacher, student, torch.zeros_like(mask), 2, "triton")
    assert nothing == 0


def test_only_what_asks_for_a_gradient_gets_one():
    vectors = [torch.randn(1, 6, 4, device=DEVICE) for _ in range(4)]
    vectors[3].requires_grad_()
    attention_relation_loss(*vectors, torch.ones(1, 6, device=DEVICE), 2, "triton").backward()
    assert vectors[3].grad.any()
    assert vectors[2].grad is None


def test_float64_is_refused():
    vectors = torch.zeros(1, 3, 4, dtype=torch.float64, device=DEVICE)
    with pytest.raises(ValueError, match="computes in fp32 and got float64"):
        relation_loss(vectors, vectors, torch.ones(1, 3, device=DEVICE), 2, "triton")


def test_tensors_on_a_cpu_are_refused_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="needs tensors on a GPU but got some on cpu"):
        relation_loss(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4), torch.ones(1, 3), 2, "triton")


COMPILE = """
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hf_afro.losses import relations_triton as kernels

dtype, vectors = torch.{dtype}, "*{short}"
constants = kernels._dimensions(torch.empty(1, 8, 24, dtype=dtype), torch.empty(1, 8, 16, dtype=dtype), 2)
for kernel, flags in [
    (kernels._forward_kernel, dict()),
    (kernels._gradient_kernel, dict(BY_ROW=True, BY_COLUMN=True)),
    (kernels._gradient_kernel, dict(BY_ROW=False, BY_COLUMN=True)),
]:
    known = constants | flags
    types = dict.fromkeys(["labels", "first", "last"], "*i32") | dict.fromkeys(["length", "num_heads"], "i32")
    types |= dict.fromkeys(["divergence", "gradient"], "*fp32")
    types |= dict.fromkeys(["teacher_tops", "teacher_sums", "student_tops", "student_sums"], "*fp32")
    signature = dict((name, "constexpr" if name in known else types.get(name, vectors)) for name in kernel.arg_names)
    places = dict(((kernel.arg_names.index(name),), value) for name, value in known.items())
    source = ASTSource(fn=kernel, signature=signature, constexprs=places)
    made = compile(source, target=GPUTarget("cuda", {target}, 32))
    assert made.asm["cubin"]
    print("compiled", kernel.__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "short"), [("float32", "fp32"), ("bfloat16", "bf16")])
@pytest.mark.parametrize("target", [80, 90])
def test_the_kernels_compile_for_a_gpu(dtype, short, target, tmp_path):
    """Down to the machine code of A100 and H100; that it runs there is another test's to show."""
    (tmp_path / "compile_kernels.py").write_text(COMPILE.format(dtype=dtype, short=short, target=target))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TRITON_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, str(tmp_path / "compile_kernels.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("compiled") == 3


@pytest.mark.gpu
def test_auto_takes_it_on_a_gpu(kernels, monkeypatch):
    seen = []
    monkeypatch.setattr(
        kernels, "triton_relation_loss", lambda *given: seen.append(1) or torch.zeros(1, device="cuda")
    )
    vectors = torch.randn(1, 5, 4, device="cuda")
    relation_loss(vectors, vectors, torch.ones(1, 5, device="cuda"), 2)
    assert seen == [1]


@pytest.mark.gpu
def test_memory_is_linear_in_length_on_a_gpu():
    """Twice the length takes about twice the memory, where the full form takes four times."""
    peaks = []
    for length in (1024, 2048):
        teacher, student = (torch.randn(2, length, width, device="cuda") for width in (768, 384))
        student.requires_grad_()
        mask = torch.ones(2, length, device="cuda")
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        relation_loss(teacher, student, mask, 48, "triton").backward()
        peaks.append(torch.cuda.max_memory_allocated() - held)
    assert np.divide(*peaks[::-1]) < 2.2
