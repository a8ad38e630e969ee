"""The queries, keys and values of one layer, read off a forward pass by hooks on the projections.

The projections' outputs are taken as they leave the linear layers: before they are split into heads, before any
rotation, and whatever attention implementation runs after them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.families import encoder_of, family_of, layer_at

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

RELATIONS = ("query", "key", "value")


class _LayerReached(Exception):
    """Ends a forward pass once all three projections of the layer have run."""


class _Recorder:
    """Hooks on the three projections of one layer, recording while `is_open`."""

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        family = family_of(model)
        if family.fused or family.inner_layers or family.key_value_heads:
            raise ValueError(
                f"{family.model_type} has fused, shared or grouped projections, which cannot be taken apart yet; "
                "distil between models of families that have three, such as XLM-R, RoBERTa and BERT"
            )
        place, _ = layer_at(model, layer)
        self.is_open = False
        self.vectors: dict[str, torch.Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        for relation in RELATIONS:
            projection = place.get_submodule(getattr(family, relation))
            # A partial of a method and no closure, so that a model with hooks can still be pickled.
            self._hooks.append(projection.register_forward_hook(partial(self._record, relation)))

    def _record(self, relation: str, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        if self.is_open:
            self.vectors[relation] = output
            self.on_vector()

    def on_vector(self) -> None:
        """Called after each projection."""

    def remove(self) -> None:
        """Take the hooks off the model, which is then as it was before."""
        for hook in self._hooks:
            hook.remove()

    def take(self) -> dict[str, torch.Tensor]:
        """Close, and hand the vectors over, keeping no reference to them."""
        self.is_open = False
        vectors, self.vectors = self.vectors, {}
        return vectors


class TeacherCapture(_Recorder):
    """Runs a teacher up to the queries, keys and values of one layer, without gradients and in eval mode.

    The forward pass ends there: what is left of that layer, the layers above it and the head are never computed.

    Args:
        model: The teacher, of a family in the table. Its weights are never changed.
        layer: The layer taught, counted from 1.

    Raises:
        ValueError: If the model has no such layer or is of no known family.
    """

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        super().__init__(model, layer)
        self.encoder = encoder_of(model)

    def on_vector(self) -> None:
        """End the forward pass with the third projection, whichever order they run in."""
        if len(self.vectors) == len(RELATIONS):
            raise _LayerReached

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``{"query" | "key" | "value": [batch, length, d_teacher]}``.

        Args:
            input_ids: ``[batch, length]``, ids of the teacher's vocabulary.
            attention_mask: ``[batch, length]``.
        """
        self.encoder.eval()
        self.is_open = True
        try:
            with torch.no_grad():
                self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        except _LayerReached:
            return self.take()
        finally:
            self.is_open = False
        raise RuntimeError("the teacher's forward ended without passing the projections of the layer taught")


class StudentCapture(_Recorder):
    """Makes a student's forward return the queries, keys and values of one layer in place of its output.

    They have to be what the forward returns: DDP follows the graph back from a forward's output to learn which
    parameters take part, and fails at the second step where a loss uses anything else. While not `is_open` the model
    is as it was.

    Args:
        model: The student, of a family in the table.
        layer: The layer that learns, counted from 1.

    Raises:
        ValueError: If the model has no such layer or is of no known family.
    """

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        super().__init__(model, layer)
        self._hooks.append(model.register_forward_hook(self._return_vectors))

    def _return_vectors(self, _model: nn.Module, _inputs: Any, output: Any) -> Any:
        return self.take() if self.is_open else output

    def __call__(self, model: nn.Module, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run `model`, the student or what DDP made of it, and return its ``{relation: [batch, length, width]}``."""
        self.is_open = True
        try:
            return model(**inputs)
        finally:
            self.take()
