"""Stop training at the first number that is not finite, and save nothing made with it but the batch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from hf_afro.checkpoints import BROKEN_FOLDER
from hf_afro.files import written_whole
from hf_afro.pretrained.loading import first_not_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

_ADVICE = "lower learning_rate, raise warmup_steps, or start from another model"


class StayFinite(TrainerCallback):
    """Stops training with an error at a step whose loss is not finite, or before weights that are not are saved.

    Without it a trainer continues to the end: `logging_nan_inf_filter` keeps such losses out of its log, and all it
    saves from then on is useless. The step's micro-batches are written to ``<output_dir>/not_finite``, one file per
    process: the model's inputs, where each sample comes from, and the loss of each micro-batch.
    """

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._batches: Sequence[Mapping[str, Any]] = ()
        self._languages: Sequence[str] = ()

    def watch(self, batches: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> None:
        """Remember the micro-batches of the step that begins, and the languages that their indices stand for."""
        self._losses, self._batches, self._languages = [], batches, languages

    def add(self, loss: torch.Tensor) -> None:
        """Remember the loss of a micro-batch, without waiting for the device."""
        self._losses.append(loss.detach())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Check the loss of the whole step, waiting for the device once."""
        if self._losses and not math.isfinite(value := torch.stack(self._losses).sum().item()):
            raise FloatingPointError(
                f"the loss of step {state.global_step} is {value}, with learning_rate {args.learning_rate:g}; "
                f"expected a finite number: {_ADVICE}; {self._keep_batch(args, state)}"
            )
        self._losses, self._batches = [], ()
        if control.should_save:
            self._check_weights(parts["model"], state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Check the weights if they are saved next."""
        if control.should_save:
            self._check_weights(parts["model"], state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Check the final weights."""
        self._check_weights(parts["model"], state)

    def _keep_batch(self, args: TrainingArguments, state: TrainerState) -> str:
        """Write the step's micro-batches to a file, and return the part of the error message that names it."""
        path = (
            Path(args.output_dir)
            / BROKEN_FOLDER
            / f"step-{state.global_step}-process-{args.process_index}.safetensors"
        )
        tensors = {
            f"{number}.{name}": tensor.cpu().contiguous()
            for number, batch in enumerate(self._batches)
            for name, tensor in batch.items()
            if isinstance(tensor, torch.Tensor)
        }
        tensors["losses"] = torch.stack(self._losses).cpu()
        facts = {
            "step": str(state.global_step),
            "seed": str(args.seed),
            "languages": json.dumps(list(self._languages)),
            "content": "per micro-batch the model's inputs and the place of each sample; losses [micro-batches]",
        }
        try:
            with written_whole(path) as beside:
                save_file(tensors, beside, facts)
        except OSError as error:
            return f"its batch could not be written to {path} ({error})"
        return f"its batch is in {path}"

    def _check_weights(self, model: PreTrainedModel, state: TrainerState) -> None:
        broken = first_not_finite(model.named_parameters())
        if broken is not None:
            raise FloatingPointError(
                f"{broken} holds numbers that are not finite after step {state.global_step}, and is not saved: "
                f"{_ADVICE}"
            )


def check_evaluated(losses: Mapping[str, float]) -> None:
    """Refuse evaluation losses that are not finite.

    Args:
        losses: Summed losses by language.

    Raises:
        FloatingPointError: If one is not finite.
    """
    broken = [language for language, loss in sorted(losses.items()) if not math.isfinite(loss)]
    if broken:
        raise FloatingPointError(
            f"the loss on held-out text of {', '.join(broken)} is not finite: the model has diverged; {_ADVICE}"
        )
