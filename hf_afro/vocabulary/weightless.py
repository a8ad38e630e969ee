"""A checkpoint's model without its weights: which stored tensors have a row a token, and whether all of them fit."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, GenerationConfig, PreTrainedModel

from hf_afro.vocabulary.checkpoint_files import CheckpointWeights
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.model_class import class_for, left_over, of_encoder, own_names, shown
from hf_afro.vocabulary.safetensors_files import RowsKept, StoredTensor, same_tensor
from hf_afro.vocabulary.tensors import VocabularyTensors, named_tensors, row_axis, word_embedding_of

logger = logging.getLogger(__name__)

GENERATION_FILE = "generation_config.json"
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def model_without_weights(folder: Path, weights: CheckpointWeights) -> PreTrainedModel:
    """Build the model that a folder's configuration names on the meta device, where weights have shapes and no bytes.

    Args:
        folder: Folder with ``config.json``.
        weights: The weights stored; their type is the model's.

    Returns:
        The model with its head, ties, configuration and generation configuration.

    Raises:
        ValueError: If the configuration cannot be read, its weights are quantised, its class is unknown, or a tensor
            stored has another shape than it says.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder / 'config.json'} is no configuration of a known model: {error}") from error
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(
            f"{folder} is quantised, its rows being no plain numbers; prune the checkpoint it was made from and "
            "quantise the result"
        )
    tensors = weights.tensors
    kind = class_for(config, tensors, str(folder))
    with torch.device("meta"):
        model = kind(config)
    names = own_names(model, tensors)
    _untie(model, weights, names)
    dtype = _stored_type(model, tensors, names)
    if config.dtype is None:  # as from_pretrained does
        config.dtype = dtype
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            getattr(config, name).dtype = config.dtype
    if (folder / GENERATION_FILE).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    _check_shapes(model, tensors, names, folder)
    return model.to(dtype)


def _untie(model: PreTrainedModel, weights: CheckpointWeights, names: Mapping[str, str]) -> None:
    """Take apart what the configuration ties and the checkpoint stores twice and unlike, as from_pretrained does.

    So it is with the head of real mT5 checkpoints, whose configuration says nothing of it.
    """
    stored = {own_name: name for name, own_name in names.items()}
    places = {name: (file, tensor) for file in weights.files for name, tensor in file.tensors.items()}
    for target, source in model.all_tied_weights_keys.items():
        if target in stored and source in stored and not same_tensor(places[stored[target]], places[stored[source]]):
            module, _, leaf = target.rpartition(".")
            setattr(model.get_submodule(module), leaf, nn.Parameter(torch.empty_like(model.get_parameter(target))))


def _stored_type(model: PreTrainedModel, tensors: Mapping[str, StoredTensor], names: Mapping[str, str]) -> torch.dtype:
    """Return the type that the word embedding is stored in."""
    embedding = word_embedding_of(model).weight
    own = named_tensors(model)
    stored = [tensors[name].dtype for name, own_name in names.items() if own[own_name] is embedding]
    if not stored:
        raise ValueError(f"the checkpoint has no word embedding for {type(model).__name__}; copy it again")
    if stored[0] not in _TYPES:
        raise ValueError(f"the word embedding is stored as {stored[0]}; expected one of {', '.join(_TYPES)}")
    return _TYPES[stored[0]]


def _check_shapes(
    model: PreTrainedModel, tensors: Mapping[str, StoredTensor], names: Mapping[str, str], folder: Path
) -> None:
    """Refuse tensors of other shapes than the configuration's."""
    own = named_tensors(model)
    saved = set(model.state_dict())
    for name, own_name in names.items():
        if own_name in saved and tensors[name].shape != tuple(own[own_name].shape):
            raise ValueError(
                f"{name} of {folder} is {list(tensors[name].shape)}, its configuration says "
                f"{list(own[own_name].shape)}; expected the weights that were saved with its config.json"
            )


def check_complete(model: PreTrainedModel, tensors: Mapping[str, StoredTensor], folder: Path) -> None:
    """Refuse an encoder that is stored in part, or with more than it has; tell of heads and poolers that are missing.

    A weight is stored if it is there under any of the names it is tied by. Weights that are never stored are not
    missing, such as Marian's table of positions, which the model computes; nor are any where as many numbers are
    stored under names that the model does not have, since transformers then reads them under its own (NomicBert).

    Raises:
        ValueError: If weights of the encoder are missing, or some are stored that it does not have.
    """
    expected = "expected the weights that were saved with its config.json; copy the folder again"
    own = named_tensors(model)
    names = own_names(model, tensors)
    held = {id(own[name]) for name in names.values()}
    made_anew = [*(model._keys_to_ignore_on_load_missing or ()), *(model._keys_to_ignore_on_save or ())]
    missing = {
        id(own[name]): name
        for name in model.state_dict()
        if id(own[name]) not in held and not any(re.search(pattern, name) for pattern in made_anew)
    }
    renamed = sum(prod(one.shape) for name, one in tensors.items() if name not in names)
    if missing and renamed == sum(own[name].numel() for name in missing.values()):
        return
    if beyond := of_encoder(model, left_over(model, tensors)):
        raise ValueError(f"{folder} has {shown(beyond)}, and its configuration has not; {expected}")
    if not missing:
        return
    if lost := of_encoder(model, sorted(missing.values())):
        raise ValueError(f"{folder} lacks {shown(lost)}; {expected}")
    logger.warning(
        "the checkpoint lacks %d weights of %s, such as %s; so will the pruned one",
        len(missing),
        type(model).__name__,
        min(missing.values()),
    )


def rows_kept(
    model: PreTrainedModel, found: VocabularyTensors, tensors: Mapping[str, StoredTensor], keep: VocabularyMap
) -> dict[str, RowsKept]:
    """Return the rows to keep of every stored tensor that has a row a token.

    Args:
        model: The model without weights.
        found: Its vocabulary tensors.
        tensors: The tensors stored, by name.
        keep: The tokens to keep.

    Raises:
        ValueError: If a tensor of the vocabulary's size is stored that the model does not know.
    """
    names = own_names(model, tensors)
    strangers = [
        f"{name} {list(one.shape)}" for name, one in tensors.items() if name not in names and found.rows in one.shape
    ]
    if strangers:
        raise ValueError(
            f"the checkpoint has tensors as large as its vocabulary of {found.rows} that {type(model).__name__} "
            f"does not know: {', '.join(strangers)}; if they are of no use, leave them out by loading it with "
            "from_pretrained and saving it with save_pretrained"
        )
    unused = left_over(model, tensors)
    if unused:
        logger.info("%s does not take %s; copied as stored", type(model).__name__, shown(unused))
    kept = {}
    for name in [one for one, own_name in names.items() if own_name in found.names]:
        shape = tensors[name].shape
        axis = row_axis(shape, found.rows)
        if any(size != 1 for size in shape[:axis]):
            raise ValueError(
                f"{name} {list(shape)} has its tokens in columns, which lie apart in the file; prune the model in "
                "memory, with prune_vocabulary"
            )
        kept[name] = RowsKept(axis, keep.old_ids)
    return kept
