"""Compute the terms of a distillation loss on one micro-batch, each a sum with its own count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hf_afro.batching.collators import IGNORED
from hf_afro.families import depth_of
from hf_afro.losses import (
    attention_map_matching,
    attention_relation_loss,
    count_sequences,
    hidden_matching,
    logit_matching,
    masked_lm_loss,
    pooled_matching,
    relation_loss,
    relation_losses,
)
from hf_afro.training.capture import HIDDEN, RELATIONS, StudentCapture, TeacherCapture
from hf_afro.training.masked_only import head_at
from hf_afro.training.projection import HiddenProjection

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from hf_afro.training.arguments import RelationDistillTrainingArguments
    from hf_afro.training.capture import Vectors
    from hf_afro.training.distill_plan import DistillPlan
    from hf_afro.vocabulary import VocabularyMap


class DistillTerms:
    """Runs teacher and student on a micro-batch and returns the sum of every term that has a weight.

    Args:
        plan: What is compared.
        args: With the weights, the temperature, the implementation and the seed of the projection.
        student: The student; hooks are put on its layers.
        teacher: The teacher; hooks are put on its layers.
        vocabulary_map: From the student's ids to the teacher's, where they differ.
        num_tokens: Tokens of the student's vocabulary; rows of a table beyond them are padding.

    Attributes:
        weights: The weight of each term that has one.
        projection: From the student's width to the teacher's, where hidden states of different widths are compared.
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
        weights = {
            "relation": 1.0 if plan.pairs else 0.0,
            "mlm": args.mlm_weight,
            "logit": args.logit_weight or 0.0,
            "hidden": args.hidden_weight,
            "pooled": args.pooled_weight,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        taught, learning = ([pair[side] for pair in plan.pairs] for side in (0, 1))
        hidden_taught, hidden_learning = ([pair[side] for pair in plan.hidden_pairs] for side in (0, 1))
        if {"logit", "pooled"} & self.weights.keys():
            hidden_taught.append(depth_of(teacher))
        if "pooled" in self.weights:
            hidden_learning.append(depth_of(student))
        widths = student.config.hidden_size, teacher.config.hidden_size
        self.projection: HiddenProjection | None = None
        if hidden_learning and widths[0] != widths[1]:
            self.projection = HiddenProjection(*widths, seed=args.seed).to(student.device)
        self.student_capture = StudentCapture(student, learning, hidden_learning, self.projection)
        # A student that learns from text alone has no use for its teacher.
        is_taught = bool(taught or hidden_taught)
        self.teacher_capture = TeacherCapture(teacher, taught, hidden_taught) if is_taught else None

    @property
    def is_masked(self) -> bool:
        """Whether a term needs masked text."""
        return bool({"mlm", "logit"} & self.weights.keys())

    def remove(self) -> None:
        """Remove all hooks from teacher and student."""
        self.student_capture.remove()
        if self.teacher_capture is not None:
            self.teacher_capture.remove()

    def counts(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return what each term of a micro-batch is divided by, int64 ``[terms]``.

        Relations and sentence vectors are divided by the rows that hold a token, hidden states by the tokens, and the
        other terms by the masked tokens.
        """
        rows = count_sequences(batch["attention_mask"])
        counts = {"relation": rows, "pooled": rows, "hidden": (batch["attention_mask"] != 0).sum()}
        if self.is_masked:
            counts["mlm"] = counts["logit"] = (batch["labels"] != IGNORED).sum()
        return torch.stack([counts[name] for name in self.weights])

    def teach(
        self, inputs: dict[str, torch.Tensor], positions: torch.Tensor | None
    ) -> tuple[Vectors, torch.Tensor | None]:
        """Return the teacher's vectors, and its logits at `positions` over the student's tokens if they are needed."""
        if self.teacher_capture is None:
            return {}, None
        ids = inputs["input_ids"] if self.vocabulary_map is None else self.vocabulary_map.to_old(inputs["input_ids"])
        vectors = self.teacher_capture(ids, inputs["attention_mask"])
        if "logit" not in self.weights:
            return vectors, None
        with torch.no_grad():
            logits = head_at(self.teacher, vectors[depth_of(self.teacher)][HIDDEN], positions)
        if self.vocabulary_map is None:
            return vectors, logits[:, : self.num_tokens]
        kept = self.vocabulary_map.to_old(torch.arange(self.num_tokens, device=logits.device))
        return vectors, logits.index_select(-1, kept)

    def __call__(self, model: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], Vectors]:
        """Return the sum of each term, and the student's vectors.

        Args:
            model: The student as it was wrapped.
            inputs: `input_ids` and `attention_mask`, ``[batch, length]``, and `labels` where text is masked.
        """
        input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
        labels = inputs["labels"].flatten() if self.is_masked else None
        positions = None if labels is None else (labels != IGNORED).nonzero().squeeze(1)
        taught, teacher_logits = self.teach(inputs, positions)
        outputs = self.student_capture(model, positions, input_ids=input_ids, attention_mask=attention_mask)
        learnt = outputs["vectors"]
        sums: dict[str, torch.Tensor] = {}
        if "relation" in self.weights:
            sums["relation"] = self._relations(taught, learnt, attention_mask)
        if labels is not None and "mlm" in self.weights:
            sums["mlm"] = masked_lm_loss(outputs["logits"], labels[positions])
        if teacher_logits is not None:
            student_logits = outputs["logits"][:, : self.num_tokens]
            sums["logit"] = logit_matching(student_logits, teacher_logits, self.args.temperature)
        if "hidden" in self.weights:
            kind = self.args.hidden_loss
            losses = [
                hidden_matching(learnt[student][HIDDEN], taught[teacher][HIDDEN], attention_mask, kind)
                for teacher, student in self.plan.hidden_pairs
            ]
            sums["hidden"] = torch.stack(losses).mean()
        if "pooled" in self.weights:
            last = learnt[self.student_capture.depth][HIDDEN], taught[depth_of(self.teacher)][HIDDEN]
            sums["pooled"] = pooled_matching(*last, attention_mask)
        return sums, learnt

    def _relations(self, taught: Vectors, learnt: Vectors, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return the loss of the objective, summed over sequences, as a mean over the pairs of layers."""
        losses = [
            self._pair_loss(taught[teacher], learnt[student], attention_mask) for teacher, student in self.plan.pairs
        ]
        return torch.stack(losses).mean()

    def _pair_loss(
        self, teacher: dict[str, torch.Tensor], student: dict[str, torch.Tensor], attention_mask: torch.Tensor
    ) -> torch.Tensor:
        plan = self.plan
        impl: Any = self.args.relation_impl
        if plan.objective == "minilmv2":
            taught, learnt = ({name: of[name] for name in RELATIONS} for of in (teacher, student))
            return relation_losses(taught, learnt, attention_mask, plan.num_heads, plan.weights, impl, reduction="sum")
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
