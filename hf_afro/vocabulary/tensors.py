"""Find every tensor of a model that has one row a token, and copy the model with fewer rows in them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_afro.families import Family, encoder_of, family_of


@dataclass(frozen=True)
class VocabularyTensors:
    """The tensors of a model with one row a token, by name; tied ones are listed under each of their names.

    Attributes:
        rows: How many rows each has.
        names: Names as in ``named_parameters(remove_duplicate=False)``.
    """

    rows: int
    names: tuple[str, ...]


def find_vocabulary_tensors(model: PreTrainedModel) -> VocabularyTensors:
    """Find the tensors of a model that have one row a token.

    Raises:
        ValueError: If the model's family is not in the table, its word embedding is not where its family keeps it, or
            a tensor has as many rows as the embedding and nothing says what they mean.
    """
    family = family_of(model)
    encoder = encoder_of(model)
    embedding = model.get_input_embeddings()
    if embedding is not encoder.get_submodule(family.word_embeddings) or not isinstance(embedding, nn.Embedding):
        raise ValueError(
            f"the word embedding of {type(model).__name__} is {type(embedding).__name__} and not the plain "
            f"nn.Embedding at {family.word_embeddings!r} of the encoder; take off what wraps or replaces it first"
        )
    rows = embedding.weight.shape[0]
    known = _known_names(model, family)
    names, strangers = [], []
    for name, tensor in named_tensors(model).items():
        if name in known and tensor.shape[0] == rows:
            names.append(name)
        elif rows in tensor.shape and not _is_the_encoder_s_own(name, model, family):
            strangers.append(f"{name} {tuple(tensor.shape)}")
    if strangers:
        raise ValueError(
            f"{type(model).__name__} has tensors as large as its vocabulary of {rows} that pruning does not know: "
            f"{', '.join(strangers)}; remove them, or add them to the family's record in hf_afro/families.py"
        )
    return VocabularyTensors(rows, tuple(names))


def _known_names(model: PreTrainedModel, family: Family) -> set[str]:
    """Return the names of the input embedding, the output embedding and the head's rows, as the model spells them."""
    known = set(family.masked_lm_rows)
    output = model.get_output_embeddings()
    wanted = {id(model.get_input_embeddings()): ("weight",), id(output): ("weight", "bias")}
    for module_name, module in model.named_modules(remove_duplicate=False):
        known.update(f"{module_name}.{leaf}" for leaf in wanted.get(id(module), ()))
    return known


def named_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers of a model by name, tied ones under each of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _is_the_encoder_s_own(name: str, model: PreTrainedModel, family: Family) -> bool:
    """Say whether a tensor belongs to parts the family knows to be free of the vocabulary, however large they are.

    A position table of 514 rows is not a vocabulary of 514; only small vocabularies meet such a size.
    """
    encoder = encoder_of(model)
    prefix = "" if encoder is model else f"{model.base_model_prefix}."
    inside = name.removeprefix(prefix)
    if inside.startswith(f"{family.layers}."):
        return True
    table = inside.removeprefix(f"{family.embeddings}.")
    return table in ("position_embeddings.weight", "token_type_embeddings.weight", "position_ids", "token_type_ids")


def copy_with_rows(model: PreTrainedModel, found: VocabularyTensors, old_ids: torch.Tensor) -> PreTrainedModel:
    """Return a deep copy of a model in which each vocabulary tensor has the rows of `old_ids` only.

    The full tensors are never copied: their successors are handed to the copying before it starts. What was one
    parameter under several names, or several over the same memory, is one parameter in the copy.

    Args:
        model: Any model; it is not changed.
        found: Its vocabulary tensors.
        old_ids: Rows to keep, in their new order, ``[new_size]`` int64.
    """
    tensors = named_tensors(model)
    successors: dict[tuple[int, int, torch.Size], torch.Tensor] = {}
    memo: dict[int, torch.Tensor] = {}
    for name in found.names:
        old = tensors[name]
        place = (old.untyped_storage().data_ptr(), old.storage_offset(), old.shape)
        if place not in successors:
            rows = old.detach().index_select(0, old_ids.to(old.device))
            successors[place] = nn.Parameter(rows, old.requires_grad) if isinstance(old, nn.Parameter) else rows
        memo[id(old)] = successors[place]
    pruned = copy.deepcopy(model, memo)
    size = len(old_ids)
    for module in pruned.modules():
        if isinstance(module, nn.Embedding) and module.weight.shape[0] == size != module.num_embeddings:
            module.num_embeddings = size
        if isinstance(module, nn.Linear) and module.weight.shape[0] == size != module.out_features:
            module.out_features = size
    return pruned
