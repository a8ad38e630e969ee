"""Check models, tokenizers and vocabularies before training, and correct what can be corrected."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from hf_afro.families import FAMILIES, counted_padding_of, encoder_of, positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)

# An embedding table may be padded to a multiple of at most this, which suits the hardware.
MOST_SPARE_ROWS = 128

_HALF = (torch.float16, torch.bfloat16)


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Raise a ValueError if sequences of `max_length` tokens are longer than the model has positions for."""
    positions = positions_of(model)
    if positions is not None and max_length > positions:
        raise ValueError(
            f"max_length={max_length} exceeds the {positions} positions of the {model.config.model_type} model; set "
            f"max_length to {positions} or less"
        )


def check_bidirectional(model: PreTrainedModel, role: str = "model") -> None:
    """Raise a ValueError if the configuration makes attention causal, which transformers does silently."""
    if getattr(model.config, "is_decoder", False):
        raise ValueError(
            f"the configuration of the {model.config.model_type} {role} has is_decoder=True, so each token would "
            "attend to earlier ones only; load it again with from_pretrained(..., is_decoder=False)"
        )


def check_masked_lm(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Raise a ValueError if there is no tokenizer, no masked-LM head, or no row for one of the tokens."""
    if tokenizer is None:
        raise ValueError("masking tokens needs the model's tokenizer; pass processing_class=tokenizer")
    if model.get_output_embeddings() is None:
        raise ValueError(f"{type(model).__name__} has no masked-LM head; load it with AutoModelForMaskedLM")
    check_rows(model, tokenizer)


def check_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a ValueError if the model has no row for one of the tokens."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens but the model has {rows} rows, so they do not belong "
            "together; load both from the same folder"
        )


def check_models(student: PreTrainedModel, teacher: PreTrainedModel, max_length: int) -> None:
    """Raise a ValueError if teacher and student share a parameter, one is causal, or one is too short."""
    # The loss would be zero, or the teacher would move.
    if {id(parameter) for parameter in teacher.parameters()} & {id(parameter) for parameter in student.parameters()}:
        raise ValueError("teacher and student share parameters; give the student its own weights (copy.deepcopy)")
    for role, model in (("student", student), ("teacher", teacher)):
        check_bidirectional(model, role)
        check_length(model, max_length)


def check_vocabularies(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary_map: VocabularyMap | None,
) -> None:
    """Raise a ValueError unless the ids of the text fit the student and, through the map if any, the teacher."""
    student_rows, teacher_rows = (encoder_of(m).get_input_embeddings().weight.shape[0] for m in (student, teacher))
    tokens = student_rows if tokenizer is None else len(tokenizer)
    if tokens > student_rows:
        raise ValueError(
            f"the tokenizer has {tokens} tokens but the student has {student_rows} rows; pass the student's tokenizer"
        )
    if vocabulary_map is not None:
        if tokens > len(vocabulary_map) or vocabulary_map.old_size > teacher_rows:
            raise ValueError(
                f"the vocabulary_map leads from {len(vocabulary_map)} tokens to {vocabulary_map.old_size}, but the "
                f"student has {tokens} and the teacher {teacher_rows}; it belongs to other models"
            )
    elif tokens > teacher_rows or max(student_rows, teacher_rows) - tokens >= MOST_SPARE_ROWS:
        # A smaller difference is padding of the same vocabulary.
        raise ValueError(
            f"the student has {student_rows} tokens and the teacher {teacher_rows}; pass the vocabulary_map that "
            "pruning saved beside the student, or use the pruned teacher"
        )


def fit_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, level: int = logging.WARNING
) -> int:
    """Make a model's padding id the one its text is padded with.

    The Trainer writes the tokenizer's ids into the configuration when training starts. A model that counts positions
    from another padding id would then be read back from disk as a different one, so it is refused. In any other model
    the padding id only excludes a row of the word embedding from training, and it is corrected: multilingual-e5-small
    has 0, which is its tokenizer's `<s>`.

    Args:
        model: The model to train; its configuration and its word embedding are corrected in place.
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
            "The configuration of the %s model has pad_token_id=%s but its text is padded with %d: corrected to %d. "
            "No result changes: the model's positions do not depend on it.",
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
        pad_id: The id its text is padded with.
        tokenizer: Used to name the right padding token in the message.
        role: Name of the model in the message.

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
        f"the {model.config.model_type} {role} counts positions from its padding id {counted}, but its text is padded "
        f"with {pad_id}: token {counted} would be skipped in every text, and the trained model, read back from disk, "
        f"would count from {pad_id}. {trained}, so correct the tokenizer: set tokenizer.pad_token = {token}, or "
        "`pad_token` in tokenizer_config.json"
    )


def train_in_float32(model: PreTrainedModel, level: int = logging.WARNING) -> None:
    """Convert a model whose trainable weights are in half precision to float32, in place, and log it.

    bfloat16 keeps 8 bits of a weight, and most steps of the optimizer are smaller than that, so the weight would not
    move. `from_pretrained` loads a checkpoint in the precision it was saved in.

    Args:
        model: The model to train. Where only adapters are trained, or the model is quantized, its frozen weights stay
            as they are.
        level: Level of the log message.
    """
    half = [weight for weight in model.parameters() if weight.requires_grad and weight.dtype in _HALF]
    if not half:
        return
    found = ", ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in half}))
    adapters = {
        id(weight) for layer in model.modules() if isinstance(layer, BaseTunerLayer) for weight in layer.parameters()
    }
    if getattr(model, "is_quantized", False) or all(id(weight) in adapters for weight in half):
        for weight in half:
            weight.data = weight.data.float()
    else:
        model.float()
    logger.log(
        level,
        "The weights to train were %s: they are trained and saved in float32, since half precision loses small steps. "
        "bf16=True or fp16=True gives mixed precision on top of that.",
        found,
    )
