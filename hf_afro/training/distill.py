"""`RelationDistillTrainer`: a student learns a teacher's self-attention relations (MiniLM, MiniLMv2) and vectors."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from hf_afro.batching.collators import MaskingCollator, PaddingCollator
from hf_afro.families import depth_of
from hf_afro.training.arguments import RelationDistillTrainingArguments, check_settings
from hf_afro.training.base import Batch, LanguageTrainer
from hf_afro.training.capture import Vectors, parameters_without_part
from hf_afro.training.distill_plan import plan_distillation
from hf_afro.training.distill_terms import DistillTerms
from hf_afro.training.finite import check_evaluated
from hf_afro.training.gradients import freeze_embeddings
from hf_afro.training.model_checks import (
    check_masked_lm,
    check_models,
    check_padding,
    check_vocabularies,
    fit_padding,
    train_in_float32,
)
from hf_afro.training.processes import warning_level
from hf_afro.training.projection import KeepProjection
from hf_afro.training.saving import find_checkpoint
from hf_afro.training.training_data import LanguageDatasets, RowsDataset, data_seed, evaluation_rows, samples_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase
    from transformers.trainer_utils import TrainOutput

    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)


class RelationDistillTrainer(LanguageTrainer):
    """Distils a teacher into a student by the relations among its queries, its keys and its values.

    The objective is that of MiniLMv2, of MiniLM or of AfroXLMR-Comet (`hybrid`), alone or with a masked-LM loss and
    matching of the teacher's predictions, hidden states and sentence vectors; or any of these without relations. The
    sum of every term is divided by its own count (sequences, tokens or masked tokens) over the whole optimizer step on
    all processes, so a step is the same for any split into processes and accumulation steps. The teacher is not part
    of the model: it is in no checkpoint and no optimizer, stays in eval mode, and runs only as far as a term needs it.

    With relations alone, everything after the projections in the student's last layer, and its head, takes no part
    and keeps its weights, with or without weight decay: fit the head afterwards with a short run of `MAFTTrainer`, or
    give the masked-LM loss a weight.

    Hidden states and sentence vectors of another width are compared through a projection, trained with the student and
    kept in checkpoints beside it, in a file of its own. It is never part of the saved student.

    Args:
        model: The student, of a family in `hf_afro.families`, with or without a head. Half-precision weights are
            trained, and saved, in float32.
        teacher_model: The teacher, likewise; of any width and number of heads. It is put into eval mode and onto the
            device, in `args.teacher_dtype`; a teacher loaded in 8 bit, with ``quantization_config=
            BitsAndBytesConfig(load_in_8bit=True)``, or spread over devices with ``device_map``, stays as it is.
        args: See `RelationDistillTrainingArguments`.
        train_dataset: ``{language: dataset}``, or one dataset with a column `language`; with `text`, tokenized here,
            or `input_ids`.
        eval_dataset: The same form; `eval_<language>_loss` is the mean over its sequences.
        processing_class: The student's tokenizer; saved with the student.
        data_collator: In place of those of `hf_afro.batching`. It takes samples with `input_ids` and their places,
            and returns `input_ids`, `attention_mask`, those places, and `labels` where a term needs masked text.
        vocabulary_map: For a teacher with the full vocabulary and a student with the pruned one: the ids of each
            batch are mapped back for the teacher, and its predictions are taken at the kept tokens.
        **trainer_settings: Passed to `transformers.Trainer`: callbacks, optimizers and so on.

    Raises:
        TypeError: If an argument replaces a part that the trainer makes itself, or data has another form.
        ValueError: If teacher and student do not fit (shared parameters, a vocabulary without its map, another padding
            id, relation heads that do not divide both widths, a missing layer), a setting has no meaning here, or a
            projection would be sharded (FSDP, DeepSpeed).
        FloatingPointError: From `train` and `evaluate`, if a loss or a weight is not finite.

    References:
        Wang et al., "MiniLMv2", Findings of ACL 2021; Wang et al., "MiniLM", NeurIPS 2020; Raju et al.,
        "AfroXLMR-Comet", 2025; for hidden states and sentence vectors see `hf_afro.losses.hidden_states`.
    """

    name = "distillation"

    def __init__(
        self,
        model: PreTrainedModel,
        teacher_model: PreTrainedModel,
        args: RelationDistillTrainingArguments | None = None,
        train_dataset: LanguageDatasets | None = None,
        eval_dataset: LanguageDatasets | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        data_collator: Callable[[list[dict[str, Any]]], dict[str, Any]] | None = None,
        vocabulary_map: VocabularyMap | None = None,
        **trainer_settings: Any,
    ) -> None:
        args = RelationDistillTrainingArguments() if args is None else args
        check_settings(args, trainer_settings)
        check_models(model, teacher_model, args.max_length)
        check_vocabularies(model, teacher_model, processing_class, vocabulary_map)
        pad_id = fit_padding(model, processing_class, warning_level(args))
        teacher_pad = pad_id if vocabulary_map is None else int(vocabulary_map.to_old(torch.tensor(pad_id)))
        check_padding(teacher_model, teacher_pad, None if vocabulary_map else processing_class, "teacher")
        if args.mlm_weight or args.logit_weight:
            check_masked_lm(model, processing_class)
        if args.logit_weight and teacher_model.get_output_embeddings() is None:
            raise ValueError(
                f"logit_weight={args.logit_weight}, but the teacher ({type(teacher_model).__name__}) has no masked-LM "
                "head; load it with AutoModelForMaskedLM, or set logit_weight=0"
            )
        self.plan = plan_distillation(args, teacher_model, model)
        train_in_float32(model, warning_level(args))
        rows = model.get_input_embeddings().weight.shape[0]
        num_tokens = rows if processing_class is None else len(processing_class)
        self.terms = DistillTerms(self.plan, args, model, teacher_model, vocabulary_map, num_tokens)
        self.projection = self.terms.projection
        if self.projection is not None:  # before the callbacks of the base, which mark a checkpoint as complete
            if (trainer_settings.get("optimizers") or (None, None))[1] is not None:
                raise ValueError(
                    "optimizers holds a scheduler, which does not know the projection that hidden states of another "
                    "width need; pass optimizers=(optimizer, None), or give the student the teacher's width"
                )
            given = trainer_settings.get("callbacks") or ()
            trainer_settings["callbacks"] = [*given, KeepProjection(self.projection)]
        self._idle = frozenset() if self.terms.is_masked else _idle_parameters(self.terms, model)
        self.trains_head = self.terms.is_masked
        self._collator = _collator(args, processing_class, pad_id, self.terms.is_masked)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or self._collator,
            train_dataset=None if train_dataset is None else samples_of(train_dataset, processing_class, args),
            eval_dataset=None if eval_dataset is None else evaluation_rows(eval_dataset, processing_class, args),
            processing_class=processing_class,
            **trainer_settings,
        )
        if self.projection is not None:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError(
                    f"the student has width {model.config.hidden_size} and the teacher "
                    f"{teacher_model.config.hidden_size}, so hidden states are compared through a projection, which "
                    "is not possible under FSDP and DeepSpeed; use DDP, give the student the teacher's width, or "
                    "leave hidden_weight and pooled_weight at 0"
                )
            self.projection.to(self.accelerator.device)
        if args.freeze_embeddings_steps:
            self.add_callback(freeze_embeddings(self.model, args.freeze_embeddings_steps))
        self.teacher_model = _placed(teacher_model, self.accelerator.device, args.teacher_dtype)
        compared = {f"{self.plan.objective}, {self.plan.num_heads} heads": self.plan.pairs}
        for what, pairs in (compared | {"hidden states": self.plan.hidden_pairs}).items():
            if pairs:
                logger.info(
                    "%s: %s (layers are counted from 1; the teacher has %d, the student %d).",
                    what,
                    ", ".join(f"layer {taught} teaches layer {learning}" for taught, learning in pairs),
                    depth_of(teacher_model),
                    depth_of(model),
                )
        weights = {**self.terms.weights, **self.plan.weights}
        logger.info("weights: %s.", ", ".join(f"{name} {weight:g}" for name, weight in weights.items()))

    def train(self, resume_from_checkpoint: str | bool | None = None, **settings: Any) -> TrainOutput:
        """Train as `LanguageTrainer.train` does, with the projection, if any, as a part of the student meanwhile."""
        if self.projection is None:
            return super().train(resume_from_checkpoint, **settings)
        checkpoint = find_checkpoint(self.args, resume_from_checkpoint)
        if checkpoint is not None:
            self.projection.load(Path(checkpoint))
        with self.projection.attached_to(self.model):
            return super().train(checkpoint, **settings)

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer; one that was made before training gets the projection as one more group."""
        optimizer = super().create_optimizer(model)
        if self.projection is not None:
            optimized = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            if id(self.projection.weight) not in optimized:
                optimizer.add_param_group({"params": [self.projection.weight]})
        return optimizer

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Return the parameters that decay: none of those without a part in the loss.

        Usually they have no gradient, and the optimizer skips them. But the compiler and some wrappers give gradients
        of zero, and weight decay would shrink the weights.
        """
        decaying = super().get_decay_parameter_names(model)
        return [name for name in decaying if name.removeprefix("_orig_mod.").removeprefix("module.") not in self._idle]

    def count_items(self, batch: Batch) -> torch.Tensor:
        """Return what each term of a micro-batch is divided by: sequences, tokens or masked tokens."""
        return self.terms.counts(batch)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Vectors]:
        """Return the loss of one micro-batch as its part of the step's loss.

        Args:
            model: The student as it was wrapped.
            inputs: `input_ids` and `attention_mask`, ``[batch, length]``, and `labels` where text is masked.
            return_outputs: Whether to return the student's vectors too, ``{layer: {name: [batch, length, width]}}``.
            num_items_in_batch: What each term is divided by over the whole step; without it, by its count in this
                batch.
        """
        with self.accelerator.autocast():
            sums, learnt = self.terms(model, inputs)
        own_counts = self.terms.counts(inputs)
        step_counts = [None] * len(sums) if num_items_in_batch is None else list(num_items_in_batch.reshape(-1))
        parts = [
            self.terms.weights[name] * self.part_of_step(total, own, whole)
            for (name, total), own, whole in zip(sums.items(), own_counts, step_counts, strict=True)
        ]
        loss = torch.stack(parts).sum()
        if num_items_in_batch is not None:
            self.stay_finite.add(loss)
        return (loss, learnt) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: LanguageDatasets | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Measure the distillation loss on held-out text, by language.

        Args:
            eval_dataset: In place of the one given to the trainer.
            ignore_keys: Not used; part of the Trainer's signature.
            metric_key_prefix: Prefix of the names.

        Returns:
            `<prefix>_<language>_loss`, the weighted sum of the terms, each a mean over the language's sequences,
            tokens or masked tokens, and `<prefix>_loss` over all languages; with several terms also
            `<prefix>_<term>_loss`. The same for any number of processes and any batch size, up to rounding.
        """
        rows = self.eval_dataset
        if eval_dataset is not None:
            rows = evaluation_rows(eval_dataset, self.processing_class, self.args)
        if rows is None:
            raise ValueError("evaluate needs an eval_dataset; pass {language: dataset}")
        sums = {language: self._sums_and_counts(own) for language, own in rows.items()}
        check_evaluated({language: float(own[0].sum()) for language, own in sums.items()})
        weights = torch.tensor(list(self.terms.weights.values()), dtype=torch.float64)
        metrics = {
            f"{metric_key_prefix}_{language}_loss": float(weights @ (own / count.clamp_min(1)))
            for language, (own, count) in sums.items()
        }
        total, count = torch.stack(list(sums.values())).sum(0)
        means = total / count.clamp_min(1)
        if len(weights) > 1:
            metrics |= {
                f"{metric_key_prefix}_{name}_loss": float(mean)
                for name, mean in zip(self.terms.weights, means, strict=True)
            }
        metrics[f"{metric_key_prefix}_loss"] = float(weights @ means)
        return self._report(metrics)

    def metric_names(self) -> list[str]:
        """Return the names, without prefix, of the metrics that `evaluate` gives for the trainer's `eval_dataset`."""
        if self.eval_dataset is None:
            return []
        terms = list(self.terms.weights) if len(self.terms.weights) > 1 else []
        return [*(f"{name}_loss" for name in (*self.eval_dataset, *terms)), "loss"]

    @torch.no_grad()
    def _sums_and_counts(self, rows: RowsDataset) -> torch.Tensor:
        """Return the summed terms of one language and their counts over all processes, float64 ``[2, terms]``."""
        sums = torch.zeros(2, len(self.terms.weights), dtype=torch.float64, device=self.args.device)
        own = range(self.args.process_index, len(rows), self.args.world_size)
        collate = dataclasses.replace(self._collator, keep_place=False)
        self.model.eval()
        of_all = self.args.eval_batch_size * self.args.world_size
        for start in range(0, math.ceil(len(rows) / of_all) * self.args.eval_batch_size, self.args.eval_batch_size):
            # A process without rows left runs one more, uncounted: the processes of a model sharded by FSDP wait for
            # each other in every forward.
            counted = own[start : start + self.args.eval_batch_size]
            # The masks of the first pass of each row, on whichever process and whenever.
            samples = [{**rows[index], "pass_index": 0, "sample_id": index} for index in counted or (0,)]
            inputs = {name: tensor.to(self.args.device) for name, tensor in collate(samples).items()}
            with self.accelerator.autocast():
                totals, _ = self.terms(self.model, inputs)
            if not counted:
                continue
            sums[0] += torch.stack(list(totals.values())).double()
            sums[1] += self.terms.counts(inputs)
        reduced: torch.Tensor = self.accelerator.reduce(sums, reduction="sum")
        return reduced.cpu()


def _collator(
    args: RelationDistillTrainingArguments,
    tokenizer: PreTrainedTokenizerBase | None,
    pad_id: int,
    is_masked: bool,
) -> PaddingCollator:
    if is_masked:
        return MaskingCollator.from_tokenizer(
            tokenizer, seed=data_seed(args), probability=args.mlm_probability, keep_place=True
        )
    return PaddingCollator(pad_id, keep_place=True)


def _placed(teacher: PreTrainedModel, device: torch.device, dtype: str | None) -> PreTrainedModel:
    """Put the teacher onto the device, unless it was loaded to stay where it is.

    Not by Accelerate: a model that it has prepared would keep the Trainer from preparing the student for evaluation.
    """
    teacher.eval()
    if getattr(teacher, "is_quantized", False) or getattr(teacher, "hf_device_map", None):
        if dtype is not None:
            raise ValueError(
                f"teacher_dtype={dtype}, but the teacher was loaded quantized or with a device_map; leave it out"
            )
        return teacher
    return teacher.to(device=device, dtype=None if dtype is None else getattr(torch, dtype))


def _idle_parameters(terms: DistillTerms, student: PreTrainedModel) -> frozenset[str]:
    """Return the names of the student's parameters that no term reaches, found on two tokens."""
    was_training = student.training
    ids = torch.zeros(1, 2, dtype=torch.long, device=student.device)
    student.eval()
    with torch.enable_grad():
        learnt = terms.student_capture(student, input_ids=ids, attention_mask=torch.ones_like(ids))
    student.train(was_training)
    return frozenset(parameters_without_part(student, learnt["vectors"]))
