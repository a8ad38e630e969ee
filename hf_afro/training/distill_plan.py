"""Which layers teach which, in how many heads and with what weights: chosen as in the papers, or refused."""

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

# The layer taught in the paper, by family and depth; any other teacher teaches from its last.
PAPER_TEACHER_LAYERS = {("bert", 24): 21, ("roberta", 24): 19, ("xlm-roberta", 24): 19}

# What each objective compares, in the order of `relation_weights`.
PARTS = {"minilmv2": RELATIONS, "minilm": ("attention", "value"), "hybrid": ("attention",)}

# What a part weighs unless told otherwise: 1 in both papers of MiniLM, 0.5 in that of Comet, as its predictions do.
_WEIGHTS = {"minilmv2": 1.0, "minilm": 1.0, "hybrid": 0.5}

# Positions that attention adds to queries and keys after they are captured.
_POSITIONS_LATER = ("modernbert", "eurobert", "deberta-v2", "mpnet")


@dataclass(frozen=True)
class DistillPlan:
    """What is compared.

    Attributes:
        objective: `minilmv2`, `minilm` or `hybrid`.
        pairs: The layer of the teacher and the layer of the student that learns from it, each counted from 1.
        num_heads: Relation heads; of `minilm` the attention heads that teacher and student have in common, of
            `hybrid` those of the student, which are free.
        weights: By part of the objective: query, key and value, or attention and value.
    """

    objective: str
    pairs: tuple[tuple[int, int], ...]
    num_heads: int
    weights: dict[str, float]

    @property
    def teacher_layers(self) -> list[int]:
        """The layers taught."""
        return [layer for layer, _ in self.pairs]

    @property
    def student_layers(self) -> list[int]:
        """The layers that learn."""
        return [layer for _, layer in self.pairs]


def plan_distillation(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> DistillPlan:
    """Return what is compared, as the settings say and otherwise as the papers do.

    Raises:
        ValueError: If a layer is not there, layers do not pair, the heads do not divide both widths, or attention is
            compared between models of other numbers of heads; the message lists what is legal.
    """
    pairs = _pairs(args, teacher, student)
    parts = PARTS[args.objective]
    given = args.relation_weights
    if given is not None and len(given) != len(parts):
        raise ValueError(
            f"relation_weights={given}; objective {args.objective!r} takes {len(parts)}, in this order: "
            f"{', '.join(parts)}"
        )
    usual = [_WEIGHTS[args.objective]] * len(parts)
    weights = dict(zip(parts, usual if given is None else given, strict=True))
    choose = _relation_heads if args.objective == "minilmv2" else _attention_heads
    heads = choose(args, teacher, student)
    return DistillPlan(args.objective, pairs, heads, weights)


def default_teacher_layer(teacher: PreTrainedModel) -> int:
    """Return the layer that teaches in the paper: the last, or below it in large models."""
    depth = depth_of(teacher)
    return PAPER_TEACHER_LAYERS.get((teacher.config.model_type, depth), depth)


def _pairs(
    args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel
) -> tuple[tuple[int, int], ...]:
    if args.teacher_layers is not None:
        taught = list(args.teacher_layers)
    else:
        taught = [default_teacher_layer(teacher) if args.teacher_layer is None else args.teacher_layer]
    learning = [depth_of(student)] if args.student_layers is None else list(args.student_layers)
    if len(learning) == 1:
        learning *= len(taught)
    if len(learning) != len(taught):
        raise ValueError(
            f"{len(taught)} layers of the teacher, {taught}, and {len(learning)} of the student, {learning}; name as "
            "many of the student, in the same order, or one that learns from all"
        )
    for model, layers in ((teacher, taught), (student, learning)):
        for layer in layers:
            layer_at(model, layer)  # refuses one that is not there
    pairs = tuple(zip(taught, learning, strict=True))
    if len(set(pairs)) < len(pairs):
        raise ValueError(f"the layers of teacher and student pair up as {list(pairs)}, one pair twice; name each once")
    return pairs


def _relation_heads(args: RelationDistillTrainingArguments, teacher: PreTrainedModel, student: PreTrainedModel) -> int:
    """Return the number of relation heads asked for, or the default, if it divides both widths."""
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
    """Return the student's attention heads; of `minilm` they are the teacher's too."""
    heads, own = teacher.config.num_attention_heads, student.config.num_attention_heads
    if heads != own and args.objective == "minilm":
        raise ValueError(
            f"objective {args.objective!r} compares attention head by head, and the teacher has {heads} heads and the "
            f"student {own}; give the student {heads}, or use objective 'minilmv2', whose heads are free"
        )
    if args.num_relation_heads not in (None, own):
        raise ValueError(
            f"num_relation_heads={args.num_relation_heads}; objective {args.objective!r} has the attention heads of "
            f"the models, {own} of the student: leave it out"
        )
    for model in (teacher, student):
        if family_of(model).model_type in _POSITIONS_LATER:
            logger.warning(
                "%s adds positions to its queries and keys inside attention; objective %r compares the part of "
                "attention that is made of the tokens alone.",
                model.config.model_type,
                args.objective,
            )
    return own
