"""Cut a tokenizer down to the tokens kept, in memory or from its folder, and save it.

A tokenizer is rebuilt by its own class from a ``tokenizer.json`` that holds fewer tokens, beside its other settings.
From a folder the full tokenizer is never built: XLM-R's 250,002 tokens take 290 MiB in the tokenizers library and 423
MiB while AutoTokenizer reads them. The file is cut as JSON instead, and the class builds the steps around the model
from a few tokens. Whether that gives the same tokenizer is checked: with the other tokens put back, its fingerprint
has to be the one that the map was made with.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from hf_afro.model_folders import readable
from hf_afro.tokenizer_checks import check_built_as_written, check_built_from
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.tokenizers.backend import (
    backend_state,
    correct_padding,
    gc_paused,
    kind_named,
    kind_of,
    renumber_around_model,
    rewrite_tokenizer,
    table_of,
)
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

logger = logging.getLogger(__name__)

_FILE = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
# What AutoTokenizer reads besides: the class, settings, special tokens and templates, but no file of the vocabulary,
# which transformers reads from tokenizer.json where there is one.
_SETTINGS = (
    *("config.json", _CONFIG, "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.*", "additional_chat_templates/*"),
)
# Attributes that may be set after loading, which `save_pretrained` does not write.
_SET_LATER = ("padding_side", "truncation_side", "src_lang", "tgt_lang")
# Special tokens that only the class names are nearly always among the first ids.
_FIRST_IDS = 1000
# Entries about the machine or about loading, which transformers 5 writes with the settings.
_NOT_SETTINGS = (
    "is_local",
    "local_files_only",
    "backend",
    "unk_id",
    "added_tokens_decoder",
    "vocab_file",
    "merges_file",
)
# Parameters of tokenizer classes for tokens added to the vocabulary.
_EXTRA_TOKENS = ("extra_special_tokens", "additional_special_tokens")


def prune_tokenizer(
    tokenizer: PreTrainedTokenizerBase, state: dict[str, Any], keep: VocabularyMap
) -> PreTrainedTokenizerBase:
    """Return a tokenizer of the same class and settings with only the tokens kept.

    Args:
        tokenizer: The old tokenizer, which is not changed.
        state: Its backend in JSON form.
        keep: The tokens to keep.
    """
    return rebuild_tokenizer(tokenizer, rewrite_tokenizer(state, keep.old_ids))


@gc_paused()
def rebuild_tokenizer(
    tokenizer: PreTrainedTokenizerBase, state: dict[str, Any], loader: Any = None, **settings: Any
) -> PreTrainedTokenizerBase:
    """Return a tokenizer of the same settings with another backend, given in JSON form.

    Args:
        tokenizer: The old tokenizer, which is not changed.
        state: The backend.
        loader: The class; that of the old tokenizer by default.
        **settings: Settings of the class that it would otherwise lack.

    Raises:
        ValueError: If the class builds a different backend, for example because its steps were changed in memory.
    """
    with tempfile.TemporaryDirectory() as name:
        tokenizer.save_pretrained(name)
        config = json.loads(Path(name, _CONFIG).read_text(encoding="utf-8"))
        config.pop("added_tokens_decoder", None)  # holds old ids
        _write_json(Path(name, _CONFIG), {**config, **_set_later(tokenizer)})
        splits = {"split_special_tokens": True} if tokenizer.split_special_tokens else {}
        rebuilt = _build(Path(name), state, loader or type(tokenizer), **splits, **settings)
    rebuilt.name_or_path = tokenizer.name_or_path
    build_model = kind_of(state).build_model
    if build_model is not None:  # the library does not read scores from JSON exactly
        rebuilt.backend_tokenizer.model = build_model(state["model"])
    return rebuilt


def _set_later(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {name: getattr(tokenizer, name) for name in _SET_LATER if hasattr(tokenizer, name)}


def _build(folder: Path, state: dict[str, Any], loader: Any, **settings: Any) -> PreTrainedTokenizerBase:
    """Build a tokenizer from the settings in a folder and another tokenizer.json."""
    with tempfile.TemporaryDirectory() as name:
        beside = Path(name)
        for pattern in _SETTINGS:
            for path in folder.glob(pattern):
                copy = beside / path.relative_to(folder)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
        _write_json(beside / _FILE, state)
        if loader is AutoTokenizer:
            settings = {"trust_remote_code": False, **settings}
        tokenizer: PreTrainedTokenizerBase = loader.from_pretrained(beside, **settings)
    check_built_from(tokenizer, state, str(folder))
    return tokenizer


def _write_json(path: Path, value: Any, indent: int | None = None) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=indent is not None) + "\n", "utf-8")


@dataclass(frozen=True)
class SourceTokenizer:
    """The tokenizer of a folder that is to be pruned.

    Attributes:
        folder: The folder.
        state: The backend in JSON form.
        table: All of its tokens.
        part: A tokenizer with the same steps and settings and a few of the tokens, or all if it had to be built whole.
        file: The content of its ``tokenizer.json``, also if only a SentencePiece model exists; empty if it was built
            whole.
    """

    folder: Path
    state: dict[str, Any]
    table: TokenizerTable
    part: PreTrainedTokenizerBase
    file: dict[str, Any] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the tokenizer was built whole."""
        return not self.file

    @gc_paused()
    def with_at_least(self, old_ids: np.ndarray) -> tuple[PreTrainedTokenizerBase, np.ndarray]:
        """Return the tokenizer with at least these tokens, and the old id of each of its ids.

        Args:
            old_ids: Ids in ascending order, including all added tokens; see `ids_found_in`.
        """
        if self.is_whole:
            return self.part, np.arange(len(self.table))
        return _build(self.folder, rewrite_tokenizer(self.file, old_ids), AutoTokenizer), old_ids

    @gc_paused()
    def save_pruned(self, keep: VocabularyMap, folder: Path) -> None:
        """Write the tokenizer with only the tokens kept to a folder, see `save_tokenizer`."""
        save_tokenizer(self.part, folder)
        _write_json(folder / _FILE, rewrite_tokenizer(self.state, keep.old_ids))


@gc_paused()
def read_tokenizer(folder: Path, keep: VocabularyMap) -> SourceTokenizer:
    """Read the tokenizer of a folder.

    It is built whole only if there is neither ``tokenizer.json`` nor a SentencePiece model, or if these and the
    settings do not describe the tokenizer that the map was made with.

    Args:
        folder: The folder.
        keep: The tokens to keep.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If it cannot be read, differs from its tokenizer.json once built, is of a kind that is not
            supported, or the map was made with another one.
    """
    try:
        return _read_part(folder, keep)
    except ValueError as error:  # if something is wrong, building it whole finds it and raises
        logger.info("the tokenizer of %s is built whole: %s", folder, error)
    with readable("tokenizer", str(folder)):
        whole = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    check_built_as_written(whole, str(folder))
    state = backend_state(whole)
    table = table_of(state, whole.unk_token)
    check_map(keep, table)
    return SourceTokenizer(folder, state, table, whole)


def _read_part(folder: Path, keep: VocabularyMap) -> SourceTokenizer:
    """Read a tokenizer as JSON and build only a few tokens of it.

    Raises:
        ValueError: If this is not possible, or gives another tokenizer than the map was made with.
    """
    with readable("tokenizer", str(folder)):
        file = _read_file(folder / _FILE) if (folder / _FILE).is_file() else _read_sentencepiece(folder, keep)
        added = {token["id"] for token in file["added_tokens"]} | {keep.old_unknown_id}
        size = len(file["model"]["vocab"])
        few = [one for one in keep.old_ids.tolist() if one < _FIRST_IDS or one >= size or one in added]
        old_ids = np.array(few, dtype=np.int64)
        part = _build(folder, rewrite_tokenizer(file, old_ids), AutoTokenizer)
        if len(part) != len(old_ids):
            raise ValueError(f"with {len(old_ids)} of its tokens it has {len(part)}")
        state = _put_back(backend_state(part), file["model"], old_ids)
        table = table_of(state, part.unk_token)
    check_map(keep, table)
    return SourceTokenizer(folder, state, table, part, file)


def _read_file(path: Path) -> dict[str, Any]:
    """Return the content of a tokenizer.json, with merges in the present form."""
    file: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    merges = file["model"].get("merges")
    if merges and isinstance(merges[0], str):  # the form before tokenizers 0.20
        file["model"]["merges"] = [merge.split(" ") for merge in merges]
    return correct_padding(file)


def _read_sentencepiece(folder: Path, keep: VocabularyMap) -> dict[str, Any]:
    """Return what tokenizer.json would contain in a folder that has only a SentencePiece model.

    The tokenizer's class reads the tokens, as for AutoTokenizer, and is then built with those that are kept.

    Raises:
        ValueError: If there is not one such model, its class is unknown, or it has no list of tokens.
    """
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    name = settings.pop("tokenizer_class", None)
    named = tokenizer_class_from_name(name) if name else None
    models = sorted(folder.glob("*.model"))
    if len(models) != 1 or named is None or not hasattr(named, "convert_to_native_format"):
        raise ValueError(f"there is no {_FILE}, and not one SentencePiece model with a class that is known ({name})")
    given = named.convert_to_native_format(vocab_file=str(models[0]), **settings)
    vocab = given.pop("vocab", None)
    if not isinstance(vocab, list):
        raise ValueError(f"{name} makes no list of tokens of {models[0].name}")
    kept = [vocab[old_id] for old_id in keep.old_ids.tolist() if old_id < len(vocab)]
    return _put_back(backend_state(named(**given, vocab=kept)), {"vocab": vocab}, keep.old_ids)


def _put_back(part: dict[str, Any], model: dict[str, Any], old_ids: np.ndarray) -> dict[str, Any]:
    """Return the JSON form of a whole tokenizer from that of a part of it and the model in its file.

    Pieces and scores of the part are used as they were built, so that the fingerprint depends on them.

    Args:
        part: The backend of the part in JSON form.
        model: The whole model, with ``vocab`` and, for BPE, ``merges``.
        old_ids: The id of the whole tokenizer for each id of the part.
    """
    own, ids = part["model"], old_ids.tolist()
    whole = {**own, **{name: model[name] for name in ("vocab", "merges") if name in own}}
    if isinstance(own["vocab"], dict):
        of_part = set(ids)
        rest = {piece: old_id for piece, old_id in model["vocab"].items() if old_id not in of_part}
        whole["vocab"] = {**rest, **{piece: ids[new_id] for piece, new_id in own["vocab"].items()}}
    else:
        whole["vocab"] = list(model["vocab"])
        for old_id, entry in zip(ids[: len(own["vocab"])], own["vocab"], strict=True):
            whole["vocab"][old_id] = entry
    if own.get("unk_id") is not None:
        whole["unk_id"] = ids[own["unk_id"]]
    return {**renumber_around_model(part, dict(enumerate(ids))), "model": whole}


def check_map(keep: VocabularyMap, table: TokenizerTable) -> None:
    """Refuse a map that was made with another tokenizer, or lacks tokens that others need.

    Raises:
        ValueError: If the map is refused.
    """
    if keep.old_size != len(table) or keep.tokenizer_fingerprint != table.fingerprint:
        raise ValueError(
            f"the map was made for another tokenizer: one of {keep.old_size} ids with fingerprint "
            f"{keep.tokenizer_fingerprint}; this one has {len(table)} and {table.fingerprint}. "
            "Count and select with the tokenizer of the model"
        )
    missing = [table.pieces[one] for one in table.always_kept if not keep.keeps([one])[0]]
    if missing:
        raise ValueError(f"special tokens are not kept: {', '.join(missing)}; a map of select_tokens keeps them all")
    needs = kind_named(table.kind).needs(table)
    for old_id in keep.old_ids.tolist():
        lost = [table.pieces[one] for one in needs(old_id) if not keep.keeps([one])[0]]
        if lost:
            raise ValueError(
                f"the map keeps the token {table.pieces[old_id]!r} and not {', '.join(map(repr, lost))}, from which "
                "it is merged; a map of select_tokens keeps both or neither"
            )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Save a tokenizer in the form that all versions of transformers read alike.

    Only ``tokenizer.json``, ``tokenizer_config.json`` and a chat template are written, because some loaders would read
    a SentencePiece model instead of them.

    Args:
        tokenizer: A fast tokenizer.
        folder: An existing folder without tokenizer files.
    """
    tokenizer.save_pretrained(folder)
    path = Path(folder) / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    cleaned = _clean({**settings, **_set_later(tokenizer)})
    _write_json(path, cleaned, indent=2)
    if "extra_special_tokens" not in cleaned and _adds_tokens(tokenizer, folder):
        # Only if tokens are added without it, because transformers 4 cannot read a tokenizer with such a list.
        _write_json(path, {**cleaned, "extra_special_tokens": []}, indent=2)


def _adds_tokens(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> bool:
    """Return whether loading a folder gives more tokens than were saved.

    Some classes add special tokens of their own, such as the 202 languages of NLLB, if the settings name none.
    """
    if not any(name in inspect.signature(type(tokenizer)).parameters for name in _EXTRA_TOKENS):
        return False
    read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return read.added_tokens_encoder.keys() != tokenizer.added_tokens_encoder.keys()


def _clean(settings: dict[str, Any]) -> dict[str, Any]:
    cleaned = {name: value for name, value in settings.items() if name not in _NOT_SETTINGS}
    # A generic tokenizer is saved with its class in transformers 5, which transformers 4 cannot load
    # (transformers#47553); both know the older name.
    if cleaned.get("tokenizer_class") == "TokenizersBackend":
        cleaned["tokenizer_class"] = "PreTrainedTokenizerFast"
    named = {_content(value) for name, value in cleaned.items() if name.endswith("_token")}
    extra = [token for token in cleaned.pop("extra_special_tokens", ()) if _content(token) not in named]
    return {**cleaned, "extra_special_tokens": extra} if extra else cleaned


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token
