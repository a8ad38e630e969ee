"""Run an original and its pruned model on the same tokens and compare what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_afro.vocabulary.mapping import VocabularyMap

_SEQUENCES, _LENGTH = 4, 24


@contextlib.contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Put a model into evaluation mode, and every module back into the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.inference_mode()
def compare_outputs(
    model: PreTrainedModel, pruned: PreTrainedModel, keep: VocabularyMap, seed: int
) -> tuple[float, float | None]:
    """Compare last hidden states and logits on ids drawn from those kept, some sequences padded.

    Args:
        model: The original.
        pruned: The pruned model, on the same device.
        keep: The map between their ids.
        seed: Seed of the ids drawn.

    Returns:
        The largest difference of the last hidden states, and that of the logits over the kept ids relative to the
        largest logit, None where the model has no output embedding.
    """
    generator = torch.Generator().manual_seed(seed)
    length = min(_LENGTH, model.config.max_position_embeddings - 2)
    new_ids = torch.randint(len(keep), (_SEQUENCES, length), generator=generator)
    mask = torch.ones_like(new_ids)
    for sequence in range(_SEQUENCES):  # each shorter than the one before
        mask[sequence, length - sequence * length // _SEQUENCES :] = 0
    pad = pruned.config.pad_token_id
    if pad is not None:
        new_ids[mask == 0] = pad
    old_ids = keep.to_old(new_ids)
    device = model.device
    with evaluating(model), evaluating(pruned):
        old_hidden = _forward(model.base_model, old_ids, mask)[0]
        new_hidden = _forward(pruned.base_model, new_ids, mask)[0]
        hidden = float((old_hidden - new_hidden).abs().max())
        if model.get_output_embeddings() is None:
            return hidden, None
        old_logits = _forward(model, old_ids, mask).logits
        new_logits = _forward(pruned, new_ids, mask).logits
    kept = torch.from_numpy(keep.old_ids.copy()).to(device)
    difference = (old_logits.index_select(-1, kept) - new_logits).abs().max()
    return hidden, float(difference / old_logits.abs().max().clamp(min=torch.finfo(old_logits.dtype).tiny))


def _forward(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> Any:
    """Run the forward of a model's class: a trainer may have left one with autocast on the model itself."""
    return type(model).forward(model, ids.to(model.device), attention_mask=mask.to(model.device))
