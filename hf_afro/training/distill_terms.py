"""The terms of a distillation loss on one micro-batch, each a sum with a count of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hf_afro.losses import attention_relation_loss, masked_lm_loss, relation_loss, relation_losses
from hf_afro.losses.matching import attention_map_matching, logit_matching
from hf_afro.training.capture import StudentCapture, TeacherCapture
from hf_afro.training.masked_only import MaskedOnlyHead
from hf_afro.training.window import masked_tokens, sequences_with_a_token

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from hf_afro.training.arguments import RelationDistillTrainingArguments
    from hf_afro.training.capture import Vectors
    from hf_afro.training.distill_plan import DistillPlan
    from hf_afro.training.vector_cache import VectorCache
    from hf_afro.vocabulary import VocabularyMap

COUNTS = {"relation": sequences_with_a_token, "mlm": masked_tokens, "logit": masked_tokens}
"""What each term is divided by."""


class DistillTerms:
    """Runs teacher and student on a micro-batch and returns the sum of every term that has a weight.

    Args:
        plan: What is compared.
        args: The weights, the temperature and the implementation.
        student: The student; hooks are put on it.
        teacher: The teacher; hooks are put on it.
        vocabulary_map: From the student's ids to the teacher's, where they differ.
        num_tokens: Tokens of the student's vocabulary; rows of a table beyond them are padding.
    """

    def __init__(
        self,
        plan: DistillPlan,
        args: RelationDistillTrainingArguments,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        vocabulary_map: VocabularyMap | None,
        num_tokens: int,
    ) -> None:
        self.plan, self.args, self.teacher = plan, args, teacher
        self.vocabulary_map, self.num_tokens = vocabulary_map, num_tokens
        relation = 1.0 if any(plan.weights.values()) else 0.0
        weights = {"relation": relation, "mlm": args.mlm_weight, "logit": args.logit_weight or 0.0}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.teacher_capture = TeacherCapture(teacher, plan.teacher_layers)
        self.teacher_head = MaskedOnlyHead(teacher) if "logit" in self.weights else None
        # In this order: both hook the same module of a student without a head, and the vectors have the last word.
        self.head = MaskedOnlyHead(student)
        self.student_capture = StudentCapture(student, plan.student_layers)
        self.cache: VectorCache | None = None
        """Where the teacher's vectors are looked up, for batches that say which samples they are of."""

    def remove(self) -> None:
        """Take all hooks off teacher and student."""
        for part in (self.teacher_capture, self.teacher_head, self.student_capture, self.head):
            if part is not None:
                part.remove()

    @property
    def is_masked(self) -> bool:
        """Whether a term wants masked text."""
        return bool({"mlm", "logit"} & self.weights.keys())

    def counts(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return what each term of a micro-batch is divided by, int64 ``[terms]``."""
        return torch.stack([COUNTS[name](batch) for name in self.weights])

    def teach(self, inputs: dict[str, torch.Tensor], positions: torch.Tensor) -> tuple[Vectors, torch.Tensor | None]:
        """Return the teacher's vectors, and its logits at `positions` over the student's tokens if they are wanted."""
        ids = inputs["input_ids"] if self.vocabulary_map is None else self.vocabulary_map.to_old(inputs["input_ids"])
        asked = {"input_ids": ids, "attention_mask": inputs["attention_mask"]}
        if self.teacher_head is None:
            if self.cache is None or "sample_id" not in inputs:
                return self.teacher_capture(**asked), None
            capture = self.teacher_capture
            return self.cache(inputs["sample_id"], inputs["attention_mask"], lambda: capture(**asked)), None
        with self.teacher_head.at(positions):
            vectors, output = self.teacher_capture.with_output(self.teacher, **asked)
        logits = self.teacher_head.select(output.logits, positions)
        if self.vocabulary_map is None:
            return vectors, logits[:, : self.num_tokens]
        kept = self.vocabulary_map.to_old(torch.arange(self.num_tokens, device=logits.device))
        return vectors, logits.index_select(-1, kept)

    def __call__(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Vectors]:
        """Return the sum of each term, and the student's vectors.

        Args:
            model: The student as it was wrapped.
            inputs: `input_ids` and `attention_mask`, ``[batch, length]``, and `labels` where text is masked; of
                training, `sample_id` besides, ``[batch]``, where there is a cache.
        """
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        if self.is_masked:
            positions = (inputs["labels"].flatten() != -100).nonzero().squeeze(1)
        else:
            # The head has no part in the loss. It is given one position to work on, since some cannot do with none.
            positions = input_ids.new_zeros(1)
        vectors, teacher_logits = self.teach(inputs, positions)
        with self.head.at(positions):
            learnt = self.student_capture(
                model, keep_logits=self.is_masked, input_ids=input_ids, attention_mask=attention_mask
            )
        sums: dict[str, torch.Tensor] = {}
        if "relation" in self.weights:
            sums["relation"] = self._relations(vectors, learnt["vectors"], attention_mask)
        if self.is_masked:
            logits = self.head.select(learnt["logits"], positions)
            if "mlm" in self.weights:
                sums["mlm"] = masked_lm_loss(logits, inputs["labels"].flatten()[positions])
            if teacher_logits is not None:
                matched = logits[:, : self.num_tokens]
                sums["logit"] = logit_matching(matched, teacher_logits, self.args.temperature)
        return sums, learnt["vectors"]

    def _relations(self, taught: Vectors, learnt: Vectors, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the loss of the objective, summed over sequences, as a mean over the pairs of layers."""
        of_pairs = [
            self._of_pair(taught[teacher], learnt[student], attention_mask) for teacher, student in self.plan.pairs
        ]
        return torch.stack(of_pairs).mean()

    def _of_pair(
        self, teacher: dict[str, torch.Tensor], student: dict[str, torch.Tensor], attention_mask: torch.Tensor
    ) -> torch.Tensor:
        plan = self.plan
        impl: Any = self.args.relation_impl
        if plan.objective == "minilmv2":
            return relation_losses(
                teacher, student, attention_mask, plan.num_heads, plan.weights, impl, reduction="sum"
            )
        attention = (teacher["query"], teacher["key"], student["query"], student["key"], attention_mask)
        total = student["query"].new_zeros((), dtype=torch.float32)
        if plan.objective == "hybrid":
            heads = self.teacher.config.num_attention_heads, plan.num_heads
            return plan.weights["attention"] * attention_map_matching(*attention, *heads, reduction="sum")
        if plan.weights["attention"]:
            loss = attention_relation_loss(*attention, plan.num_heads, impl, reduction="sum")
            total = total + plan.weights["attention"] * loss
        if plan.weights["value"]:
            loss = relation_loss(
                teacher["value"], student["value"], attention_mask, plan.num_heads, impl, reduction="sum"
            )
            total = total + plan.weights["value"] * loss
        return total
