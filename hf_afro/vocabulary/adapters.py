"""Prune PEFT adapters: remove them from the base model, cut their rows of tokens, add them to the pruned model.

The base model is pruned by itself. An adapter is its configuration and its saved tensors, so the pruned adapter is
exactly what a user loads with ``PeftModel.from_pretrained(base, folder / "adapter")``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import (
    PeftConfig,
    PeftModel,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.tensors import (
    VocabularyTensors,
    gather_rows,
    named_tensors,
    padding_value,
    row_axis,
)

ADAPTER_FOLDER = "adapter"
_BASE_PREFIX = "base_model.model."
# Settings that give an adapter a meaning beyond its tensors.
_NOT_KNOWN = ("alora_invocation_tokens", "layer_replication", "megatron_config")


@dataclass(frozen=True)
class Adapter:
    """One adapter, as PEFT saves it.

    Attributes:
        config: Its configuration.
        tensors: Its tensors by the names they are saved under.
    """

    config: PeftConfig
    tensors: dict[str, torch.Tensor]


def without_adapters(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the base model without PEFT adapters, sharing the tensors; a plain model is returned as it is.

    Raises:
        ValueError: If the adapters are merged into the weights, or of a kind that cannot be removed.
    """
    if not isinstance(model, PeftModel):
        return model
    if not isinstance(model.base_model, BaseTuner):
        kinds = ", ".join(sorted(str(config.peft_type) for config in model.peft_config.values()))
        raise ValueError(
            f"{kinds} adapters cannot be pruned; expected adapters that sit in the layers, such as LORA or "
            "TRAINABLE_TOKENS. Prune the base model alone and train the adapter again"
        )
    if any(isinstance(module, BaseTunerLayer) and module.merged for module in model.modules()):
        raise ValueError(
            "the adapters are merged into the weights, which no longer are the base model's; call unmerge_adapter() "
            "before pruning, or merge_and_unload() to prune the merged model"
        )
    # New modules over the same tensors, so that unloading the adapters does not change the given model.
    shared: dict[int, Any] = {id(tensor): tensor for tensor in named_tensors(model).values()}
    copied: PeftModel = copy.deepcopy(model, shared)
    for module in copied.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module._active_adapter = []  # otherwise `unload` would keep the trained copy
    return copied.base_model.unload()


def adapters_of(model: PeftModel) -> dict[str, Adapter]:
    """Return the adapters of a model by name; they share its tensors.

    Raises:
        ValueError: If PEFT cannot save one, for example because only another adapter trains tokens.
    """
    adapters = {}
    for name, config in model.peft_config.items():
        try:
            tensors = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        except KeyError as error:
            raise ValueError(
                f"PEFT cannot save the adapter {name!r} of this model, which lacks {error}; remove the adapter with "
                "delete_adapter, or prune each adapter on a model of its own"
            ) from error
        adapters[name] = Adapter(config, tensors)
    return adapters


def prune_adapter(
    adapter: Adapter, base: PreTrainedModel, found: VocabularyTensors, keep: VocabularyMap, padding: int
) -> Adapter:
    """Return an adapter with only the rows of the tokens kept and with renumbered token ids in its configuration.

    Args:
        adapter: The adapter; it is not changed.
        base: The base model before pruning.
        found: Its vocabulary tensors.
        keep: The tokens kept.
        padding: Number of padding rows in the pruned base model.

    Raises:
        ValueError: If a trained token is not kept, or a part of the adapter depends on the whole vocabulary or is
            unknown.
    """
    config = copy.deepcopy(adapter.config)
    for name in _NOT_KNOWN:
        if getattr(config, name, None):
            raise ValueError(f"the adapter has {name}={getattr(config, name)!r}, which pruning does not know")
    for name in ("trainable_token_indices", "token_indices"):
        if getattr(config, name, None) is not None:
            setattr(config, name, _new_indices(getattr(config, name), name, keep))
    if hasattr(config, "init_lora_weights"):
        # PiSSA and similar methods change the base model when an adapter is created; this base is already changed.
        config.init_lora_weights = True
    config.base_model_name_or_path = None  # its rows belong to other tokens
    old_ids = torch.from_numpy(keep.old_ids.copy())
    tensors = {}
    for name, tensor in adapter.tensors.items():
        axis, fill = _axis(name, tensor, base, found, padding)
        tensors[name] = tensor.detach() if axis is None else gather_rows(tensor, old_ids, axis, padding, fill)
    return Adapter(config, tensors)


def _new_indices(indices: Any, name: str, keep: VocabularyMap) -> Any:
    """Renumber trained tokens, given as a list or as one list per module."""
    if isinstance(indices, dict):
        return {module: _new_indices(one, f"{name}[{module!r}]", keep) for module, one in indices.items()}
    lost = [one for one in indices if not 0 <= one < keep.old_size or not keep.keeps([one])[0]]
    if lost:
        raise ValueError(
            f"{name} of the adapter holds {', '.join(map(str, lost))}, tokens that were trained and are not kept; "
            "keep them with select_tokens(extra_tokens=[...])"
        )
    return keep.to_new(list(indices))


def _axis(
    name: str, tensor: torch.Tensor, base: PreTrainedModel, found: VocabularyTensors, padding: int
) -> tuple[int | None, float]:
    """Return the axis along which an adapter's tensor has one entry per token, or None, and the padding value."""
    inside = name.removeprefix(_BASE_PREFIX)
    if inside in found.names:  # a fully trained copy (modules_to_save)
        return row_axis(tensor.shape, found.rows), padding_value(inside)
    module_name, _, what = inside.partition(".lora_")
    if what and f"{module_name}.weight" in found.names:
        embeds = isinstance(base.get_submodule(module_name), nn.Embedding)
        if what.startswith("magnitude_vector") and (embeds or padding):
            raise ValueError(
                f"{name} is DoRA's on {module_name}, which divides by a norm over the whole vocabulary, or by that of "
                "a padding row; merge the adapter with merge_and_unload() first"
            )
        if embeds:
            return (1 if what.startswith("embedding_A") else None), 0.0
        if not what.startswith("A."):  # [rows, rank] or [rows]
            return 0, 0.0
        return None, 0.0
    if found.rows in tensor.shape:
        raise ValueError(
            f"the adapter's {name} {tuple(tensor.shape)} is as large as the vocabulary and pruning does not know what "
            "it means; merge the adapter with merge_and_unload() first"
        )
    return None, 0.0


def put_on(base: PreTrainedModel, adapters: dict[str, Adapter], like: PeftModel) -> PeftModel:
    """Return a model with adapters that has the class, types, flags and active adapters of another.

    Args:
        base: The pruned base model, which becomes part of the result.
        adapters: The pruned adapters by name.
        like: The model before pruning.
    """
    (first, adapter), *others = adapters.items()
    model = type(like)(base, adapter.config, adapter_name=first, autocast_adapter_dtype=False)
    for name, other in others:
        model.add_adapter(name, other.config, autocast_adapter_dtype=False)
    _switch_like(model, like)
    set_like(model, like)
    for name, one in adapters.items():
        set_peft_model_state_dict(model, one.tensors, adapter_name=name)
    return model


def set_like(model: PeftModel, like: PeftModel) -> None:
    """Copy the types and flags of parameters and the modes of modules from another model of the same structure."""
    parameters = dict(like.named_parameters(remove_duplicate=False))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parameter.data = parameter.data.to(parameters[name].dtype)
        parameter.requires_grad_(parameters[name].requires_grad)
    modes = {name: module.training for name, module in like.named_modules()}
    for name, module in model.named_modules():
        module.training = modes[name]


def save_adapters(model: PeftModel, folder: Path, base_name: str) -> None:
    """Save the adapters of a pruned model beside its base model.

    Args:
        model: The pruned model.
        folder: The folder of the base model.
        base_name: The path the base model will have.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base_name
    model.save_pretrained(folder / ADAPTER_FOLDER, save_embedding_layers=False)
    (folder / ADAPTER_FOLDER / "README.md").unlink(missing_ok=True)  # an empty model card


def load_adapters(base: PreTrainedModel, folder: Path, like: PeftModel) -> PeftModel:
    """Load adapters saved by `save_adapters` onto the base model from the same folder; see `put_on`."""
    first, *others = like.peft_config
    model = type(like).from_pretrained(base, _folder_of(folder, first), adapter_name=first)
    for name in others:
        model.load_adapter(_folder_of(folder, name), adapter_name=name)
    _switch_like(model, like)
    set_like(model, like)
    return model


def _switch_like(model: PeftModel, like: PeftModel) -> None:
    """Activate the adapters that are active in another model, and disable the layers disabled there."""
    model.base_model.set_adapter(like.active_adapters)
    modules = dict(like.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)) and modules[name].disable_adapters:
            module.enable_adapters(False)


def saved_adapter(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of an adapter as stored on disk."""
    return load_peft_weights(str(_folder_of(folder, name)), device="cpu")


def _folder_of(folder: Path, name: str) -> Path:
    """Return the folder PEFT saves an adapter in: the default one directly, others in a subfolder each."""
    return folder / ADAPTER_FOLDER if name == "default" else folder / ADAPTER_FOLDER / name
