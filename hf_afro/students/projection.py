"""Narrower word embeddings: the truncated singular value decomposition of a table of many rows and few columns.

With ``W = U S V^T`` the table ``[rows, width]``, the best approximation of rank r is ``U_r S_r V_r^T = W V_r V_r^T``
(Eckart and Young 1936). So only V is needed, the eigenvectors of ``W^T W``, a small square matrix that is summed block
by block in double precision; U, as tall as the table, is never made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

_BLOCK = 8192  # rows; 8192 x 768 in double precision are 50 MB


def effective_rows(table: torch.Tensor, projection: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """Yield the rows of a word embedding as the layers see them, in double precision.

    Args:
        table: ``[rows, embedding_size]``.
        projection: ``[width, embedding_size]``, the projection behind a factorised table; None where there is none.

    Yields:
        Blocks ``[at most 8192, width]`` on the CPU, first row to last.
    """
    for block in table.detach().split(_BLOCK):
        rows = block.to("cpu", torch.float64)
        yield rows if projection is None else rows @ projection.detach().to("cpu", torch.float64).T


def project_rows(table: torch.Tensor, matrix: torch.Tensor, projection: torch.Tensor | None = None) -> torch.Tensor:
    """Multiply every effective row by a matrix.

    Args:
        table: As for `effective_rows`.
        matrix: ``[width, new width]``, double precision.
        projection: As for `effective_rows`.

    Returns:
        ``[rows, new width]`` in single precision. A row of zeros stays exactly zero.
    """
    product = torch.empty(len(table), matrix.shape[1], dtype=torch.float32)
    for filled, rows in zip(product.split(_BLOCK), effective_rows(table, projection), strict=True):
        filled.copy_(rows @ matrix)
    return product


@dataclass(frozen=True)
class Spectrum:
    """The right singular vectors of a table and the energy along each.

    Attributes:
        energies: ``[width]``, squared singular values, largest first; their sum is the squared norm of the table.
        directions: ``[width, width]``, the singular vectors as columns in the same order. Each points so that its
            largest entry is positive, since the sign is free and libraries differ in it.
    """

    energies: torch.Tensor
    directions: torch.Tensor

    @classmethod
    def of(cls, table: torch.Tensor, projection: torch.Tensor | None = None) -> Spectrum:
        """Decompose a table, given as for `effective_rows`."""
        width = table.shape[1] if projection is None else projection.shape[0]
        gram = torch.zeros(width, width, dtype=torch.float64)
        for rows in effective_rows(table, projection):
            gram.addmm_(rows.T, rows)
        if not len(table) or not torch.isfinite(gram).all():
            raise ValueError(
                f"the word embeddings of shape {tuple(table.shape)} are empty or hold values that are not finite; "
                "load the teacher again and check its weights"
            )
        energies, directions = torch.linalg.eigh(gram)  # smallest first
        directions = directions.flip(1)
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))  # [1, width]
        return cls(energies=energies.flip(0).clamp_min(0), directions=directions * largest.sign())

    def retained(self, width: int) -> float:
        """Return the share of the squared norm that the best approximation of this rank keeps, 0 to 1."""
        total = self.energies.sum()
        return 1.0 if total == 0 else float(self.energies[:width].sum() / total)

    def basis(self, width: int, generator: torch.Generator) -> torch.Tensor:
        """Return the leading directions, turned among themselves at random.

        The turn changes no product between two rows. Without it nearly all the energy of every token sits in the
        first few columns, which layer normalisation and Adam, both working column by column, take badly.

        Args:
            width: How many directions, 1 to the table's width.
            generator: Draws the turn.

        Returns:
            ``[table width, width]``, orthonormal columns, double precision.
        """
        turn, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
        return self.directions[:, :width] @ turn
