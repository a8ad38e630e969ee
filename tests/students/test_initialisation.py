"""The truncated decomposition compared with numpy's, plain and weighted by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_afro.students.initialisation import Spectrum, project_rows, row_weights


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


@pytest.fixture
def weights(table) -> torch.Tensor:
    """Weights ``[9000]`` of very different sizes, some zero."""
    weights = torch.rand(len(table), generator=torch.Generator().manual_seed(4), dtype=torch.float64) ** 8
    weights[100:200] = 0.0
    return weights / weights.sum()


def test_directions_and_energies_of_two_rows_by_hand():
    """The second row is longer, the first is nine times as frequent: e1 leads with 0.9 against 0.1 * 4."""
    table = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    spectrum = Spectrum.of(table, weights=torch.tensor([0.9, 0.1], dtype=torch.float64))
    torch.testing.assert_close(spectrum.directions, torch.eye(2, dtype=torch.float64))
    assert spectrum.weighted_energies.tolist() == pytest.approx([0.9, 0.4])
    assert spectrum.energies.tolist() == pytest.approx([1.0, 4.0])
    assert spectrum.retained(1, weighted=True) == pytest.approx(0.9 / 1.3)
    assert spectrum.retained(1) == pytest.approx(1 / 5)
    assert Spectrum.of(table).retained(1) == pytest.approx(4 / 5)


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_with_weights_the_error_is_that_of_the_weighted_singular_values(table, weights, rank):
    basis = Spectrum.of(table, weights=weights).basis(rank, torch.Generator().manual_seed(1))
    error = table.double() - project_rows(table, basis).double() @ basis.T
    singular = np.linalg.svd((table.double() * weights.sqrt()[:, None]).numpy(), compute_uv=False)
    assert float((weights * (error**2).sum(1)).sum()) == pytest.approx(
        (singular[rank:] ** 2).sum(), rel=1e-6, abs=1e-12
    )
    spectrum = Spectrum.of(table, weights=weights)
    np.testing.assert_allclose(spectrum.weighted_energies.numpy(), singular**2, rtol=1e-8)
    kept = project_rows(table, basis).double()
    assert spectrum.retained(rank) == pytest.approx(float((kept**2).sum() / (table.double() ** 2).sum()))


def test_equal_weights_give_the_plain_result(table):
    equal = torch.full((len(table),), 1 / len(table), dtype=torch.float64)
    plain, weighted = Spectrum.of(table), Spectrum.of(table, weights=equal)
    torch.testing.assert_close(weighted.directions, plain.directions, rtol=0, atol=1e-9)
    torch.testing.assert_close(weighted.energies, plain.energies)
    assert weighted.retained(3, weighted=True) == pytest.approx(plain.retained(3))


def test_a_factorised_table_is_weighted_by_its_rows(table, weights):
    projection = torch.randn(20, 12, generator=torch.Generator().manual_seed(2))
    whole, product = Spectrum.of(table, projection, weights), Spectrum.of(table @ projection.T, weights=weights)
    torch.testing.assert_close(whole.weighted_energies[:12], product.weighted_energies[:12], rtol=1e-5, atol=0)


class Pooled:
    def pooled(self) -> np.ndarray:
        return np.array([0.75, 0.25, 0.0])


@pytest.mark.parametrize("counts", [[6, 2, 0], np.array([6, 2, 0]), torch.tensor([0.75, 0.25, 0.0]), Pooled()])
def test_weights_are_shares_and_a_little_for_every_row(counts):
    """99 % of 3/4, 1/4 and 0, and 1 % over the four rows; the fourth has no token."""
    expected = [0.7425 + 0.0025, 0.2475 + 0.0025, 0.0025, 0.0025]
    assert row_weights(counts, 4, 3).tolist() == pytest.approx(expected)
    assert float(row_weights(counts, 3).sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            [1, 2],
            r"shape \[2\]; expected one number per token .*, 3 or 4.*counts.pooled\(\)\[vocabulary_map.old_ids\]",
        ),
        (np.ones((2, 4)), r"counts have shape \[2, 4\]"),
        ([1, 2, -1], "negative, not finite or all zero"),
        ([1, 2, float("nan")], "negative, not finite or all zero"),
        ([0, 0, 0], "negative, not finite or all zero"),
    ],
)
def test_counts_that_do_not_fit_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        row_weights(counts, 4, 3)
