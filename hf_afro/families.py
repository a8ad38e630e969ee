"""Paths to the parts of a model, one record per `model_type`, and functions that read them.

Paths are dotted attribute paths. Those inside a layer start at the layer, those of the encoder at `model.base_model`,
those of the masked-LM head at the `...ForMaskedLM` model. Nothing else in hf_afro spells out such paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Paths to the parts of one model family.

    Attributes:
        model_type: The `model_type` of the configuration.
        layers: From the encoder to the `ModuleList` of layers, first to last.
        query: From a layer to the query projection. Its output is ``[batch, length, width]``, all heads side by side,
            before any rotation or split into heads. None if the family has `fused`.
        key: The same for keys.
        value: The same for values.
        embeddings: From the encoder to the module that sums and normalises the embeddings, or to the token embedding
            if there is no such module.
        word_embeddings: From the encoder to the token embedding, one row per token.
        masked_lm_head: From the `ForMaskedLM` model to the part of its head that takes hidden states. If that is not
            the whole head, modules of the model itself follow, the output embedding last.
        masked_lm_rows: From the `ForMaskedLM` model to every tensor of the head with one row per token, tied ones
            included: which of them share memory is read from the model. If the head has several forms, all are
            listed, and a model has some of them.
        position_offset: Rows of the position table before the first token's at the usual padding id of 1: RoBERTa
            counts from `pad_token_id + 1`, so that a table of 514 rows holds 512 positions. `position_offset_of`
            returns the offset of a given model with any padding id.
        fused: From a layer to the one projection for queries, keys and values, a third of its output each, in this
            order. None if there are three projections.
        inner_layers: If the entries of `layers` are groups of layers that several passes share, from a group to its
            layers. ``config.num_hidden_layers`` passes go through the groups, equally many consecutive ones through
            each, and each pass through all layers of its group. None if each layer is run once.
        key_value_heads: Field of the configuration with the number of key and value heads, if there may be fewer of
            them than query heads. None if there are as many.
        first_layer_differs: Whether the first layer lacks a part that all others have, so that neither can take the
            other's place.
        layer_fields: Fields of the configuration that hold one entry per layer.
    """

    model_type: str
    layers: str
    query: str | None
    key: str | None
    value: str | None
    embeddings: str
    word_embeddings: str
    masked_lm_head: str
    masked_lm_rows: tuple[str, ...]
    position_offset: int
    fused: str | None = None
    inner_layers: str | None = None
    key_value_heads: str | None = None
    first_layer_differs: bool = False
    layer_fields: tuple[str, ...] = ()


_ROBERTA_LIKE: dict[str, Any] = {
    "layers": "encoder.layer",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "embeddings": "embeddings",
    "word_embeddings": "embeddings.word_embeddings",
    "masked_lm_head": "lm_head",
    "masked_lm_rows": ("lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"),
    "position_offset": 2,
}
_BERT_LIKE: dict[str, Any] = {
    **_ROBERTA_LIKE,
    "masked_lm_head": "cls",
    "masked_lm_rows": ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    "position_offset": 0,
}

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(model_type="xlm-roberta", **_ROBERTA_LIKE),
        Family(model_type="xlm-roberta-xl", **_ROBERTA_LIKE),
        Family(model_type="roberta", **_ROBERTA_LIKE),
        Family(model_type="camembert", **_ROBERTA_LIKE),
        Family(model_type="afro-student", **_ROBERTA_LIKE),
        Family(model_type="bert", **_BERT_LIKE),
        Family(
            model_type="electra",
            **{
                **_BERT_LIKE,
                "masked_lm_head": "generator_predictions",
                "masked_lm_rows": ("generator_lm_head.weight", "generator_lm_head.bias"),
            },
        ),
        Family(
            model_type="albert",
            **{
                **_BERT_LIKE,
                "layers": "encoder.albert_layer_groups",
                "inner_layers": "albert_layers",
                "query": "attention.query",
                "key": "attention.key",
                "value": "attention.value",
                "masked_lm_head": "predictions",
                "masked_lm_rows": ("predictions.decoder.weight", "predictions.decoder.bias", "predictions.bias"),
            },
        ),
        Family(
            model_type="distilbert",
            **{
                **_BERT_LIKE,
                "layers": "transformer.layer",
                "query": "attention.q_lin",
                "key": "attention.k_lin",
                "value": "attention.v_lin",
                "masked_lm_head": "vocab_transform",
                "masked_lm_rows": ("vocab_projector.weight", "vocab_projector.bias"),
            },
        ),
        Family(
            model_type="mpnet",
            **{
                **_ROBERTA_LIKE,
                "query": "attention.attn.q",
                "key": "attention.attn.k",
                "value": "attention.attn.v",
            },
        ),
        Family(
            model_type="deberta-v2",
            **{
                **_BERT_LIKE,
                "query": "attention.self.query_proj",
                "key": "attention.self.key_proj",
                "value": "attention.self.value_proj",
                # The second form is that of `config.legacy = False`, whose head borrows the token embedding.
                "masked_lm_rows": (*_BERT_LIKE["masked_lm_rows"], "lm_predictions.lm_head.bias"),
            },
        ),
        Family(
            model_type="modernbert",
            layers="layers",
            query=None,
            key=None,
            value=None,
            fused="attn.Wqkv",
            embeddings="embeddings",
            word_embeddings="embeddings.tok_embeddings",
            masked_lm_head="head",
            masked_lm_rows=("decoder.weight", "decoder.bias"),
            position_offset=0,
            first_layer_differs=True,  # it has no norm before its attention: the embeddings end with one
            layer_fields=("layer_types",),
        ),
        Family(
            model_type="eurobert",
            layers="layers",
            query="self_attn.q_proj",
            key="self_attn.k_proj",
            value="self_attn.v_proj",
            key_value_heads="num_key_value_heads",
            embeddings="embed_tokens",
            word_embeddings="embed_tokens",
            masked_lm_head="lm_head",
            masked_lm_rows=("lm_head.weight", "lm_head.bias"),
            position_offset=0,
        ),
    )
}


def family_of(model: PreTrainedModel) -> Family:
    """Return the record of a model's family; for a model wrapped by PEFT, that of the model inside.

    Raises:
        ValueError: If the family is not in the table; the message lists those that are.
    """
    return family_of_type(model.config.model_type)


def family_of_type(model_type: str) -> Family:
    """Return the record of a `model_type`, as `family_of` does."""
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(
            f"model_type {model_type!r} is not in the table of families; known are {known}. "
            "Use a model of one of these, or add its record to hf_afro/families.py."
        )
    return FAMILIES[model_type]


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the encoder inside a model, without task head and PEFT wrapper; the model itself if it has neither."""
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    return inner.base_model


def counted_padding_of(model: PreTrainedModel) -> int | None:
    """Return the padding id from which a model counts positions, as RoBERTa does; None if it does not.

    The id is read from the modules: a configuration may have been changed since they were built, and MPNet counts from
    1 whatever its configuration says.
    """
    for name, module in model.named_modules():
        padding = vars(module).get("padding_idx")
        if "position" in name and isinstance(padding, int):
            return padding
    return None


def position_offset_of(model: PreTrainedModel) -> int:
    """Return the row of the position table that belongs to the first token."""
    padding = counted_padding_of(model)
    return 0 if padding is None else padding + 1


def positions_of(model: PreTrainedModel) -> int | None:
    """Return the number of tokens a model has positions for; None if its configuration sets no limit.

    If its position table and its configuration disagree, the smaller one is the limit, because the model is rebuilt
    from the configuration when it is loaded.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    family = FAMILIES.get(model.config.model_type)
    embeddings = None if family is None else encoder_of(model).get_submodule(family.embeddings)
    table = getattr(embeddings, "position_embeddings", None)
    rows = limit if table is None else min(limit, table.weight.shape[0])
    return rows - position_offset_of(model)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return the encoder's layers, first to last, or the groups of layers if they are shared."""
    return encoder_of(model).get_submodule(family_of(model).layers)


def depth_of(model: PreTrainedModel) -> int:
    """Return the number of layers a forward pass goes through, counting a shared layer each time."""
    layers, inner = layers_of(model), family_of(model).inner_layers
    if inner is None:
        return len(layers)
    return model.config.num_hidden_layers * len(layers[0].get_submodule(inner))


def layer_at(model: PreTrainedModel, number: int) -> tuple[nn.Module, int]:
    """Return the layer with a given number, and how often it has run before in the same forward pass.

    Args:
        model: A model of a family in the table.
        number: Number of the layer, from 1 to `depth_of(model)`.

    Returns:
        The layer, and 0 if it is run once. ALBERT's one layer of 12 passes is layer 1 after 0 runs, layer 12 after 11.

    Raises:
        ValueError: If the model has no such layer.
    """
    depth = depth_of(model)
    if not 1 <= number <= depth:
        raise ValueError(
            f"layer {number} was asked for and the model has layers 1 to {depth}; layers are counted from 1, as in "
            "the paper"
        )
    layers, inner = layers_of(model), family_of(model).inner_layers
    if inner is None:
        return layers[number - 1], 0
    passes, groups = model.config.num_hidden_layers, len(layers)
    # The group of each pass, by ALBERT's own rule.
    group_of_pass = [int(index / (passes / groups)) for index in range(passes)]
    turn, position = divmod(number - 1, len(layers[0].get_submodule(inner)))
    group = group_of_pass[turn]
    return layers[group].get_submodule(inner)[position], group_of_pass[:turn].count(group)
