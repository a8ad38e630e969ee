"""A classifier from an encoder: a copy of its weights, a new head, and the names of the labels."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.families import encoder_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def add_head(model: PreTrainedModel, task: str, labels: tuple[str, ...], seed: int) -> PreTrainedModel:
    """Return a classifier with the encoder's weights and a new head, in fp32 and on the CPU.

    Args:
        model: Any model with a Hugging Face configuration, with a head or without; not changed. What is copied is its
            encoder.
        task: `ner` gives a head that classifies tokens, the others one that classifies the sequence.
        labels: The names of the labels, by id.
        seed: Of the head's random weights.

    Raises:
        ValueError: If the encoder has weights that the classifier has not, as one with adapters.
    """
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, set_seed

    config = copy.deepcopy(model.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    kind: Any = AutoModelForTokenClassification
    if task != "ner":
        kind, config.problem_type = AutoModelForSequenceClassification, "single_label_classification"
    set_seed(seed)
    classifier = kind.from_config(config, dtype=torch.float32)
    result = encoder_of(classifier).load_state_dict(encoder_of(model).state_dict(), strict=False)
    # A pooler stands on some heads only.
    odd = [name for name in (*result.missing_keys, *result.unexpected_keys) if not name.startswith("pooler.")]
    if odd:
        kinds = f"{type(model).__name__} and {type(classifier).__name__}"
        raise ValueError(
            f"the encoders of {kinds} differ in {', '.join(odd[:3])}{' and more' if len(odd) > 3 else ''}; where the "
            "model has adapters, merge them into it first"
        )
    return classifier


def uses_pooler(config: PretrainedConfig) -> bool:
    """Tell whether a head that `add_head` gives to texts stands on the encoder's pooler, as that of BERT does."""
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)
    return getattr(encoder_of(classifier), "pooler", None) is not None


def save_finetuned(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> Path:
    """Save a fine-tuned model so that ``pipeline("token-classification", folder)`` answers with the labels' names.

    Args:
        model: What `finetune` returned as `model`; its configuration carries the names.
        tokenizer: The model's.
        folder: Where to; made if need be.

    Returns:
        The folder. One of an `afro-student` loads wherever `hf_afro` is imported.
    """
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
