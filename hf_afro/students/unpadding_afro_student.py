"""Unpadded batches: the tokens of all rows side by side, and attention that keeps the rows apart.

Everything in an encoder layer except attention works on one token at a time, so padding can be left out exactly: each
token is computed from the same numbers. Attention runs row by row on a CPU, where a call is cheap, and through flash
attention's variable-length kernels where those are chosen. Other implementations stay padded on accelerators, which
one call per row would leave idle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaSelfAttention, eager_attention_forward

FLASH = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
ROW_BY_ROW = ("eager", "sdpa")


def can_leave_out_padding(implementation: str, device: torch.device) -> bool:
    """Return whether an attention implementation can run without padding on a device."""
    return implementation in FLASH or (implementation in ROW_BY_ROW and device.type == "cpu")


@dataclass(frozen=True, eq=False)
class Packing:
    """Positions of a batch that hold tokens.

    Attributes:
        shape: ``(batch, length)`` of the padded batch.
        kept: ``[tokens]``, ascending positions of the tokens in the flattened batch; None if there is no padding.
        lengths: Number of tokens per row, without empty rows.
        starts: Keyword arguments for flash attention that say where each row starts; None for attention row by row.
    """

    shape: tuple[int, int]
    kept: torch.Tensor | None
    lengths: list[int]
    starts: dict[str, Any] | None = None

    @classmethod
    def of(cls, implementation: str, like: torch.Tensor, attention_mask: torch.Tensor | None) -> Packing:
        """Find the tokens of a batch.

        Args:
            implementation: Attention implementation, one that `can_leave_out_padding`.
            like: ``[batch, length, ...]``, ids or embeddings; gives shape and device.
            attention_mask: ``[batch, length]``, 0 at padding; None for no padding.
        """
        batch, length = like.shape[:2]
        kept, lengths = None, [length] * batch
        if attention_mask is not None:
            held = attention_mask != 0  # [batch, length]
            lengths = [tokens for tokens in held.sum(dim=1).tolist() if tokens]
            if sum(lengths) < batch * length:
                kept = held.flatten().nonzero().squeeze(1)
        starts = None
        if implementation in FLASH and lengths:
            ends = torch.tensor([0, *lengths], device=like.device).cumsum(0).int()  # [rows + 1]
            starts = {f"cu_seq_lens_{side}": ends for side in "qk"} | {
                f"max_length_{side}": max(lengths) for side in "qk"
            }
        return cls((batch, length), kept, lengths, starts)

    def pack(self, padded: torch.Tensor) -> torch.Tensor:
        """Return the values at tokens, ``[1, tokens, ...]``, of ``[batch, length, ...]``."""
        flat = padded.reshape(1, -1, *padded.shape[2:])
        return flat if self.kept is None else flat.index_select(1, self.kept)

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """Return ``[batch, length, ...]`` of ``[1, tokens, ...]``, zeros at padding."""
        width = packed.shape[2:]
        if self.kept is None:
            return packed.reshape(*self.shape, *width)
        flat = packed.new_zeros(self.shape[0] * self.shape[1], *width)
        return flat.index_copy(0, self.kept, packed[0]).view(*self.shape, *width)


class AfroStudentSelfAttention(XLMRobertaSelfAttention):
    """XLM-R's self-attention, which also takes the rows of an unpadded batch side by side."""

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, packing: Packing | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend within each row.

        Args:
            hidden_states: ``[batch, length, hidden_size]``, or ``[1, tokens, hidden_size]`` with a packing.
            *args: As for XLM-R.
            packing: Layout of the unpadded batch; None for a padded one.
            **kwargs: As for XLM-R.

        Returns:
            Context vectors of the shape of `hidden_states`, and attention weights, which are None with a packing.
        """
        if packing is None:
            return super().forward(hidden_states, *args, **kwargs)
        interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        settings = {"dropout": self.dropout.p if self.training else 0.0, "scaling": self.scaling}

        def attend(*vectors: torch.Tensor, **starts: Any) -> torch.Tensor:
            """Map queries, keys and values ``[rows, length, heads, size]`` to context of the same shape."""
            return interface(self, *(vector.transpose(1, 2) for vector in vectors), None, **settings, **starts)[0]

        by_head = (1, hidden_states.shape[1], self.num_attention_heads, self.attention_head_size)
        vectors = [make(hidden_states).view(by_head) for make in (self.query, self.key, self.value)]
        if packing.starts is not None:
            attended = attend(*vectors, **packing.starts)
        else:
            attended = _row_by_row(attend, vectors, packing.lengths)
        return attended.reshape(hidden_states.shape), None


def _row_by_row(attend: Callable[..., torch.Tensor], vectors: list[torch.Tensor], lengths: list[int]) -> torch.Tensor:
    """Attend within each row; neighbouring rows of one length share a call."""
    done, start = [], 0
    for length, rows in groupby(lengths):
        count = len(list(rows))
        end = start + count * length
        run = [vector[0, start:end].unflatten(0, (count, length)) for vector in vectors]
        done.append(attend(*run).flatten(0, 1))
        start = end
    return done[0] if len(done) == 1 else torch.cat(done)
