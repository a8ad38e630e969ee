"""Which tokens of a batch make up one sequence: rows padded on either side, or several sequences packed in one."""

from __future__ import annotations

import torch


def label_sequences(attention_mask: torch.Tensor, sequence_ids: torch.Tensor | None = None) -> torch.Tensor:
    """Number the sequences of each row from 0 on, ``[batch, length]`` int64, -1 at padding.

    Linear in length, and without a wait for the device.

    Args:
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        sequence_ids: ``[batch, length]``, integers: tokens of one row with the same id are one sequence, side by side
            or not. None where each row is one sequence.
    """
    is_token = attention_mask.bool()
    if sequence_ids is None:
        return is_token.long() - 1
    beyond = torch.iinfo(torch.int64).max
    ids, order = sequence_ids.long().masked_fill(~is_token, beyond).sort(1)
    changes = torch.zeros_like(ids)
    changes[:, 1:] = ids[:, 1:] != ids[:, :-1]
    labels = torch.empty_like(ids).scatter_(1, order, changes.cumsum(1))
    return labels.masked_fill_(~is_token, -1)


def count_sequences(attention_mask: torch.Tensor, sequence_ids: torch.Tensor | None = None) -> torch.Tensor:
    """Return how many sequences hold a token, a scalar int64: what a sum of relation losses is divided by.

    Arguments are those of `label_sequences`.
    """
    return count_labels(label_sequences(attention_mask, sequence_ids))


def count_labels(labels: torch.Tensor) -> torch.Tensor:
    """Return the number of sequences in what `label_sequences` gave, a scalar int64."""
    if labels.shape[1] == 0:
        return labels.new_zeros(())
    return (labels.amax(1) + 1).sum()


def tokens_of_own_sequence(labels: torch.Tensor) -> torch.Tensor:
    """Return for each position how many tokens its sequence holds, ``[batch, length]`` int64, 1 at padding."""
    places = labels.clamp_min(0)
    counts = torch.zeros_like(labels).scatter_add_(1, places, (labels >= 0).long())
    return counts.gather(1, places).masked_fill_(labels < 0, 1)


def places_by_length(labels: torch.Tensor) -> list[torch.Tensor]:
    """Return where the sequences stand, those of equal length together: ``[sequences, tokens]`` for each length.

    Places count through the batch, row times length plus position, so that they index vectors of ``[batch x length,
    width]``. The lengths are read from the device once.
    """
    length = labels.shape[1]
    rows = torch.arange(len(labels), device=labels.device)[:, None]
    keys = (rows * length + labels).masked_fill(labels < 0, -1).flatten()
    keys, places = keys.sort(stable=True)
    _, counts = keys.unique_consecutive(return_counts=True)
    sizes = counts.tolist()
    padding = int((labels < 0).any())  # the first group, where there is one
    groups: dict[int, list[torch.Tensor]] = {}
    for of_sequence in places.split(sizes)[padding:]:
        groups.setdefault(len(of_sequence), []).append(of_sequence)
    return [torch.stack(groups[tokens]) for tokens in sorted(groups)]
