"""Map old token ids to new ones and back: `VocabularyMap`."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from hf_afro.files import write_whole
from hf_afro.model_folders import MAP_FILE, map_file

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

_FORMAT = 1

Ids = TypeVar("Ids", torch.Tensor, np.ndarray, Sequence[int])
Tokenised = TypeVar("Tokenised", "Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")


def _flat(ids: Any) -> np.ndarray:
    """Return the ids of a tensor, array or (nested) list as one array; empty for a GPU tensor, to avoid a transfer."""
    if isinstance(ids, torch.Tensor):
        return ids.flatten().numpy() if ids.device.type == "cpu" else np.empty(0, dtype=np.int64)
    if isinstance(ids, list | tuple):
        return np.concatenate([np.empty(0, dtype=np.int64), *(np.atleast_1d(_flat(one)) for one in ids)])
    return np.asarray(ids, dtype=np.int64).ravel()


@dataclass(frozen=True, eq=False)
class VocabularyMap:
    """The old id of every new id.

    Attributes:
        old_ids: ``[new_size]`` int64, ascending: row ``i`` of the pruned model is row ``old_ids[i]`` of the old one.
        old_size: Size of the old tokenizer.
        old_unknown_id: The old id of the unknown token, which is kept; None for a byte-level tokenizer without one.
        tokenizer_fingerprint: Fingerprint of the old tokenizer; see `TokenizerTable`.
        provenance: How the tokens were chosen: languages, budget, coverage, versions, sizes.
    """

    old_ids: np.ndarray
    old_size: int
    old_unknown_id: int | None
    tokenizer_fingerprint: str
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        old_ids = np.array(self.old_ids, dtype=np.int64)
        if old_ids.ndim != 1 or not len(old_ids) or np.any(np.diff(old_ids) <= 0):
            raise ValueError(f"old_ids must be one row of ascending, distinct ids; received shape {old_ids.shape}")
        if old_ids[0] < 0 or old_ids[-1] >= self.old_size:
            raise ValueError(f"old_ids run from {old_ids[0]} to {old_ids[-1]}; expected 0 to {self.old_size - 1}")
        if self.old_unknown_id is not None and not np.isin(self.old_unknown_id, old_ids):
            raise ValueError(f"the unknown token's old id {self.old_unknown_id} is not kept; expected it in old_ids")
        old_ids.flags.writeable = False
        object.__setattr__(self, "old_ids", old_ids)

    def __len__(self) -> int:
        return len(self.old_ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VocabularyMap):
            return NotImplemented
        return self._facts() == other._facts() and np.array_equal(self.old_ids, other.old_ids)

    __hash__ = None  # type: ignore[assignment]

    @property
    def new_unknown_id(self) -> int | None:
        """The new id of the unknown token, or None."""
        return None if self.old_unknown_id is None else int(np.searchsorted(self.old_ids, self.old_unknown_id))

    def keeps(self, old_ids: Ids) -> np.ndarray:
        """Return whether each old id is kept: bool, in the shape of the ids."""
        return self._is_kept[np.asarray(old_ids)]

    def to_new(self, ids: Ids) -> Ids:
        """Translate old ids to new ones; ids that were not kept become the unknown token's.

        Args:
            ids: Old ids of any shape: a tensor, an array, or a (nested) list. Negative values, such as the label -100,
                do not change.

        Returns:
            New ids of the same type, shape, dtype and device.

        Raises:
            ValueError: If an id is outside the old vocabulary, or was not kept and there is no unknown token.
        """
        if self.old_unknown_id is None:
            self._check_kept(_flat(ids))
        return self._translate(ids, self._new_of_old, self.old_size, "old")

    def to_old(self, ids: Ids) -> Ids:
        """Translate new ids to old ones; see `to_new`."""
        return self._translate(ids, self.old_ids, len(self), "new")

    def reencode(self, dataset: Tokenised, columns: Sequence[str] = ("input_ids",), **settings: Any) -> Tokenised:
        """Translate a dataset that was tokenised with the old tokenizer.

        If all tokens of a text are kept, its new ids are those that the new tokenizer gives. A dropped token becomes
        the unknown token here, where the new tokenizer would spell it with other tokens; so tokenise the text again if
        you still have it.

        Args:
            dataset: A `datasets.Dataset` or `DatasetDict`, or an iterable one.
            columns: The columns with old ids, including `labels` if they are tokens; -100 does not change.
            **settings: Passed to `dataset.map`, such as ``num_proc=2``.

        Raises:
            ValueError: If a column is missing, or an id is outside the old vocabulary.
        """
        named = dataset.column_names  # per split for a DatasetDict; None for some iterable datasets
        for own in named.values() if isinstance(named, dict) else [named]:
            missing = [column for column in columns if own is not None and column not in own]
            if missing:
                raise ValueError(f"no column {', '.join(missing)} in the dataset; it has {', '.join(own)}")

        def translate(batch: dict[str, Any]) -> dict[str, Any]:
            return {column: self.to_new(batch[column]) for column in columns}

        return dataset.map(translate, batched=True, **settings)

    def _check_kept(self, ids: np.ndarray) -> None:
        """Refuse dropped ids if there is no unknown token to replace them."""
        given = ids[(ids >= 0) & (ids < self.old_size)]
        dropped = given[~self._is_kept[given]]
        if dropped.size:
            raise ValueError(
                f"the old id {dropped[0]} was not kept, and the tokenizer has no unknown token that it could become; "
                "tokenise the text again with the pruned tokenizer"
            )

    def _translate(self, ids: Ids, table: np.ndarray, size: int, which: str) -> Ids:
        if isinstance(ids, torch.Tensor):
            # On a GPU the check would force a synchronisation; there, indexing fails for ids out of range.
            if ids.device.type == "cpu" and ids.numel() and int(ids.max()) >= size:
                raise ValueError(self._beyond(int(ids.max()), size, which))
            translated = self._tensor(which, ids.device)[ids.clamp(min=0).long()].to(ids.dtype)
            return torch.where(ids < 0, ids, translated)
        if isinstance(ids, np.ndarray):
            if ids.size and int(ids.max()) >= size:
                raise ValueError(self._beyond(int(ids.max()), size, which))
            return np.where(ids < 0, ids, table[np.maximum(ids, 0)]).astype(ids.dtype)
        return [
            self._translate(one, table, size, which)
            if isinstance(one, (list, tuple))
            else one
            if one < 0
            else int(table[self._inside(one, size, which)])
            for one in ids
        ]

    def _inside(self, one: int, size: int, which: str) -> int:
        if one >= size:
            raise ValueError(self._beyond(one, size, which))
        return one

    def _beyond(self, highest: int, size: int, which: str) -> str:
        return (
            f"id {highest} lies beyond the {which} vocabulary of {size}; "
            f"expected {which} ids: to_new takes old ids, to_old takes new ones"
        )

    @functools.cached_property
    def _new_of_old(self) -> np.ndarray:
        # Without an unknown token, an id beyond the rows of any model.
        missing = np.iinfo(np.int32).max if self.new_unknown_id is None else self.new_unknown_id
        table = np.full(self.old_size, missing, dtype=np.int64)
        table[self.old_ids] = np.arange(len(self))
        return table

    @functools.cached_property
    def _is_kept(self) -> np.ndarray:
        kept = np.zeros(self.old_size, dtype=bool)
        kept[self.old_ids] = True
        return kept

    @functools.cached_property
    def _tensors(self) -> dict[tuple[str, torch.device], torch.Tensor]:
        return {}

    def _tensor(self, which: str, device: torch.device) -> torch.Tensor:
        """Return a translation table on a device, cached."""
        if (which, device) not in self._tensors:
            table = self._new_of_old if which == "old" else self.old_ids
            self._tensors[which, device] = torch.from_numpy(table.copy()).to(device)
        return self._tensors[which, device]

    def _facts(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "old_size": self.old_size,
            "new_size": len(self),
            "old_unknown_id": self.old_unknown_id,
            "tokenizer_fingerprint": self.tokenizer_fingerprint,
            "provenance": self.provenance,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map as JSON, with all old ids on the last line so that the rest stays readable."""
        facts = json.dumps(self._facts(), indent=1, ensure_ascii=False).removesuffix("\n}")
        ids = json.dumps(self.old_ids.tolist(), separators=(",", ":"))
        write_whole(path, f'{facts},\n "old_ids": {ids}\n}}\n')

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VocabularyMap:
        """Read a map written by `save`.

        Args:
            path: The file, or the folder that `hf-afro prune` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else.
        """
        path = map_file(path)
        message = f"{path} holds no vocabulary map of format {_FORMAT}; give the {MAP_FILE} that prune wrote"
        try:
            with open(path, encoding="utf-8") as file:
                facts = json.load(file)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(message) from error
        names = ("old_ids", "old_size", "old_unknown_id", "tokenizer_fingerprint", "provenance")
        if not isinstance(facts, dict) or facts.get("format") != _FORMAT or not all(name in facts for name in names):
            raise ValueError(message)
        try:
            return cls(**{name: facts[name] for name in names})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{message} ({error})") from error
