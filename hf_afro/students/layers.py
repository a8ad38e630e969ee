"""Copies of a model with some of its layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from torch import nn
from transformers import PreTrainedModel

from hf_afro.families import encoder_of, family_of, layers_of

AnyModel = TypeVar("AnyModel", bound=PreTrainedModel)


def evenly_spaced(available: int, wanted: int) -> list[int]:
    """Return the indices of evenly spaced layers, from 0, the last of which is always the last layer.

    Raises:
        ValueError: If there are not that many layers.
    """
    if not 1 <= wanted <= available:
        raise ValueError(f"{wanted} layers cannot be taken from {available}; expected 1 to {available}")
    return [(index + 1) * available // wanted - 1 for index in range(wanted)]


def keep_layers(model: AnyModel, layers: int | Sequence[int]) -> AnyModel:
    """Return a copy of a model, of the same class and with the same head, that has only some of its layers.

    Args:
        model: Of a family in `hf_afro.families`; not changed.
        layers: How many, evenly spaced, or their indices from 0 in order.

    Raises:
        ValueError: If the model has fewer layers, or shares its layers as ALBERT does.
    """
    family, own = family_of(model), layers_of(model)
    if family.inner_layers is not None:
        raise ValueError(f"the layers of {model.config.model_type} share their weights, so none can be left out")
    chosen = evenly_spaced(len(own), layers) if isinstance(layers, int) else list(layers)
    if not chosen or not all(0 <= index < len(own) for index in chosen):
        raise ValueError(f"layers is {chosen}; expected indices from 0 to {len(own) - 1}, at least one")
    kept = copy.deepcopy(model)
    copies = layers_of(kept)
    encoder_of(kept).set_submodule(family.layers, nn.ModuleList(copies[index] for index in chosen))
    config = kept.config
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == len(own):  # one entry per layer, such as `layer_types`
            setattr(config, name, [value[index] for index in chosen])
    config.num_hidden_layers = len(chosen)
    return kept
