"""Capture the queries, keys, values and hidden states of chosen layers by hooks.

The outputs of the projections are taken as they leave the linear layers: after the norm of a pre-norm model, before
they are split into heads, before any rotation, and whatever attention implementation follows. The hidden states of a
layer are what it returns; those of the last layer what the encoder returns, after a final norm if there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.fsdp import FSDPModule

from hf_afro.families import depth_of, encoder_of, family_of, layer_at
from hf_afro.training.masked_only import accept_run, encode, head_at

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

RELATIONS = ("query", "key", "value")
HIDDEN = "hidden"

Vectors = dict[int, dict[str, torch.Tensor]]
"""By layer, counted from 1, and by name (`query`, `key`, `value`, `hidden`): ``[batch, length, width]``."""


class _LayerReached(Exception):
    """Ends a forward pass once everything that was requested has run."""


class _Recorder:
    """Hooks on some layers and on their projections, recording while `is_open`.

    A module may be called more than once in a forward: ALBERT's layers are shared by several passes, and DeBERTa's may
    make keys of positions too, after those of tokens. So calls are counted, and the one that belongs to the requested
    layer is taken. Activation checkpointing calls them again in the backward pass, when the recorder is closed.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], hidden_layers: Sequence[int]) -> None:
        family = family_of(model)
        self.depth = depth_of(model)
        self.layers, self.hidden_layers = tuple(sorted(set(layers))), tuple(sorted(set(hidden_layers)))
        places = {layer: layer_at(model, layer) for layer in (*self.layers, *self.hidden_layers)}
        self.modules = list({id(place): place for place, _ in places.values()}.values())
        self.is_open = False
        self.vectors: Vectors = {}
        self._groups = _queries_per_key(model)
        self._calls: Counter[tuple[int, str]] = Counter()
        self._hooks: list[RemovableHandle] = []
        requested = dict.fromkeys(RELATIONS if family.fused is None else ("fused",), self.layers)
        requested[HIDDEN] = tuple(layer for layer in self.hidden_layers if layer < self.depth)
        for index, module in enumerate(self.modules):
            for name, of in requested.items():
                # For a shared layer, the number of the call tells the layer; for others, the first call counts.
                wanted = {places[layer][1]: layer for layer in of if places[layer][0] is module}
                if wanted:
                    hooked = module if name == HIDDEN else module.get_submodule(getattr(family, name))
                    # A partial of a method, not a closure, so that a model with hooks can still be pickled.
                    self._hooks.append(hooked.register_forward_hook(partial(self._record, index, name, wanted)))
        # In a student that leaves padding out of its layers the hooks would see [1, tokens, width].
        may_unpad = getattr(model.config, "unpad", False)
        self.settings = {"unpad": False} if may_unpad and self._hooks else {}

    def _record(
        self, index: int, name: str, wanted: dict[int, int], _module: nn.Module, _inputs: Any, output: Any
    ) -> None:
        if not self.is_open:
            return
        turn = self._calls[index, name]
        self._calls[index, name] = turn + 1
        if turn not in wanted:
            return
        vectors = self.vectors.setdefault(wanted[turn], {})
        if name == "fused":
            vectors.update(zip(RELATIONS, output.chunk(3, dim=-1), strict=True))
        elif name in ("key", "value"):
            vectors[name] = _widened(output, *self._groups)
        else:  # some layers return a tuple
            vectors[name] = output[0] if isinstance(output, tuple) else output
        self.on_vectors()

    def on_vectors(self) -> None:
        """Called whenever something that was requested has run."""

    def add_last(self, hidden: torch.Tensor) -> None:
        """Record what the encoder returns as the hidden states of the last layer, if they were requested."""
        if self.depth in self.hidden_layers:
            self.vectors.setdefault(self.depth, {})[HIDDEN] = hidden

    @property
    def is_complete(self) -> bool:
        """Whether everything that was requested has run."""
        expected = len(self.layers) * len(RELATIONS) + len(self.hidden_layers)
        return sum(len(of) for of in self.vectors.values()) == expected

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
    """Runs a teacher up to the vectors of some layers, without gradients and in eval mode.

    The forward pass ends with the last of them: what follows is never computed, unless the hidden states of the last
    layer are requested, with which the encoder ends. If keys and values have fewer heads than queries, each is
    repeated for the queries it serves, as attention does, so that all three have one width and relation heads mean the
    same in them.

    Args:
        model: The teacher, of a family in the table. Its weights are never changed.
        layers: The layers whose queries, keys and values are captured, counted from 1; each pass through a shared
            layer counts.
        hidden_layers: The layers whose hidden states are captured.

    Raises:
        ValueError: If the model has no such layer or is of an unknown family, or no layer is given.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], hidden_layers: Sequence[int] = ()) -> None:
        super().__init__(model, layers, hidden_layers)
        if not self.modules:
            raise ValueError("no layer was given; expected at least one, counted from 1")
        self.encoder = encoder_of(model)

    def on_vectors(self) -> None:
        """End the forward pass with the last of the vectors, whichever order they run in."""
        if self.is_complete:
            raise _LayerReached

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **settings: Any) -> Vectors:
        """Return ``{layer: {"query" | "key" | "value" | "hidden": [batch, length, width]}}``.

        Args:
            input_ids: ``[batch, length]``, ids of the teacher's vocabulary.
            attention_mask: ``[batch, length]``.
            **settings: Passed to the encoder.
        """
        self.encoder.eval()
        self.open()
        try:
            self.add_last(
                self.encoder(input_ids=input_ids, attention_mask=attention_mask, **self.settings, **settings)[0]
            )
            if self.is_complete:
                return self.take()
        except _LayerReached:
            return self.take()
        finally:
            self.take()
        raise RuntimeError(
            "the teacher's forward ended without running the projections of the layers that teach; a compiled teacher "
            "cannot be ended early, so pass it as it was loaded"
        )


class StudentCapture(_Recorder):
    """Runs a student up to the end of its encoder and returns the vectors of some layers.

    They are what the wrapped model's forward returns: DDP follows the graph back from a forward's output to find the
    parameters that take part, and fails at the second step if a loss uses anything else. The head runs only where
    logits are asked for. Called in the usual way, the model is as it was.

    Args:
        model: The student, of a family in the table.
        layers: The layers whose queries, keys and values are captured, counted from 1.
        hidden_layers: The layers whose hidden states are captured.
        projection: Applied to the hidden states inside the forward.

    Raises:
        ValueError: If the model has no such layer or is of an unknown family.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        layers: Sequence[int],
        hidden_layers: Sequence[int] = (),
        projection: nn.Module | None = None,
    ) -> None:
        super().__init__(model, layers, hidden_layers)
        self._model = model
        self._projection = projection
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
            ``{"vectors": {layer: {name: [batch, length, width]}}}``, and ``"logits"``, ``[masked, vocabulary]``,
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
        self.add_last(hidden)
        vectors = self.take()
        if self._projection is not None:
            for layer in self.hidden_layers:
                vectors[layer][HIDDEN] = self._projection(vectors[layer][HIDDEN])
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
