"""Find the tensors of a model with one row per token, and copy the model with other rows in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_afro.families import FAMILIES, Family, encoder_of
from hf_afro.pretrained.model_class import named_tensors

# Bias of a padding row on its logit. It is finite, so that sums do not become NaN, and fits in fp16; softmax gives
# exactly 0 for it if any other logit is above -9,900 (fp32), and it is never the largest.
PADDING_BIAS = -10_000.0
# Biases over the vocabulary outside the output embedding: BART's buffer, and heads that add their own.
_HEAD_BIASES = ("final_logits_bias", "lm_head.bias", "predictions.bias")
# Attributes of modules with the size of their tensors.
_SIZES = ("num_embeddings", "out_features", "vocab_size")
_XLM_SIZE = "n_words"  # XLM and FlauBERT, in the head too


@dataclass(frozen=True)
class VocabularyTensors:
    """The names of a model's tensors with one row per token; tied ones are listed under each name.

    Attributes:
        rows: Number of rows of each.
        names: Names as in ``named_parameters(remove_duplicate=False)``.
    """

    rows: int
    names: tuple[str, ...]


def find_vocabulary_tensors(model: PreTrainedModel) -> VocabularyTensors:
    """Find the tensors of a model with one row per token.

    These are the input and output embeddings of the model and of the models inside it (encoder, decoder), tensors tied
    to them, the biases of heads, and those named by a family of `hf_afro.families`. No values are read, so the model
    may be on the meta device.

    Raises:
        ValueError: If the word embedding is wrapped or replaced, another embedding has a different number of rows, or
            the meaning of a tensor of the vocabulary's size is unknown.
    """
    family = FAMILIES.get(model.config.model_type)
    embedding = word_embedding_of(model)
    if not isinstance(embedding, nn.Embedding) or not _is_in_place(embedding, model, family):
        raise ValueError(
            f"the word embedding of {type(model).__name__} is {type(embedding).__name__} and not the plain "
            "nn.Embedding where its class keeps it; take off what wraps or replaces it first"
        )
    own_rows = getattr(model.config.get_text_config(), "vocab_size_per_layer_input", None)
    if own_rows:  # Gemma 3n has a second embedding of another size
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
    """Return a model's token embedding; for a model with several towers, that of its text tower.

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
    """Return the axis of a shape with one entry per token, such as 1 for BART's bias ``[1, rows]``."""
    return shape.index(rows)


def gather_rows(tensor: torch.Tensor, old_ids: torch.Tensor, axis: int, padding: int, fill: float) -> torch.Tensor:
    """Return the entries `old_ids` of a tensor along an axis, followed by `padding` entries of value `fill`."""
    rows = tensor.detach().index_select(axis, old_ids.to(tensor.device))
    if not padding:
        return rows
    shape = [*rows.shape[:axis], padding, *rows.shape[axis + 1 :]]
    return torch.cat([rows, rows.new_full(shape, fill)], dim=axis)


def padding_value(name: str) -> float:
    """Return the value of a tensor's padding rows: 0, or `PADDING_BIAS` for a bias on the logits."""
    return PADDING_BIAS if name.endswith("bias") else 0.0


def models_in(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Yield a model and the models inside it, such as encoder and decoder."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            yield module


def _is_in_place(embedding: nn.Module, model: PreTrainedModel, family: Family | None) -> bool:
    return family is None or embedding is encoder_of(model).get_submodule(family.word_embeddings)


def _known_names(model: PreTrainedModel, family: Family | None) -> set[str]:
    """Return the names of all input and output embeddings and of tensors tied to them."""
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
    """Return whether a module has one row per token; the output embedding of DeBERTa's newer head does not."""
    if isinstance(embedding, nn.Linear):
        return embedding.in_features != embedding.out_features
    return isinstance(embedding, nn.Embedding)


def _input_of(model: PreTrainedModel) -> nn.Module | None:
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # raised by parts that take no tokens
        return None


def _is_the_encoder_s_own(name: str, model: PreTrainedModel, family: Family | None) -> bool:
    """Return whether a tensor belongs to a part that does not depend on the vocabulary, whatever its size.

    A position table of 514 rows is not a vocabulary of 514.
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
    """Return a deep copy of a model in which vocabulary tensors have only the rows `old_ids`.

    The full tensors are never copied: the memo of the deep copy already maps them to their successors. Parameters that
    are tied, or share memory, are tied in the copy.

    Args:
        model: The model, which is not changed.
        found: Its vocabulary tensors.
        old_ids: Rows to keep, in their new order, ``[new_size]`` int64.
        padding: Number of rows to append; see `padding_value`.
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
