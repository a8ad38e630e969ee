"""Put PEFT adapters into a masked language model, and refuse those that would merge wrongly."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import peft
from peft import PeftModel, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

from hf_afro.families import FAMILIES

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_ADVICE = (
    "adapt the layers alone (target_modules of the attention, say), or train rows of the embedding by "
    "trainable_token_indices, which merges correctly"
)


def with_adapter(model: PreTrainedModel, config: peft.PeftConfig) -> PeftModel:
    """Put an adapter into a model, which is then trained through the adapter alone.

    For families whose projections PEFT does not know, queries and values are filled in from the table of families, as
    PEFT does for BERT.

    Args:
        model: A masked language model; its layers are changed in place, and `PeftModel.unload` restores them.
        config: Any PEFT configuration. `task_type` stays unset: PEFT has none for masked language models.

    Raises:
        TypeError: If the model has an adapter already.
        ValueError: If the adapter would merge wrongly, see `check_adapter`, or learns a prompt.
    """
    if isinstance(model, PeftModel):
        raise TypeError("the model has an adapter already; pass it without peft_config, or unload() it first")
    if config.is_prompt_learning:
        raise ValueError(
            f"{type(config).__name__} puts virtual tokens in front of every row, which would shift the masked "
            "positions; use an adapter of the layers, such as peft.LoraConfig"
        )
    check_adapter(model, config)
    with warnings.catch_warnings():
        # PEFT reads a property by a name that transformers deprecates, about which users can do nothing.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, _with_targets(model, config))


def check_adapter(model: PreTrainedModel | PeftModel, config: peft.PeftConfig) -> None:
    """Refuse the two kinds of adapter that are lost or wrong once merged into a model with tied embeddings.

    A trained copy of the head (`modules_to_save`) is merged in memory, but the merged model, saved and loaded, has the
    old head again; and an adapter of the word embedding is merged into the head too, which it never adapted.

    Raises:
        ValueError: If `config` asks for one of them; the message names the modules and what to do.
    """
    tied = _tied_modules(model)
    embedding = next(name for name, module in model.named_modules() if module is model.get_input_embeddings())
    saved = list(getattr(config, "modules_to_save", None) or ())
    ensured = bool(getattr(config, "ensure_weight_tying", False))
    lost = [one for one in saved if any(_covers(one, name) and not (ensured and name == embedding) for name in tied)]
    if lost:
        raise ValueError(
            f"modules_to_save={saved} trains a copy of tied weights ({', '.join(lost)}), which is lost when the "
            f"merged model is saved and loaded; {_ADVICE}"
        )
    targets = getattr(config, "target_modules", None)
    wrong = sorted(name for name in tied if _targets(targets, name))
    if wrong:
        raise ValueError(
            f"target_modules adapts tied weights ({', '.join(wrong)}), and merging would change what they are tied "
            f"to as well; {_ADVICE}"
        )


def _with_targets(model: PreTrainedModel, config: peft.PeftConfig) -> peft.PeftConfig:
    model_type = model.config.model_type
    unset = hasattr(config, "target_modules") and config.target_modules is None
    by_other_means = getattr(config, "target_parameters", None) or getattr(config, "trainable_token_indices", None)
    if not unset or by_other_means or model_type in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING:
        return config
    family = FAMILIES.get(model_type)
    if family is None:
        return config  # PEFT raises the error itself
    paths = (family.query, family.value) if family.fused is None else (family.fused,)
    return dataclasses.replace(config, target_modules={path.rpartition(".")[2] for path in paths if path is not None})


def _tied_modules(model: nn.Module) -> list[str]:
    """Return the names of modules that share a parameter with another module."""
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name.rpartition(".")[0].removesuffix(".base_layer"))
    return sorted({name for names in owners.values() if len(names) > 1 for name in names})


def _targets(targets: str | Iterable[str] | None, name: str) -> bool:
    """Return whether PEFT would adapt a module of that name, by its own rules."""
    if targets is None or targets == "all-linear":  # which leaves the output embedding out
        return False
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _covers(saved: str, name: str) -> bool:
    """Return whether a module to save, named by its end, is or holds the module of that name."""
    return f".{saved}." in f".{name}."
