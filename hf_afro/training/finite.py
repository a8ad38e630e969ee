"""Training ends at the first number that is not finite, and nothing made with it is saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from hf_afro.objectives.finite import first_not_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

_ADVICE = "lower learning_rate, raise warmup_steps, or start from another model"


class StayFinite(TrainerCallback):
    """Ends training with an error at a step whose loss is not finite, or before weights that are not would be saved.

    Without it a trainer goes on to the end: `logging_nan_inf_filter` keeps such losses out of its log, and all it
    saves from then on is of no use.
    """

    def __init__(self) -> None:
        self._loss: torch.Tensor | None = None

    def add(self, loss: torch.Tensor) -> None:
        """Take note of a micro-batch's loss, without waiting for the device."""
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Look at the loss of the whole step; the device is waited for once, as the Trainer does for each batch."""
        loss, self._loss = self._loss, None
        if loss is not None and not math.isfinite(value := loss.item()):
            raise FloatingPointError(
                f"the loss of step {state.global_step} is {value}, with learning_rate {args.learning_rate:g}; "
                f"expected a finite number: {_ADVICE}"
            )
        if control.should_save:
            self._check_weights(parts["model"], state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Look at the weights where they are saved next."""
        if control.should_save:
            self._check_weights(parts["model"], state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Look at the weights that training leaves."""
        self._check_weights(parts["model"], state)

    def _check_weights(self, model: PreTrainedModel, state: TrainerState) -> None:
        broken = first_not_finite(model.named_parameters())
        if broken is not None:
            raise FloatingPointError(
                f"{broken} holds numbers that are not finite after step {state.global_step}, and is not saved: "
                f"{_ADVICE}"
            )


def check_evaluated(losses: Mapping[str, float]) -> None:
    """Refuse figures of a model that gives no numbers.

    Args:
        losses: Summed losses, by language.

    Raises:
        FloatingPointError: If one is not finite.
    """
    broken = [language for language, loss in sorted(losses.items()) if not math.isfinite(loss)]
    if broken:
        raise FloatingPointError(
            f"the loss on held-out text of {', '.join(broken)} is not finite: the model has diverged; {_ADVICE}"
        )
