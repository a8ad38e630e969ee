"""Short runs of a tiny model on the text that ships, for the benchmarks that cut runs short and split them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, XLMRobertaConfig, XLMRobertaForMaskedLM

from hf_afro.sample import text_folder
from hf_afro.steps.pretrain import train_tokenizer
from hf_afro.training import (
    MAFTTrainer,
    MAFTTrainingArguments,
    RelationDistillTrainer,
    RelationDistillTrainingArguments,
)

LANGUAGES = ("amh", "hau", "swa", "yor")
KINDS = ("maft", "streaming", "distill", "states")
"""`states` is distillation by hidden states and sentence vectors, through a projection."""
_LENGTH = 48
_WINDOW = 16


def texts() -> dict[str, list[str]]:
    """Return the sample's sentences of four languages."""
    return {code: (text_folder() / f"{code}.txt").read_text("utf-8").split("\n")[:-1] for code in LANGUAGES}


def tokenizer() -> PreTrainedTokenizerBase:
    """Return a tokenizer of 1,000 pieces over them."""
    return train_tokenizer([line for own in texts().values() for line in own], 1000, _LENGTH)


def model(vocabulary: int, width: int, dropout: float) -> XLMRobertaForMaskedLM:
    """Return an untrained XLM-R of two layers."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=_LENGTH + 2,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return XLMRobertaForMaskedLM(config)


def trainer(
    kind: str, tokens: PreTrainedTokenizerBase, folder: Path, *, width: int = 64, processes: int = 1, **settings: Any
) -> MAFTTrainer | RelationDistillTrainer:
    """Return a trainer of one of `KINDS`, whose step is 16 samples however it is split."""
    accumulation = settings.get("gradient_accumulation_steps", 1)
    dropout = settings.pop("dropout", 0.1)
    classes = {"callbacks": settings.pop("callbacks", None), "processing_class": tokens}
    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": _WINDOW // (processes * accumulation),
        "learning_rate": 1e-3,
        "max_length": _LENGTH,
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 50,
        "language_alpha": 0.3,
        **settings,
    }
    data: dict[str, Any] = {code: Dataset.from_dict({"text": lines}) for code, lines in texts().items()}
    if kind in ("distill", "states"):
        if kind == "states":
            arguments |= {"hidden_weight": 1.0, "pooled_weight": 1.0, "packing": False}
        args = RelationDistillTrainingArguments(**arguments)
        teacher = model(len(tokens), 2 * width, 0.0)
        return RelationDistillTrainer(model(len(tokens), width, dropout), teacher, args, data, **classes)
    if kind == "streaming":
        arguments |= {"streaming": True, "language_sizes": {code: len(lines) for code, lines in texts().items()}}
        data = {code: part.to_iterable_dataset(num_shards=3) for code, part in data.items()}
    return MAFTTrainer(model(len(tokens), width, dropout), MAFTTrainingArguments(**arguments), data, **classes)


def checksum(trained: torch.nn.Module) -> str:
    """Return a hash of every weight, bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(trained.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
