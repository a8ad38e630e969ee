"""Which layer of the teacher, and how many relation heads, make the best student: each tried for some steps."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_afro.training.arguments import MAFTTrainingArguments, RelationDistillTrainingArguments
from hf_afro.training.distill import RelationDistillTrainer
from hf_afro.training.distill_plan import plan_distillation
from hf_afro.training.maft import MAFTTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.training.loading import LanguageDatasets
    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """One student of a sweep.

    Attributes:
        teacher_layer: The layer that taught it, counted from 1.
        num_relation_heads: Its relation heads.
        relation_loss: Its loss on held-out text after distillation; comparable at equal layer and heads only.
        bits_per_byte: After the fit of its head, the mean of the languages; what students are ranked by.
    """

    teacher_layer: int
    num_relation_heads: int
    relation_loss: float
    bits_per_byte: float


def sweep_relations(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    args: RelationDistillTrainingArguments,
    fit_args: MAFTTrainingArguments,
    *,
    teacher_layers: Sequence[int],
    num_relation_heads: Sequence[int],
    train_dataset: LanguageDatasets,
    eval_dataset: LanguageDatasets,
    processing_class: PreTrainedTokenizerBase,
    vocabulary_map: VocabularyMap | None = None,
) -> list[SweepResult]:
    """Distil one student for each layer and number of heads, and return them from the best to the worst.

    Relation losses of other layers or heads are not comparable. So each student's head is fitted by a short run of
    `MAFTTrainer`, the same for all, and the students are ranked by bits a byte on held-out text. All start from the
    same weights and see the same text in the same order.

    Args:
        student: Where every student starts, with a masked-LM head; it is not changed.
        teacher: The teacher.
        args: Of each distillation; its layer and heads are replaced. Nothing is saved but under
            ``output_dir/layer-<layer>-heads-<heads>``.
        fit_args: Of each fit.
        teacher_layers: Layers to try, counted from 1.
        num_relation_heads: Numbers of relation heads to try.
        train_dataset: ``{language: dataset}`` with `text`.
        eval_dataset: The same form, held out.
        processing_class: The student's tokenizer.
        vocabulary_map: As of `RelationDistillTrainer`.

    Returns:
        The results, ascending in bits a byte.

    Raises:
        ValueError: Before any training, if a layer or a number of heads is impossible or there is none to try; and as
            the trainers.
    """
    tries = list(itertools.product(teacher_layers, num_relation_heads))
    if not tries:
        raise ValueError("there is nothing to try; name at least one teacher layer and one number of relation heads")
    each = [
        dataclasses.replace(
            args,
            teacher_layer=layer,
            num_relation_heads=heads,
            **_into(args.output_dir, f"layer-{layer}-heads-{heads}"),
        )
        for layer, heads in tries
    ]
    for own in each:
        plan_distillation(own, teacher, student)
    results = []
    for own, (layer, heads) in zip(each, tries, strict=True):
        learning = copy.deepcopy(student)
        distill = RelationDistillTrainer(
            learning,
            teacher,
            own,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            vocabulary_map=vocabulary_map,
        )
        distill.train()
        loss = distill.evaluate()["eval_loss"]
        distill.terms.remove()
        fit = MAFTTrainer(
            learning,
            dataclasses.replace(fit_args, **_into(own.output_dir, "fit")),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
        )
        fit.train()
        results.append(SweepResult(layer, heads, loss, fit.evaluate()["eval_bits_per_byte"]))
        logger.info("%s", results[-1])
    return sorted(results, key=lambda result: result.bits_per_byte)


def _into(folder: str | None, name: str) -> dict[str, Any]:
    return {"output_dir": str(Path(str(folder)) / name)}
