"""Capture the queries, keys and values of chosen layers by hooks on the projections.

The outputs of the projections are taken as they leave the linear layers: after the norm of a pre-norm model, before
they are split into heads, before any rotation, and whatever attention implementation follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule

from hf_afro.families import encoder_of, family_of, layer_at
from hf_afro.training.masked_only import accept_run, encode, head_at

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

RELATIONS = ("query", "key", "value")

Vectors = dict[int, dict[str, torch.Tensor]]
"""By layer, counted from 1, and by relation: ``[batch, length, width]``."""


class _LayerReached(Exception):
    """Ends a forward pass once every requested projection has run."""


class _Recorder:
    """Hooks on the projections of some layers, recording while `is_open`.

    A projection may be called more than once in a forward: ALBERT's layers are shared by several passes, and
    DeBERTa's may make keys of positions too, after those of tokens. So calls are counted, and the one that belongs to
    the requested layer is taken. Activation checkpointing calls them again in the backward pass, when the recorder is
    closed.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]) -> None:
        if not layers:
            raise ValueError("no layer was given; expected at least one, counted from 1")
        family = family_of(model)
        self.layers = tuple(sorted(set(layers)))
        places = {layer: layer_at(model, layer) for layer in self.layers}
        self.modules = list({id(place): place for place, _ in places.values()}.values())
        self.is_open = False
        # A student that leaves padding out of its layers would give projections of [1, tokens, width].
        self.settings = {"unpad": False} if getattr(model.config, "unpad", False) else {}
        self.vectors: Vectors = {}
        self._groups = _queries_per_key(model)
        self._calls: Counter[tuple[int, str]] = Counter()
        self._hooks: list[RemovableHandle] = []
        for index, module in enumerate(self.modules):
            # For a shared layer, the number of the call tells the layer; for others, the first call counts.
            wanted = {turn: layer for layer, (place, turn) in places.items() if place is module}
            for relation in RELATIONS if family.fused is None else ("fused",):
                projection = module.get_submodule(getattr(family, relation))
                # A partial of a method, not a closure, so that a model with hooks can still be pickled.
                record = partial(self._record, index, relation, wanted)
                self._hooks.append(projection.register_forward_hook(record))

    def _record(
        self, index: int, relation: str, wanted: dict[int, int], _module: nn.Module, _inputs: Any, output: torch.Tensor
    ) -> None:
        if not self.is_open:
            return
        turn = self._calls[index, relation]
        self._calls[index, relation] = turn + 1
        if turn not in wanted:
            return
        vectors = self.vectors.setdefault(wanted[turn], {})
        if relation == "fused":
            vectors.update(zip(RELATIONS, output.chunk(3, dim=-1), strict=True))
        else:
            vectors[relation] = output if relation == "query" else _widened(output, *self._groups)
        self.on_vectors()

    def on_vectors(self) -> None:
        """Called after each requested projection."""

    @property
    def is_complete(self) -> bool:
        """Whether every requested projection has run."""
        return len(self.vectors) == len(self.layers) and all(len(of) == 3 for of in self.vectors.values())

    def open(self) -> None:
        """Start recording, without what an earlier forward may have left."""
        self.is_open, self.vectors = True, {}
        self._calls.clear()

    def take(self) -> Vectors:
        """Stop recording and return the vectors, keeping no reference to them."""
        self.is_open = False
        vectors, self.vectors = self.vectors, {}
        return vectors

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for hook in self._hooks:
            hook.remove()


class TeacherCapture(_Recorder):
    """Runs a teacher up to the queries, keys and values of some layers, without gradients and in eval mode.

    The forward pass ends with the last of them: the rest of that layer, the layers above it and the head are never
    computed. If keys and values have fewer heads than queries, each is repeated for the queries it serves, as
    attention does, so that all three have one width and relation heads mean the same in them.

    Args:
        model: The teacher, of a family in the table. Its weights are never changed.
        layers: The layers that teach, counted from 1; each pass through a shared layer counts.

    Raises:
        ValueError: If the model has no such layer or is of an unknown family.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]) -> None:
        super().__init__(model, layers)
        self.encoder = encoder_of(model)
        self._ends_early = True

    def on_vectors(self) -> None:
        """End the forward pass with the last projection, whichever order they run in."""
        if self._ends_early and self.is_complete:
            raise _LayerReached

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Vectors:
        """Return ``{layer: {"query" | "key" | "value": [batch, length, width]}}``.

        Args:
            input_ids: ``[batch, length]``, ids of the teacher's vocabulary.
            attention_mask: ``[batch, length]``.
        """
        self.encoder.eval()
        self.open()
        try:
            self.encoder(input_ids=input_ids, attention_mask=attention_mask, **self.settings)
        except _LayerReached:
            return self.take()
        finally:
            self.take()
        raise RuntimeError(
            "the teacher's forward ended without running the projections of the layers that teach; a compiled teacher "
            "cannot be ended early, so pass it as it was loaded"
        )

    @torch.no_grad()
    def with_hidden(self, **inputs: Any) -> tuple[Vectors, torch.Tensor]:
        """Run the encoder to its end; return the vectors and the last hidden states, ``[batch, length, width]``."""
        self.encoder.eval()
        self.open()
        self._ends_early = False
        try:
            hidden = self.encoder(**inputs, **self.settings)[0]
            return self.take(), hidden
        finally:
            self._ends_early = True
            self.take()


class StudentCapture(_Recorder):
    """Runs a student up to the end of its encoder and returns the queries, keys and values of some layers.

    They are what the wrapped model's forward returns: DDP follows the graph back from a forward's output to find the
    parameters that take part, and fails at the second step if a loss uses anything else. The head runs only where
    logits are asked for. Called in the usual way, the model is as it was.

    Args:
        model: The student, of a family in the table.
        layers: The layers that learn, counted from 1.

    Raises:
        ValueError: If the model has no such layer or is of an unknown family.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]) -> None:
        super().__init__(model, layers)
        self._model = model
        accept_run(model)

    def __call__(
        self, model: nn.Module, positions: torch.Tensor | None = None, **inputs: torch.Tensor
    ) -> dict[str, Any]:
        """Run `model`, the student or what DDP, FSDP or the compiler made of it.

        Args:
            model: The student as it was wrapped.
            positions: ``[masked]``, int64, indices into the flattened ``[batch x length]``: where the masked-LM head
                runs. None for no logits.
            **inputs: `input_ids` and `attention_mask`, ``[batch, length]``.

        Returns:
            ``{"vectors": {layer: {relation: [batch, length, width]}}}``, and ``"logits"``, ``[masked, vocabulary]``,
            if positions are given.
        """
        self._keep_unsharded()
        self.open()
        try:
            return model(run=self._run, positions=positions, **inputs)
        finally:
            self.take()

    def _run(self, student: PreTrainedModel, positions: torch.Tensor | None, **inputs: torch.Tensor) -> dict[str, Any]:
        hidden = encode(student, **inputs, **self.settings)
        vectors = self.take()
        return {"vectors": vectors} | ({} if positions is None else {"logits": head_at(student, hidden, positions)})

    def _keep_unsharded(self) -> None:
        """Keep the layers that learn gathered from forward to backward, where FSDP2 shards the student.

        FSDP2 gathers a layer's weights again when a gradient reaches the layer's output; here it reaches the
        projections inside, past the output, and would find weights without storage.
        """
        for module in self._model.modules():
            if isinstance(module, FSDPModule) and any(place in module.modules() for place in self.modules):
                module.set_reshard_after_forward(False, recurse=False)


def vector_width(model: PreTrainedModel) -> int:
    """Return the width of a layer's captured queries, keys and values: heads times the width of a head."""
    family, layer = family_of(model), layer_at(model, 1)[0]
    if family.fused is not None:
        return layer.get_submodule(family.fused).out_features // 3
    assert family.query is not None
    return layer.get_submodule(family.query).out_features


def parameters_without_part(model: PreTrainedModel, outputs: Mapping[int, Mapping[str, torch.Tensor]]) -> set[str]:
    """Return the names of the parameters that no gradient of these vectors reaches.

    They are found as in DDP, by following the graph back; nothing is computed.

    Args:
        model: The student.
        outputs: Vectors of one forward, with their graph.
    """
    waiting = [tensor.grad_fn for of in outputs.values() for tensor in of.values() if tensor.grad_fn is not None]
    seen, reached = set(waiting), set()
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):  # where the gradient of a leaf is accumulated
            reached.add(id(node.variable))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return {name for name, parameter in model.named_parameters() if id(parameter) not in reached}


def _queries_per_key(model: PreTrainedModel) -> tuple[int, int]:
    """Return the number of key and value heads, and the number of query heads that each of them serves."""
    family, heads = family_of(model), model.config.num_attention_heads
    kept = heads if family.key_value_heads is None else getattr(model.config, family.key_value_heads)
    return kept, heads // kept


def _widened(vectors: torch.Tensor, heads: int, repeats: int) -> torch.Tensor:
    """Repeat each head for the queries it serves: ``[..., heads x d]`` to ``[..., heads x repeats x d]``."""
    if repeats == 1:
        return vectors
    return vectors.unflatten(-1, (heads, -1)).repeat_interleave(repeats, dim=-2).flatten(-2)
