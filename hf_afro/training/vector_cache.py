"""The teacher's vectors on disk, so that the passes over a text after the first need no teacher.

A row's vectors are the same in every pass where nothing is masked and no layer drops out. They are kept as the teacher
gave them, by the row's number; what a row's neighbours in a batch change of them is rounding.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_afro.files import write_whole
from hf_afro.training.capture import RELATIONS, vector_width

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.batching.mixing import MixtureDataset
    from hf_afro.training.capture import Vectors
    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)

_NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version", "architectures")

FACTS_FILE, VECTORS_FILE, FILLED_FILE = "teacher_vectors.json", "vectors.bin", "filled.bin"


class VectorCache:
    """Vectors of a teacher's layers for every row of a text, in a file that is read and written in place.

    All processes of a machine share the files; each writes the rows of its own batches, and a row is read once all of
    it is written. A process that is killed loses nothing; after a loss of power the folder should be removed.

    Args:
        folder: Where; made if need be, or of an earlier run on the same text with the same teacher.
        samples: The rows, by number; they must not change between passes, so nothing may be masked in them.
        teacher: The teacher, of a family in the table.
        layers: The layers taught, counted from 1.
        dtype: Of the vectors.
        vocabulary_map: From the rows' ids to the teacher's, where they differ.

    Raises:
        ValueError: If the folder holds the vectors of another teacher, text or layer, has lost a part, or the disk
            has no room for them all; how much that is, is logged before anything is written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        samples: MixtureDataset,
        teacher: PreTrainedModel,
        layers: Sequence[int],
        dtype: torch.dtype,
        vocabulary_map: VocabularyMap | None = None,
    ) -> None:
        self.folder, self.layers = Path(folder), tuple(sorted(set(layers)))
        lengths = np.concatenate([rows.lengths for rows in samples.chunks.values()])
        self._ends = np.cumsum(lengths)
        self._lengths = lengths
        planes, tokens, width = len(self.layers) * len(RELATIONS), int(self._ends[-1]), vector_width(teacher)
        facts = {
            "teacher": _digest_of(teacher),
            "text": _digest_of_rows(samples),
            "layers": list(self.layers),
            "dtype": str(dtype),
            "vocabulary": None
            if vocabulary_map is None
            else hashlib.sha256(vocabulary_map.old_ids.tobytes()).hexdigest(),
        }
        self._prepare(facts, planes * tokens * width * dtype.itemsize, len(lengths), tokens)
        vectors = torch.from_file(
            str(self.folder / VECTORS_FILE), shared=True, size=planes * tokens * width, dtype=dtype
        )
        self._vectors = vectors.view(planes, tokens, width)
        self._filled = torch.from_file(
            str(self.folder / FILLED_FILE), shared=True, size=len(lengths), dtype=torch.uint8
        )

    def __call__(
        self, sample_ids: torch.Tensor, attention_mask: torch.Tensor, teach: Callable[[], Vectors]
    ) -> Vectors:
        """Return the vectors of a batch, from disk if all its rows are there, else from the teacher.

        Args:
            sample_ids: The rows' numbers, ``[batch]``.
            attention_mask: ``[batch, length]``, 1 where the rows' own tokens are, in their order.
            teach: Asks the teacher for the whole batch; not called if nothing is missing.

        Returns:
            As `TeacherCapture` does, on the device of the mask; zeros from disk at padding.
        """
        rows = sample_ids.tolist()
        missing = [place for place, row in enumerate(rows) if not self._filled[row]]
        if not missing:
            return self._read(rows, attention_mask)
        vectors = teach()
        self._write([rows[place] for place in missing], attention_mask[missing], vectors, missing)
        return vectors

    def _read(self, rows: Sequence[int], attention_mask: torch.Tensor) -> Vectors:
        places = torch.cat([torch.arange(*self._span(row)) for row in rows])
        own = attention_mask.bool()
        read = self._vectors[:, places].to(attention_mask.device)
        padded = read.new_zeros((len(read), *own.shape, read.shape[-1]))
        padded[:, own] = read
        planes = iter(padded)
        return {layer: {relation: next(planes) for relation in RELATIONS} for layer in self.layers}

    def _write(
        self, rows: Sequence[int], attention_mask: torch.Tensor, vectors: Vectors, places: Sequence[int]
    ) -> None:
        planes = [vectors[layer][relation] for layer in self.layers for relation in RELATIONS]
        whole = torch.ones(len(rows), dtype=torch.uint8)
        for plane, given in zip(self._vectors, planes, strict=True):
            if given.dtype != plane.dtype:
                raise RuntimeError(f"the teacher gave vectors in {given.dtype}; the cache holds {plane.dtype}")
            for index, (row, mask, place) in enumerate(zip(rows, attention_mask.bool(), places, strict=True)):
                own, (begin, end) = given[place][mask].cpu(), self._span(row)
                if len(own) != end - begin:
                    raise RuntimeError(f"row {row} has {end - begin} tokens, and {len(own)} in the batch")
                plane[begin:end] = own
                # What is not finite is the teacher's or the machine's fault, to be found again in the next pass.
                whole[index] &= int(own.isfinite().all())
        self._filled[list(rows)] = whole

    def _span(self, row: int) -> tuple[int, int]:
        end = int(self._ends[row])
        return end - int(self._lengths[row]), end

    def _prepare(self, facts: dict[str, Any], size: int, rows: int, tokens: int) -> None:
        """Take up a folder of the same facts, or make the files, whole from the start."""
        sizes = {VECTORS_FILE: size, FILLED_FILE: rows}
        if (self.folder / FACTS_FILE).is_file():
            self._take_up(facts, sizes)
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"teacher_cache_dir={str(self.folder)!r} is a file; name a new folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in sizes:  # of a run that ended before all was there
            (self.folder / name).unlink(missing_ok=True)
        if any(self.folder.iterdir()):
            raise ValueError(f"{self.folder} is not empty and holds no teacher's vectors; name a new folder")
        free = shutil.disk_usage(self.folder).free
        told = f"the teacher's vectors of {tokens:,} tokens take {size / 1e9:,.2f} GB in {self.folder}"
        if size + rows > free:
            raise ValueError(
                f"{told}, and {free / 1e9:,.2f} GB are free; name a folder on another disk, give less text, or leave "
                "teacher_cache_dir out"
            )
        logger.info("%s, where %s GB are free", told, f"{free / 1e9:,.2f}")
        for name, length in sizes.items():
            with (self.folder / name).open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    # Memory over a file with holes ends in a signal where the disk turns out to be full.
                    os.posix_fallocate(file.fileno(), 0, length)
                else:
                    file.truncate(length)  # on a Mac
        write_whole(self.folder / FACTS_FILE, json.dumps(facts, indent=1) + "\n")

    def _take_up(self, facts: dict[str, Any], sizes: dict[str, int]) -> None:
        """Refuse a folder of other facts, or one that has lost a part."""
        try:
            former = json.loads((self.folder / FACTS_FILE).read_text("utf-8"))
            differing = [name for name, value in facts.items() if former.get(name) != value]
        except (ValueError, AttributeError) as error:
            raise ValueError(
                f"{self.folder / FACTS_FILE} cannot be read ({error}); remove the folder, it is made again"
            ) from error
        if differing:
            raise ValueError(
                f"{self.folder} holds vectors of another {' and '.join(differing)}; name another folder as "
                "teacher_cache_dir, or remove it"
            )
        for name, size in sizes.items():
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else None
            if found != size:
                what = "is missing" if found is None else f"has {found} bytes, and had {size} when it was made"
                raise ValueError(f"{path} {what}; remove the folder, it is made again")
        logger.info("%s holds the teacher's vectors of an earlier run, and is gone on with", self.folder)


def _digest_of(model: PreTrainedModel) -> str:
    """Return the SHA-256 of a model's class, sizes and weights."""
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    digest = hashlib.sha256(f"{type(model).__name__} {json.dumps(config, sort_keys=True, default=str)}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _digest_of_rows(samples: MixtureDataset) -> str:
    digest = hashlib.sha256()
    for language, rows in samples.chunks.items():
        digest.update(f"{language} {len(rows)}".encode())
        digest.update(rows.offsets.tobytes())
        digest.update(rows.tokens.tobytes())
    return digest.hexdigest()
