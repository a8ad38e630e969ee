"""Fine-tuning with only those rows of the embedding that a task's text uses; the others would stay as they are anyway.

Most of a multilingual encoder is its embedding, and a task in one language uses a few thousand of its rows. The others
have a gradient of zero, which AdamW without weight decay turns into no change: its moments stay zero. So they need
neither gradient nor moments, nor a copy when the best epoch is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.evaluation.encoding import Row


class UsedRows(nn.Module):
    """Some rows of an embedding, asked for by the ids they have among all.

    Args:
        table: The whole embedding, ``[vocabulary, width]``.
        ids: The ids of the rows, sorted, each once.
    """

    def __init__(self, table: nn.Embedding, ids: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(table.weight.detach()[ids].clone())  # [used, width]
        # An id that is not among them points behind the last row, which raises an error.
        place = torch.full((table.num_embeddings,), len(ids))
        place[ids] = torch.arange(len(ids))
        self.register_buffer("place", place, persistent=False)  # [vocabulary]
        self.padding_idx = None if table.padding_idx is None else int(place[table.padding_idx])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the rows of ids, ``[batch, length]`` to ``[batch, length, width]``."""
        return functional.embedding(self.place[input_ids], self.weight, padding_idx=self.padding_idx)


@contextmanager
def only_used_rows(model: PreTrainedModel, rows: Iterable[Row], pad_id: int) -> Iterator[None]:
    """Give a model within only the rows of its embedding that some text uses, and put them back in their place after.

    Args:
        model: A model whose embedding is tied to nothing; changed in place. One whose embedding does more than look
            rows up is left as it is.
        rows: All text that the model will see within.
        pad_id: What short rows are filled up with; the tokenizer's, which may differ from the model's.
    """
    table = model.get_input_embeddings()
    if type(table) is not nn.Embedding or table.max_norm is not None:
        yield
        return
    used = {pad_id, *(int(token) for row in rows for token in row["input_ids"])}
    if table.padding_idx is not None:
        used.add(table.padding_idx)
    ids = torch.from_numpy(np.array(sorted(used), dtype=np.int64)).to(table.weight.device)
    some = UsedRows(table, ids)
    model.set_input_embeddings(some)
    try:
        yield
    finally:
        with torch.no_grad():
            # Training may have moved the model to another device.
            device = some.weight.device
            table.to(device).weight[ids.to(device)] = some.weight
        model.set_input_embeddings(table)
