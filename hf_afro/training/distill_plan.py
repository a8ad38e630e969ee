"""Choose which layers teach which, with how many heads and what weights; by default as in the papers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_afro.families import depth_of, family_of, layer_at
from hf_afro.losses.relations import legal_relation_heads
from hf_afro.training.capture import RELATIONS, vector_width

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from hf_afro.training.arguments import RelationDistillTrainingArguments

logger = logging.getLogger(__name__)

# The layer that teaches in the paper, by family and depth; any other teacher teaches from its last.
PAPER_TEACHER_LAYERS = {("bert", 24): 21, ("roberta", 24): 19, ("xlm-roberta", 24): 19}

# The parts that each objective compares, in the order of `relation_weights`.
PARTS = {"minilmv2": RELATIONS, "minilm": ("attention", "value"), "hybrid": ("attention",)}

# Default weight of a part: 1 in both MiniLM papers, 0.5 in the Comet paper, as for its predictions.
_WEIGHTS = {"minilmv2": 1.0, "minilm": 1.0, "hybrid": 0.5}

# Families whose attention adds positions to queries and keys after they are captured.
_POSITIONS_LATER = ("modernbert", "eurobert", "deberta-v2", "mpnet")


@dataclass(frozen=True)
class DistillPlan:
    """What is compared.

    Attributes:
        objective: `minilmv2`, `minilm` or `hybrid`.
        pairs: Each layer of the teacher with the layer of the student that learns its relations, counted from 1; none
            where relations have no weight.
        num_heads: Relation heads; for `minilm` the attention heads that teacher and student have in common, for
            `hybrid` those of the student, which are free.
        weights: By part of the objective: query, key and value; attention and value; or attention.
        hidden_pairs: Each layer of the teacher with the layer of the student that matches its hidden states; none
            where they have no weight.
    """

    objective: str
    pairs: tuple[tuple[int, int], ...]
    num_heads: int
    weights: dict[str, float]
    hidden_pairs: tuple[tuple[int, int], ...]


def plan_distillation(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> DistillPlan:
    """Return what is compared, from the arguments and otherwise as in the papers.

    Raises:
        ValueError: If a layer does not exist, layers do not pair, the heads do not divide both widths, or attention is
            compared between models with different numbers of heads; the message lists the legal values.
    """
    parts = PARTS[args.objective]
    given = args.relation_weights
    if given is not None and len(given) != len(parts):
        raise ValueError(
            f"relation_weights={given}; objective {args.objective!r} takes {len(parts)}, in this order: "
            f"{', '.join(parts)}"
        )
    usual = [_WEIGHTS[args.objective]] * len(parts)
    weights = dict(zip(parts, usual if given is None else given, strict=True))
    pairs = _relation_pairs(args, teacher, student) if any(weights.values()) else ()
    choose = _relation_heads if args.objective == "minilmv2" else _attention_heads
    heads = choose(args, teacher, student)
    return DistillPlan(args.objective, pairs, heads, weights, _hidden_pairs(args, teacher, student))


def default_teacher_layer(teacher: PreTrainedModel) -> int:
    """Return the layer that teaches in the paper: the last, or a lower one in large models."""
    depth = depth_of(teacher)
    return PAPER_TEACHER_LAYERS.get((teacher.config.model_type, depth), depth)


def _relation_pairs(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> tuple[tuple[int, int], ...]:
    if args.teacher_layers is not None:
        taught = list(args.teacher_layers)
    else:
        taught = [default_teacher_layer(teacher) if args.teacher_layer is None else args.teacher_layer]
    return _paired(taught, args.student_layers, teacher, student)


def _hidden_pairs(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> tuple[tuple[int, int], ...]:
    if not args.hidden_weight:
        return ()
    return _paired(args.hidden_teacher_layers or [depth_of(teacher)], args.hidden_student_layers, teacher, student)


def _paired(
    taught: list[int], learning: list[int] | None, teacher: PreTrainedModel, student: PreTrainedModel
) -> tuple[tuple[int, int], ...]:
    """Return each layer of the teacher with one of the student, by default the last."""
    learning = [depth_of(student)] if learning is None else learning
    if len(learning) == 1:
        learning = learning * len(taught)
    if len(learning) != len(taught):
        raise ValueError(
            f"{len(taught)} layers of the teacher, {taught}, but {len(learning)} of the student, {learning}; expected "
            "as many of the student, in the same order, or one that learns from all"
        )
    for model, layers in ((teacher, taught), (student, learning)):
        for layer in layers:
            layer_at(model, layer)  # refuses one that does not exist
    pairs = tuple(zip(taught, learning, strict=True))
    if len(set(pairs)) < len(pairs):
        raise ValueError(
            f"the layers of teacher and student pair up as {list(pairs)}, one pair twice; give each pair once"
        )
    return pairs


def _relation_heads(args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel) -> int:
    """Return `num_relation_heads`, or its default, if it divides both widths."""
    widths = vector_width(teacher), vector_width(student)
    legal = legal_relation_heads(*widths)
    if args.num_relation_heads is None:
        return max(heads for heads in legal if heads <= 4 * teacher.config.num_attention_heads)
    if args.num_relation_heads not in legal:
        raise ValueError(
            f"num_relation_heads={args.num_relation_heads} does not divide both widths, {widths[0]} of the teacher "
            f"and {widths[1]} of the student; legal are {', '.join(map(str, legal))}"
        )
    return args.num_relation_heads


def _attention_heads(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> int:
    """Return the number of the student's attention heads; for `minilm` the teacher's must be equal."""
    heads, own = teacher.config.num_attention_heads, student.config.num_attention_heads
    if heads != own and args.objective == "minilm":
        raise ValueError(
            f"objective {args.objective!r} compares attention head by head, but the teacher has {heads} heads and the "
            f"student {own}; give the student {heads}, or use objective 'minilmv2', whose heads are free"
        )
    if args.num_relation_heads not in (None, own):
        raise ValueError(
            f"num_relation_heads={args.num_relation_heads}, but objective {args.objective!r} uses the attention heads "
            f"of the models, {own} in the student; leave it out"
        )
    for model in (teacher, student):
        if family_of(model).model_type in _POSITIONS_LATER:
            logger.warning(
                "%s adds positions to its queries and keys inside attention; objective %r compares only the part of "
                "attention that comes from the tokens.",
                model.config.model_type,
                args.objective,
            )
    return own
