"""The step `distill`: a small student taught the self-attention relations of a large model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.hf_argparser import HfArg

from hf_afro.messages import nearest
from hf_afro.model_folders import map_file
from hf_afro.pretrained import load_encoder_config, load_model, load_tokenizer
from hf_afro.sentence_modules import SentenceModules, encoder_of, sentence_modules_of
from hf_afro.steps.parsing import check_arguments
from hf_afro.steps.plans import of_training
from hf_afro.steps.prune import counts_files
from hf_afro.steps.settings import Input, Model, OptionalModel
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import TextConfig, datasets_of, prepare_text
from hf_afro.steps.training import can_resume, facts_of, gain_table, train, trainer_arguments
from hf_afro.students import build_student
from hf_afro.students.building import student_config
from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments
from hf_afro.vocabulary import TokenCounts, VocabularyMap, prune_vocabulary
from hf_afro.vocabulary.tokenizers import read_table

DESCRIPTION = """\
Distil a large encoder into a small student by its self-attention relations.

The student's last layer learns how the queries, the keys and the values of one layer of the teacher relate to each
other (MiniLMv2, Wang et al., 2021). Only relations are compared, so the student may have any width and heads.
With --hidden_weight and --pooled_weight it also matches the teacher's hidden states and sentence vectors.

  hf-afro distill --teacher adapted --student layers=6,hidden_size=384 --text texts --output_dir student \\
      --max_steps 100000 --learning_rate 6e-4 --warmup_steps 4000 --per_device_train_batch_size 32

On several GPUs: accelerate launch --module hf_afro.cli.main distill ...
An interrupted run resumes when the same command is repeated.

Output: the student and its tokenizer, metrics.json, cleaning.json and .md, history.json and the trainer's checkpoints.
Relations do not train the masked-LM head: to make the student fill masks, run a short
`hf-afro maft --model <output_dir>` afterwards. A student of a sentence-transformers model gets its modules (pooling,
normalisation, prompts) for its own width, so that SentenceTransformer loads it.
"""

# The sizes of a student that can be given, and the arguments of build_student they become.
SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "embedding_size": "embedding_size",
}


@dataclass(frozen=True, kw_only=True)
class Config(TextConfig):
    """The teacher, the student, the text, and the trainer's arguments."""

    teacher: Model = HfArg(help="folder of the teacher with its tokenizer, or its name on the Hub")
    student: str | None = HfArg(
        default=None,
        help="sizes of a student to build from the teacher, as in layers=6,hidden_size=384; also heads=, "
        "intermediate_size= and embedding_size=. Without hidden_size the width is the teacher's, as it has to be for "
        "teachers of other kinds than XLM-R, RoBERTa and BERT",
    )
    student_model: OptionalModel = HfArg(
        default=None, help="instead of sizes: an existing student, with its tokenizer"
    )
    vocabulary_map: Annotated[str | None, Input("model")] = HfArg(
        default=None,
        help="output of `hf-afro prune`, or its vocabulary_map.json: a teacher with the full vocabulary then teaches "
        "a student with the pruned one",
    )
    counts: Annotated[list[str] | None, Input("counts")] = HfArg(
        default=None,
        help="output of `hf-afro count`, before or after pruning; several are added up: the word embeddings of a new "
        "student that are narrower than the teacher's keep the directions of the tokens that occur often",
    )
    no_checkpoints: bool = HfArg(default=False, help="remove the trainer's checkpoints once the training is done")
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check settings against each other."""
        super().__post_init__()
        if (self.student is None) == (self.student_model is None):
            raise ValueError("expected either --student, the sizes of a new one, or --student_model, an existing one")
        if self.student is not None:
            parse_sizes(self.student)
        elif self.counts is not None:
            raise ValueError("--counts shapes the word embeddings of a new student; leave it out with --student_model")


def check(config: Config) -> None:
    """Refuse a folder without a vocabulary map; an earlier stage of a recipe may have yet to write it.

    Raises:
        FileNotFoundError: If so.
    """
    if config.vocabulary_map is not None and Path(config.vocabulary_map).exists():
        map_file(config.vocabulary_map)


def run(config: Config, folder: Path) -> Outcome:
    """Clean, build the student, train and save.

    Raises:
        ValueError: If a setting is impossible, teacher, student and vocabulary do not fit, or modules of
            sentence-transformers cannot be carried.
    """
    arguments = trainer_arguments(RelationDistillTrainingArguments, config.arguments, folder)
    own = None if config.student_model is None else sentence_modules_of(config.student_model)
    modules = own or sentence_modules_of(config.teacher)
    if modules is not None:
        modules.check(pruned=config.vocabulary_map is not None)
    named, student_named = encoder_of(config.teacher), config.student_model and encoder_of(config.student_model)
    for name in filter(None, (named, student_named)):
        load_encoder_config(name)
    vocabulary_map = None if config.vocabulary_map is None else VocabularyMap.load(config.vocabulary_map)
    teacher = load_model(named, seed=arguments.seed, dtype=torch.float32)
    _check_map(teacher.get_input_embeddings().weight.shape[0], vocabulary_map, config.teacher)
    if student_named is not None:
        student: Any = load_model(student_named, seed=arguments.seed, dtype=torch.float32)
        tokenizer = load_tokenizer(student_named)
    else:
        tokenizer = load_tokenizer(named)
        student, tokenizer = _built(config, teacher, tokenizer, vocabulary_map, arguments.seed)
    text = prepare_text(config, arguments.seed)
    # The loss says nothing about languages that are not learnt.
    held_out = {code: lines for code, lines in text.evaluation.items() if code in text.train}
    trainer = RelationDistillTrainer(
        model=student,
        teacher_model=teacher,
        args=arguments,
        train_dataset=datasets_of(text.train),
        eval_dataset=datasets_of(held_out) or None,
        processing_class=tokenizer,
        vocabulary_map=vocabulary_map,
    )
    metrics = train(trainer, text, folder, keep_checkpoints=not config.no_checkpoints)
    sizes_told = f"student of {student.num_parameters():,} parameters, teacher of {teacher.num_parameters():,}"
    facts = {
        **facts_of(trainer, metrics, "loss"),
        "objective": arguments.objective,
        "terms": list(trainer.terms.weights),
    }
    told = [gain_table(metrics, text, "loss", "loss"), sizes_told]
    if modules is not None and trainer.is_world_process_zero():
        width = student.config.hidden_size
        told.append(carry_modules(modules, folder, None if own or width == teacher.config.hidden_size else width))
    return Outcome(facts, "\n".join(told))


def carry_modules(modules: SentenceModules, folder: Path, width: int | None) -> str:
    """Write modules of sentence-transformers beside a student, and return a sentence about it.

    Pooling and normalisation take vectors of any width. Other modules have weights for that of the teacher; a student
    of another width is saved without any, since the remaining ones would make vectors of another kind.

    Args:
        modules: Those of the teacher, or of a student that had some.
        folder: Of the student.
        width: Of the student's vectors, if it is not that of the modules.
    """
    if width is not None and modules.of_one_width:
        fixed = ", ".join(modules.of_one_width)
        return (
            f"no modules of sentence-transformers carried: the weights of {fixed} do not take the student's vectors "
            f"of width {width}; train modules of its own with sentence-transformers, or give it the teacher's width"
        )
    modules.carry(folder, width=width)
    return f"modules of sentence-transformers carried: {', '.join(modules.names)}"


def parse_sizes(text: str) -> dict[str, int]:
    """Read ``layers=6,hidden_size=384`` into arguments of `build_student`.

    Raises:
        ValueError: If a name is unknown, a value is not a whole number, or layers is missing.
    """
    sizes: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        argument = name if name in SIZES.values() else SIZES.get(name)
        if argument is None:
            raise ValueError(f"--student {text}: {name!r} is not a size; {nearest(name, SIZES, every=True)}")
        if not value.isdecimal() or int(value) < 1:
            raise ValueError(f"--student {text}: {name} is {value!r}; expected a whole number, 1 or more")
        sizes[argument] = int(value)
    if "num_hidden_layers" not in sizes:
        raise ValueError(f"--student {text}: expected at least layers, as in layers=6,hidden_size=384")
    return sizes


def _check_map(teacher_rows: int, vocabulary_map: VocabularyMap | None, teacher: str) -> None:
    """Refuse a map to a vocabulary that the teacher does not have.

    Raises:
        ValueError: If the teacher has fewer tokens than the map's old vocabulary, such as one that is already pruned.
    """
    if vocabulary_map is not None and teacher_rows < vocabulary_map.old_size:
        known = "is pruned already" if teacher_rows == len(vocabulary_map) else "has another vocabulary"
        raise ValueError(
            f"--teacher {teacher} has {teacher_rows:,} tokens and --vocabulary_map leads from "
            f"{len(vocabulary_map):,} to {vocabulary_map.old_size:,}: the teacher {known}; leave --vocabulary_map out"
        )


def _built(
    config: Config,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vocabulary_map: VocabularyMap | None,
    seed: int,
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return a new student and its tokenizer, over the map's tokens where there is a map."""
    source: Any = teacher
    if vocabulary_map is not None:
        pruned = prune_vocabulary(teacher, tokenizer, vocabulary_map)
        source, tokenizer = pruned.model, pruned.tokenizer
    counts = None if config.counts is None else _counts_of(tokenizer, config.counts)
    sizes: dict[str, Any] = parse_sizes(config.student or "")
    return build_student(source, **sizes, tokenizer=tokenizer, counts=counts, seed=seed), tokenizer


def _counts_of(tokenizer: PreTrainedTokenizerBase, paths: list[str]) -> np.ndarray:
    """Return the share of each of a tokenizer's tokens among running tokens, ``[tokens]``.

    Tokens are found by what they are, since ids change when a vocabulary is pruned.

    Raises:
        ValueError: If the counts lack one of the tokens.
    """
    counts = functools.reduce(TokenCounts.merge, map(TokenCounts.load, counts_files(paths)))
    ids = {token: index for index, token in enumerate(counts.table.pieces)}
    tokens = read_table(tokenizer).pieces
    missing = [token for token in tokens if token not in ids]
    if missing:
        raise ValueError(
            f"--counts has no counts of {len(missing):,} of the {len(tokens):,} tokens of the student, such as "
            f"{missing[0]!r}: it was counted with another tokenizer; count with that of the teacher, or with the one "
            "it was pruned from"
        )
    return counts.pooled()[[ids[token] for token in tokens]]


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Estimate sizes, steps and tokens; refuse sizes and layers that the teacher does not allow."""
    arguments = check_arguments(RelationDistillTrainingArguments, config.arguments)
    teacher = inputs["teacher"].model
    if teacher is None or config.student is None:
        model = inputs["student_model"].model if "student_model" in inputs else None
        return of_training(config, arguments, model, inputs.get("text"))
    student = student_config(teacher, **parse_sizes(config.student), pad_token_id=teacher.pad_token_id)  # type: ignore[arg-type]
    layer, heads = arguments.teacher_layer, arguments.num_relation_heads
    if layer is not None and layer > teacher.num_hidden_layers:
        raise ValueError(f"teacher_layer is {layer}; the teacher has {teacher.num_hidden_layers}")
    if heads is not None and (teacher.hidden_size % heads or student.hidden_size % heads):
        raise ValueError(
            f"num_relation_heads is {heads}, which does not divide both widths, {teacher.hidden_size} and "
            f"{student.hidden_size}"
        )
    if arguments.objective == "minilm" and student.num_attention_heads != teacher.num_attention_heads:
        raise ValueError(
            f"the student has {student.num_attention_heads} attention heads; objective minilm compares head by head, "
            f"so give heads={teacher.num_attention_heads}, as the teacher has"
        )
    return of_training(config, arguments, student, inputs.get("text"))


STEP = Step(
    name="distill",
    description=DESCRIPTION,
    config=Config,
    arguments=RelationDistillTrainingArguments,
    run=run,
    gives="model",
    check=check,
    can_resume=can_resume,
    plan=plan,
)
