"""Collators: samples are padded to torch batches, and masked independently of batch, process and worker.

The stock collator draws masks from a generator that advances with every batch, so resumed or differently split runs
see other masks. Here the mask of a sample depends on (seed, pass, sample id) only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.masking import IGNORED, mask_tokens

PLACE = ("language", "sample_id", "pass_index")
"""The fields that locate a sample: the index of its language, its id, and the pass over its language."""


def pad_rows(
    rows: Sequence[np.ndarray], value: int, *, multiple_of: int | None = None, side: Literal["left", "right"] = "right"
) -> np.ndarray:
    """Pad rows of different lengths to one width.

    Args:
        rows: At least one row of integers, ``[length]`` each.
        value: The padding value.
        multiple_of: Round the width up to a multiple of this, which is faster on GPUs.
        side: The side to pad.

    Returns:
        int64 ``[rows, width]``.
    """
    width = max(map(len, rows))
    if multiple_of is not None:
        width = -(-width // multiple_of) * multiple_of
    padded: np.ndarray = np.full((len(rows), width), value, dtype=np.int64)
    for line, row in zip(padded, rows, strict=True):
        line[slice(len(row)) if side == "right" else slice(width - len(row), width)] = row
    return padded


@dataclass(frozen=True)
class PaddingCollator:
    """Pads samples to a batch without masks, for distillation without a masked-LM term.

    Attributes:
        pad_id: The padding id.
        pad_to_multiple_of: Round the width of a batch up to a multiple of this.
        padding_side: The side to pad.
        keep_place: Add the fields in `PLACE` to the batch, int64 ``[batch]`` each.
    """

    pad_id: int
    pad_to_multiple_of: int | None = None
    padding_side: Literal["left", "right"] = "right"
    keep_place: bool = False

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> PaddingCollator:
        """Create a collator with the padding id of a tokenizer.

        Raises:
            ValueError: If the tokenizer has no padding token.
        """
        return cls(pad_id=_special_id(tokenizer, "pad_token"), **settings)

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return `input_ids` and `attention_mask`, int64 ``[batch, width]``."""
        return self._batch(examples, [np.asarray(example["input_ids"]) for example in examples])

    def _batch(self, examples: Sequence[Mapping[str, Any]], rows: Sequence[np.ndarray]) -> dict[str, Any]:
        batch: dict[str, Any] = {
            "input_ids": self._pad(rows, self.pad_id),
            "attention_mask": self._pad([np.ones(len(row), np.int64) for row in rows], 0),
        }
        if self.keep_place:
            batch |= {name: torch.tensor([example[name] for example in examples]) for name in PLACE}
            if "stream" in examples[0]:
                # Not a tensor: the place to resume each language from, of its last sample in the batch.
                batch["stream"] = {example["language"]: example["stream"] for example in examples}
        return batch

    def _pad(self, rows: Sequence[np.ndarray], value: int) -> torch.Tensor:
        return torch.from_numpy(pad_rows(rows, value, multiple_of=self.pad_to_multiple_of, side=self.padding_side))


@dataclass(frozen=True, kw_only=True)
class MaskingCollator(PaddingCollator):
    """Masks samples by `mask_tokens` and pads them to a batch; takes the samples of `MixtureDataset`.

    Attributes:
        mask_id: The id of the mask token.
        special_ids: Ids that are never masked and never inserted at random.
        vocab_size: Random tokens are drawn from the ids below it.
        seed: The seed of all masks.
        probability: The share of tokens to choose, above 0 and at most 1.
        words_of: For whole-word masking, maps a row of ids to the word of each; see `masking.WordsOfPieces`.

    Raises:
        ValueError: If the probability is outside its range, or all ids are special.
    """

    mask_id: int
    special_ids: tuple[int, ...]
    vocab_size: int
    seed: int = 0
    probability: float = 0.15
    words_of: Callable[[np.ndarray], np.ndarray] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "special_ids", tuple(sorted(set(self.special_ids))))
        if not 0.0 < self.probability <= 1.0:
            raise ValueError(
                f"probability is {self.probability}; expected a share above 0 and at most 1 "
                "(use PaddingCollator for batches without masks)"
            )
        if len(self.special_ids) >= self.vocab_size:
            raise ValueError(f"vocab_size is {self.vocab_size}, and {len(self.special_ids)} ids are special")

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> MaskingCollator:
        """Create a collator with the ids and the vocabulary size of a tokenizer.

        Raises:
            ValueError: If the tokenizer has no padding or no mask token.
        """
        return cls(
            pad_id=_special_id(tokenizer, "pad_token"),
            mask_id=_special_id(tokenizer, "mask_token"),
            special_ids=tuple(int(value) for value in tokenizer.all_special_ids if value is not None),
            vocab_size=len(tokenizer),
            **settings,
        )

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return `input_ids`, `attention_mask` and `labels`, int64 ``[batch, width]``."""
        rows = [np.asarray(example["input_ids"]) for example in examples]
        pairs = [
            mask_tokens(
                row,
                seed=self.seed,
                epoch=example["pass_index"],
                sample_id=example["sample_id"],
                special_ids=self.special_ids,
                mask_id=self.mask_id,
                vocab_size=self.vocab_size,
                probability=self.probability,
                words=None if self.words_of is None else self.words_of(row),
            )
            for row, example in zip(rows, examples, strict=True)
        ]
        batch = self._batch(examples, [masked for masked, _ in pairs])
        batch["labels"] = self._pad([labels for _, labels in pairs], IGNORED)
        return batch


def _special_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    value = getattr(tokenizer, f"{name}_id")
    if value is None:
        raise ValueError(f"the tokenizer ({type(tokenizer).__name__}) has no {name}; set tokenizer.{name} first")
    return int(value)
