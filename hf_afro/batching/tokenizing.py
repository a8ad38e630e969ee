"""From texts, or ready ids, of one language to rows of token ids; the tokenizer is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.packing import TokenRows


def tokenize_corpus(
    source: Any, tokenizer: PreTrainedTokenizerBase, *, column: str = "text", batch_size: int = 1000
) -> TokenRows:
    """Tokenise texts into documents of ids without special tokens, whole, however long they are.

    Args:
        source: An iterable of texts, or a `datasets.Dataset` or `IterableDataset` with a column of them.
        tokenizer: A Hugging Face tokenizer that is backed by the tokenizers library; left as it was.
        column: The column that holds the texts of a dataset.
        batch_size: Texts that are tokenised at a time, on all cores.

    Returns:
        One row a text, in order; empty texts give empty rows.

    Raises:
        TypeError: If the tokenizer has no backend of the tokenizers library, or a text is not a string.
        ValueError: If the dataset has no such column.
    """
    tokens: list[np.ndarray] = []
    lengths: list[int] = []
    with plain_backend(tokenizer) as backend:
        for texts in _batches(source, column, batch_size):
            for text in texts:
                if not isinstance(text, str):
                    raise TypeError(f"a text of {column!r} is of type {type(text).__name__}: {text!r}; expected str")
            rows = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
            lengths.extend(map(len, rows))
            tokens.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]))
    return TokenRows.from_flat(np.concatenate(tokens) if tokens else np.empty(0, np.int32), lengths)


@contextmanager
def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Iterator[Tokenizer]:
    """Give the `tokenizers.Tokenizer` inside a tokenizer, with its truncation and padding lifted meanwhile.

    Raises:
        TypeError: If there is none inside, because the tokenizer is written in Python.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TypeError(
            f"{type(tokenizer).__name__} is not backed by the tokenizers library; expected a tokenizer with a "
            "`backend_tokenizer`, as AutoTokenizer gives for models with a tokenizer.json"
        )
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def boundary_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, int | None]:
    """Return the ids a tokenizer puts in front of and after a single sentence, None where it puts none.

    Raises:
        ValueError: If it puts more than one on a side; the message shows what it makes of an empty text.
    """
    ids = list(tokenizer("")["input_ids"])
    if not ids:
        return None, None
    if len(ids) == 2:
        return ids[0], ids[1]
    if len(ids) == 1:
        # One id alone does not say its side; a word does.
        return (ids[0], None) if tokenizer("a")["input_ids"][0] == ids[0] else (None, ids[0])
    raise ValueError(
        f"the tokenizer turns an empty text into {ids}; expected at most one id in front and one after it"
    )


def ready_rows(dataset: Any, max_length: int, *, column: str = "input_ids", batch_size: int = 1000) -> TokenRows:
    """Take rows of ids as they are, one ready sample each, special tokens included.

    Args:
        dataset: A `datasets.Dataset` or `IterableDataset` with a column of ids, or an iterable of rows of ids.
        max_length: The most tokens a row may have.
        column: The column that holds the ids of a dataset.
        batch_size: Rows that are read at a time.

    Raises:
        ValueError: If a row is empty or longer than `max_length`, or the dataset has no such column.
    """
    rows = TokenRows.from_rows(row for batch in _batches(dataset, column, batch_size) for row in batch)
    for index in np.flatnonzero((rows.lengths == 0) | (rows.lengths > max_length))[:1].tolist():
        raise ValueError(
            f"row {index} of {column!r} has {rows.lengths[index]} tokens; ready samples must have 1 to {max_length}. "
            "Cut them before, or give a 'text' column instead, which is tokenised and cut here"
        )
    return rows


def _batches(source: Any, column: str, batch_size: int) -> Iterator[list[Any]]:
    """Yield lists of values, of a dataset's column or of a plain iterable."""
    if not hasattr(source, "column_names"):
        iterator = iter(source)
        while batch := list(islice(iterator, batch_size)):
            yield batch
        return
    # A streamed dataset may not know its columns before the first row.
    if source.column_names is not None and column not in source.column_names:
        raise ValueError(f"the dataset has the columns {source.column_names}; expected one named {column!r}")
    for batch in source.with_format(None).iter(batch_size):
        if column not in batch:
            raise ValueError(f"the dataset has the columns {sorted(batch)}; expected one named {column!r}")
        yield list(batch[column])
