"""`LanguageTrainer`: what training on several languages at once shares, whatever the loss is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import torch
from transformers import Trainer

from hf_afro.batching.collators import PLACE
from hf_afro.batching.mixing import MixtureDataset
from hf_afro.batching.streaming import StreamedSamples
from hf_afro.families import encoder_of
from hf_afro.hub.trainers import name_repository, push_trainer
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.training.best_metric import check_best_metric
from hf_afro.training.finite import StayFinite
from hf_afro.training.keeping import (
    TERMINATED,
    KeepCheckpoints,
    KeepPlaces,
    LeaveOnSigterm,
    begin_saving,
    end_saving,
    find_checkpoint,
    without_limit,
)
from hf_afro.training.loading import mixture_dataloader
from hf_afro.training.log_progress import LogProgress
from hf_afro.training.resuming import tied_keys_not_missing
from hf_afro.training.tokens_seen import TokensSeen
from hf_afro.training.unknowns import unknown_shares
from hf_afro.training.window import Batch, count_over_window, is_past_the_end, tokens_by_language
from hf_afro.unknown_text import warn_of_unknown

if TYPE_CHECKING:
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel
    from transformers.trainer_utils import TrainOutput

    from hf_afro.hub import PushReport
    from hf_afro.training.arguments import MixtureTrainingArguments

logger = logging.getLogger(__name__)


class LanguageTrainer(Trainer):
    """Trains on a mixture of languages whose order, masks and steps do not depend on how the work is split.

    A subclass says what its loss is divided by (`count_items`), takes its part of the step's loss (`compute_loss`),
    and measures by language (`evaluate`, `figure_names`). Shared are the mixture, the count over a whole optimizer
    step on all processes, checkpoints that count only when complete, the tokens seen of each language, the end on
    SIGTERM and on a loss that is not finite, and publishing.

    Languages of which the tokenizer does not know a large share are warned of before training; `unknown_shares` has
    the shares by language. Those of streamed text are of its beginning, which the main process alone reads once more
    for them as training starts; the others have none.

    Args:
        model: The model.
        args: Its arguments.
        **trainer_settings: Whatever else `transformers.Trainer` takes. Batches of `data_collator` hold
            `attention_mask` and the places of their samples, as those of `hf_afro.corpora.PaddingCollator` do.
    """

    # The loss is divided by the count of the whole accumulation window, so the Trainer must not divide once more.
    loss_is_scaled_for_ga = True

    name: ClassVar[str] = "training"
    """What the log calls the training."""
    trains_head: bool = True
    """Whether the masked-LM head takes part in the loss."""
    keeps_sample_ids: bool = False
    """Whether batches keep their samples' ids, for a loss that looks something up by them."""

    def __init__(self, model: PreTrainedModel, args: MixtureTrainingArguments, **trainer_settings: Any) -> None:
        self.stay_finite = StayFinite()
        self.tokens_seen = TokensSeen()
        self._keep_places = KeepPlaces()
        self._leave_on_sigterm = LeaveOnSigterm()
        limit = args.save_total_limit
        super().__init__(model=model, args=without_limit(args), **trainer_settings)
        # In this order: weights are looked at after it is known whether they will be saved.
        for callback in (
            self._leave_on_sigterm,
            self.stay_finite,
            self.tokens_seen,
            self._keep_places,
            KeepCheckpoints(limit),
            LogProgress(self.name),
        ):
            self.add_callback(callback)
        self.unknown_shares: dict[str, float] = {}
        if isinstance(self.train_dataset, MixtureDataset):
            self._measure_unknown()

    def count_items(self, batch: Batch) -> torch.Tensor:
        """Return what the loss of a micro-batch is divided by: an int64 scalar, or one for each term of the loss."""
        raise NotImplementedError

    def figure_names(self) -> list[str]:
        """Return the names, without prefix, of what `evaluate` gives of the trainer's own `eval_dataset`."""
        raise NotImplementedError

    def train(self, resume_from_checkpoint: str | bool | None = None, **settings: Any) -> TrainOutput:
        """Train; every checkpoint is whole or does not count.

        Args:
            resume_from_checkpoint: True for the last whole checkpoint of `output_dir`, or for the start where there
                is none; or the folder of one; None or False for the start.
            **settings: Whatever else `transformers.Trainer.train` takes.

        Returns:
            What `Trainer.train` does, with the tokens seen of each language among the metrics.

        Raises:
            ValueError: If the checkpoint named is not whole, or the metric for the best model is none that evaluation
                gives.
            SystemExit: With code 143 where SIGTERM was received: once a checkpoint is saved, or, after the last step,
                when what the Trainer does at its end is done.
        """
        check_best_metric(self.args, self.figure_names())
        checkpoint = find_checkpoint(self.args, resume_from_checkpoint)
        self._record_head()
        if isinstance(self.train_dataset, StreamedSamples):
            if self.is_world_process_zero():
                self._measure_unknown()
            self.train_dataset.go_on_from(self._keep_places.load(checkpoint))
        try:
            with tied_keys_not_missing(self.model):
                result = super().train(resume_from_checkpoint=checkpoint, **settings)
        finally:
            self._leave_on_sigterm.release()
        if self._leave_on_sigterm.stopped:
            logger.warning(
                "left after SIGTERM; give the same command again to resume from checkpoint-%d of %s",
                self.state.global_step,
                Path(self.args.output_dir),
            )
            raise SystemExit(TERMINATED)
        if self._leave_on_sigterm.received:
            logger.warning("SIGTERM came after the last step: leaving, with no more saved than the checkpoints are")
            raise SystemExit(TERMINATED)
        result.metrics.update(self.tokens_seen.figures("train_"))
        return result

    def _measure_unknown(self) -> None:
        """Measure what share of each language's tokens is unknown, and warn of large ones."""
        if self.processing_class is not None:  # there are ids alone without it
            self.unknown_shares = unknown_shares(self.train_dataset, self.processing_class)
            if self.is_world_process_zero():
                warn_of_unknown(self.unknown_shares)

    def _record_head(self) -> None:
        """Note in the configuration what becomes of the masked-LM head, so that whoever has the model can tell.

        A head that is frozen, as beside an adapter of the layers, stays what it was. An output embedding tied to the
        word embedding is the encoder's.
        """
        model: Any = self.model
        of_encoder = {id(weight) for weight in encoder_of(model).parameters()}
        of_head = [weight for weight in model.parameters() if id(weight) not in of_encoder]
        if self.trains_head and of_head and not any(weight.requires_grad for weight in of_head):
            return
        config = model.config
        late = getattr(config, MASKED_LM_HEAD, None) in ("untrained", "fitted_after_distillation")
        trained = "fitted_after_distillation" if late else "kept"
        setattr(config, MASKED_LM_HEAD, trained if self.trains_head else "untrained")

    def get_train_dataloader(self) -> DataLoader:
        """Return this process's share of the mixture; its order is a function of the seed alone."""
        return mixture_dataloader(self.train_dataset, self.args, self.data_collator)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the micro-batches of one step and what the loss is divided by, over all processes.

        The count is that of the whole step, or those of the terms, at least 1, so that the loss of a step without a
        single item is zero. Of the batches, what only the trainer reads is taken out.
        """
        if is_past_the_end(self.state):
            return [], None
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        languages = self.train_dataset.languages
        if missing := sorted({"attention_mask", *PLACE} - set(batches[0])):
            raise ValueError(
                f"the data_collator's batches lack {', '.join(missing)}; let it subclass, or call, "
                "hf_afro.corpora.MaskingCollator or PaddingCollator with keep_place=True"
            )
        counts = count_over_window(
            batches,
            lambda batch: torch.cat(
                [self.count_items(batch).reshape(-1).cpu(), tokens_by_language(batch, len(languages))]
            ),
            self.accelerator,
        )
        # With restore_callback_states_from_checkpoint the Trainer has put another in the place of the first.
        self.tokens_seen = next(one for one in self.callback_handler.callbacks if isinstance(one, TokensSeen))
        own = len(counts) - len(languages)
        self.tokens_seen.add(languages, counts[own:].tolist())
        self.stay_finite.watch([dict(batch) for batch in batches], languages)
        for batch in batches:
            for language, place in batch.pop("stream", {}).items():
                self._keep_places.places[languages[language]] = place
            for name in PLACE:
                if name != "sample_id" or not self.keeps_sample_ids:
                    del batch[name]
        return batches, counts[:own].clamp_min(1).squeeze()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and with the training loss the tokens seen of each language."""
        super().log(logs | self.tokens_seen.figures() if "loss" in logs else logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; a checkpoint that is written over is not whole meanwhile."""
        begin_saving(output_dir)
        super().save_model(output_dir, _internal_call)
        end_saving(self.args, output_dir)

    def predict(self, *arguments: Any, **settings: Any) -> NoReturn:
        """Refuse: nothing is predicted here.

        Raises:
            TypeError: Always; `evaluate` measures, and `transformers.pipeline` fills masks.
        """
        raise TypeError(f"{type(self).__name__} has no predictions to give; call evaluate(dataset) for its figures")

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Note where the model is published; the repository is made when that is done, and nobody is asked before.

        Raises:
            ValueError: If `push_to_hub` is set without ``hub_strategy="end"``: checkpoints are not published.
        """
        name_repository(self)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> PushReport | None:
        """Save the model and publish it as `hf_afro.push` does: no pickles, no checkpoints, one commit or none.

        Args:
            commit_message: What the commit says.
            blocking: Always true.
            token: In place of `hub_token` of the arguments.
            revision: The branch, in place of `hub_revision`.
            private: Whether a new repository is private, in place of `hub_private_repo`.
            **kwargs: Passed to `create_model_card`, where the folder has no card of hf_afro's.

        Returns:
            What was published; None on processes but the main one.
        """
        return push_trainer(
            self,
            message=commit_message,
            blocking=blocking,
            token=token,
            revision=revision,
            private=private,
            **kwargs,
        )
