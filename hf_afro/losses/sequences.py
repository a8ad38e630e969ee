"""Find the tokens of each sequence in a batch: rows padded on either side, or several sequences packed into one."""

from __future__ import annotations

import torch


def label_sequences(attention_mask: torch.Tensor, sequence_ids: torch.Tensor | None = None) -> torch.Tensor:
    """Number the sequences of each row from 0, ``[batch, length]`` int64, -1 at padding.

    Linear in length, and without waiting for the device.

    Args:
        attention_mask: ``[batch, length]``, nonzero where there is a token.
        sequence_ids: ``[batch, length]``, integers: tokens of one row with the same id are one sequence, adjacent or
            not. None if each row is one sequence.
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
    """Return the number of sequences that hold a token, a scalar int64, by which a sum of relation losses is divided.

    Arguments are those of `label_sequences`.
    """
    return count_labels(label_sequences(attention_mask, sequence_ids))


def count_labels(labels: torch.Tensor) -> torch.Tensor:
    """Return the number of sequences in the output of `label_sequences`, a scalar int64."""
    if labels.shape[1] == 0:
        return labels.new_zeros(())
    return (labels.amax(1) + 1).sum()


def tokens_of_own_sequence(labels: torch.Tensor) -> torch.Tensor:
    """Return the number of tokens of each position's sequence, ``[batch, length]`` int64, 1 at padding."""
    places = labels.clamp_min(0)
    counts = torch.zeros_like(labels).scatter_add_(1, places, (labels >= 0).long())
    return counts.gather(1, places).masked_fill_(labels < 0, 1)


def places_by_length(labels: torch.Tensor) -> list[torch.Tensor]:
    """Return the places of the sequences, grouped by length: ``[sequences, tokens]`` for each length.

    A place is row times length plus position, so that places index vectors of ``[batch x length, width]``. The lengths
    are read from the device once.
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
