"""`LanguageTrainer`: the base of both trainers, for training on several languages at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from hf_afro.batching.collators import PLACE
from hf_afro.batching.mixing import MixtureDataset
from hf_afro.batching.streaming import StreamedSamples
from hf_afro.families import encoder_of
from hf_afro.hub.pushing import name_repository, push_trainer
from hf_afro.messages import nearest
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.progress_log import LogProgress
from hf_afro.tokenizer_checks import warn_of_unknown
from hf_afro.training.finite import StayFinite
from hf_afro.training.saving import (
    TERMINATED,
    KeepCheckpoints,
    KeepPlaces,
    LeaveOnSigterm,
    begin_saving,
    end_saving,
    find_checkpoint,
    tied_keys_not_missing,
    without_limit,
)
from hf_afro.training.training_data import mixture_dataloader, unknown_shares

if TYPE_CHECKING:
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_utils import TrainOutput

    from hf_afro.hub import PushReport
    from hf_afro.training.arguments import MixtureTrainingArguments

logger = logging.getLogger(__name__)

Batch = dict[str, Any]


class LanguageTrainer(Trainer):
    """Trains on a mixture of languages; order, masks and steps do not depend on how the work is split.

    A subclass returns what its loss is divided by (`count_items`) and its part of the step's loss (`compute_loss`),
    and measures by language (`evaluate`, `metric_names`). The base provides the mixture, the count over a whole
    optimizer step on all processes, checkpoints that count only when complete, the tokens seen of each language, the
    end on SIGTERM and on a loss that is not finite, and publishing.

    Before training it warns about languages with a large share of unknown tokens; `unknown_shares` holds the shares by
    language. For streamed text they are those of its beginning, which only the main process reads once more when
    training starts; the other processes have none.

    Args:
        model: The model.
        args: Its arguments.
        **trainer_settings: Passed to `transformers.Trainer`. Batches of `data_collator` hold `attention_mask` and the
            places of their samples, as those of `hf_afro.batching.PaddingCollator` do.
    """

    # The loss is divided by the count of the whole accumulation window, so the Trainer must not divide once more.
    loss_is_scaled_for_ga = True

    name: ClassVar[str] = "training"
    """The name of the training in the log."""
    trains_head: bool = True
    """Whether the masked-LM head takes part in the loss."""

    def __init__(self, model: PreTrainedModel, args: MixtureTrainingArguments, **trainer_settings: Any) -> None:
        self.stay_finite = StayFinite()
        self.tokens_seen = TokensSeen()
        self._keep_places = KeepPlaces()
        self._leave_on_sigterm = LeaveOnSigterm()
        limit = args.save_total_limit
        super().__init__(model=model, args=without_limit(args), **trainer_settings)
        # In this order: weights are checked once it is known whether they will be saved.
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

    def metric_names(self) -> list[str]:
        """Return the names, without prefix, of the metrics that `evaluate` gives for the trainer's `eval_dataset`."""
        raise NotImplementedError

    def train(self, resume_from_checkpoint: str | bool | None = None, **settings: Any) -> TrainOutput:
        """Train; only complete checkpoints count.

        Args:
            resume_from_checkpoint: True resumes from the last complete checkpoint of `output_dir`, or starts from the
                beginning where there is none; a path resumes from that checkpoint; None or False starts from the
                beginning.
            **settings: Passed to `transformers.Trainer.train`.

        Returns:
            The output of `Trainer.train`, with the tokens seen of each language among its metrics.

        Raises:
            ValueError: If the given checkpoint is not complete, or evaluation does not give `metric_for_best_model`.
            SystemExit: With code 143 after SIGTERM: once a checkpoint is saved or, if it came after the last step,
                when the Trainer has finished.
        """
        self._check_best_metric()
        checkpoint = find_checkpoint(self.args, resume_from_checkpoint)
        self._record_head()
        if isinstance(self.train_dataset, StreamedSamples):
            if self.is_world_process_zero():
                self._measure_unknown()
            self.train_dataset.resume_from(self._keep_places.load(checkpoint))
        try:
            with tied_keys_not_missing(self.model):
                result = super().train(resume_from_checkpoint=checkpoint, **settings)
        finally:
            self._leave_on_sigterm.release()
        if self._leave_on_sigterm.stopped:
            logger.warning(
                "Stopped after SIGTERM; repeat the same command to resume from checkpoint-%d of %s.",
                self.state.global_step,
                Path(self.args.output_dir),
            )
            raise SystemExit(TERMINATED)
        if self._leave_on_sigterm.received:
            logger.warning("SIGTERM came after the last step; stopping without saving another checkpoint.")
            raise SystemExit(TERMINATED)
        result.metrics.update(self.tokens_seen.metrics())
        return result

    def get_train_dataloader(self) -> DataLoader:
        """Return this process's share of the mixture; its order is a function of the seed alone."""
        return mixture_dataloader(self.train_dataset, self.args, self.data_collator)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the micro-batches of one step, and what the loss is divided by over all processes.

        The count is that of the whole step (or one for each term), at least 1, so that the loss of a step without a
        single item is zero. What only the trainer reads is removed from the batches.
        """
        # A run resumed from the checkpoint of its last step would take one more: the stock loop looks at the number
        # of steps only after a step.
        if 0 < self.state.max_steps <= self.state.global_step:
            return [], None
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if missing := sorted({"attention_mask", *PLACE} - set(batches[0])):
            raise ValueError(
                f"the data_collator's batches lack {', '.join(missing)}; let it subclass, or call, "
                "hf_afro.batching.MaskingCollator or PaddingCollator with keep_place=True"
            )
        languages = self.train_dataset.languages
        counts = self._count_over_step(batches, len(languages))
        # With restore_callback_states_from_checkpoint the Trainer has replaced the first one.
        self.tokens_seen = next(one for one in self.callback_handler.callbacks if isinstance(one, TokensSeen))
        own = len(counts) - len(languages)
        self.tokens_seen.add(languages, counts[own:].tolist())
        self.stay_finite.watch([dict(batch) for batch in batches], languages)
        for batch in batches:
            for language, place in batch.pop("stream", {}).items():
                self._keep_places.places[languages[language]] = place
            for name in PLACE:
                del batch[name]
        return batches, counts[:own].clamp_min(1).squeeze()

    def part_of_step(
        self, total: torch.Tensor, own_count: torch.Tensor | int, step_count: torch.Tensor | None
    ) -> torch.Tensor:
        """Return a micro-batch's sum as its part of the step's mean.

        A mean over each micro-batch would weigh an item by how few others its micro-batch happens to hold, so the
        gradient would change with the number of processes and of accumulation steps. Sums divided by the count of the
        whole step do not.

        Args:
            total: The summed loss of the micro-batch.
            own_count: Items of the micro-batch; divided by at least 1.
            step_count: Items of the whole step on all processes; None where the micro-batch stands alone.
        """
        if step_count is None:
            return total / max(1, own_count)
        # DDP takes the mean of the gradients over processes; here their sum over one count is wanted.
        return total * self.accelerator.num_processes / step_count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and with the training loss the tokens seen; what `train` returns has them by language."""
        seen = {"tokens_seen": sum(self.tokens_seen.by_language.values())}
        super().log(logs | seen if "loss" in logs else logs, start_time)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model; a checkpoint that is written over does not count as complete meanwhile."""
        begin_saving(output_dir)
        super().save_model(output_dir, _internal_call)
        end_saving(self.args, output_dir)

    def predict(self, *arguments: Any, **settings: Any) -> NoReturn:
        """Refuse.

        Raises:
            TypeError: Always; `evaluate` measures, and `transformers.pipeline` fills masks.
        """
        raise TypeError(f"{type(self).__name__} makes no predictions; call evaluate(dataset) for its metrics")

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Set where the model is published; the repository is created when the model is pushed.

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
            commit_message: The message of the commit.
            blocking: Always true.
            token: In place of `hub_token` of the arguments.
            revision: The branch, in place of `hub_revision`.
            private: Whether a new repository is private, in place of `hub_private_repo`.
            **kwargs: Passed to `create_model_card`, where the folder has no card by hf_afro.

        Returns:
            What was published; None on all processes but the main one.
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

    def _report(self, metrics: dict[str, float]) -> dict[str, float]:
        """Log the metrics of an evaluation, tell the callbacks, and return them."""
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _count_over_step(self, batches: Sequence[Batch], num_languages: int) -> torch.Tensor:
        """Return the items and the tokens of each language of one step, over all processes, int64 ``[counts]``."""
        own = []
        for batch in batches:
            tokens = torch.zeros(num_languages, dtype=torch.long)
            tokens.index_add_(0, batch["language"].cpu(), batch["attention_mask"].sum(1).cpu())
            own.append(torch.cat([self.count_items(batch).reshape(-1).cpu(), tokens]))
        # Integers throughout: a sum in fp32 is not exact beyond 2**24 items.
        total = torch.stack(own).sum(0).to(self.accelerator.device)
        return self.accelerator.reduce(total, reduction="sum")

    def _check_best_metric(self) -> None:
        """Refuse a `metric_for_best_model` that the Trainer would only miss after the first evaluation."""
        wanted, names = self.args.metric_for_best_model, self.metric_names()
        if wanted is None or not names or self.args.eval_strategy == "no":
            return
        name = wanted.removeprefix("eval_")
        if name not in names:
            raise ValueError(f"unknown metric_for_best_model={wanted!r}; {nearest(name, names, every=True)}")

    def _measure_unknown(self) -> None:
        """Measure what share of each language's tokens is unknown, and warn of large ones."""
        if self.processing_class is not None:  # without a tokenizer the text is token ids already
            self.unknown_shares = unknown_shares(self.train_dataset, self.processing_class)
            if self.is_world_process_zero():
                warn_of_unknown(self.unknown_shares)

    def _record_head(self) -> None:
        """Write into the configuration whether the masked-LM head is trained, for the card and later users.

        A frozen head, as beside an adapter of the layers, keeps its former state. An output embedding tied to the word
        embedding belongs to the encoder.
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


class TokensSeen(TrainerCallback, ExportableState):
    """Counts the tokens of each language a model was trained on, over all processes and all resumed runs.

    Special tokens count, padding does not; a sample that comes again counts again. The counts are part of the
    trainer's state, so a resumed run continues them.
    """

    def __init__(self) -> None:
        self.by_language: dict[str, int] = {}

    def add(self, languages: Sequence[str], tokens: Sequence[int]) -> None:
        """Add the tokens that all processes together read in a step, in the order of `languages`."""
        for language, count in zip(languages, tokens, strict=True):
            self.by_language[language] = self.by_language.get(language, 0) + count

    def metrics(self) -> dict[str, int]:
        """Return `train_tokens_seen` and `train_tokens_seen_<language>`."""
        own = {f"train_tokens_seen_{language}": count for language, count in sorted(self.by_language.items())}
        return {"train_tokens_seen": sum(self.by_language.values()), **own}

    def state(self) -> dict[str, Any]:
        """Return the entries for the trainer state of a checkpoint."""
        return {"args": {}, "attributes": {"by_language": dict(sorted(self.by_language.items()))}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Continue the counts of the checkpoint, if any."""
        callbacks: Mapping[str, Any] = state.stateful_callbacks or {}
        kept = callbacks.get(type(self).__name__) if state.global_step else None
        self.by_language = {} if kept is None else dict(kept["attributes"]["by_language"])
        # A checkpoint of another trainer has none, and the Trainer looks its callbacks up by name when it saves.
        state.stateful_callbacks = {**callbacks, type(self).__name__: self.state()}
