"""Find every tensor of a model that has one row a token, and copy the model with other rows in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_afro.families import FAMILIES, Family, encoder_of

# What a padding row adds to a logit. It is finite, so that no sum of it makes a NaN, and fits into fp16; softmax gives
# exactly 0 for it as long as one true logit lies above -9,900 (fp32), and it is never the largest.
PADDING_BIAS = -10_000.0
# Biases over the vocabulary that belong to no output embedding: BART's buffer, and heads that add theirs themselves.
_HEAD_BIASES = ("final_logits_bias", "lm_head.bias", "predictions.bias")
# Sizes that modules write down beside their tensors.
_SIZES = ("num_embeddings", "out_features", "vocab_size")
_XLM_SIZE = "n_words"  # XLM's and FlauBERT's, in the head too


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

    The model says itself which they are: the input and output embeddings of it and of the models inside it (encoder,
    decoder), what is tied to them, and the biases of heads. A family of `hf_afro.families` names more of its own. No
    value is read, so the model may be on the meta device.

    Raises:
        ValueError: If the word embedding is wrapped or replaced, an embedding inside has another number of rows, or a
            tensor is as large as the vocabulary and nothing says what it means.
    """
    family = FAMILIES.get(model.config.model_type)
    embedding = word_embedding_of(model)
    if not isinstance(embedding, nn.Embedding) or not _is_in_place(embedding, model, family):
        raise ValueError(
            f"the word embedding of {type(model).__name__} is {type(embedding).__name__} and not the plain "
            "nn.Embedding where its class keeps it; take off what wraps or replaces it first"
        )
    own_rows = getattr(model.config.get_text_config(), "vocab_size_per_layer_input", None)
    if own_rows:  # Gemma 3n: a second embedding of the same ids, of another size
        raise ValueError(
            f"{type(model).__name__} has a second vocabulary of {own_rows} for the inputs of its layers, which "
            "pruning does not know; expected one vocabulary for all of the model"
        )
    rows = embedding.weight.shape[0]
    known = _known_names(model, family)
    names, strangers = [], []
    for name, tensor in named_tensors(model).items():
        if name in known and rows not in tensor.shape:
            raise ValueError(
                f"{name} of {type(model).__name__} is {list(tensor.shape)}, but the word embedding has {rows} rows; "
                "expected one vocabulary for all of the model"
            )
        if name in known or (name.endswith(_HEAD_BIASES) and rows in tensor.shape):
            names.append(name)
        elif rows in tensor.shape and not _is_the_encoder_s_own(name, model, family):
            strangers.append(f"{name} {tuple(tensor.shape)}")
    if strangers:
        raise ValueError(
            f"{type(model).__name__} has tensors as large as its vocabulary of {rows} that pruning does not know: "
            f"{', '.join(strangers)}; remove them, or add them to the family's record in hf_afro/families.py"
        )
    return VocabularyTensors(rows, tuple(names))


def word_embedding_of(model: PreTrainedModel) -> nn.Module:
    """Return the embedding of a model's tokens; of a model of several towers that does not say, its text tower's.

    Raises:
        ValueError: If it has none.
    """
    own = _input_of(model)
    if own is not None:
        return own
    rows = getattr(model.config.get_text_config(), "vocab_size", None)
    of_parts = {id(one): one for one in map(_input_of, models_in(model)) if isinstance(one, nn.Embedding)}
    found = [one for one in of_parts.values() if one.num_embeddings == rows]
    if len(found) != 1:
        raise ValueError(
            f"{type(model).__name__} does not say where its word embedding is; expected a model that takes token ids"
        )
    return found[0]


def row_axis(shape: Sequence[int], rows: int) -> int:
    """Return the axis along which a tensor of a shape has one entry a token: 1 for BART's bias of ``[1, rows]``."""
    return shape.index(rows)


def gather_rows(tensor: torch.Tensor, old_ids: torch.Tensor, axis: int, padding: int, fill: float) -> torch.Tensor:
    """Return the entries of `old_ids` along an axis, in their order, and `padding` more that are all `fill`."""
    rows = tensor.detach().index_select(axis, old_ids.to(tensor.device))
    if not padding:
        return rows
    shape = [*rows.shape[:axis], padding, *rows.shape[axis + 1 :]]
    return torch.cat([rows, rows.new_full(shape, fill)], dim=axis)


def padding_value(name: str) -> float:
    """Return what the padding rows of a vocabulary tensor hold: zeros, or `PADDING_BIAS` for a bias on the logits."""
    return PADDING_BIAS if name.endswith("bias") else 0.0


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers of a model by name, tied ones under each of their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def models_in(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Yield a model and the models inside it, such as its encoder and its decoder."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            yield module


def _is_in_place(embedding: nn.Module, model: PreTrainedModel, family: Family | None) -> bool:
    return family is None or embedding is encoder_of(model).get_submodule(family.word_embeddings)


def _known_names(model: PreTrainedModel, family: Family | None) -> set[str]:
    """Return the names of all input and output embeddings, as the model spells them, and of what is tied to them."""
    leaves: dict[int, tuple[str, ...]] = {}
    for part in models_in(model):
        embeddings = (_input_of(part), part.get_output_embeddings())
        leaves |= {id(one): ("weight", "bias") for one in embeddings if _holds_rows(one)}
    known = set() if family is None else set(family.masked_lm_rows)
    for module_name, module in model.named_modules(remove_duplicate=False):
        known.update(f"{module_name}.{leaf}".removeprefix(".") for leaf in leaves.get(id(module), ()))
    tensors = named_tensors(model)
    known &= tensors.keys()
    tied = {id(tensors[name]) for name in known}
    return {name for name, tensor in tensors.items() if id(tensor) in tied}


def _holds_rows(embedding: nn.Module | None) -> bool:
    """Say whether an embedding is one of tokens; DeBERTa's newer head calls its dense layer the output embedding."""
    if isinstance(embedding, nn.Linear):
        return embedding.in_features != embedding.out_features
    return isinstance(embedding, nn.Embedding)


def _input_of(model: PreTrainedModel) -> nn.Module | None:
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # transformers' answer for parts that take no tokens
        return None


def _is_the_encoder_s_own(name: str, model: PreTrainedModel, family: Family | None) -> bool:
    """Say whether a tensor belongs to parts the family knows to be free of the vocabulary, however large they are.

    A position table of 514 rows is not a vocabulary of 514; only small vocabularies meet such a size.
    """
    if family is None:
        return False
    prefix = "" if encoder_of(model) is model else f"{model.base_model_prefix}."
    inside = name.removeprefix(prefix)
    if inside.startswith(f"{family.layers}."):
        return True
    table = inside.removeprefix(f"{family.embeddings}.")
    return table in ("position_embeddings.weight", "token_type_embeddings.weight", "position_ids", "token_type_ids")


def copy_with_rows(
    model: PreTrainedModel, found: VocabularyTensors, old_ids: torch.Tensor, padding: int = 0
) -> PreTrainedModel:
    """Return a deep copy of a model in which each vocabulary tensor has the rows of `old_ids` only.

    The full tensors are never copied: their successors are handed to the copying before it starts. What was one
    parameter under several names, or several over the same memory, is one parameter in the copy.

    Args:
        model: Any model; it is not changed.
        found: Its vocabulary tensors.
        old_ids: Rows to keep, in their new order, ``[new_size]`` int64.
        padding: Rows to add behind them, see `padding_value`.
    """
    tensors = named_tensors(model)
    successors: dict[tuple[int, int, torch.Size], torch.Tensor] = {}
    memo: dict[int, torch.Tensor] = {}
    for name in found.names:
        old = tensors[name]
        place = (old.untyped_storage().data_ptr(), old.storage_offset(), old.shape)
        if place not in successors:
            rows = gather_rows(old, old_ids, row_axis(old.shape, found.rows), padding, padding_value(name))
            successors[place] = nn.Parameter(rows, old.requires_grad) if isinstance(old, nn.Parameter) else rows
        memo[id(old)] = successors[place]
    pruned = copy.deepcopy(model, memo)
    cut = set(map(id, successors.values()))
    for module in pruned.modules():
        if vars(module).get(_XLM_SIZE) == found.rows:
            setattr(module, _XLM_SIZE, len(old_ids) + padding)
        holds = isinstance(module, PreTrainedModel) or id(getattr(module, "weight", None)) in cut
        for name in _SIZES:
            if holds and vars(module).get(name) == found.rows:
                setattr(module, name, len(old_ids) + padding)
    return pruned
