"""The files of a checkpoint: where they are, which hold its weights, which go with a pruned one, which are refused."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import snapshot_download
from transformers import PreTrainedTokenizerBase

from hf_afro.files import write_whole
from hf_afro.model_folders import check_no_adapter, check_tokenizer_files
from hf_afro.sentence_modules import SentenceModules, sentence_modules_of
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.safetensors_files import SafetensorsFile, StoredTensor, read_header

logger = logging.getLogger(__name__)

_WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_OTHER_WEIGHTS = ("pytorch_model*.bin", "*.pt", "*.pth", "tf_model.h5", "flax_model.msgpack", "*.gguf")
# What belongs to a model and knows nothing of its vocabulary: licences and code. The modules of sentence-transformers
# that its list names go along too.
# A README does not go along: it is the card of another model, whose figures are not this one's.
_CARRIED = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*.py")
_TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", *_CARRIED)


@dataclass(frozen=True)
class CheckpointWeights:
    """The weights of a checkpoint, read no further than their headers.

    Attributes:
        files: The one file, or the shards.
        index: What the index holds where there are shards, else None.
    """

    files: tuple[SafetensorsFile, ...]
    index: dict[str, Any] | None

    @property
    def tensors(self) -> dict[str, StoredTensor]:
        """All tensors by name."""
        return {name: tensor for file in self.files for name, tensor in file.tensors.items()}


def checkpoint_folder(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a checkpoint; one of the Hub is looked for in its cache, and fetched where it may be.

    Args:
        source: A folder, or a repository of the Hub.
        revision: Branch, tag or commit of the repository.

    Raises:
        ValueError: If there is none.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        folder = Path(snapshot_download(str(source), revision=revision, allow_patterns=list(_TEXTS)))
        modules = sentence_modules_of(folder)
        encoder = folder if modules is None else modules.encoder
        names = [str((encoder / name).relative_to(folder)) for name in _weight_names(encoder) or [_WEIGHTS]]
        inside = [] if modules is None else [f"{entry['path']}/*" for entry in modules.entries[1:]]
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=[*names, *inside]))
    except (OSError, ValueError) as error:  # the Hub's errors are OSErrors, a name that cannot be is a ValueError
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(
            f"no checkpoint could be read from {str(source)!r}: {reason}; expected a folder, or a Hub name"
        ) from error


def has_safetensors(source: str | os.PathLike[str], revision: str | None = None) -> bool:
    """Say whether the weights of a checkpoint are in safetensors, see `checkpoint_folder`."""
    folder = checkpoint_folder(source, revision)
    modules = sentence_modules_of(folder)
    return bool(_weight_names(folder if modules is None else modules.encoder))


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Return the tensors that a folder stores in safetensors, by name; none where it has no whole files of them."""
    files = [folder / name for name in _weight_names(folder)]
    if not all(file.is_file() for file in files):
        return {}
    return {name: tensor for file in files for name, tensor in read_header(file).tensors.items()}


def read_weights(folder: Path) -> CheckpointWeights:
    """Read the headers of a checkpoint's weights.

    Raises:
        ValueError: If there is something that cannot be pruned file by file: an adapter, weights in another format,
            no tokenizer; if a shard is missing, a file is damaged, or the index disagrees with the files.
    """
    check_no_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no model; expected config.json, weights in safetensors and a tokenizer")
    check_tokenizer_files(folder)
    names = _weight_names(folder)
    if not names:
        others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
        found = f"has its weights in {', '.join(others)}" if others else "holds no weights"
        raise ValueError(
            f"{folder} {found}; expected {_WEIGHTS}, or {INDEX} and its shards. Convert them by loading the model "
            "with from_pretrained and saving it with save_pretrained, or prune it in memory with prune_vocabulary"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which its index names; copy the folder again")
    files = tuple(read_header(folder / name) for name in names)
    if (folder / _WEIGHTS).is_file():
        return CheckpointWeights(files, None)
    index = _read_index(folder)
    held = {tensor: file.path.name for file in files for tensor in file.tensors}
    astray = sorted({*index["weight_map"].items()} ^ {*held.items()})
    if astray or sum(len(file.tensors) for file in files) != len(held):
        raise ValueError(
            f"{folder / INDEX} and the shards disagree about {astray[0][0] if astray else 'a tensor held twice'}; "
            "copy the folder again"
        )
    return CheckpointWeights(files, index)


def _weight_names(folder: Path) -> list[str]:
    """Return the names of the files with weights, in the order in which transformers looks for them."""
    if (folder / _WEIGHTS).is_file():
        return [_WEIGHTS]
    return sorted({*_read_index(folder)["weight_map"].values()}) if (folder / INDEX).is_file() else []


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    message = f"{path} is no index of shards; copy the folder again"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        weight_map = index["weight_map"]
        outside = [name for name in weight_map.values() if Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(message) from error
    if outside:
        raise ValueError(f"{message} (it names {outside[0]!r}, expected files beside it)")
    return index


def write_index(weights: CheckpointWeights, folder: Path, total_parameters: int) -> None:
    """Write the index of shards that were written under their old names, as transformers writes it.

    Args:
        weights: The shards written, with the old index.
        folder: Their folder.
        total_parameters: Numbers in the model's parameters, tied ones once; written where the old index has it.
    """
    index = weights.index or {}
    metadata = {**index.get("metadata", {}), "total_size": sum(one.size for one in weights.tensors.values())}
    if "total_parameters" in metadata:
        metadata["total_parameters"] = total_parameters
    write_whole(folder / INDEX, json.dumps({**index, "metadata": metadata}, indent=2, sort_keys=True) + "\n")


def carry_files(source: Path, target: Path, modules: SentenceModules | None = None) -> list[str]:
    """Copy what belongs to a model and knows nothing of its vocabulary.

    Args:
        source: The folder of the old model.
        target: The folder of the new one.
        modules: The modules of sentence-transformers in the source, where it has some.

    Returns:
        The files of the source that are not in the target, under any name; a folder counts as one.
    """
    for pattern in _CARRIED:
        for path in source.glob(pattern):
            if path.is_file():
                copy = target / path.relative_to(source)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
    if modules is None:
        return _not_in(target, source)
    modules.carry(target)
    inside = () if modules.encoder == source else _not_in(target, modules.encoder)
    return sorted({*_not_in(target, source), *inside} - {modules.encoder.name})


def warn_of_prompts(
    modules: SentenceModules, tokenizer: PreTrainedTokenizerBase, old_ids: np.ndarray, keep: VocabularyMap
) -> None:
    """Tell of prompts of sentence-transformers that the pruned tokenizer splits otherwise, and all texts with them.

    Args:
        modules: The modules, with the prompts.
        tokenizer: The original tokenizer, or one of fewer pieces that splits the prompts alike.
        old_ids: The original's id of each of its ids.
        keep: The tokens kept.
    """
    for name, text in modules.prompts.items():
        ids = np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
        lost = tokenizer.convert_ids_to_tokens(ids[~keep.keeps(old_ids[ids])].tolist())
        if lost:
            logger.warning(
                "the prompt %s, %r, is now split otherwise, which changes every vector made with it: %s not kept; "
                "keep them with --keep_list or extra_tokens",
                name,
                text,
                ", ".join(lost),
            )


def _not_in(target: Path, source: Path) -> list[str]:
    return sorted(path.name for path in source.iterdir() if not (target / path.name).exists())
