"""`RelationDistillTrainer`: a student learns the self-attention relations of one layer of a teacher (MiniLMv2)."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, Trainer

from hf_afro.corpora.batching import PaddingCollator
from hf_afro.families import layers_of
from hf_afro.hub.trainers import name_repository, push_trainer
from hf_afro.objectives.relations import legal_relation_heads, relation_loss
from hf_afro.training.arguments import RelationDistillTrainingArguments
from hf_afro.training.capture import RELATIONS, StudentCapture, TeacherCapture
from hf_afro.training.checks import check_length, check_pair, check_settings, check_vocabularies
from hf_afro.training.finite import StayFinite, check_evaluated
from hf_afro.training.loading import (
    LanguageDatasets,
    RowsDataset,
    evaluation_rows,
    mixture_dataloader,
    samples_of,
)
from hf_afro.training.masked_only import MaskedOnlyHead
from hf_afro.training.window import count_over_window, is_past_the_end, part_of_step, sequences_with_a_token

if TYPE_CHECKING:
    from torch.utils.data import DataLoader
    from transformers import PreTrainedTokenizerBase

    from hf_afro.hub import PushReport
    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)

# The layer taught in the paper, by family and depth; any other teacher teaches from its last.
PAPER_TEACHER_LAYERS = {("bert", 24): 21, ("roberta", 24): 19, ("xlm-roberta", 24): 19}


class RelationDistillTrainer(Trainer):
    """Distils a teacher into a student by the relations among its queries, its keys and its values.

    The loss is that of MiniLMv2, the last layer of the student learning from one layer of the teacher; each relation
    has weight 1. Every sum is divided by the sequences of the whole optimizer step on all processes, so a step is the
    same for any split into processes and accumulation steps. The teacher is not part of the model: it is in no
    checkpoint and no optimizer, stays in eval mode, and runs only up to the layer taught.

    What follows the projections in the student's last layer, and its head, take no part and keep their weights: fit
    the head afterwards, with a short run of `MAFTTrainer`.

    Args:
        model: The student, of a family in `hf_afro.families`, with or without a head.
        teacher_model: The teacher, likewise; of any width and number of heads. It is put into eval mode.
        args: See `RelationDistillTrainingArguments`.
        train_dataset: ``{language: dataset}``, or one dataset with a column `language`; with `text`, tokenised here,
            or `input_ids`.
        eval_dataset: The same form; `eval_<language>_loss` is the mean over its sequences.
        processing_class: The student's tokenizer; saved with the student.
        vocabulary_map: For a teacher of the full vocabulary and a student of the pruned one: the ids of each batch
            are mapped back for the teacher.
        **trainer_settings: Whatever else `transformers.Trainer` takes: callbacks, optimizers and so on.

    Raises:
        TypeError: If a part is handed in that the trainer makes itself, or data of another form.
        ValueError: If teacher and student do not fit: parameters they share, a vocabulary without its map, relation
            heads that do not divide both widths, a layer that is not there; or a setting has no meaning here.
        FloatingPointError: From `train` and `evaluate`, if a loss or a weight is not finite.

    References:
        Wang et al., "MiniLMv2", Findings of ACL 2021.
    """

    # The loss is divided by the count of the whole accumulation window, so the Trainer must not divide once more.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel,
        teacher_model: PreTrainedModel,
        args: RelationDistillTrainingArguments | None = None,
        train_dataset: LanguageDatasets | None = None,
        eval_dataset: LanguageDatasets | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        vocabulary_map: VocabularyMap | None = None,
        **trainer_settings: Any,
    ) -> None:
        args = RelationDistillTrainingArguments() if args is None else args
        check_settings(args, trainer_settings)
        check_pair(model, teacher_model)
        check_vocabularies(model, teacher_model, processing_class, vocabulary_map)
        for network in (model, teacher_model):
            check_length(network, args.max_length)
        self.num_relation_heads = _relation_heads(args, teacher_model, model)
        layer = args.teacher_layer
        self.teacher_layer = _default_teacher_layer(teacher_model) if layer is None else layer
        self.vocabulary_map = vocabulary_map
        self.teacher_capture = TeacherCapture(teacher_model, self.teacher_layer)
        # In this order: both hook the same module of a student without a head, and the vectors have the last word.
        self.head = MaskedOnlyHead(model)
        self.student_capture = StudentCapture(model, layer=len(layers_of(model)))
        super().__init__(
            model=model,
            args=args,
            data_collator=_pad_collator(processing_class, model),
            train_dataset=None if train_dataset is None else samples_of(train_dataset, processing_class, args),
            eval_dataset=None if eval_dataset is None else evaluation_rows(eval_dataset, processing_class, args),
            processing_class=processing_class,
            **trainer_settings,
        )
        self.stay_finite = StayFinite()
        self.add_callback(self.stay_finite)
        # Placed by hand: whatever Accelerate has prepared keeps the Trainer from preparing the student for evaluation.
        self.teacher_model = teacher_model.to(self.accelerator.device)
        logger.info(
            "Layer %d of %d of the teacher teaches layer %d of the student by %d relation heads.",
            self.teacher_layer,
            len(layers_of(teacher_model)),
            len(layers_of(model)),
            self.num_relation_heads,
        )

    def get_train_dataloader(self) -> DataLoader:
        """Return this process's share of the mixture; its order is a function of the seed alone."""
        return mixture_dataloader(self.train_dataset, self.args, self.data_collator)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor | None]:
        """Return the micro-batches of one step and how many sequences it holds over all processes."""
        if is_past_the_end(self.state):
            return [], None
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, count_over_window(batches, sequences_with_a_token, self.accelerator)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of one micro-batch as its part of the step's; in evaluation, the mean over its sequences.

        Args:
            model: The student as it was wrapped.
            inputs: `input_ids` and `attention_mask`, ``[batch, length]``.
            return_outputs: Whether to return the student's vectors too, ``{relation: [batch, length, width]}``.
            num_items_in_batch: Sequences of the whole step; without it the loss stands alone.
        """
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        teacher_ids = input_ids if self.vocabulary_map is None else self.vocabulary_map.to_old(input_ids)
        with self.accelerator.autocast():
            taught = self.teacher_capture(teacher_ids, attention_mask)
        # The head has no part in this loss. It is given one position to work on, since some cannot do with none.
        with self.head.at(input_ids.new_zeros(1)):
            learnt = self.student_capture(model, input_ids=input_ids, attention_mask=attention_mask)
        total = sum(
            relation_loss(
                taught[relation],
                learnt[relation],
                attention_mask,
                self.num_relation_heads,
                self.args.relation_impl,
                reduction="sum",
            )
            for relation in RELATIONS
        )
        own_count = sequences_with_a_token(inputs)
        loss = part_of_step(total, own_count, num_items_in_batch, self.accelerator.num_processes)
        if num_items_in_batch is not None:
            self.stay_finite.add(loss)
        return (loss, learnt) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: LanguageDatasets | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Measure how far the student's relations are from the teacher's, by language.

        Args:
            eval_dataset: In place of the one given to the trainer.
            ignore_keys: Not used; the Trainer's signature.
            metric_key_prefix: What the names of the figures start with.

        Returns:
            `<prefix>_<language>_loss`, the mean over the language's sequences, and `<prefix>_loss` over all of them:
            the same for any number of processes and any batch size, up to rounding.
        """
        rows = self.eval_dataset
        if eval_dataset is not None:
            rows = evaluation_rows(eval_dataset, self.processing_class, self.args)
        if rows is None:
            raise ValueError("evaluation was asked for without an eval_dataset; pass {language: dataset}")
        sums = {language: self._loss_and_sequences(own) for language, own in rows.items()}
        check_evaluated({language: loss for language, (loss, _) in sums.items()})
        metrics = {f"{metric_key_prefix}_{language}_loss": loss / count for language, (loss, count) in sums.items()}
        losses, counts = zip(*sums.values(), strict=True)
        metrics[f"{metric_key_prefix}_loss"] = math.fsum(losses) / sum(counts)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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

    @torch.no_grad()
    def _loss_and_sequences(self, rows: RowsDataset) -> tuple[float, float]:
        """Return one language's summed loss and its number of sequences, over all processes."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        own = range(self.args.process_index, len(rows), self.args.world_size)
        self.model.eval()
        for start in range(0, len(own), self.args.eval_batch_size):
            batch = self.data_collator([rows[index] for index in own[start : start + self.args.eval_batch_size]])
            inputs = {name: tensor.to(self.args.device) for name, tensor in batch.items()}
            with self.accelerator.autocast():
                loss: torch.Tensor = self.compute_loss(self.model, inputs)  # type: ignore[assignment]
            count = sequences_with_a_token(inputs)
            sums += torch.stack([loss.double() * count, count.double()])
        total, sequences = self.accelerator.reduce(sums, reduction="sum").tolist()
        return total, sequences


def _pad_collator(tokenizer: PreTrainedTokenizerBase | None, student: PreTrainedModel) -> PaddingCollator:
    return (
        PaddingCollator(student.config.pad_token_id)
        if tokenizer is None
        else PaddingCollator.from_tokenizer(tokenizer)
    )


def _default_teacher_layer(teacher: PreTrainedModel) -> int:
    depth = len(layers_of(teacher))
    return PAPER_TEACHER_LAYERS.get((teacher.config.model_type, depth), depth)


def _relation_heads(args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel) -> int:
    """Return the number of relation heads asked for, or the default, if it divides both widths."""
    legal = legal_relation_heads(teacher.config.hidden_size, student.config.hidden_size)
    if args.num_relation_heads is None:
        return max(heads for heads in legal if heads <= 4 * teacher.config.num_attention_heads)
    if args.num_relation_heads not in legal:
        raise ValueError(
            f"num_relation_heads={args.num_relation_heads} does not divide both widths, {teacher.config.hidden_size} "
            f"of the teacher and {student.config.hidden_size} of the student; legal are {', '.join(map(str, legal))}"
        )
    return args.num_relation_heads
