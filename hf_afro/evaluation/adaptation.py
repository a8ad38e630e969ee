"""What of a classifier is trained: all of it, its head alone, or its head with low-rank additions to the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_afro.families import encoder_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.evaluation.presets import FineTuningSettings

LORA_SCALE = 2


def adapt(classifier: PreTrainedModel, settings: FineTuningSettings) -> Any:
    """Return what is to be trained in place of a classifier, with gradients where something is learned.

    The head is always trained, and so is a pooler it stands on, which may be new as well. LoRA goes to queries and
    values, as PEFT has it for each family.

    Args:
        classifier: What `add_head` made; changed in place.
        settings: Its `adaptation` and `lora_rank` count.

    Returns:
        The classifier itself, or the `PeftModel` around it; `merged` makes a plain classifier of either.
    """
    if settings.adaptation == "full":
        return classifier
    encoder = encoder_of(classifier)
    frozen = {id(tensor) for name, tensor in encoder.named_parameters() if not name.startswith("pooler.")}
    head = [tensor for tensor in classifier.parameters() if id(tensor) not in frozen]
    model: Any = classifier
    if settings.adaptation == "lora":
        from peft import LoraConfig

        from hf_afro.training.adapters import with_adapter

        model = with_adapter(
            classifier, LoraConfig(r=settings.lora_rank, lora_alpha=LORA_SCALE * settings.lora_rank, lora_dropout=0.0)
        )
    else:
        classifier.requires_grad_(False)
    for tensor in head:
        tensor.requires_grad_(True)
    return model


def merged(model: Any, settings: FineTuningSettings) -> PreTrainedModel:
    """Return a plain classifier of what `adapt` returned, every parameter with a gradient again."""
    classifier = model.merge_and_unload() if settings.adaptation == "lora" else model
    return classifier.requires_grad_(True)
