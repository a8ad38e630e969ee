"""A classifier from an encoder: a copy of its weights, a new head, and the names of the labels."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.evaluation.data.kinds import kind_of
from hf_afro.families import encoder_of
from hf_afro.model_folders import check_not_adapter
from hf_afro.tokenizer_files import check_built_as_written

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def add_head(model: PreTrainedModel, task: str, labels: tuple[str, ...], seed: int) -> PreTrainedModel:
    """Return a classifier with the encoder's weights and a new head, in fp32 and on the CPU.

    Args:
        model: Any model with a Hugging Face configuration, with a head or without; not changed. What is copied is its
            encoder.
        task: One that tags words, such as `ner`, gives a head that classifies tokens, the others one that classifies
            the sequence.
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
    if not kind_of(task).tagged:
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


def with_own_pooler(
    model: PreTrainedModel, name: str | os.PathLike[str], revision: str | None = None
) -> PreTrainedModel:
    """Give a model the pooler that its checkpoint holds, and none where it holds none.

    A masked language model is loaded without the pooler that was pretrained beside its head, and a bare encoder with
    one at random where none was saved, another one each time.

    Args:
        model: As loaded; changed in place, if heads stand on a pooler in its family.
        name: The folder it was loaded from, or its name on the Hub.
        revision: On the Hub.

    Returns:
        The model.
    """
    if uses_pooler(model.config):
        encoder_of(model).pooler = _pooler_of(name, revision)
    return model


def _pooler_of(name: str | os.PathLike[str], revision: str | None) -> torch.nn.Module | None:
    from transformers import AutoModel
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report the weights of the head, which are left out on purpose
    try:
        encoder, info = AutoModel.from_pretrained(
            name,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **({"revision": revision} if revision else {}),
        )
    finally:
        logging.set_verbosity(level)
    return None if any(weight.startswith("pooler.") for weight in info["missing_keys"]) else encoder.pooler


def uses_pooler(config: PretrainedConfig) -> bool:
    """Tell whether a head that `add_head` gives to texts stands on the encoder's pooler, as that of BERT does."""
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)
    return getattr(encoder_of(classifier), "pooler", None) is not None


def load_encoder(
    model: PreTrainedModel | str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model in fp32 and its tokenizer, loading what was given by name.

    Raises:
        ValueError: If a model was given as an object without its tokenizer, a folder holds an adapter, alone or beside
            the model, or transformers builds another tokenizer than the model's tokenizer.json says.
    """
    if not isinstance(model, str | os.PathLike):
        if tokenizer is None:
            raise ValueError("a model without its tokenizer was given; pass the tokenizer too")
        return model, tokenizer
    from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

    check_not_adapter(Path(model))
    heads = AutoConfig.from_pretrained(model, trust_remote_code=False).architectures or [""]
    # With the head it was saved with, where that is the usual one: then no weight is reported as left over.
    kind: Any = AutoModelForMaskedLM if heads[0].endswith("ForMaskedLM") else AutoModel
    loaded = with_own_pooler(kind.from_pretrained(model, dtype=torch.float32, trust_remote_code=False), model)
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        check_built_as_written(tokenizer, os.fspath(model))
    return loaded, tokenizer


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
