"""Run the masked-LM head at masked positions only: encoder, selection, head, loss.

15 % of the tokens are masked, yet the stock head makes logits for all of them: for 8 x 128 tokens and a vocabulary of
250,002, that is 1 GB of unused numbers. `masked_lm_sum` gives the head only the hidden states of masked tokens and
computes the loss directly from its last hidden layer, so that even those logits never exist all at once (see
`hf_afro.losses.projected_masked_lm_loss`).

DDP, FSDP, autocast and `torch.compile` act around the forward of the model they wrap. `accept_run` therefore lets a
model's forward run a function in place of its own body: ``model(run=masked_lm_sum, input_ids=..., ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from operator import attrgetter
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hf_afro.families import encoder_of
from hf_afro.losses import masked_lm_loss, projected_masked_lm_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Step = str | Callable[[torch.Tensor], torch.Tensor]

_ROBERTA: tuple[Step, ...] = ("lm_head.dense", nn.functional.gelu, "lm_head.layer_norm")
_BERT: tuple[Step, ...] = ("cls.predictions.transform",)
_NEWER_DEBERTA = "deberta-v2, legacy=False"

# By model type, what hidden states go through before the output embedding: modules of the model, and functions.
_BEFORE_OUTPUT: dict[str, tuple[Step, ...]] = {
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
    "roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "afro-student": _ROBERTA,
    "mpnet": _ROBERTA,
    "bert": _BERT,
    "deberta-v2": _BERT,
    _NEWER_DEBERTA: tuple(f"lm_predictions.lm_head.{name}" for name in ("dense", "transform_act_fn", "LayerNorm")),
    "albert": ("predictions.dense", "predictions.activation", "predictions.LayerNorm"),
    "electra": ("generator_predictions",),
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm"),
    "modernbert": ("head",),
    "eurobert": (),
}


def masked_lm_sum(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    positions: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Return the summed cross-entropy of the masked tokens, in nats.

    Args:
        model: A `...ForMaskedLM` model, with or without PEFT around it.
        input_ids: ``[batch, length]``.
        attention_mask: ``[batch, length]``.
        positions: ``[masked]``, int64, indices into the flattened ``[batch x length]``.
        labels: ``[masked]``, the ids that were masked there.

    Returns:
        A scalar, at least in fp32; 0 with its gradient path where nothing is masked.
    """
    model = _without_peft(model)
    matrix = _output_matrix(model)
    if matrix is None or not runs_masked_only(model):
        return masked_lm_loss(masked_logits(model, input_ids, attention_mask, positions), labels)
    states = _before_output(model, encode(model, input_ids, attention_mask), positions)
    return projected_masked_lm_loss(states, *matrix, labels)


def masked_logits(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Return the logits at masked positions, ``[masked, vocabulary]``; arguments are those of `masked_lm_sum`."""
    model = _without_peft(model)
    if runs_masked_only(model):
        return head_at(model, encode(model, input_ids, attention_mask), positions)
    logits = type(model).forward(model, input_ids=input_ids, attention_mask=attention_mask).logits
    return logits.flatten(0, 1).index_select(0, positions)


def runs_masked_only(model: PreTrainedModel) -> bool:
    """Return whether a model's head can run at masked positions only: whether its parts are known here."""
    return _kind_of(model) in _BEFORE_OUTPUT


def encode(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, **settings: Any
) -> torch.Tensor:
    """Return the hidden states of a model's encoder, ``[batch, length, width]``; `settings` are passed to it."""
    encoder = encoder_of(model)
    # A model that is its own encoder is inside its forward already, and its hooks have run.
    run = encoder if encoder is not model else partial(type(model).forward, model)
    return run(input_ids=input_ids, attention_mask=attention_mask, **settings)[0]


def head_at(model: PreTrainedModel, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return the logits of chosen hidden states, ``[masked, vocabulary]``.

    Args:
        model: A `...ForMaskedLM` model that `runs_masked_only`.
        hidden: ``[batch, length, width]``, from its encoder.
        positions: ``[masked]``, int64, indices into the flattened ``[batch x length]``.
    """
    model = _without_peft(model)
    states, matrix = _before_output(model, hidden, positions), _output_matrix(model)
    return model.get_output_embeddings()(states) if matrix is None else nn.functional.linear(states, *matrix)


def accept_run(model: PreTrainedModel) -> None:
    """Let ``model(run=function, **inputs)`` return ``function(model, **inputs)``, from inside the model's forward.

    Without `run` the forward is that of the model's class, and its signature stays the same.

    Args:
        model: To be trained. Of a PEFT model the forward of the model inside is changed, which PEFT's own calls.
    """
    model = _without_peft(model)
    stock = type(model).forward

    @wraps(stock)
    def forward(self: PreTrainedModel, *arguments: Any, run: Callable[..., Any] | None = None, **inputs: Any) -> Any:
        return stock(self, *arguments, **inputs) if run is None else run(self, *arguments, **inputs)

    # A bound method, so that a copy of the model runs the copy, and Accelerate can wrap it for mixed precision.
    model.forward = MethodType(forward, model)


def _kind_of(model: PreTrainedModel) -> str:
    kind = model.config.model_type
    return _NEWER_DEBERTA if kind == "deberta-v2" and not model.config.legacy else kind


def _before_output(model: PreTrainedModel, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return what the output embedding gets at some positions, ``[masked, width]``."""
    states = hidden.flatten(0, 1).index_select(0, positions.to(hidden.device))
    for step in _BEFORE_OUTPUT[_kind_of(model)]:
        states = (attrgetter(step)(model) if isinstance(step, str) else step)(states)
    return states


def _output_matrix(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Return weight and bias of the output embedding, None where it is no plain linear layer.

    It is none where PEFT adapts it, where it is quantized, or where FSDP shards it on its own.
    """
    if _kind_of(model) == _NEWER_DEBERTA:  # multiplies with the word embedding itself
        return model.get_input_embeddings().weight, model.lm_predictions.lm_head.bias
    decoder = model.get_output_embeddings()
    return (decoder.weight, decoder.bias) if type(decoder) is nn.Linear else None


def _without_peft(model: PreTrainedModel) -> PreTrainedModel:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
