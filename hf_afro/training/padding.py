"""Agreement between a model's padding id and the one its text is padded with: checked, corrected or refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torch import nn

from hf_afro.families import FAMILIES, counted_padding_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def fit_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, level: int = logging.WARNING
) -> int:
    """Make a model's padding id the one its text is padded with.

    The Trainer writes the tokenizer's ids into the configuration when training starts. A model that counts positions
    from another padding id would then be read back from disk as a different one, so it is refused. In any other model
    the padding id only excludes a row of the word embedding from training, and it is corrected: multilingual-e5-small
    says 0, which is its tokenizer's `<s>`.

    Args:
        model: To be trained; its configuration and its word embedding are corrected in place.
        tokenizer: Its tokenizer; None where the text is token ids already and the model's own padding id is used.
        level: Level of the log message about a correction.

    Returns:
        The id to pad with.

    Raises:
        ValueError: If there is no padding id, or the model counts positions from another one.
    """
    config = model.config.get_text_config()
    if tokenizer is not None:
        pad_id = tokenizer.pad_token_id
    else:
        counted = counted_padding_of(model)
        pad_id = config.pad_token_id if counted is None else counted
    if pad_id is None:
        owner = "the model's configuration" if tokenizer is None else f"the tokenizer ({type(tokenizer).__name__})"
        fix = "pass processing_class=tokenizer" if tokenizer is None else "set tokenizer.pad_token first"
        raise ValueError(f"{owner} has no padding token; {fix}")
    check_padding(model, pad_id, tokenizer)
    table = model.get_input_embeddings()
    table = getattr(table, "base_layer", table)  # PEFT wraps an embedding that it adapts
    excluded = table.padding_idx if isinstance(table, nn.Embedding) else None
    if config.pad_token_id != pad_id or excluded not in (None, pad_id):
        logger.log(
            level,
            "The configuration of the %s model has pad_token_id=%s and its text is padded with %d: corrected to %d. "
            "Positions do not depend on it.",
            model.config.model_type,
            config.pad_token_id,
            pad_id,
            pad_id,
        )
        config.pad_token_id = pad_id
        if excluded is not None:
            table.padding_idx = pad_id
    return int(pad_id)


def check_padding(
    model: PreTrainedModel, pad_id: int, tokenizer: PreTrainedTokenizerBase | None = None, role: str = "model"
) -> None:
    """Refuse a model that counts positions from another padding id than the one its text is padded with.

    Args:
        model: Any model.
        pad_id: What its text is padded with.
        tokenizer: Names the token that should pad, where it is given.
        role: What the message calls the model.

    Raises:
        ValueError: If so; the message names both ids and the correction.
    """
    counted = counted_padding_of(model)
    family = FAMILIES.get(model.config.model_type)
    if counted is None and family is not None and family.position_offset:
        raise ValueError(
            f"the {model.config.model_type} {role} counts positions from its padding id and was built with "
            f"pad_token_id=None; load it again with from_pretrained(..., pad_token_id={pad_id})"
        )
    if counted in (None, pad_id):
        return
    token = f"tokenizer.convert_ids_to_tokens({counted})"
    if tokenizer is not None and counted < len(tokenizer):
        token = repr(tokenizer.convert_ids_to_tokens(counted))
    trained = "It was trained that way"
    if getattr(model.config, "built_from", None):
        trained = (
            "If build_student has just made it, build it again with tokenizer=tokenizer. Otherwise it was trained "
            "that way"
        )
    raise ValueError(
        f"the {model.config.model_type} {role} counts positions from its padding id {counted}, and its text is padded "
        f"with {pad_id}: token {counted} would be passed over in every text, and once trained and read back from disk "
        f"it would count from {pad_id}. {trained}, so correct the tokenizer: set tokenizer.pad_token = {token}, or "
        "`pad_token` in tokenizer_config.json"
    )
