"""Initial weights of a student: embeddings, layers and masked-LM head taken from its teacher.

Narrower word embeddings come from a truncated singular value decomposition. With ``W = U S V^T`` the table
``[rows, width]``, its best approximation of rank r is ``U_r S_r V_r^T = W V_r V_r^T`` (Eckart and Young 1936). So only
V is needed, the eigenvectors of the small matrix ``W^T W``, which is summed block by block in double precision.

Where rows have weights f_i, such as how often their tokens occur, V are the eigenvectors of ``W^T diag(f) W`` instead:
by the same theorem for ``diag(f)^(1/2) W``, ``W V_r V_r^T`` minimises ``sum_i f_i ||w_i - w_i V_r V_r^T||^2``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from hf_afro.families import encoder_of, family_of, layers_of, position_offset_of

logger = logging.getLogger(__name__)

_BLOCK = 8192  # rows; 8192 x 768 in double precision take 50 MB
_FLOOR = 0.01  # share of the weight that is spread evenly over all rows


class PooledCounts(Protocol):
    """Counts of tokens in several languages that can be pooled, as `hf_afro.TokenCounts` can."""

    def pooled(self) -> np.ndarray:
        """Return the share of each token among running tokens, ``[tokens]``."""
        ...


def row_weights(
    counts: PooledCounts | np.ndarray | torch.Tensor | Sequence[float], rows: int, tokens: int | None = None
) -> torch.Tensor:
    """Return how much each row of a word embedding counts when the table is approximated.

    A weight is 99 % the token's share of the running tokens and 1 % an equal part for every row, so that tokens that
    were not seen are approximated as well as the others allow, and not at random.

    Args:
        counts: How often each token occurs, by id, in any unit; or counts by language, pooled by their own rule.
        rows: Rows of the table. Those without a token, which pad some tables, get the equal part alone.
        tokens: Size of the tokenizer if it is known, which is then allowed as the number of counts too.

    Returns:
        ``[rows]``, double precision, sum 1.

    Raises:
        ValueError: If there are not as many counts as rows or tokens, one is negative or not finite, or all are zero.
    """
    own = counts.pooled() if hasattr(counts, "pooled") else counts
    own = own.cpu() if isinstance(own, torch.Tensor) else np.array(own)
    shares = torch.as_tensor(own, dtype=torch.float64)
    allowed = {rows, rows if tokens is None else tokens}
    if shares.dim() != 1 or len(shares) not in allowed:
        raise ValueError(
            f"counts have shape {list(shares.shape)}; expected one number per token of the teacher's vocabulary, "
            f"{' or '.join(map(str, sorted(allowed)))}. For a pruned teacher, count with its tokenizer, or take the "
            "counts of the tokens that were kept: counts.pooled()[vocabulary_map.old_ids]"
        )
    if not torch.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise ValueError("counts are negative, not finite or all zero; expected how often each token occurs")
    weights = torch.full((rows,), _FLOOR / rows, dtype=torch.float64)
    weights[: len(shares)] += (1 - _FLOOR) * shares / shares.sum()
    return weights


@torch.no_grad()
def initialise_embeddings(
    teacher: PreTrainedModel, student: PreTrainedModel, seed: int, weights: torch.Tensor | None = None
) -> dict[str, Any]:
    """Fill a student's embeddings from its teacher's, as `build_student` describes.

    Args:
        teacher: Of any family in the table.
        student: Of XLM-R's kind, with the same vocabulary, as wide as the teacher or narrower.
        seed: Seed of the random rotation of the new axes.
        weights: What `row_weights` returns; None to let all rows count alike.

    Returns:
        A record: ``embeddings`` is "copied" or "projected"; if projected, ``embedding_energy`` is the share of the
        squared norm of the teacher's word embeddings that the student's keep, and
        ``embedding_energy_of_running_tokens`` the same with each row counted by its weight, if there are weights.
    """
    encoder, family = encoder_of(teacher), family_of(teacher)
    old, new = encoder.get_submodule(family.embeddings), student.base_model.embeddings
    old_words, new_words = encoder.get_submodule(family.word_embeddings).weight, new.word_embeddings.weight
    old_projection, new_projection = _projection_of(old), _projection_of(new)
    old_width, new_width = old.position_embeddings.weight.shape[1], new.position_embeddings.weight.shape[1]
    same_tables = old_words.shape == new_words.shape and (old_projection is None) == (new_projection is None)

    if old_width == new_width:
        _fill_positions_and_types(old, new, position_offset_of(teacher), None)
        new.LayerNorm.load_state_dict(old.LayerNorm.state_dict())
        if same_tables:
            new_words.copy_(old_words)
            if new_projection is not None:
                new_projection.copy_(old_projection)
            return {"embeddings": "copied"}

    generator = torch.Generator().manual_seed(seed)
    spectrum = Spectrum.of(old_words, old_projection, weights)
    axes = torch.eye(old_width, dtype=torch.float64)
    if new_width != old_width:
        axes = spectrum.basis(new_width, generator) * math.sqrt(new_width / old_width)  # [old width, new width]
        _fill_positions_and_types(old, new, position_offset_of(teacher), axes)
    rank = new_words.shape[1]
    if new_projection is None:
        new_words.copy_(project_rows(old_words, axes, old_projection))
    else:
        narrow = spectrum.basis(rank, generator)  # [old width, embedding size]
        scale = math.sqrt(rank / old_width)
        new_words.copy_(project_rows(old_words, narrow * scale, old_projection))
        new_projection.copy_(axes.T @ narrow / scale)
    energy = {"embedding_energy": round(spectrum.retained(rank), 6)}
    if weights is not None:
        energy["embedding_energy_of_running_tokens"] = round(spectrum.retained(rank, weighted=True), 6)
    return {"embeddings": "projected", **energy}


def _projection_of(embeddings: nn.Module) -> torch.Tensor | None:
    projection = getattr(embeddings, "projection", None)
    return None if projection is None else projection.weight


def _fill_positions_and_types(old: nn.Module, new: nn.Module, old_offset: int, axes: torch.Tensor | None) -> None:
    """Copy position and type embeddings, onto new axes ``[old width, new width]`` if given."""

    def moved(rows: torch.Tensor) -> torch.Tensor:
        return rows if axes is None else rows.to("cpu", torch.float64) @ axes

    positions = new.position_embeddings.weight
    new_offset = new.padding_idx + 1
    positions[new_offset:] = moved(old.position_embeddings.weight[old_offset:]).to(positions)
    # Rows below the first position belong to padding: as in the teacher, or zeros if the teacher has no such rows.
    positions[:new_offset] = 0.0
    if old_offset == new_offset:
        positions[:new_offset] = moved(old.position_embeddings.weight[:old_offset]).to(positions)
    new.token_type_embeddings.weight.copy_(moved(old.token_type_embeddings.weight))


def copy_layers(teacher: PreTrainedModel, student: PreTrainedModel, sources: Sequence[int]) -> None:
    """Copy layers bit by bit.

    Args:
        teacher: Of any family in the table.
        student: Of XLM-R's kind, with layers of the teacher's shapes.
        sources: Index of the teacher's layer for each layer of the student.
    """
    for layer, source in zip(layers_of(student), sources, strict=True):
        layer.load_state_dict(layers_of(teacher)[source].state_dict())


def copy_with_fewer_layers(
    teacher: PreTrainedModel, student: PreTrainedModel, sources: Sequence[int]
) -> dict[str, Any]:
    """Copy a student of the teacher's own family bit by bit: some of the layers, and all that is outside of them.

    Args:
        teacher: With a masked-LM head or without.
        student: With a masked-LM head, of the same configuration except for the number of layers.
        sources: Index of the teacher's layer for each layer of the student.

    Returns:
        A record of the same form as those of `initialise_embeddings` and `initialise_head`.
    """
    has_head = isinstance(teacher, type(student))
    old, new = (teacher, student) if has_head else (encoder_of(teacher), encoder_of(student))
    layers = f"{family_of(student).layers}."
    if has_head:
        layers = f"{student.base_model_prefix}.{layers}"
    weights = old.state_dict()

    def source_of(name: str) -> str:
        """Return the teacher's name of a tensor of the student."""
        if not name.startswith(layers):
            return name
        number, part = name.removeprefix(layers).split(".", 1)
        return f"{layers}{sources[int(number)]}.{part}"

    new.load_state_dict({name: weights[source_of(name)] for name in new.state_dict()})
    head = "copied" if has_head else "initialised"
    return {"embeddings": "copied", "head_bias": head, "head_transform": head}


@torch.no_grad()
def initialise_head(teacher: PreTrainedModel, student: PreTrainedModel) -> dict[str, Any]:
    """Copy the parts of the masked-LM head whose shapes are equal.

    A student's head applies GELU, and its output embedding is tied to the word embeddings. If the teacher's head has
    another activation, as BERT's may, or an output embedding of its own, the copy does not compute what the teacher's
    head does, and a warning says so.

    Args:
        teacher: With its head or without.
        student: With a masked-LM head.

    Returns:
        A record: ``head_bias`` and ``head_transform`` are "copied" or "initialised"; ``head_differs`` is present if
        the copy computes something else, and names the parts that differ.
    """
    family = family_of(teacher)
    record = {"head_bias": "initialised", "head_transform": "initialised"}
    differs: list[str] = []
    if family.masked_lm_head not in dict(teacher.named_children()):
        return record
    decoder = teacher.get_output_embeddings()
    if decoder.bias is not None:
        student.lm_head.bias.copy_(decoder.bias)
        record["head_bias"] = "copied"
    # Every family has one dense layer and one norm between the encoder and the decoder.
    parts = list(teacher.get_submodule(family.masked_lm_head).modules())
    activation = next((part.transform_act_fn for part in parts if hasattr(part, "transform_act_fn")), None)
    dense = next(part for part in parts if isinstance(part, nn.Linear) and part is not decoder)
    norm = next(part for part in parts if isinstance(part, nn.LayerNorm))
    if dense.weight.shape == student.lm_head.dense.weight.shape:
        student.lm_head.dense.load_state_dict(dense.state_dict())
        student.lm_head.layer_norm.load_state_dict(norm.state_dict())
        record["head_transform"] = "copied"
        if not isinstance(activation, GELUActivation | None):
            differs.append("activation")
    words = teacher.get_input_embeddings().weight
    if decoder.weight is not words and not torch.equal(decoder.weight.cpu(), words.cpu()):
        differs.append("output embedding")
    if differs and "copied" in record.values():
        record["head_differs"] = " and ".join(differs)
        logger.warning(
            "The student's masked-LM head was copied and differs from the teacher's in its %s: a student's head "
            "applies GELU, and its output embedding is tied to the word embeddings. Train it before it fills masks.",
            record["head_differs"],
        )
    return record


def effective_rows(table: torch.Tensor, projection: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
    """Yield the rows of a word embedding as the layers see them, in double precision.

    Args:
        table: ``[rows, embedding_size]``.
        projection: ``[width, embedding_size]``, the projection of a factorised table; None without factorisation.

    Yields:
        Blocks ``[at most 8192, width]`` on the CPU, in order.
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


def _gram(
    table: torch.Tensor, projection: torch.Tensor | None = None, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum over the effective rows w_i of f_i w_i^T w_i, ``[width, width]``; f_i is 1 without weights."""
    width = table.shape[1] if projection is None else projection.shape[0]
    gram = torch.zeros(width, width, dtype=torch.float64)
    start = 0
    for rows in effective_rows(table, projection):
        gram.addmm_(rows.T, rows if weights is None else rows * weights[start : start + len(rows), None])
        start += len(rows)
    return gram


@dataclass(frozen=True)
class Spectrum:
    """Right singular vectors of a table, with the energy along each.

    Attributes:
        energies: ``[width]``, squared norm of the table along each direction; without weights these are the squared
            singular values in descending order.
        directions: ``[width, width]``, the singular vectors as columns, those with the most weighted energy first. The
            largest entry of each is positive, since the sign is arbitrary and libraries differ in it.
        weighted_energies: ``[width]``, the same with each row counted by its weight, in descending order.
    """

    energies: torch.Tensor
    directions: torch.Tensor
    weighted_energies: torch.Tensor

    @classmethod
    def of(
        cls, table: torch.Tensor, projection: torch.Tensor | None = None, weights: torch.Tensor | None = None
    ) -> Spectrum:
        """Decompose a table, given as for `effective_rows`, with a weight for each row or all rows alike."""
        gram = _gram(table, projection, weights)
        if not len(table) or not torch.isfinite(gram).all():
            raise ValueError(
                f"the word embeddings of shape {tuple(table.shape)} are empty or hold values that are not finite; "
                "load the teacher again and check its weights"
            )
        found, directions = torch.linalg.eigh(gram)  # ascending
        directions = directions.flip(1)
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))  # [1, width]
        directions = directions * largest.sign()
        weighted = found.flip(0).clamp_min(0)
        energies = weighted if weights is None else (directions * (_gram(table, projection) @ directions)).sum(0)
        return cls(energies, directions, weighted)

    def retained(self, width: int, *, weighted: bool = False) -> float:
        """Return the share of the squared norm, or of the weighted one, that the first directions keep, 0 to 1."""
        energies = self.weighted_energies if weighted else self.energies
        total = energies.sum()
        return 1.0 if total == 0 else float(energies[:width].sum() / total)

    def basis(self, width: int, generator: torch.Generator) -> torch.Tensor:
        """Return the leading directions under a random rotation among themselves.

        The rotation changes no product between two rows. Without it, nearly all the energy of every token sits in the
        first few columns, which suits neither layer normalisation nor Adam, both of which work column by column.

        Args:
            width: Number of directions, 1 to the table's width.
            generator: Source of the rotation.

        Returns:
            ``[table width, width]``, orthonormal columns, double precision.
        """
        rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
        return self.directions[:, :width] @ rotation
