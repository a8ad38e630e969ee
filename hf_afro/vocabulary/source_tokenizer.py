"""The tokenizer of a checkpoint, read as JSON and built only of the pieces asked for: whole, it is large.

XLM-R's 250,002 pieces take 290 MiB in the tokenizers library, 423 MiB while AutoTokenizer reads them, and 60 MiB as
the lists and strings that Python makes of ``tokenizer.json``. So the file is cut as JSON, and what AutoTokenizer
builds of the cut one, beside the settings of the original, is the tokenizer that pruning the original would give: its
class makes the steps around the model, and adds what it adds, all the same. Whether that is so is not taken on trust:
with the pieces that were left out put back, the fingerprint has to be that of the tokenizer the map was made with.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from hf_afro.model_folders import readable
from hf_afro.tokenizer_files import check_built_as_written, check_built_from
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.pruning import check_map, prune_tokenizer, settle
from hf_afro.vocabulary.tokenizers.backend import (
    backend_state,
    correct_padding,
    renumber_around_model,
    rewrite_tokenizer,
    table_of,
)
from hf_afro.vocabulary.tokenizers.table import TokenizerTable

logger = logging.getLogger(__name__)

_FILE = "tokenizer.json"
# What AutoTokenizer reads besides: the class, settings, special tokens and templates. The files of the vocabulary
# itself are not among them; where there is a tokenizer.json, transformers reads the pieces from there.
_SETTINGS = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.*", "additional_chat_templates/*"),
)


@dataclass(frozen=True)
class SourceTokenizer:
    """A tokenizer that is to be pruned, and what is needed of it.

    Attributes:
        folder: Its folder.
        state: The backend in JSON form.
        table: Its pieces, all of them.
        file: What ``tokenizer.json`` holds or would hold; empty where the tokenizer was built whole.
        whole: The tokenizer, where it was built.
    """

    folder: Path
    state: dict[str, Any]
    table: TokenizerTable
    file: dict[str, Any] = field(default_factory=dict)
    whole: PreTrainedTokenizerBase | None = None

    def with_at_least(self, old_ids: np.ndarray) -> tuple[PreTrainedTokenizerBase, np.ndarray]:
        """Return the tokenizer with these pieces, or all where it was built anyway, and the old id of each of its ids.

        Args:
            old_ids: Ids, ascending, all added tokens among them; see `ids_found_in`.
        """
        if self.whole is not None:
            return self.whole, np.arange(len(self.table))
        return _load_cut(self.folder, self.file, old_ids), old_ids


def read_tokenizer(folder: Path, keep: VocabularyMap) -> tuple[SourceTokenizer, PreTrainedTokenizerBase]:
    """Read the tokenizer of a folder, and prune it.

    It is built whole where there is neither ``tokenizer.json`` nor a SentencePiece model in its place, and where the
    map was not made with what that file and the settings beside it say.

    Args:
        folder: The folder.
        keep: The tokens to keep.

    Returns:
        What is needed of it, and the pruned one.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If it cannot be read, is not built as its tokenizer.json says, its kind is not supported, or the
            map was not made with it.
    """
    try:
        return _read_cut(folder, keep)
    except ValueError as error:  # if there is something wrong, building it whole finds it and raises
        logger.info("the tokenizer of %s is built whole: %s", folder, error)
    with readable("tokenizer", str(folder)):
        whole = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    check_built_as_written(whole, str(folder))
    state = backend_state(whole)
    table = table_of(state, whole.unk_token)
    check_map(keep, table)
    return SourceTokenizer(folder, state, table, whole=whole), prune_tokenizer(whole, state, keep)


def _read_cut(folder: Path, keep: VocabularyMap) -> tuple[SourceTokenizer, PreTrainedTokenizerBase]:
    """Read a tokenizer as JSON and build only what is kept of it.

    Raises:
        ValueError: If that gives another tokenizer than the one the map was made with, or is not possible.
    """
    with readable("tokenizer", str(folder)):
        file = _read_file(folder / _FILE) if (folder / _FILE).is_file() else _read_sentencepiece(folder, keep)
        cut = _load_cut(folder, file, keep.old_ids)
        if len(cut) != len(keep):
            raise ValueError(f"with the tokens kept it has {len(cut)} tokens, expected {len(keep)}")
        state = _put_back(backend_state(cut), file["model"], keep)
        table = table_of(state, cut.unk_token)
    check_map(keep, table)
    return SourceTokenizer(folder, state, table, file=file), settle(cut)


def _read_file(path: Path) -> dict[str, Any]:
    """Return what a tokenizer.json holds, merges as tokenizers writes them now."""
    file: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    merges = file["model"].get("merges")
    if merges and isinstance(merges[0], str):  # as they were written before tokenizers 0.20
        file["model"]["merges"] = [merge.split(" ") for merge in merges]
    return correct_padding(file)


def _read_sentencepiece(folder: Path, keep: VocabularyMap) -> dict[str, Any]:
    """Return what the tokenizer.json of a folder would hold that has a SentencePiece model in its place.

    The tokenizer's class reads the pieces, as it does for AutoTokenizer, and is then given those that are kept.

    Raises:
        ValueError: If there is no such model, its class is not known, or its pieces are no list, as with Unigram.
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
        raise ValueError(f"{name} makes no list of pieces of {models[0].name}")
    kept = [vocab[old_id] for old_id in keep.old_ids.tolist() if old_id < len(vocab)]
    return _put_back(backend_state(named(**given, vocab=kept)), {"vocab": vocab}, keep)


def _load_cut(folder: Path, file: dict[str, Any], old_ids: np.ndarray) -> PreTrainedTokenizerBase:
    """Return what AutoTokenizer makes of a folder whose tokenizer.json has the pieces of `old_ids` only."""
    with tempfile.TemporaryDirectory() as name:
        beside = Path(name)
        for pattern in _SETTINGS:
            for path in folder.glob(pattern):
                copy = beside / path.relative_to(folder)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
        cut = rewrite_tokenizer(file, old_ids)
        with (beside / _FILE).open("w", encoding="utf-8") as written:
            json.dump(cut, written, ensure_ascii=False)
        tokenizer = AutoTokenizer.from_pretrained(beside, trust_remote_code=False)
    check_built_from(tokenizer, cut, str(folder))
    return tokenizer


def _put_back(small: dict[str, Any], model: dict[str, Any], keep: VocabularyMap) -> dict[str, Any]:
    """Return the JSON form that a whole tokenizer has, from that of its cut and the model in its file.

    Of the tokens kept the cut's own pieces and scores are taken, so that the fingerprint tells of them too.
    """
    own, old_ids = small["model"], keep.old_ids.tolist()
    whole = {**own, **{name: model[name] for name in ("vocab", "merges") if name in own}}
    if isinstance(own["vocab"], dict):
        kept = set(old_ids)
        rest = {piece: old_id for piece, old_id in model["vocab"].items() if old_id not in kept}
        whole["vocab"] = {**rest, **{piece: old_ids[new_id] for piece, new_id in own["vocab"].items()}}
    else:
        whole["vocab"] = list(model["vocab"])
        for old_id, entry in zip(old_ids[: len(own["vocab"])], own["vocab"], strict=True):
            whole["vocab"][old_id] = entry
    if own.get("unk_id") is not None:
        whole["unk_id"] = old_ids[own["unk_id"]]
    return {**renumber_around_model(small, dict(enumerate(old_ids))), "model": whole}
