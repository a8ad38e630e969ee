"""Choose the class of a checkpoint's model: the one its configuration names, or the one that takes its tensors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming

from hf_afro.pretrained.weights import StoredTensor

_SHOWN = 3


def named_class(config: PretrainedConfig, where: str) -> type[PreTrainedModel] | None:
    """Return the class that a configuration's `architectures` names, or None if it names none.

    Args:
        config: The configuration.
        where: The folder or repository it was read from, for the error message.

    Raises:
        ValueError: If transformers has no such class, or one for another kind of configuration.
    """
    if not config.architectures:
        return None
    name = config.architectures[0]
    for place in (_modeling_module(config), transformers):
        found = getattr(place, name, None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel) and _is_for(found, config):
            return found
    raise ValueError(
        f"config.json of {where} names the architecture {name!r}, which transformers does not have for the model type "
        f"{config.model_type!r}; expected a class of the installed transformers"
    )


def class_for(config: PretrainedConfig, tensors: Mapping[str, StoredTensor], where: str) -> type[PreTrainedModel]:
    """Return the class that a configuration names, or the one that the stored tensors belong to.

    If the configuration names none, it is the class without a head if that takes every tensor; otherwise the one class
    of the model type that takes every tensor and lacks none, or the only one that takes every tensor.

    Args:
        config: The configuration.
        tensors: The tensors stored, by name.
        where: The folder or repository, for the error messages.

    Raises:
        ValueError: If the named class does not exist, or none is named and tensors would be lost or several classes
            fit.
    """
    named = named_class(config, where)
    if named is not None:
        return named
    headless = _headless(config)
    lost = list(tensors) if headless is None else match_tensors(_empty(headless, config), tensors).left_over
    if headless is not None and not lost:
        return headless
    matches = {one: match_tensors(_empty(one, config), tensors) for one in _classes(config)}
    fitting = [one for one, match in matches.items() if not match.left_over and not match.mismatched]
    whole = [one for one in fitting if not matches[one].missing]
    found = whole or fitting
    if len(found) == 1:
        return found[0]
    if found:
        advice = "write the right one into it: " + " or ".join(f'"architectures": ["{one.__name__}"]' for one in found)
    else:
        advice = (
            f"no class of the model type {config.model_type!r} takes them. Load it as the class you need with "
            "from_pretrained and save it with save_pretrained, which leaves them out"
        )
    kind = "" if headless is None else f" as {headless.__name__}"
    raise ValueError(
        f"config.json of {where} names no architecture, and loading it{kind} would lose weights ({shown(lost)}); "
        f"{advice}"
    )


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers of a model by name, tied ones under each of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


@dataclass(frozen=True)
class TensorMatch:
    """Correspondence of stored tensors to the tensors of a model.

    Attributes:
        own_names: The model's name of each stored tensor it takes, by stored name.
        left_over: Stored tensors that the model does not take. Those that transformers ignores, splits or joins when
            it loads the model are not listed.
        missing: Names in the model's state dict that are not stored under any of the names they are tied by.
        mismatched: Stored names whose shape differs from the model's.
    """

    own_names: dict[str, str]
    left_over: list[str]
    missing: list[str]
    mismatched: list[str]


def match_tensors(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> TensorMatch:
    """Match stored tensors with those of a model, as `from_pretrained` does.

    A stored name may have or lack the prefix of the encoder, or be one that older versions of transformers used, such
    as those of the first BERT checkpoints.

    Args:
        model: The model, which may be on the meta device.
        tensors: The stored tensors by name.
    """
    own = named_tensors(model)
    prefix = f"{model.base_model_prefix}."

    def own_name(name: str) -> str | None:
        return next((one for one in (name, prefix + name, name.removeprefix(prefix)) if one in own), None)

    names = {name: found for name in tensors if (found := own_name(name)) is not None}
    others = [name for name in tensors if name not in names]
    # Making the list of conversions takes a tenth of a second, and few checkpoints need it.
    conversions = get_model_conversion_mapping(model) if others else []
    for name in others:
        now = name
        for renaming in conversions:
            if isinstance(renaming, WeightRenaming):
                now, _ = renaming.rename_source_key(now)
        if (found := own_name(now)) is not None:
            names[name] = found
    ignored = [*(model._keys_to_ignore_on_load_unexpected or ()), r"(^|\.)position_ids$", r"rotary_emb\.inv_freq$"]
    left_over = [
        name
        for name in others
        if name not in names
        and not any(re.search(pattern, name) for pattern in ignored)
        and not any(isinstance(one, WeightConverter) and one.rename_source_key(name)[1] for one in conversions)
    ]
    saved = model.state_dict()
    held = {id(own[name]) for name in names.values()}
    missing = [name for name in saved if id(own[name]) not in held]
    mismatched = [
        name
        for name, own_name in names.items()
        if own_name in saved and tensors[name].shape != tuple(own[own_name].shape)
    ]
    return TensorMatch(names, left_over, missing, mismatched)


def of_encoder(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """Return those of some tensor names that belong to a model's encoder; a pooler counts as a head.

    Models with a masked-LM head have no pooler, even if one was pretrained with them.
    """
    prefix = f"{model.base_model_prefix}."
    parts = {child for child, _ in model.base_model.named_children()} - {"pooler"}
    return [name for name in names if name.removeprefix(prefix).split(".")[0] in parts]


def shown(names: list[str]) -> str:
    """Return tensor names on one line, only the first few if there are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _modeling_module(config: PretrainedConfig) -> ModuleType | None:
    """Return the modeling module beside a configuration's module, as transformers and its extensions lay them out."""
    name = type(config).__module__.replace("configuration_", "modeling_")
    return import_module(name) if find_spec(name) is not None else None


def _is_for(kind: type[PreTrainedModel], config: PretrainedConfig) -> bool:
    return kind.config_class is not None and isinstance(config, kind.config_class)


def _headless(config: PretrainedConfig) -> type[PreTrainedModel] | None:
    if type(config) not in AutoModel._model_mapping:
        return None
    found = AutoModel._model_mapping[type(config)]
    return found[0] if isinstance(found, tuple) else found  # Funnel's has two


def _classes(config: PretrainedConfig) -> list[type[PreTrainedModel]]:
    """Return the public model classes of a configuration's module; causal ones only if it is a decoder."""
    kinds = [
        kind
        for name, kind in inspect.getmembers(_modeling_module(config), inspect.isclass)
        if issubclass(kind, PreTrainedModel) and _is_for(kind, config) and not name.endswith("PreTrainedModel")
    ]
    public = [kind for kind in kinds if hasattr(transformers, kind.__name__)]
    causal = AutoModelForCausalLM._model_mapping.get(type(config), None)
    return public if getattr(config, "is_decoder", False) else [kind for kind in public if kind is not causal]


def _empty(kind: type[PreTrainedModel], config: PretrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        return kind(config)
