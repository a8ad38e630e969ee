"""Run an original and its pruned model on the same tokens and compare what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_afro.vocabulary.mapping import VocabularyMap

_SEQUENCES, _LENGTH = 4, 24
_LOGITS = ("logits", "prediction_logits")


class NotComparable(ValueError):
    """A model cannot be run on token ids alone, so that its outputs cannot be compared."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
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

    A model of encoder and decoder reads other ids with its decoder, and the last hidden states of both are compared.

    Args:
        model: The original, with adapters of PEFT inside it where it has any.
        pruned: The pruned model, on the same device, of the same class.
        keep: The map between their ids.
        seed: Seed of the ids drawn.

    Returns:
        The largest difference of the last hidden states, and that of the logits over the kept ids relative to the
        largest logit, None where the model has no output embedding.

    Raises:
        NotComparable: If the model does not run on token ids alone, or has an output embedding and does not say
            which of its outputs are its logits.
    """
    generator = torch.Generator().manual_seed(seed)
    new_ids, mask = _draw(pruned, keep, generator)
    new = {"input_ids": new_ids, "attention_mask": mask}
    if _has_decoder(model):
        decoder_ids, decoder_mask = _draw(pruned, keep, generator)
        new |= {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask}
    old = {name: keep.to_old(value) if name.endswith("input_ids") else value for name, value in new.items()}
    with evaluating(model), evaluating(pruned):
        pairs = zip(_hidden_states(model, old), _hidden_states(pruned, new), strict=True)
        hidden = max(float((before - after).abs().max()) for before, after in pairs)
        if model.get_output_embeddings() is None:
            return hidden, None
        old_logits = _logits(model, old)
        new_logits = _logits(pruned, new)[..., : len(keep)]  # rows of padding come behind those of tokens
    kept = torch.from_numpy(keep.old_ids.copy()).to(old_logits.device)
    difference = (old_logits.index_select(-1, kept) - new_logits).abs().max()
    return hidden, float(difference / old_logits.abs().max().clamp(min=torch.finfo(old_logits.dtype).tiny))


@torch.inference_mode()
def check_comparable(model: PreTrainedModel) -> None:
    """Run a model on a few token ids, as `compare_outputs` will.

    Raises:
        NotComparable: If it needs other inputs (pixels, sound, boxes), or its outputs are not known.
    """
    ids = torch.zeros((1, 2), dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if _has_decoder(model):
        inputs |= {"decoder_input_ids": ids, "decoder_attention_mask": torch.ones_like(ids)}
    with evaluating(model):
        _hidden_states(model, inputs)
        if model.get_output_embeddings() is not None:
            _logits(model, inputs)


def _has_decoder(model: PreTrainedModel) -> bool:
    return bool(getattr(model.config, "is_encoder_decoder", False))


def _draw(
    pruned: PreTrainedModel, keep: VocabularyMap, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw sequences of new ids, each shorter than the one before and padded, with their mask."""
    positions = getattr(pruned.config.get_text_config(), "max_position_embeddings", None)
    length = min(_LENGTH, positions - 2) if positions and positions > 2 else _LENGTH
    new_ids = torch.randint(len(keep), (_SEQUENCES, length), generator=generator)
    mask = torch.ones_like(new_ids)
    for sequence in range(_SEQUENCES):
        mask[sequence, length - sequence * length // _SEQUENCES :] = 0
    padding = getattr(pruned.config.get_text_config(), "pad_token_id", None)
    if padding is not None:
        new_ids[mask == 0] = padding
    return new_ids, mask


def _hidden_states(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the last hidden states of a model, or of its encoder and its decoder."""
    if not _has_decoder(model):
        return [_forward(model.base_model, inputs)[0]]
    # Neither is run by itself: what lies between them differs. Nor is `output_hidden_states` asked for, with which
    # transformers leaves hooks behind in the model.
    parts = (model.get_encoder(), model.get_decoder().base_model)
    states: list[torch.Tensor] = []
    hooks = [part.register_forward_hook(lambda _part, _inputs, outputs: states.append(outputs[0])) for part in parts]
    try:
        _forward(model.base_model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return states


def _logits(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits over the vocabulary; a model with two heads (BertForPreTraining) calls them otherwise."""
    outputs = _forward(model, inputs)
    found = next((outputs[name] for name in _LOGITS if name in outputs), None)
    if found is None:
        raise NotComparable(
            f"{type(model).__name__} has an output embedding and gives {', '.join(outputs)}; expected "
            f"{' or '.join(_LOGITS)} among them, to compare. Prune it with prune_checkpoint, which runs no model"
        )
    return found


def _forward(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Any:
    """Run the forward of a model's class: a trainer may have left one with autocast on the model itself.

    Raises:
        NotComparable: If it does not run on these inputs.
    """
    placed = {name: value.to(model.device) for name, value in inputs.items()}
    try:
        return type(model).forward(model, **placed)
    except (TypeError, ValueError, AttributeError) as error:  # what models raise for inputs they lack
        raise NotComparable(
            f"{type(model).__name__} does not run on {' and '.join(one for one in inputs if 'mask' not in one)} alone "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Prune it with prune_checkpoint, which runs no "
            "model"
        ) from error
