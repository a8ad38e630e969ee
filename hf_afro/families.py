"""Where things live in a model family: one frozen record a `model_type`, the only place such paths are written.

Paths are dotted attribute paths. Those of a layer start at the layer, those of the encoder at `model.base_model`,
those of the masked-LM head at the `...ForMaskedLM` model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Family:
    """Where one model family keeps its parts.

    Attributes:
        model_type: The `model_type` of the configuration.
        layers: From the encoder to the `ModuleList` of layers, first to last.
        query: From a layer to the projection that makes the queries; its output is ``[batch, length, width]``,
            all heads side by side, before any rotation or split into heads. None where one projection makes queries,
            keys and values together; such a family cannot be distilled, nor be built a student from.
        key: The same for the keys.
        value: The same for the values.
        embeddings: From the encoder to the module that sums and normalises the embeddings.
        word_embeddings: From the encoder to the token embedding, one row a token.
        masked_lm_head: From the `ForMaskedLM` model to the head that turns hidden states into logits, or to what of
            it comes before the output embedding.
        masked_lm_rows: From the `ForMaskedLM` model to every tensor of the head that has one row a token. Tied
            names are listed too: which of them share memory is read from the model, not from here.
        position_offset: How many rows of the position table come before the first token's: RoBERTa counts from
            `pad_token_id + 1`, so a table of 514 rows holds 512 positions.
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

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(model_type="xlm-roberta", **_ROBERTA_LIKE),
        Family(model_type="roberta", **_ROBERTA_LIKE),
        Family(model_type="afro-student", **_ROBERTA_LIKE),
        Family(
            model_type="bert",
            **{
                **_ROBERTA_LIKE,
                "masked_lm_head": "cls",
                "masked_lm_rows": (
                    "cls.predictions.decoder.weight",
                    "cls.predictions.decoder.bias",
                    "cls.predictions.bias",
                ),
                "position_offset": 0,
            },
        ),
        Family(
            model_type="modernbert",
            layers="layers",
            query=None,
            key=None,
            value=None,
            embeddings="embeddings",
            word_embeddings="embeddings.tok_embeddings",
            masked_lm_head="head",
            masked_lm_rows=("decoder.weight", "decoder.bias"),
            position_offset=0,
        ),
    )
}


def family_of(model: PreTrainedModel) -> Family:
    """Return the record of a model's family.

    Args:
        model: Any model with a Hugging Face configuration; one wrapped by PEFT answers for the model inside it.

    Raises:
        ValueError: If the family is not in the table; the message lists those that are.
    """
    model_type = model.config.model_type
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(
            f"model_type {model_type!r} is not in the table of families; known are {known}. "
            "Use a model of one of these, or add its record to hf_afro/families.py."
        )
    return FAMILIES[model_type]


def encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the headless encoder inside a model: the model itself when it has no head, PEFT taken off."""
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    return inner.base_model


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return the encoder's layers, first to last."""
    return encoder_of(model).get_submodule(family_of(model).layers)
