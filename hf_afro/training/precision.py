"""Half-precision weights converted before training: steps smaller than their spacing would be lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_HALF = (torch.float16, torch.bfloat16)


def train_in_float32(model: PreTrainedModel, level: int = logging.WARNING) -> None:
    """Convert a model whose trainable weights are in half precision to float32, in place, and log it.

    bfloat16 keeps 8 bits of a weight, and most steps of the optimizer are smaller than that, so that the weight does
    not move. `from_pretrained` loads a checkpoint in the precision it was saved in.

    Args:
        model: To be trained. Where only adapters are trained, or the model is quantized, its frozen weights stay as
            they are.
        level: Level of the log message about it.
    """
    trainable = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    half = [weight for weight in trainable.values() if weight.dtype in _HALF]
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
        "The weights to be trained were %s: they are trained and saved in float32, since small steps are lost in half "
        "precision. bf16=True or fp16=True gives mixed precision on top of that.",
        found,
    )
