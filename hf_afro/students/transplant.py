"""What a new student takes over from its teacher: embeddings, layers and the masked-LM head."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import GELUActivation

from hf_afro.families import encoder_of, family_of, layers_of, position_offset_of
from hf_afro.students.modeling_afro_student import AfroStudentEmbeddings
from hf_afro.students.projection import Spectrum, project_rows

logger = logging.getLogger(__name__)


@torch.no_grad()
def transplant_embeddings(teacher: PreTrainedModel, student: PreTrainedModel, seed: int) -> dict[str, Any]:
    """Fill a student's embeddings from its teacher's, as `build_student` describes.

    Args:
        teacher: Of any family in the table.
        student: Of XLM-R's kind, the same vocabulary, as wide as the teacher or narrower.
        seed: Draws the turn of the new axes.

    Returns:
        How: ``embeddings`` is "copied" or "projected"; when projected, ``embedding_energy`` is the share of the
        squared norm of the teacher's word embeddings that the student's keep.
    """
    encoder, family = encoder_of(teacher), family_of(teacher)
    old, new = encoder.get_submodule(family.embeddings), student.base_model.embeddings
    old_words = encoder.get_submodule(family.word_embeddings).weight
    old_projection = old.projection.weight if isinstance(old, AfroStudentEmbeddings) else None
    new_projection = new.projection.weight if isinstance(new, AfroStudentEmbeddings) else None
    new_words = new.word_embeddings.weight
    old_width, new_width = old.position_embeddings.weight.shape[1], new.position_embeddings.weight.shape[1]
    same_tables = old_words.shape == new_words.shape and (old_projection is None) == (new_projection is None)

    if old_width == new_width:
        _copy_rest(old, new, position_offset_of(teacher), torch.eye(new_width, dtype=torch.float64))
        new.LayerNorm.load_state_dict(old.LayerNorm.state_dict())
        if same_tables:
            new_words.copy_(old_words)
            if new_projection is not None:
                new_projection.copy_(old_projection)
            return {"embeddings": "copied"}

    generator = torch.Generator().manual_seed(seed)
    spectrum = Spectrum.of(old_words, old_projection)
    axes = torch.eye(old_width, dtype=torch.float64)
    if new_width != old_width:
        axes = spectrum.basis(new_width, generator)  # [old width, new width]
        axes = axes * math.sqrt(new_width / old_width)
        _copy_rest(old, new, position_offset_of(teacher), axes)
    rank = new_words.shape[1]
    if new_projection is None:
        new_words.copy_(project_rows(old_words, axes, old_projection))
    else:
        narrow = spectrum.basis(rank, generator)  # [old width, embedding size]
        scale = math.sqrt(rank / old_width)
        new_words.copy_(project_rows(old_words, narrow * scale, old_projection))
        new_projection.copy_(axes.T @ narrow / scale)
    return {"embeddings": "projected", "embedding_energy": round(spectrum.retained(rank), 6)}


def _copy_rest(old: nn.Module, new: nn.Module, old_offset: int, axes: torch.Tensor) -> None:
    """Carry positions and token types over onto the new axes ``[old width, new width]``."""
    unchanged = axes.shape[0] == axes.shape[1]

    def moved(rows: torch.Tensor) -> torch.Tensor:
        return rows if unchanged else rows.to("cpu", torch.float64) @ axes

    positions = new.position_embeddings.weight
    new_offset = new.padding_idx + 1
    positions[new_offset:] = moved(old.position_embeddings.weight[old_offset:]).to(positions)
    # The rows below the first position are the padding's: as they were, or none where the teacher has no such rows.
    positions[:new_offset] = 0.0
    if old_offset == new_offset:
        positions[:new_offset] = moved(old.position_embeddings.weight[:old_offset]).to(positions)
    new.token_type_embeddings.weight.copy_(moved(old.token_type_embeddings.weight))


def transplant_layers(teacher: PreTrainedModel, student: PreTrainedModel, sources: Sequence[int]) -> None:
    """Copy layers bit by bit.

    Args:
        teacher: Of any family in the table.
        student: Of XLM-R's kind, with layers of the teacher's shapes.
        sources: For each layer of the student, the index of the teacher's that it becomes.
    """
    for layer, source in zip(layers_of(student), sources, strict=True):
        layer.load_state_dict(layers_of(teacher)[source].state_dict())


@torch.no_grad()
def transplant_head(teacher: PreTrainedModel, student: PreTrainedModel) -> dict[str, Any]:
    """Copy of the masked-LM head what has the same shape.

    A student's head applies GELU, and its output embedding is tied to the word embeddings. Where the teacher's head
    has another activation, as that of BERT may, or an output embedding of its own, the copy does not compute what the
    teacher's head does; a warning says so.

    Args:
        teacher: With its head or without.
        student: With a masked-LM head.

    Returns:
        How: ``head_bias`` and ``head_transform`` are each "copied" or "initialised"; ``head_differs`` is there where
        what was copied computes something else, and says in what the heads differ.
    """
    family = family_of(teacher)
    how = {"head_bias": "initialised", "head_transform": "initialised"}
    differs: list[str] = []
    if family.masked_lm_head not in dict(teacher.named_children()):
        return how
    decoder = teacher.get_output_embeddings()
    if decoder.bias is not None:
        student.lm_head.bias.copy_(decoder.bias)
        how["head_bias"] = "copied"
    # Every family has one dense layer and one norm between the encoder and the decoder.
    parts = list(teacher.get_submodule(family.masked_lm_head).modules())
    activation = next((part.transform_act_fn for part in parts if hasattr(part, "transform_act_fn")), None)
    dense = next(part for part in parts if isinstance(part, nn.Linear) and part is not decoder)
    norm = next(part for part in parts if isinstance(part, nn.LayerNorm))
    if dense.weight.shape == student.lm_head.dense.weight.shape:
        student.lm_head.dense.load_state_dict(dense.state_dict())
        student.lm_head.layer_norm.load_state_dict(norm.state_dict())
        how["head_transform"] = "copied"
        if not isinstance(activation, GELUActivation | None):
            differs.append("activation")
    words = teacher.get_input_embeddings().weight
    if decoder.weight is not words and not torch.equal(decoder.weight.cpu(), words.cpu()):
        differs.append("output embedding")
    if differs and "copied" in how.values():
        how["head_differs"] = " and ".join(differs)
        logger.warning(
            "The student's masked-LM head was copied and differs from the teacher's in its %s: a student's head "
            "applies GELU, and its output embedding is tied to the word embeddings. Train it before it fills masks.",
            how["head_differs"],
        )
    return how
