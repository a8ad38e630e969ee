"""What a recipe would do, with sizes, from the recipe alone; and what is known to be impossible before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_afro.nearest import nearest
from hf_afro.recipes.architecture import Architecture
from hf_afro.recipes.pretrained import check_folder, load_tokenizer
from hf_afro.recipes.recipe import DATA, Recipe, Stage
from hf_afro.recipes.schema import RecipeError
from hf_afro.recipes.settings import SAMPLE, TOKENIZER_SIZE, TrainingSettings, codes_of
from hf_afro.recipes.stages.text import sources_of

# UTF-8 bytes a token of XLM-R's in news of African languages; good enough to see hours from days.
_BYTES_A_TOKEN = 3.5

# Without them a stage would not go on after an interruption, or not leave its model where it belongs.
_DECIDED = ("output_dir", "save_strategy", "save_only_model")


@dataclass(frozen=True)
class StagePlan:
    """What a stage would do.

    Attributes:
        vocabulary: Rows of the embedding of the model it leaves.
        parameters: Of that model.
        steps: Optimizer steps, on one device.
        tokens: Trained on in all, where every sequence is full.
        note: What a reader must know of these figures, and what else there is to say.
        architecture: Of the model it leaves.
    """

    vocabulary: int | None = None
    parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    note: str = ""
    architecture: Architecture | None = None


def plan_recipe(recipe: Recipe) -> dict[str, StagePlan]:
    """Return the plan of every stage by its name, in order.

    Raises:
        RecipeError: If a stage cannot work; the message names it with its line.
    """
    plans: dict[str, StagePlan] = {}
    for stage in recipe.stages:
        try:
            plans[stage.name] = _PLANNERS[stage.kind](recipe, stage, plans)
        except RecipeError:
            raise
        except ValueError as error:
            raise RecipeError(f"{stage.place}: {stage.name}: {error}") from error
    return plans


def _of_model(architecture: Architecture | None, note: str = "", **more: Any) -> StagePlan:
    if architecture is None:
        return StagePlan(note=note or "sizes not declared", **more)
    return StagePlan(architecture.vocab_size, architecture.parameters, note=note, architecture=architecture, **more)


def _input(stage: Stage, field: str, plans: dict[str, StagePlan]) -> Architecture | None:
    return plans[stage.inputs[field][0]].architecture


def _base(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    declared, folder = stage.settings.architecture, Path(stage.settings.model)
    if not folder.is_dir():
        return _of_model(declared, "sizes as declared" if declared else "")
    from hf_afro.students.building import LIKE_XLMR  # the types whose parameters the arithmetic counts

    facts = check_folder(folder)
    known = facts.get("model_type") in LIKE_XLMR and set(Architecture.required()) <= facts.keys()
    if not known:
        return _of_model(declared, "sizes as declared" if declared else "")
    # A student's positions are counted from the padding id of its tokenizer, whatever the configuration says.
    padding = load_tokenizer(str(folder)).pad_token_id
    sizes = Architecture.of_facts(facts)
    return _of_model(sizes if padding is None else sizes.with_(pad_token_id=padding), "sizes of its configuration")


def _tasks(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    parts = [f"{task} in {len(codes_of(source.languages))}" for task, source in sources_of(stage.settings)]
    return StagePlan(note=f"{', '.join(parts)} languages")


def _corpora(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    codes = None if stage.settings.languages is None else codes_of(stage.settings.languages)
    size = _text_bytes(recipe, stage)
    parts = [f"{len(codes)} languages" if codes else "all languages there are"]
    return StagePlan(note=", ".join([*parts, *([f"{size / 1e6:,.1f} MB before cleaning"] if size else [])]))


def _text_bytes(recipe: Recipe, stage: Stage) -> int | None:
    """Return the bytes of the text that a `corpora` stage reads; None where it is not there or is compressed."""
    from hf_afro.corpora import read_corpora
    from hf_afro.recipes.stages.text import text_folder

    settings = stage.settings
    if DATA in settings.text or (settings.text != SAMPLE and not Path(settings.text).is_dir()):
        return None
    codes = None if settings.languages is None else codes_of(settings.languages)
    sources = read_corpora(text_folder(settings.text), codes, errors=settings.errors)
    sizes = [source.plain_bytes for source in sources.values()]
    return sum(size for size in sizes if size is not None) if None not in sizes else None


def _nothing(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    return StagePlan()


def _prune(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    before = _input(stage, "model", plans)
    if before is None:
        return StagePlan(vocabulary=stage.settings.budget, note="at most")
    return _of_model(before.with_(vocab_size=min(before.vocab_size, stage.settings.budget)), "at most")


def _teacher(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    settings = stage.settings
    size = settings.tokenizer_size or (TOKENIZER_SIZE if settings.tokenizer is None else None)
    note = "" if settings.tokenizer is None else "tokenizer as declared"
    return _trained(recipe, stage, settings.architecture(size) if size else None, note)


def _maft(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    return _trained(recipe, stage, _input(stage, "model", plans))


def _distill(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    settings, teacher = stage.settings, _input(stage, "teacher", plans)
    if teacher is None:
        return _trained(recipe, stage, None)
    if settings.hidden_size > teacher.hidden_size:
        raise ValueError(
            f"hidden_size is {settings.hidden_size}; expected at most the teacher's {teacher.hidden_size}"
        )
    if settings.teacher_layer is not None and settings.teacher_layer > teacher.num_hidden_layers:
        raise ValueError(f"teacher_layer is {settings.teacher_layer}; the teacher has {teacher.num_hidden_layers}")
    heads = settings.num_relation_heads
    legal = [n for n in range(1, teacher.hidden_size + 1) if not (teacher.hidden_size % n or settings.hidden_size % n)]
    if heads is not None and heads not in legal:
        raise ValueError(
            f"num_relation_heads is {heads}, which does not divide both widths, {teacher.hidden_size} and "
            f"{settings.hidden_size}; legal are {', '.join(map(str, legal))}"
        )
    same = settings.hidden_size == teacher.hidden_size
    student = teacher.student(
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_hidden_layers,
        num_attention_heads=settings.num_attention_heads or (teacher.num_attention_heads if same else 1),
        intermediate_size=settings.intermediate_size
        or (teacher.intermediate_size if same else 4 * settings.hidden_size),
        embedding_size=settings.embedding_size,
    )
    if settings.objective == "minilm" and student.num_attention_heads != teacher.num_attention_heads:
        raise ValueError(
            f"the student has {student.num_attention_heads} attention heads; objective minilm compares head by head, "
            f"so give num_attention_heads: {teacher.num_attention_heads}, as the teacher has"
        )
    return _trained(recipe, stage, student)


def _trained(recipe: Recipe, stage: Stage, architecture: Architecture | None, note: str = "") -> StagePlan:
    settings: TrainingSettings = stage.settings
    if architecture is not None and settings.max_length > architecture.longest_text:
        raise ValueError(f"max_length is {settings.max_length}; the model takes {architecture.longest_text} tokens")
    _check_arguments(stage)
    if settings.max_steps is not None:
        return _of_model(
            architecture, note, steps=settings.max_steps, tokens=settings.max_steps * settings.tokens_a_step
        )
    size = _text_bytes(recipe, recipe.stage(stage.inputs["text"][0]))
    epochs = f"{settings.num_train_epochs:g} epochs"
    notes = [
        *filter(None, [note]),
        epochs if size is None else f"{epochs}, steps estimated from the bytes of the text",
    ]
    if size is None or settings.languages is not None:
        return _of_model(architecture, ", ".join(notes))
    tokens = int(size / _BYTES_A_TOKEN * settings.num_train_epochs)  # type: ignore[operator]
    return _of_model(architecture, ", ".join(notes), steps=max(1, tokens // settings.tokens_a_step), tokens=tokens)


def _check_arguments(stage: Stage) -> None:
    """Refuse arguments that the trainer does not have; transformers is imported only where any are given."""
    if not stage.settings.arguments:
        return
    from hf_afro.training import MAFTTrainingArguments, RelationDistillTrainingArguments

    kind = RelationDistillTrainingArguments if stage.kind == "distill" else MAFTTrainingArguments
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    for name in stage.settings.arguments:
        if name in _DECIDED:
            raise ValueError(f"arguments.{name} is decided by the recipe; leave it out")
        if name not in known:
            raise ValueError(f"arguments.{name} is no field of {kind.__name__}; {nearest(name, known)}")


def _evaluate(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    settings = stage.settings
    if settings.text is not None and not recipe.stage(settings.text).settings.held_out_lines:
        raise ValueError(
            f"text is {settings.text!r}, which holds no lines out (held_out_lines is 0) to measure bits a byte on; "
            "expected 1 or more, or no text"
        )
    notes = [f"{len(settings.models)} models"]
    if settings.tasks is not None:
        sources = sources_of(recipe.stage(settings.tasks).settings)
        languages = [codes_of(source.languages) for _, source in sources]
        there = {code for own in languages for code in own}
        if missing := sorted(set(codes_of(settings.transfer or ())) - there):
            raise ValueError(
                f"transfer has {', '.join(missing)}; {settings.tasks} has tasks in {', '.join(sorted(there))}"
            )
        if settings.joint and any(len(settings.trained(own)) == 1 for own in languages):
            raise ValueError("joint trains on several languages at once, and a task has only one; leave it out")
        sets, seeds = sum(map(len, languages)), len(settings.seeds)
        runs = len(settings.models) * settings.runs(languages)
        notes.append(f"{sets} sets, {seeds} {'seed' if seeds == 1 else 'seeds'}: {runs} runs")
    return StagePlan(note=", ".join([*notes, *(["bits a byte"] if settings.text is not None else [])]))


def _card(recipe: Recipe, stage: Stage, plans: dict[str, StagePlan]) -> StagePlan:
    evaluated = recipe.stage(stage.settings.reports).settings.models
    if stage.settings.model not in evaluated.values():
        raise ValueError(
            f"model is {stage.settings.model!r}, which {stage.settings.reports} does not measure; expected one of "
            f"{', '.join(evaluated.values())}"
        )
    return StagePlan()


_PLANNERS: dict[str, Callable[[Recipe, Stage, dict[str, StagePlan]], StagePlan]] = {
    "base": _base,
    "tasks": _tasks,
    "corpora": _corpora,
    "count": _nothing,
    "prune": _prune,
    "teacher": _teacher,
    "maft": _maft,
    "fit": _maft,
    "distill": _distill,
    "evaluate": _evaluate,
    "report": _nothing,
    "card": _card,
}
