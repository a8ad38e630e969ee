"""What is told of a model beside its scores: its kind, its size in parameters and bytes, its shape."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_afro.evaluation.heads import uses_pooler
from hf_afro.families import encoder_of
from hf_afro.model_folders import HOW_MADE, MASKED_LM_HEAD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What a configuration says of the head, and of where, in what and by whom the model was saved.
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


def model_facts(model: PreTrainedModel, folder: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the facts of a model that a report shows.

    Args:
        model: The model, with the head it was saved with.
        folder: Where it is saved; without it, the bytes are what its weights would take.

    Returns:
        `model_type`; `architecture`, the class; what a configuration of ours says of how it was made, `built_from` and
        `masked_lm_head`; `library`, of a folder of sentence-transformers; `parameters`, tied ones counted once, with
        the head; `encoder_parameters` without it; `embedding_parameters` of the rows of tokens; `bytes_on_disk`, of
        the weights; `vocab_size`, `hidden_size`, `layers`.
    """
    config = model.config
    tensors = {tensor.data_ptr(): tensor for tensor in model.parameters()}.values()
    in_memory = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    is_embedder = folder is not None and (Path(folder) / "modules.json").is_file()
    return {
        "model_type": config.model_type,
        "architecture": type(model).__name__,
        **{name: getattr(config, name) for name in HOW_MADE if getattr(config, name, None)},
        **({"library": "sentence-transformers"} if is_embedder else {}),
        "parameters": sum(tensor.numel() for tensor in tensors),
        "encoder_parameters": sum(tensor.numel() for tensor in encoder_of(model).parameters()),
        "embedding_parameters": model.get_input_embeddings().weight.numel(),
        "bytes_on_disk": (_weight_bytes(Path(folder)) if folder is not None else 0) or in_memory,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "layers": config.num_hidden_layers,
    }


def _weight_bytes(folder: Path) -> int:
    """Of one kind of weights only: a folder may hold the same ones twice."""
    for pattern in _WEIGHTS:
        if files := list(folder.glob(pattern)):
            return sum(path.stat().st_size for path in files)
    return 0


def model_fingerprint(model: PreTrainedModel, *, pooler: bool = True) -> str:
    """Return the SHA-256 of the encoder's configuration and weights: equal for equal encoders, whatever their head.

    A pooler is of the encoder where a head that is fine-tuned would stand on it.

    Args:
        model: With any head.
        pooler: Whether it counts then; a masked language model is loaded without.
    """
    config = {name: value for name, value in model.config.to_diff_dict().items() if name not in _NOT_OF_ENCODER}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    with_pooler = pooler and uses_pooler(model.config)
    for name, tensor in sorted(encoder_of(model).state_dict().items()):
        if with_pooler or not name.startswith("pooler."):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
