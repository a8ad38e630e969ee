"""Save a pruned tokenizer so that every loader reads the same pieces, and nothing of the old vocabulary stays."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

# Facts about the machine or the library's loading, which transformers 5 writes among the settings.
_NOT_SETTINGS = (
    "is_local",
    "local_files_only",
    "backend",
    "unk_id",
    "added_tokens_decoder",
    "vocab_file",
    "merges_file",
)
# Under either name a class takes the tokens that it adds to those of its vocabulary.
_EXTRA_TOKENS = ("extra_special_tokens", "additional_special_tokens")


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Write a tokenizer to a folder in the one form that all versions of transformers read alike.

    Only ``tokenizer.json`` and ``tokenizer_config.json`` are written (and a chat template where there is one): a
    SentencePiece model beside them would be read instead of them by some loaders.

    Args:
        tokenizer: A fast tokenizer.
        folder: An existing folder without tokenizer files.
    """
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    cleaned = _clean(settings)
    _write(path, cleaned)
    if "extra_special_tokens" not in cleaned and _adds_tokens(tokenizer, folder):
        # Only where leaving it out adds some: transformers 4 knows no such list, and reads no tokenizer with one.
        _write(path, {**cleaned, "extra_special_tokens": []})


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _adds_tokens(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> bool:
    """Say whether reading a folder gives more tokens than were saved.

    Some classes have extra special tokens of their own, such as NLLB's 202 languages, and add them where the settings
    name none.
    """
    if not any(name in inspect.signature(type(tokenizer)).parameters for name in _EXTRA_TOKENS):
        return False
    read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return read.added_tokens_encoder.keys() != tokenizer.added_tokens_encoder.keys()


def _clean(settings: dict[str, Any]) -> dict[str, Any]:
    cleaned = {name: value for name, value in settings.items() if name not in _NOT_SETTINGS}
    # A generic tokenizer is written under its class of transformers 5, which transformers 4 cannot load
    # (transformers#47553); both know the older name.
    if cleaned.get("tokenizer_class") == "TokenizersBackend":
        cleaned["tokenizer_class"] = "PreTrainedTokenizerFast"
    named = {_content(value) for name, value in cleaned.items() if name.endswith("_token")}
    extra = [token for token in cleaned.pop("extra_special_tokens", ()) if _content(token) not in named]
    return {**cleaned, "extra_special_tokens": extra} if extra else cleaned


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token
