"""Choose the class a checkpoint is built as: the one its configuration names, or the one that takes its tensors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
import transformers
from transformers import AutoModel, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming

from hf_afro.vocabulary.safetensors_files import StoredTensor
from hf_afro.vocabulary.tensors import named_tensors

_SHOWN = 3


def named_class(config: PretrainedConfig, where: str) -> type[PreTrainedModel] | None:
    """Return the class that a configuration's `architectures` names, or None where it names none.

    Args:
        config: The configuration.
        where: The folder or repository it was read from, for the error.

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
    """Return the class that a configuration names, or that the stored tensors belong to where it names none.

    Without a name the class without a head is taken if it accounts for every tensor. Otherwise it is the one class of
    the model type that takes every tensor and lacks none, or the only one that takes them all.

    Args:
        config: The configuration.
        tensors: The tensors stored, by name.
        where: The folder or repository, for the errors.

    Raises:
        ValueError: If the class named does not exist, or none is named and tensors would be lost or several classes
            would do.
    """
    named = named_class(config, where)
    if named is not None:
        return named
    headless = _headless(config)
    lost = list(tensors) if headless is None else left_over(_empty(headless, config), tensors)
    if headless is not None and not lost:
        return headless
    candidates = {one: _empty(one, config) for one in _classes(config)}
    fitting = [one for one, model in candidates.items() if _takes(model, tensors)]
    whole = [one for one in fitting if not _lacks(candidates[one], tensors)]
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


def own_names(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Return the model's own name of each stored tensor, where it has one.

    As from_pretrained reads them: with the name of the encoder before them or without, whichever of the two was saved,
    and with the names that older versions gave them, such as those of BERT's first checkpoints.
    """
    known = named_tensors(model)
    prefix = f"{model.base_model_prefix}."
    changes = [one for one in get_model_conversion_mapping(model) if isinstance(one, WeightRenaming)]
    names = {}
    for name in tensors:
        now = name
        for change in changes:
            now, _ = change.rename_source_key(now)
        for candidate in (name, prefix + name, name.removeprefix(prefix), now, prefix + now, now.removeprefix(prefix)):
            if candidate in known:
                names[name] = candidate
                break
    return names


def left_over(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> list[str]:
    """Return the names of the stored tensors that a model does not take.

    Not among them is what transformers passes over when it loads the model (tables that older versions stored and
    newer ones compute, and what its class declares to be of no use), and what it splits or joins.
    """
    names = own_names(model, tensors)
    ignored = [*(model._keys_to_ignore_on_load_unexpected or ()), r"(^|\.)position_ids$", r"rotary_emb\.inv_freq$"]
    converted = [one for one in get_model_conversion_mapping(model) if isinstance(one, WeightConverter)]
    return [
        name
        for name in tensors
        if name not in names
        and not any(re.search(one, name) for one in ignored)
        and not any(one.rename_source_key(name)[1] for one in converted)
    ]


def of_encoder(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """Return the names of tensors that belong to a model's encoder; a pooler counts as a head.

    Models with a masked-LM head have no pooler, whatever was pretrained beside it.
    """
    prefix = f"{model.base_model_prefix}."
    parts = {child for child, _ in model.base_model.named_children()} - {"pooler"}
    return [name for name in names if name.removeprefix(prefix).split(".")[0] in parts]


def shown(names: list[str]) -> str:
    """Return the names of some tensors on one line, the first few of many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _modeling_module(config: PretrainedConfig) -> ModuleType | None:
    """Return the module of a configuration's models: transformers' own and those made like them lie side by side."""
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
    """Return the models of a configuration's module that can be saved by themselves, of two equal ones the encoder."""
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


def _takes(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> bool:
    own, saved = named_tensors(model), set(model.state_dict())
    return not left_over(model, tensors) and all(
        tensors[name].shape == tuple(own[own_name].shape)
        for name, own_name in own_names(model, tensors).items()
        if own_name in saved
    )


def _lacks(model: PreTrainedModel, tensors: Mapping[str, StoredTensor]) -> bool:
    own = named_tensors(model)
    held = {id(own[name]) for name in own_names(model, tensors).values()}
    return any(id(own[name]) not in held for name in model.state_dict())
