"""Project a student's hidden states to the width of the teacher's: trained beside it, never saved with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from hf_afro.families import encoder_of
from hf_afro.files import written_whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

PROJECTION_FILE = "hidden_projection.safetensors"
"""In a checkpoint, beside the files of the student."""


class HiddenProjection(nn.Module):
    """A linear map without bias from the student's width to the teacher's.

    While the student is trained, the projection is a module of its encoder (`attached_to`): so DDP, the clipping of
    gradients and the optimizer see one more parameter, and nothing else needs to know. It stores nothing in a state
    dict, so the student's files never hold it; `KeepProjection` saves it in a file of its own.

    It starts with orthonormal columns (rows, if the student is the wider one), which keep lengths and angles.

    Args:
        student_width: The width it is given.
        teacher_width: The width it returns.
        seed: The seed of its first weights; the global generators are not used.
    """

    def __init__(self, student_width: int, teacher_width: int, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(teacher_width, student_width))
        nn.init.orthogonal_(self.weight, generator=torch.Generator().manual_seed(seed))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``[..., teacher_width]`` of ``[..., student_width]``."""
        return nn.functional.linear(hidden, self.weight)

    @contextmanager
    def attached_to(self, student: PreTrainedModel) -> Iterator[None]:
        """Make the projection a module of a student's encoder for a while."""
        encoder = encoder_of(student)
        encoder.add_module("hidden_projection", self)
        try:
            yield
        finally:
            del encoder.hidden_projection

    def _save_to_state_dict(self, *_: Any) -> None:
        """Store nothing; torch calls this for each module of a model."""

    def _load_from_state_dict(self, *_: Any) -> None:
        """Expect nothing in a state dict."""

    def save(self, checkpoint: Path) -> None:
        """Write the weights into a checkpoint."""
        with written_whole(checkpoint / PROJECTION_FILE) as beside:
            save_file({"weight": self.weight.detach().cpu().contiguous()}, beside)

    @torch.no_grad()
    def load(self, checkpoint: Path) -> None:
        """Read the weights from a checkpoint.

        Raises:
            ValueError: If it has none, or of another shape.
        """
        path = checkpoint / PROJECTION_FILE
        stored = load_file(path)["weight"] if path.is_file() else None
        if stored is None or stored.shape != self.weight.shape:
            found = "no such file" if stored is None else f"a matrix of shape {tuple(stored.shape)}"
            raise ValueError(
                f"{path}: expected a matrix of shape {tuple(self.weight.shape)}, found {found}; the checkpoint is "
                "that of a run with other terms or models: repeat its settings, or start from the beginning"
            )
        self.weight.copy_(stored)


class KeepProjection(TrainerCallback):
    """Saves a projection with each checkpoint, before it is marked, and loads that of the best one at the end.

    Args:
        projection: The projection.
    """

    def __init__(self, projection: HiddenProjection) -> None:
        self.projection = projection

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Write it on the process that writes the student."""
        if args.should_save:
            self.projection.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Return to the best checkpoint's, where the Trainer has returned to its student."""
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self.projection.load(Path(state.best_model_checkpoint))
