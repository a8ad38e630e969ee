"""Models under evaluation: loading an encoder, giving it a head, and the facts and fingerprint of a model."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from hf_afro.families import encoder_of
from hf_afro.model_folders import HOW_MADE, MASKED_LM_HEAD, check_not_adapter
from hf_afro.sentence_modules import SentenceModules, sentence_modules_of
from hf_afro.tasks import kind_of
from hf_afro.tokenizer_checks import check_built_as_written

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Keys of a configuration about the head, and about how and by whom the model was saved.
_NOT_OF_ENCODER = {
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
    "transformers_version",
    "_name_or_path",
    MASKED_LM_HEAD,
}
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def load_encoder(
    model: PreTrainedModel | str | os.PathLike[str], tokenizer: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a model in fp32 and its tokenizer, loading what is given by name.

    Raises:
        ValueError: If a model is given as an object without its tokenizer, a folder holds a PEFT adapter, or
            transformers builds another tokenizer than tokenizer.json describes.
    """
    if not isinstance(model, str | os.PathLike):
        if tokenizer is None:
            raise ValueError("the model was given without its tokenizer; pass both")
        return model, tokenizer
    check_not_adapter(Path(model))
    heads = AutoConfig.from_pretrained(model, trust_remote_code=False).architectures or [""]
    # With the head it was saved with, where that is the usual one, so that no weight is reported as unused.
    kind: Any = AutoModelForMaskedLM if heads[0].endswith("ForMaskedLM") else AutoModel
    loaded = with_own_pooler(kind.from_pretrained(model, dtype=torch.float32, trust_remote_code=False), model)
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        check_built_as_written(tokenizer, os.fspath(model))
    return loaded, tokenizer


def with_own_pooler(
    model: PreTrainedModel, name: str | os.PathLike[str], revision: str | None = None
) -> PreTrainedModel:
    """Give a model the pooler of its checkpoint, or none if the checkpoint has none.

    A masked language model is loaded without the pooler that was pretrained beside its head, and a bare encoder with
    a randomly initialised one where none was saved.

    Args:
        model: As loaded; changed in place if heads of its family use a pooler.
        name: The folder it was loaded from, or its name on the Hub.
        revision: On the Hub.
    """
    if uses_pooler(model.config):
        encoder_of(model).pooler = _pooler_of(name, revision)
    return model


def _pooler_of(name: str | os.PathLike[str], revision: str | None) -> torch.nn.Module | None:
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would report the weights of the head, which are not wanted
    try:
        encoder, info = AutoModel.from_pretrained(
            name,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **({"revision": revision} if revision else {}),
        )
    finally:
        transformers_logging.set_verbosity(level)
    return None if any(weight.startswith("pooler.") for weight in info["missing_keys"]) else encoder.pooler


def uses_pooler(config: PretrainedConfig) -> bool:
    """Tell whether sequence classification uses the encoder's pooler, as in BERT."""
    with torch.device("meta"):
        classifier = AutoModelForSequenceClassification.from_config(config)
    return getattr(encoder_of(classifier), "pooler", None) is not None


def add_head(model: PreTrainedModel, task: str, labels: tuple[str, ...], seed: int) -> PreTrainedModel:
    """Return a classifier with a copy of the encoder's weights and a new head, in fp32 on the CPU.

    Args:
        model: Any Hugging Face model, with or without a head; not changed.
        task: Tagged tasks such as `ner` get a head for token classification, the others one for the sequence, with
            the `problem_type` of the task.
        labels: The names of the labels, by id.
        seed: Of the head's initialisation.

    Raises:
        ValueError: If the encoder has weights that the classifier lacks, such as adapters.
    """
    config = copy.deepcopy(model.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    kind: Any = AutoModelForTokenClassification
    if not kind_of(task).tagged:
        kind, config.problem_type = AutoModelForSequenceClassification, kind_of(task).problem_type
    set_seed(seed)
    classifier = kind.from_config(config, dtype=torch.float32)
    result = encoder_of(classifier).load_state_dict(encoder_of(model).state_dict(), strict=False)
    # Only some heads use a pooler.
    odd = [name for name in (*result.missing_keys, *result.unexpected_keys) if not name.startswith("pooler.")]
    if odd:
        raise ValueError(
            f"the encoders of {type(model).__name__} and {type(classifier).__name__} differ in {', '.join(odd[:3])}"
            f"{' and more' if len(odd) > 3 else ''}; merge adapters into the model first"
        )
    return classifier


def save_finetuned(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> Path:
    """Save a fine-tuned model so that ``pipeline("token-classification", folder)`` returns the names of labels.

    Args:
        model: The `model` of what `finetune` returned; its configuration carries the names.
        tokenizer: Its tokenizer.
        folder: Created if needed.

    Returns:
        The folder. An `afro-student` in it loads wherever `hf_afro` is imported.
    """
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def model_facts(model: PreTrainedModel, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the facts of a model that reports show.

    Args:
        model: The model, with the head it was saved with.
        folder: Where it is saved; without it, `bytes_on_disk` is the size of its weights in memory.

    Returns:
        `model_type`; `architecture`, the class; `built_from` and `masked_lm_head` where the configuration has them;
        `library`, and `prompts` and `default_prompt` if there are any, for a folder of a SentenceTransformer;
        `parameters`, with the head, tied ones counted once; `encoder_parameters`; `embedding_parameters` of the token
        embedding; `bytes_on_disk` of the weights; `vocab_size`, `hidden_size`, `layers`.
    """
    config = model.config
    tensors = {tensor.data_ptr(): tensor for tensor in model.parameters()}.values()
    in_memory = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    modules = sentence_modules_of(folder) if folder is not None and Path(folder).is_dir() else None
    is_embedder = modules is not None and modules.model_type == "SentenceTransformer"
    return {
        "model_type": config.model_type,
        "architecture": type(model).__name__,
        **{name: getattr(config, name) for name in HOW_MADE if getattr(config, name, None)},
        **(_of_embedder(modules) if modules is not None and is_embedder else {}),
        "parameters": sum(tensor.numel() for tensor in tensors),
        "encoder_parameters": sum(tensor.numel() for tensor in encoder_of(model).parameters()),
        "embedding_parameters": model.get_input_embeddings().weight.numel(),
        "bytes_on_disk": (_weight_bytes(Path(folder)) if folder is not None else 0) or in_memory,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
    }


def _of_embedder(modules: SentenceModules) -> dict[str, Any]:
    told = {"prompts": modules.prompts, "default_prompt": modules.default_prompt}
    return {"library": "sentence-transformers", **{name: value for name, value in told.items() if value}}


def _weight_bytes(folder: Path) -> int:
    """Return the size of one format of weights: a folder may hold the same ones in both."""
    for pattern in _WEIGHTS:
        if files := list(folder.glob(pattern)):
            return sum(path.stat().st_size for path in files)
    return 0


def model_fingerprint(model: PreTrainedModel) -> str:
    """Return the SHA-256 of the encoder's configuration and weights, whatever the head.

    The pooler counts where sequence classification uses it.
    """
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in _NOT_OF_ENCODER}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    with_pooler = uses_pooler(model.config)
    for name, tensor in sorted(encoder_of(model).state_dict().items()):
        if with_pooler or not name.startswith("pooler."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
