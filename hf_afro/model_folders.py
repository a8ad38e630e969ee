"""The names of the files in the folders that commands write, by which a folder is known; and what cannot be read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ADAPTER_CONFIG = "adapter_config.json"
# Tokenizers that make ids of characters or bytes, by arithmetic.
_WITHOUT_VOCABULARY = ("CanineTokenizer", "ByT5Tokenizer", "PerceiverTokenizer")
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.txt", "vocab.json")
COUNTS_FILE = "counts.npz"
MAP_FILE = "vocabulary_map.json"

MASKED_LM_HEAD = "masked_lm_head"
"""Key of a configuration that says what became of the masked-LM head: one of `hf_afro.cards.facts.HEADS`."""
HOW_MADE = (MASKED_LM_HEAD, "built_from")
"""Keys of a configuration that say how the model was made."""


def counts_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of token counts that a path names: itself, or the one in the folder that `hf-afro count` wrote.

    Raises:
        FileNotFoundError: If there is none.
    """
    return _file_of(path, COUNTS_FILE, "count")


def map_file(path: str | os.PathLike[str]) -> Path:
    """Return the file of a vocabulary map that a path names: itself, or the one in a folder that was pruned.

    Raises:
        FileNotFoundError: If there is none.
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
    """Say whether a folder holds a file of any of the patterns."""
    return any(path for pattern in patterns for path in folder.glob(pattern))


def written_in_python(kind: str) -> str:
    """Say why a class of tokenizers cannot be used: what it is, and what is expected."""
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
    """Return what a JSON file holds, which has to be an object.

    Raises:
        ValueError: If it cannot be read so.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; expected JSON, in UTF-8") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object; expected `name: value` pairs in JSON")
    return value


def check_tokenizer_files(folder: Path) -> None:
    """Refuse a folder without the files of a tokenizer, of which transformers would make one up.

    Raises:
        ValueError: If there are none.
    """
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
    """Refuse the folder of a PEFT adapter, and one of a model with an adapter beside its configuration.

    Args:
        folder: The folder of a model, or what the cache holds of a repository.
        name: What to call it; the folder by default.

    Raises:
        ValueError: If it is one. transformers would put the adapter onto the model: onto its base, which is then not
            trained as a whole, or a second time onto a model that it was merged into.
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
    """Refuse a folder with a PEFT adapter in it, or where `PrunedModel.save_pretrained` puts it.

    Args:
        folder: The folder of a model.
        but: The folder of an adapter that is read along; one beside `config.json` is refused all the same, for
            transformers would put it into the model by itself.

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
    """Turn what the libraries raise for a file they cannot read into a line that names it.

    Args:
        what: What is being read, such as ``"tokenizer"``.
        name: The folder, or the repository of the Hub, it is read from.

    Raises:
        ValueError: In place of what was raised in the block.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise ValueError(_unreadable(what, name, error)) from error
    except Exception as error:
        # The tokenizers library raises the bare class, for a file it cannot read.
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
