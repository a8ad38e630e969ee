"""`TrainingRun`: what both trainers do around their steps, so that a run can be cut short and gone on with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from hf_afro.corpora.batching import PLACE
from hf_afro.corpora.streaming import StreamedSamples
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.training.best_metric import check_best_metric
from hf_afro.training.finite import StayFinite
from hf_afro.training.keeping import TERMINATED, KeepCheckpoints, KeepPlaces, LeaveOnSigterm, find_checkpoint
from hf_afro.training.log_progress import LogProgress
from hf_afro.training.resuming import tied_keys_not_missing
from hf_afro.training.tokens_seen import TokensSeen
from hf_afro.training.window import Batch, count_over_window, tokens_by_language

if TYPE_CHECKING:
    from transformers import Trainer
    from transformers.trainer_utils import TrainOutput

logger = logging.getLogger(__name__)


class TrainingRun:
    """A trainer's callbacks, and the few things that no callback can do.

    Args:
        save_total_limit: Whole checkpoints to keep, None for all.
        name: What the log calls the training.
        trains_head: Whether the masked-LM head takes part in the loss.
    """

    def __init__(self, save_total_limit: int | None, name: str, *, trains_head: bool) -> None:
        self.trains_head = trains_head
        self.keeps_sample_ids = False
        """Whether micro-batches keep their samples' ids, for a loss that looks something up by them."""
        self.stay_finite = StayFinite()
        self.tokens_seen = TokensSeen()
        self.leave_on_sigterm = LeaveOnSigterm()
        self.keep_places = KeepPlaces()
        self.keep_checkpoints = KeepCheckpoints(save_total_limit)
        self.log_progress = LogProgress(name)

    @property
    def callbacks(self) -> tuple[TrainerCallback, ...]:
        """All of them, in their order: weights are looked at after it is known whether they will be saved."""
        return (
            *(self.leave_on_sigterm, self.stay_finite, self.tokens_seen, self.keep_places, self.keep_checkpoints),
            self.log_progress,
        )

    def train(
        self,
        trainer: Trainer,
        stock_train: Callable[..., TrainOutput],
        resume_from_checkpoint: str | bool | None,
        settings: Mapping[str, Any],
    ) -> TrainOutput:
        """Train from the checkpoint asked for, and add the tokens seen to the metrics.

        Raises:
            ValueError: If the metric for the best model is none that evaluation gives.
            SystemExit: With code 143 where SIGTERM was received: once a checkpoint is saved, or, after the last step,
                when what the Trainer does at its end is done.
        """
        check_best_metric(trainer.args, trainer.figure_names())
        checkpoint = find_checkpoint(trainer.args, resume_from_checkpoint)
        self._record_head(trainer.model.config)
        if isinstance(trainer.train_dataset, StreamedSamples):
            trainer.train_dataset.go_on_from(self.keep_places.load(checkpoint))
        try:
            with tied_keys_not_missing(trainer.model):
                result = stock_train(resume_from_checkpoint=checkpoint, **settings)
        finally:
            self.leave_on_sigterm.release()
        if self.leave_on_sigterm.stopped:
            logger.warning(
                "left after SIGTERM; give the same command again to go on from checkpoint-%d of %s",
                trainer.state.global_step,
                Path(trainer.args.output_dir),
            )
            raise SystemExit(TERMINATED)
        if self.leave_on_sigterm.received:
            logger.warning("SIGTERM came after the last step: leaving, with no more saved than the checkpoints are")
            raise SystemExit(TERMINATED)
        result.metrics.update(self.tokens_seen.figures("train_"))
        return result

    def _record_head(self, config: Any) -> None:
        """Note in a configuration what becomes of the masked-LM head, so that whoever has the model can tell."""
        before = getattr(config, MASKED_LM_HEAD, None)
        late = before in ("untrained", "fitted_after_distillation")
        trained = "fitted_after_distillation" if late else "kept"
        setattr(config, MASKED_LM_HEAD, trained if self.trains_head else "untrained")

    def begin_step(
        self, trainer: Trainer, batches: list[Batch], count: Callable[[Batch], torch.Tensor]
    ) -> torch.Tensor:
        """Count a step over all processes, and leave in its micro-batches what the model is given alone.

        Args:
            trainer: Whose step it is.
            batches: This process's micro-batches of the step, with the places of their samples.
            count: What the loss is divided by, of one micro-batch; a scalar, or one for each term of the loss.

        Returns:
            The count over the whole step, or those of the terms, at least 1, so that a step without a single item is
            zero.
        """
        languages = trainer.train_dataset.languages
        counts = count_over_window(
            batches,
            lambda batch: torch.cat([count(batch).reshape(-1).cpu(), tokens_by_language(batch, len(languages))]),
            trainer.accelerator,
        )
        # With restore_callback_states_from_checkpoint the Trainer has put another in the place of the first.
        self.tokens_seen = next(one for one in trainer.callback_handler.callbacks if isinstance(one, TokensSeen))
        own = len(counts) - len(languages)
        self.tokens_seen.add(languages, counts[own:].tolist())
        self.stay_finite.watch([dict(batch) for batch in batches], languages)
        for batch in batches:
            for language, place in batch.pop("stream", {}).items():
                self.keep_places.places[languages[language]] = place
            for name in PLACE:
                if name != "sample_id" or not self.keeps_sample_ids:
                    del batch[name]
        return counts[:own].clamp_min(1).squeeze()
