"""From samples to torch batches: padding, and masks that depend on the sample alone.

The stock collator draws masks from a generator that moves on with every batch, so a resumed or differently divided run
sees other masks. Here the mask of a sample is a function of (seed, pass, sample id).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hf_afro.batching.counter_random import MASK_TOKENS, random_words, uniform

IGNORED = -100
"""The label of a position that takes no part in the loss, as torch's cross entropy has it."""

PLACE = ("language", "sample_id", "pass_index")
"""What a sample says of where it comes from: the index of its language, its id, and the pass over its language."""

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Of the chosen tokens: how many become the mask and how many a random token (BERT); the rest stays as it is."""


def mask_tokens(
    input_ids: np.ndarray,
    *,
    seed: int,
    epoch: int,
    sample_id: int,
    special_ids: Sequence[int] | np.ndarray,
    mask_id: int,
    vocab_size: int,
    probability: float = 0.15,
    words: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens of one sample for masked language modelling and hide them; the same arguments, the same result.

    Of the tokens chosen 80 % become the mask, 10 % a random token that is not special, and 10 % stay. Special tokens,
    the unknown token among them, are never chosen.

    Args:
        input_ids: One sample, integers ``[length]``; not changed.
        seed: The seed of all masks, 0 to 2**64 - 1.
        epoch: The pass over the sample's language, so that a sample is masked anew on every pass.
        sample_id: The id of the sample.
        special_ids: Ids that are never chosen and never put in at random, each once.
        mask_id: The id of the mask.
        vocab_size: Random tokens are drawn from the ids below it.
        probability: The share of tokens chosen, 0 to 1.
        words: For whole-word masking, the word each token belongs to, integers ``[length]`` from 0 and below
            `length`: all tokens of a word are then chosen together, and all become the mask, random or stay. The
            share of tokens chosen is `probability` all the same, on average.

    Returns:
        The ids with the chosen ones hidden, and the labels: the old id where chosen, -100 elsewhere; both int64
        ``[length]``.

    References:
        Devlin et al., "BERT", NAACL 2019, section 3.1.
    """
    length = len(input_ids)
    choice, action, draw = uniform(random_words(seed, MASK_TOKENS, epoch, sample_id, 3 * length)).reshape(3, length)
    if words is not None:
        choice, action = choice[words], action[words]
    masked = np.array(input_ids, dtype=np.int64)
    chosen = (choice < probability) & ~np.isin(masked, special_ids)
    labels = np.where(chosen, masked, IGNORED)
    masked[chosen & (action < MASKED_SHARE)] = mask_id
    replaced = chosen & (action >= MASKED_SHARE) & (action < MASKED_SHARE + RANDOM_SHARE)
    masked[replaced] = _ordinary_ids(draw[replaced], np.sort(np.asarray(special_ids, dtype=np.int64)), vocab_size)
    return masked, labels


def _ordinary_ids(draw: np.ndarray, special_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Turn doubles in [0, 1) into ids below `vocab_size` that are not among the sorted special ids."""
    special_ids = special_ids[special_ids < vocab_size]
    rank: np.ndarray = (draw * (vocab_size - len(special_ids))).astype(np.int64)
    # The ordinary id of rank r is r plus the specials before it; special k has special_ids[k] - k ordinary ids before.
    return rank + np.searchsorted(special_ids - np.arange(len(special_ids)), rank, side="right")


def pad_rows(
    rows: Sequence[np.ndarray], value: int, *, multiple_of: int | None = None, side: Literal["left", "right"] = "right"
) -> np.ndarray:
    """Stack rows of different lengths into a rectangle.

    Args:
        rows: Integers, ``[length]`` each, at least one row.
        value: What fills the rest.
        multiple_of: The width is rounded up to a multiple of this, for the GPU's sake.
        side: The side that is filled.

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
    """Pads the samples of a batch: what distillation without a masked-language-model term reads.

    Attributes:
        pad_id: The id that fills short rows.
        pad_to_multiple_of: The width of a batch is rounded up to a multiple of this.
        padding_side: The side that is filled.
        keep_place: Add to a batch what its samples say of where they come from, int64 ``[batch]`` each: `PLACE`.
    """

    pad_id: int
    pad_to_multiple_of: int | None = None
    padding_side: Literal["left", "right"] = "right"
    keep_place: bool = False

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> PaddingCollator:
        """Take the padding id from a tokenizer.

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
                # Not a tensor: where to go on reading each language from, the last of the batch.
                batch["stream"] = {example["language"]: example["stream"] for example in examples}
        return batch

    def _pad(self, rows: Sequence[np.ndarray], value: int) -> torch.Tensor:
        return torch.from_numpy(pad_rows(rows, value, multiple_of=self.pad_to_multiple_of, side=self.padding_side))


@dataclass(frozen=True, kw_only=True)
class MaskingCollator(PaddingCollator):
    """Masks each sample by `mask_tokens` and pads the batch; wants samples as `MixtureDataset` gives them.

    Attributes:
        mask_id: The id of the mask.
        special_ids: Ids that are never masked and never put in at random.
        vocab_size: Random tokens are drawn from the ids below it.
        seed: The seed of all masks.
        probability: The share of tokens chosen, above 0 and at most 1.
        words_of: For whole-word masking: from a row of ids to the word of each, see `WordsOfPieces`.

    Raises:
        ValueError: If the probability is outside its range, or no ordinary id is left to draw from.
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
                "(PaddingCollator makes batches without masks)"
            )
        if len(self.special_ids) >= self.vocab_size:
            raise ValueError(f"vocab_size is {self.vocab_size}, but {len(self.special_ids)} ids are special")

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> MaskingCollator:
        """Take the ids and the size of the vocabulary from a tokenizer.

        Raises:
            ValueError: If the tokenizer has no padding or no mask token.
        """
        return cls(
            pad_id=_special_id(tokenizer, "pad_token"),
            mask_id=_special_id(tokenizer, "mask_token"),
            special_ids=tuple(_ids(tokenizer.all_special_ids)),
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


def _ids(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values if value is not None]


def _special_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    value = getattr(tokenizer, f"{name}_id")
    if value is None:
        raise ValueError(f"the tokenizer ({type(tokenizer).__name__}) has no {name}; set tokenizer.{name} first")
    return int(value)
