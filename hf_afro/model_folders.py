"""Folders of models and tokenizers: names of their files, and errors for those that cannot be used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ADAPTER_CONFIG = "adapter_config.json"
# Tokenizers that compute ids from characters or bytes.
_WITHOUT_VOCABULARY = ("CanineTokenizer", "ByT5Tokenizer", "PerceiverTokenizer")
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.txt", "vocab.json")
COUNTS_FILE = "counts.npz"
MAP_FILE = "vocabulary_map.json"

MASKED_LM_HEAD = "masked_lm_head"
"""Configuration key for the state of the masked-LM head, one of `hf_afro.cards.facts.HEADS`."""
HOW_MADE = (MASKED_LM_HEAD, "built_from")
"""Configuration keys that say how the model was made."""


def counts_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of token counts at a path: the path itself, or the file in a folder from `hf-afro count`.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return _file_of(path, COUNTS_FILE, "count")


def map_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of a vocabulary map at a path: the path itself, or the file in the folder of a pruned model.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return _file_of(path, MAP_FILE, "prune")


def _file_of(path: str | os.PathLike[str], name: str, command: str) -> Path:
    file = Path(path) / name if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; expected the folder that `hf-afro {command}` wrote, or its {name}"
        )
    return file


def has_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    """Return whether a folder holds a file that matches any of the patterns."""
    return any(path for pattern in patterns for path in folder.glob(pattern))


def written_in_python(kind: str) -> str:
    """Return why a tokenizer class cannot be used, and what is expected instead."""
    if kind in _WITHOUT_VOCABULARY:
        return (
            "written in Python and makes ids of characters or bytes: it has no vocabulary to count or to prune; "
            "expected a model with one, such as XLM-R or BERT"
        )
    return (
        "written in Python; no version of it is backed by the tokenizers library, which hf_afro needs. Expected a "
        "model whose tokenizer has a tokenizer.json, such as XLM-R or BERT"
    )


def read_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, or raise `ValueError` if it is no JSON object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; expected JSON, in UTF-8") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object; expected `name: value` pairs in JSON")
    return value


def check_tokenizer_files(folder: Path) -> None:
    """Raise `ValueError` for a folder without tokenizer files, for which transformers would make up a tokenizer."""
    if not has_any(folder, TOKENIZER_FILES):
        settings = folder / "tokenizer_config.json"
        kind = read_object(settings).get("tokenizer_class") if settings.is_file() else None
        if kind in _WITHOUT_VOCABULARY:
            raise ValueError(f"{folder} has a {kind}, which is {written_in_python(kind)}")
        raise ValueError(
            f"{folder} holds no tokenizer; expected {', '.join(TOKENIZER_FILES)}. "
            "Save it there with tokenizer.save_pretrained, or name another folder."
        )


def check_not_adapter(folder: Path, name: str | None = None) -> None:
    """Refuse the folder of a PEFT adapter, and of a model with an adapter beside its configuration.

    transformers would load the adapter with the model: onto its base, which would then not be trained as a whole, or a
    second time onto a model that it was merged into.

    Args:
        folder: The folder of a model, or the cached folder of a repository.
        name: Name of the folder in the error; default: its path.

    Raises:
        ValueError: If it holds an adapter.
    """
    found = folder / ADAPTER_CONFIG
    if not found.is_file():
        return
    name = name or str(folder)
    if (folder / "config.json").is_file():
        raise ValueError(
            f"{name} holds a model and a PEFT adapter beside it, which transformers would put onto the model once "
            f"more; move {ADAPTER_CONFIG} and adapter_model.safetensors into a folder of their own, such as "
            f"{name}/adapter"
        )
    base = read_object(found).get("base_model_name_or_path") or "the model it was trained on"
    raise ValueError(
        f"{name} holds a PEFT adapter and no model; expected a whole model. Put it on {base} with "
        "PeftModel.from_pretrained, merge it with merge_and_unload(), and save the model and its tokenizer to a "
        "folder of their own"
    )


def check_no_adapter(folder: Path, but: Path | None = None) -> None:
    """Refuse a folder with a PEFT adapter beside the model, or where `PrunedModel.save_pretrained` puts it.

    Args:
        folder: The folder of a model.
        but: Folder of an adapter that is pruned along. One beside `config.json` is refused in any case, since
            transformers would load it with the model.

    Raises:
        ValueError: If there is one.
    """
    check_not_adapter(folder)
    for found in sorted((folder / "adapter").rglob(ADAPTER_CONFIG)):
        if but is None or found.parent.resolve() != but.resolve():
            raise ValueError(
                f"{found.parent} holds a PEFT adapter, which would be lost; prune it along with --adapter, or load it "
                "on its model and give the PeftModel to prune_vocabulary, or move it elsewhere"
            )


@contextlib.contextmanager
def readable(what: str, name: str) -> Iterator[None]:
    """Turn an error of a library that cannot read a file into one line that names the file.

    Args:
        what: What is read, such as ``"tokenizer"``.
        name: Folder or Hub repository that it is read from.

    Raises:
        ValueError: In place of the library's error.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(_unreadable(what, name, error)) from error
    except Exception as error:
        # The tokenizers library raises the bare class for a file that it cannot read.
        if type(error) is not Exception:
            raise
        raise ValueError(_unreadable(what, name, error)) from error


def _unreadable(what: str, name: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            f"the {what} of {name!r} needs the code that comes with it, which hf_afro never runs; "
            "expected one of the classes of transformers"
        )
    reason = str(error).strip().split("\n")[0].rstrip(".")
    if not isinstance(error, OSError | ValueError):
        reason = f"{type(error).__name__}: {reason}"
    return f"no {what} could be read from {name!r}: {reason}; expected a folder that holds a whole one, or a Hub name"
