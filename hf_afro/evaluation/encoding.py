"""From examples to rows of token ids and back: which piece of a word carries its tag, and what is done without one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_afro.batching import PaddingCollator, boundary_ids, pad_rows
from hf_afro.batching.collators import IGNORED
from hf_afro.batching.tokenizing import plain_backend
from hf_afro.evaluation.data.kinds import kind_of
from hf_afro.families import positions_of

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_PIECE = -1

Row = dict[str, Any]
"""`input_ids` and `labels`; of a tagged sentence `positions`: for each word where its first piece is, or -1; of a pair
`token_type_ids`, where the tokenizer gives them."""


def longest(model: PreTrainedModel, wanted: int) -> int:
    """Return the tokens of a sequence at most: what is wanted, or what the model has positions for if that is less."""
    positions = positions_of(model)
    return wanted if positions is None else min(wanted, positions)


def takes_token_types(model: PreTrainedModel) -> bool:
    """Tell whether a model tells the two texts of a pair apart by `token_type_ids`, whatever its tokenizer gives."""
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    return takes and getattr(model.config, "type_vocab_size", 2) > 1


def encode(task: str, split: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Row]:
    """Return a row an example, with its special tokens and cut to length.

    Args:
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        split: Of a `TaskData`.
        tokenizer: The model's.
        max_length: Tokens at most.
    """
    kind = kind_of(task)
    if kind.tagged:
        return encode_words(split["tokens"], split["tags"], tokenizer, max_length)
    if kind.pairs:
        return encode_pairs(split["text"], split["text_pair"], split["label"], tokenizer, max_length)
    front, back, room = _frame(tokenizer, max_length)
    with plain_backend(tokenizer) as backend:
        encodings = backend.encode_batch(list(split["text"]), add_special_tokens=False)
    return [
        {"input_ids": np.array([*front, *encoding.ids[:room], *back], dtype=np.int64), "labels": label}
        for encoding, label in zip(encodings, split["label"], strict=True)
    ]


def _frame(tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[list[int], list[int], int]:
    """The special ids in front of a sequence and after it, and the room between them."""
    bos, eos = boundary_ids(tokenizer)
    front, back = [] if bos is None else [bos], [] if eos is None else [eos]
    return front, back, max_length - len(front) - len(back)


def encode_words(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[Row]:
    """Tokenise sentences word by word; the first piece of a word carries its tag, every other position none.

    A word of which the tokenizer makes nothing, such as a lone zero-width space, and a word behind `max_length` have
    no piece.

    Args:
        sentences: The words of each sentence.
        tags: The tag ids, one a word.
        tokenizer: A tokenizer backed by the tokenizers library.
        max_length: Pieces at most, special tokens included.

    Raises:
        ValueError: If a sentence has another number of words than of tags.
    """
    front, back, room = _frame(tokenizer, max_length)
    with plain_backend(tokenizer) as backend:
        # The space in front is what a byte-level tokenizer sees within a sentence; the others drop it.
        encodings = backend.encode_batch(
            [[f" {word}" if index else word for index, word in enumerate(words)] for words in sentences],
            is_pretokenized=True,
            add_special_tokens=False,
        )
    rows = []
    for words, own, encoding in zip(sentences, tags, encodings, strict=True):
        if len(words) != len(own):
            raise ValueError(f"a sentence has {len(words)} words and {len(own)} tags: {' '.join(words)[:80]!r}")
        positions: np.ndarray = np.full(len(words), NO_PIECE, dtype=np.int64)
        for place, word in reversed(list(enumerate(encoding.word_ids[:room], start=len(front)))):
            positions[word] = place  # from the end, so that a word's first piece stays
        ids: np.ndarray = np.array([*front, *encoding.ids[:room], *back], dtype=np.int64)
        labels: np.ndarray = np.full(len(ids), IGNORED, dtype=np.int64)
        there = positions != NO_PIECE
        labels[positions[there]] = np.asarray(own, dtype=np.int64)[there]
        rows.append({"input_ids": ids, "labels": labels, "positions": positions})
    return rows


def encode_pairs(
    first: Sequence[str],
    second: Sequence[str],
    labels: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[Row]:
    """Tokenise pairs of texts, with the special tokens that the tokenizer puts around and between them.

    Where a pair is too long, the longer text is cut first, as by `truncation="longest_first"`.

    Args:
        first: The first texts.
        second: The second texts.
        labels: The label ids, one a pair.
        tokenizer: A tokenizer backed by the tokenizers library.
        max_length: Tokens at most, special tokens included.

    Raises:
        ValueError: If there is no room for a token of each text.
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
            # What stands between the texts belongs to the first, as in BERT.
            row["token_type_ids"] = (np.arange(len(row["input_ids"])) >= len(start)).astype(np.int64)
        rows.append(row)
    return rows


def _pair_frame(backend: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    """The special ids in front of a pair, between its texts and after it."""
    encoding = backend.encode("a", "a", add_special_tokens=True)
    sides = encoding.sequence_ids
    inner = [place for place, side in enumerate(sides) if side is not None]
    second = sides.index(1)
    # All before the second text that is of neither, less what stands in front.
    specials = [token for token, side in zip(encoding.ids[:second], sides, strict=False) if side is None]
    between = specials[inner[0] :]
    return encoding.ids[: inner[0]], between, encoding.ids[inner[-1] + 1 :]


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each of two texts are kept; an odd one goes to the longer, or to the second if alike."""
    half = room // 2 + (room % 2 if first > second else 0)
    keep = min(first, max(room - second, half))
    return keep, min(second, room - keep)


def words_of(row: Row, predicted: np.ndarray) -> list[int]:
    """Return the label of every word from the labels of all positions; a word without a piece has label 0.

    That is `O` of spans and the commonest of other tags. So no word drops out of the evaluation, and an entity that
    was cut away is one that was missed.
    """
    positions = row["positions"]
    words = np.zeros(len(positions), dtype=np.int64)
    there = positions != NO_PIECE
    words[there] = predicted[positions[there]]
    return words.tolist()


@dataclass(frozen=True)
class TaskCollator:
    """Pads rows to the longest of a batch.

    Attributes:
        pad_id: The id that fills short rows; their labels are filled with -100.
        token_types: Whether the model takes `token_type_ids`, see `takes_token_types`.
    """

    pad_id: int
    token_types: bool = True

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels`, and `token_type_ids` where the model takes them."""
        batch = PaddingCollator(self.pad_id)([{"input_ids": np.asarray(row["input_ids"])} for row in rows])
        if self.token_types and "token_type_ids" in rows[0]:
            batch["token_type_ids"] = torch.from_numpy(pad_rows([row["token_type_ids"] for row in rows], 0))
        if isinstance(rows[0]["labels"], np.ndarray):
            batch["labels"] = torch.from_numpy(pad_rows([row["labels"] for row in rows], IGNORED))
        else:
            batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=torch.int64)
        return batch
