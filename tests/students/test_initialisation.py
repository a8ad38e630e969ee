"""The truncated decomposition compared with numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_afro.students.initialisation import Spectrum, project_rows


@pytest.fixture
def table() -> torch.Tensor:
    """A table ``[9000, 12]``, more rows than a block, of uneven directions, its second row zero."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(9000, 12, generator=generator) * torch.logspace(0, -2, 12)
    table = table @ torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    table[1] = 0.0
    return table


def best_approximation(table: torch.Tensor, rank: int) -> np.ndarray:
    left, singular, right = np.linalg.svd(table.double().numpy(), full_matrices=False)
    return (left[:, :rank] * singular[:rank]) @ right[:rank]


def test_energies_are_squared_singular_values(table):
    singular = np.linalg.svd(table.double().numpy(), compute_uv=False)
    spectrum = Spectrum.of(table)
    np.testing.assert_allclose(spectrum.energies.numpy(), singular**2, rtol=1e-8)
    assert spectrum.retained(3) == pytest.approx((singular[:3] ** 2).sum() / (singular**2).sum())
    assert spectrum.retained(12) == 1.0


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_rows_through_the_basis_and_back_are_the_best_approximation(table, rank):
    basis = Spectrum.of(table).basis(rank, torch.Generator().manual_seed(1))
    torch.testing.assert_close(basis.T @ basis, torch.eye(rank, dtype=torch.float64), rtol=0, atol=1e-12)
    back = project_rows(table, basis).double() @ basis.T
    np.testing.assert_allclose(back.numpy(), best_approximation(table, rank), atol=1e-6)


def test_a_factorised_table_counts_as_its_product(table):
    projection = torch.randn(20, 12, generator=torch.Generator().manual_seed(2))  # [width, embedding size]
    whole, product = Spectrum.of(table, projection), Spectrum.of(table @ projection.T)
    torch.testing.assert_close(whole.energies[:12], product.energies[:12], rtol=1e-5, atol=0)
    matrix = torch.randn(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = (table.double() @ projection.double().T @ matrix).float()
    torch.testing.assert_close(project_rows(table, matrix, projection), expected)


def test_a_row_of_zeros_stays_exactly_zero(table):
    basis = Spectrum.of(table).basis(4, torch.Generator().manual_seed(1))
    assert not project_rows(table, basis)[1].any()


def test_the_sign_of_a_direction_is_fixed(table):
    directions = Spectrum.of(table).directions
    torch.testing.assert_close(directions, Spectrum.of(-table).directions)
    assert (directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_a_table_of_zeros_keeps_everything():
    assert Spectrum.of(torch.zeros(3, 2)).retained(1) == 1.0


@pytest.mark.parametrize("table", [torch.full((3, 2), float("nan")), torch.ones(0, 2)])
def test_a_table_without_finite_rows_is_refused(table):
    with pytest.raises(ValueError, match="empty or hold values that are not finite"):
        Spectrum.of(table)
