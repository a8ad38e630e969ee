"""`encode_with_cache`: a split that was tokenised before is read from the disk, any other tokenised and put there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_afro.evaluation.encoding import Row, encode
from hf_afro.files import written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.evaluation.data.task_data import TaskData

logger = logging.getLogger(__name__)

# To be raised whenever encoding or the files change in meaning; files of another format are not found.
_FORMAT = 2


def encode_with_cache(
    data: TaskData,
    split: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cache_dir: str | os.PathLike[str] | None,
) -> list[Row]:
    """Encode a split as `encode` does, unless the cache holds it.

    A file of the cache is found by the fingerprint of the split, the labels by id, the tokenizer, `max_length`, the
    version of the tokenizers library and that of the format, all of which it also holds; a file that is damaged or
    holds something else is made anew. Processes may share a cache: files appear whole or not at all.

    Args:
        data: The task.
        split: `train`, `dev` or `test`.
        tokenizer: The model's.
        max_length: Tokens at most.
        cache_dir: The folder of the cache, made where it is not there; None for no cache.

    Returns:
        A row an example, in order.
    """
    if cache_dir is None:
        return encode(data.task, data.splits[split], tokenizer, max_length)
    key = json.dumps(_identity(data, split, tokenizer, max_length), sort_keys=True)
    place = Path(cache_dir) / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
    found = _read(place, key)
    if found is not None:
        return found
    rows = encode(data.task, data.splits[split], tokenizer, max_length)
    _write(place, key, rows)
    return rows


def _identity(data: TaskData, split: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    written = backend.to_str() if backend is not None else repr(tokenizer)
    return {
        "format": _FORMAT,
        "data": data.fingerprint_of(split),
        "labels": list(data.labels),  # whose ids are in the rows
        "tokenizer": hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest(),
        # What is put in front and behind may be asked of the Python object.
        "special": [tokenizer("")["input_ids"], list(tokenizer.model_input_names)],
        "max_length": max_length,
        "tokenizers": version("tokenizers"),
    }


def _write(place: Path, key: str, rows: list[Row]) -> None:
    arrays: dict[str, Any] = {"key": np.array(key)}
    for name in rows[0]:
        values = [np.atleast_1d(np.asarray(row[name], dtype=np.int64)) for row in rows]
        arrays[name] = np.concatenate(values).astype(np.int32)
        arrays[f"{name}_lengths"] = np.array(
            [len(value) if np.ndim(row[name]) else -1 for row, value in zip(rows, values, strict=True)], dtype=np.int32
        )
    with written_whole(place) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)


def _read(place: Path, key: str) -> list[Row] | None:
    if not place.is_file():
        return None
    try:
        with np.load(place, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            names = [name for name in arrays.files if f"{name}_lengths" in arrays.files]
            columns = {name: _split(arrays[name], arrays[f"{name}_lengths"]) for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s cannot be read (%s), and is made anew", place, error)
        return None
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _split(flat: np.ndarray, lengths: np.ndarray) -> list[Any]:
    """Arrays again, or whole numbers where there was one and no array."""
    sizes = np.abs(lengths)
    ends = np.cumsum(sizes)
    if sizes.sum() != len(flat):
        raise ValueError(f"{len(flat)} numbers for lengths of {sizes.sum()}")
    wide = flat.astype(np.int64)
    return [
        int(wide[end - 1]) if length < 0 else wide[end - length : end]
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
