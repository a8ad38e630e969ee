"""Encoding of examples into token ids, and of predictions back into words, whose first token carries the tag."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from hf_afro.batching import PaddingCollator, boundary_ids, pad_rows
from hf_afro.batching.collators import IGNORED
from hf_afro.batching.packing import plain_backend
from hf_afro.families import positions_of
from hf_afro.tasks import kind_of

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_TOKEN = -1

Row = dict[str, Any]
"""`input_ids` and `labels`: an id, float32 0 or 1 for each label where a text has several, or a number, float32;
for a tagged sentence `positions`, the position of each word's first token, or -1; for a
pair `token_type_ids`, if the tokenizer has them; with a teacher `teacher_logits`, see `with_teacher_logits`."""


def longest(model: PreTrainedModel, wanted: int) -> int:
    """Return the maximum number of tokens of a sequence: as wanted, or the model's positions if those are fewer."""
    positions = positions_of(model)
    return wanted if positions is None else min(wanted, positions)


def takes_token_types(model: PreTrainedModel) -> bool:
    """Tell whether a model distinguishes the texts of a pair by `token_type_ids`, whatever its tokenizer returns."""
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    return takes and getattr(model.config, "type_vocab_size", 2) > 1


def encode(task: str, split: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Row]:
    """Encode the examples of a split, one row per example, with special tokens and truncated.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        split: Of a `TaskData`.
        tokenizer: The model's.
        max_length: The maximum number of tokens.
    """
    kind = kind_of(task)
    if kind.tagged:
        return encode_words(split["tokens"], split["tags"], tokenizer, max_length)
    labels: Sequence[Any] = split["label"]
    if kind.multi_label or kind.regression:
        labels = list(np.asarray(list(labels), dtype=np.float32))
    if kind.pairs:
        return encode_pairs(split["text"], split["text_pair"], labels, tokenizer, max_length)
    rows = encode_texts(split["text"], tokenizer, max_length)
    return [{"input_ids": row, "labels": label} for row, label in zip(rows, labels, strict=True)]


def encode_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[np.ndarray]:
    """Tokenise texts, with special tokens and truncated.

    Args:
        texts: The texts.
        tokenizer: A tokenizer backed by the tokenizers library.
        max_length: The maximum number of tokens, special ones included.

    Returns:
        The token ids of each text, int64.
    """
    front, back, room = _frame(tokenizer, max_length)
    with plain_backend(tokenizer) as backend:
        encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    return [np.array([*front, *encoding.ids[:room], *back], dtype=np.int64) for encoding in encodings]


def _frame(tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[int], list[int], int]:
    """Return the special ids before and after a sequence, and the room between them."""
    bos, eos = boundary_ids(tokenizer)
    front, back = [] if bos is None else [bos], [] if eos is None else [eos]
    return front, back, max_length - len(front) - len(back)


def encode_words(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[Row]:
    """Tokenise sentences word by word; the first token of a word carries its tag, other positions have none.

    A word that gives no token, such as a lone zero-width space, and a word beyond `max_length` have no position.

    Args:
        sentences: The words of each sentence.
        tags: The tag ids, one per word.
        tokenizer: A tokenizer backed by the tokenizers library.
        max_length: The maximum number of tokens, special ones included.

    Raises:
        ValueError: If a sentence has more or fewer words than tags.
    """
    front, back, room = _frame(tokenizer, max_length)
    with plain_backend(tokenizer) as backend:
        # A byte-level tokenizer sees the leading space within a sentence; others drop it.
        encodings = backend.encode_batch(
            [[f" {word}" if index else word for index, word in enumerate(words)] for words in sentences],
            is_pretokenized=True,
            add_special_tokens=False,
        )
    rows = []
    for words, own, encoding in zip(sentences, tags, encodings, strict=True):
        if len(words) != len(own):
            raise ValueError(f"a sentence has {len(words)} words and {len(own)} tags: {' '.join(words)[:80]!r}")
        positions: np.ndarray = np.full(len(words), NO_TOKEN, dtype=np.int64)
        for place, word in reversed(list(enumerate(encoding.word_ids[:room], start=len(front)))):
            positions[word] = place  # backwards, so that a word's first token stays
        ids: np.ndarray = np.array([*front, *encoding.ids[:room], *back], dtype=np.int64)
        labels: np.ndarray = np.full(len(ids), IGNORED, dtype=np.int64)
        there = positions != NO_TOKEN
        labels[positions[there]] = np.asarray(own, dtype=np.int64)[there]
        rows.append({"input_ids": ids, "labels": labels, "positions": positions})
    return rows


def encode_pairs(
    first: Sequence[str],
    second: Sequence[str],
    labels: Sequence[Any],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[Row]:
    """Tokenise pairs of texts, with the tokenizer's special tokens around and between them.

    Where a pair is too long, the longer text is truncated first, as with `truncation="longest_first"`.

    Args:
        first: The first texts.
        second: The second texts.
        labels: The label ids or numbers, one per pair.
        tokenizer: A tokenizer backed by the tokenizers library.
        max_length: The maximum number of tokens, special ones included.

    Raises:
        ValueError: If there is no room for one token of each text.
    """
    typed = "token_type_ids" in tokenizer.model_input_names
    with plain_backend(tokenizer) as backend:
        front, middle, back = _pair_frame(backend)
        room = max_length - len(front) - len(middle) - len(back)
        if room < 2:
            raise ValueError(f"max_length={max_length} leaves {room} tokens for a pair; expected at least 2")
        firsts, seconds = (backend.encode_batch_fast(list(own), add_special_tokens=False) for own in (first, second))
    rows: list[Row] = []
    for one, other, label in zip(firsts, seconds, labels, strict=True):
        keep, rest = _shares(len(one.ids), len(other.ids), room)
        start = [*front, *one.ids[:keep], *middle]
        row: Row = {"input_ids": np.array([*start, *other.ids[:rest], *back], dtype=np.int64), "labels": label}
        if typed:
            # The special tokens between the texts belong to the first, as in BERT.
            row["token_type_ids"] = (np.arange(len(row["input_ids"])) >= len(start)).astype(np.int64)
        rows.append(row)
    return rows


def _pair_frame(backend: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    """Return the special ids before a pair, between its texts and after it."""
    encoding = backend.encode("a", "a", add_special_tokens=True)
    sides = encoding.sequence_ids
    inner = [place for place, side in enumerate(sides) if side is not None]
    second = sides.index(1)
    # Everything before the second text that is of neither text, less what is before the first.
    specials = [token for token, side in zip(encoding.ids[:second], sides, strict=False) if side is None]
    between = specials[inner[0] :]
    return encoding.ids[: inner[0]], between, encoding.ids[inner[-1] + 1 :]


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many tokens of each text are kept; an odd one goes to the longer text, or to the second if equal."""
    half = room // 2 + (room % 2 if first > second else 0)
    keep = min(first, max(room - second, half))
    return keep, min(second, room - keep)


def words_of(row: Row, predicted: np.ndarray) -> list[int]:
    """Return the label of every word from the labels of all positions; a word without a token gets label 0.

    Label 0 is `O` for spans and the most frequent one for other tags. So every word is evaluated, and a truncated
    entity counts as missed.
    """
    positions = row["positions"]
    words = np.zeros(len(positions), dtype=np.int64)
    there = positions != NO_TOKEN
    words[there] = predicted[positions[there]]
    return words.tolist()


def with_teacher_logits(row: Row, logits: np.ndarray) -> Row:
    """Return a row with a teacher's logits in the place of the labels they belong to, and NaN elsewhere.

    Args:
        row: A result of `encode`.
        logits: The teacher's, ``[words, labels]`` for a tagged sentence, otherwise ``[labels]``; NaN for a word that
            the teacher did not see.
    """
    if "positions" not in row:
        return {**row, "teacher_logits": logits}
    placed: np.ndarray = np.full((len(row["input_ids"]), logits.shape[-1]), np.nan, dtype=np.float32)
    there = row["positions"] != NO_TOKEN
    placed[row["positions"][there]] = logits[there]
    return {**row, "teacher_logits": placed}


@dataclass(frozen=True)
class TaskCollator:
    """Pads rows to the longest of a batch.

    Attributes:
        pad_id: The padding id; labels are padded with -100.
        token_types: Whether the model takes `token_type_ids`, see `takes_token_types`.
    """

    pad_id: int
    token_types: bool = True

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels`, `token_type_ids` if the model takes them.

        Rows with a teacher's logits give `teacher_logits` too, ``[batch, length, labels]`` or ``[batch, labels]``.
        """
        batch = PaddingCollator(self.pad_id)([{"input_ids": np.asarray(row["input_ids"])} for row in rows])
        if self.token_types and "token_type_ids" in rows[0]:
            batch["token_type_ids"] = torch.from_numpy(pad_rows([row["token_type_ids"] for row in rows], 0))
        labels = [row["labels"] for row in rows]
        if "positions" in rows[0]:
            batch["labels"] = torch.from_numpy(pad_rows(labels, IGNORED))
        else:
            batch["labels"] = torch.from_numpy(np.array(labels))
        if "teacher_logits" in rows[0]:
            logits = [torch.from_numpy(row["teacher_logits"]) for row in rows]
            is_tagged = logits[0].dim() == 2
            batch["teacher_logits"] = (
                pad_sequence(logits, batch_first=True, padding_value=torch.nan) if is_tagged else torch.stack(logits)
            )
        return batch
