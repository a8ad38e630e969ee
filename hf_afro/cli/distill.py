"""`hf-afro distill`: teach a small student the self-attention relations of a large model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from hf_afro.cli.inputs import check_inputs
from hf_afro.cli.maft import save, train
from hf_afro.cli.output import finished_folder, say
from hf_afro.cli.own_settings import DISTILL_SETTINGS, describe_own_settings
from hf_afro.cli.settings import check_names, parse_settings
from hf_afro.cli.table import format_table
from hf_afro.cli.text import OPTIONS, add_text_arguments, datasets_of, prepare_text
from hf_afro.nearest import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.vocabulary import VocabularyMap

DESCRIPTION = f"""\
Distil a large encoder into a small student by its self-attention relations.

The student's last layer learns how the queries, the keys and the values of one layer of the teacher relate to each
other (MiniLMv2, Wang et al., 2021). Only relations are compared, so the student may have any width and heads.

  hf-afro distill --teacher adapted --student layers=6,hidden_size=384 --text texts --output_dir student \\
      --max_steps 100000 --learning_rate 6e-4 --warmup_steps 4000 --per_device_train_batch_size 32

Every field of RelationDistillTrainingArguments, hence of transformers.TrainingArguments, is a setting: --name value.
Its own are

{describe_own_settings(DISTILL_SETTINGS)}

On several GPUs: accelerate launch --module hf_afro.cli.main distill ...
A run that was interrupted goes on where it was when the same command is given again.

What comes out: the student and its tokenizer, metrics.json, cleaning.json and .md, and the trainer's checkpoints.
Relations train no masked-LM head: where the student is to fill masks, follow with a short
`hf-afro maft --model <output_dir>`.
"""
TAKES_SETTINGS = True

# What may be said of a student, and the argument of build_student it becomes.
SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "embedding_size": "embedding_size",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--teacher", required=True, help="folder of the teacher, or its name on the Hub")
    student = parser.add_mutually_exclusive_group(required=True)
    student.add_argument(
        "--student",
        metavar="layers=6,hidden_size=384",
        help="sizes of a student to build from the teacher; also heads=, intermediate_size=, embedding_size=",
    )
    student.add_argument("--student_model", metavar="MODEL", help="a student that exists, with its tokenizer")
    parser.add_argument(
        "--vocabulary_map",
        metavar="PATH",
        help="what `hf-afro prune` wrote, or its vocabulary_map.json: a teacher of the full vocabulary then teaches a "
        "student of the pruned one",
    )
    add_text_arguments(parser)


def run(args: Namespace) -> None:
    """Clean, build the student, train and save.

    Raises:
        ValueError: If a setting is unknown or impossible, or teacher, student and vocabulary do not fit.
    """
    check_inputs(args)
    sizes = None if args.student is None else parse_sizes(args.student)
    own = ("teacher", "student", "student_model", "vocabulary_map", *OPTIONS)
    check_names(args.settings, DISTILL_SETTINGS, own, "RelationDistillTrainingArguments")

    import torch

    from hf_afro.cli.loading import load_encoder_config, load_model, load_tokenizer
    from hf_afro.training import RelationDistillTrainer, RelationDistillTrainingArguments

    with finished_folder(args, resumable=True) as folder:
        settings = parse_settings(RelationDistillTrainingArguments, args.settings, folder, own)
        for name in filter(None, (args.teacher, args.student_model)):
            load_encoder_config(name)
        vocabulary_map = load_map(args.vocabulary_map)
        teacher = load_model(args.teacher, seed=settings.seed, dtype=torch.float32)
        check_map(teacher.get_input_embeddings().weight.shape[0], vocabulary_map, args.teacher)
        if sizes is None:
            student = load_model(args.student_model, seed=settings.seed, dtype=torch.float32)
            tokenizer = load_tokenizer(args.student_model)
        else:
            student, tokenizer = build(teacher, load_tokenizer(args.teacher), sizes, vocabulary_map, settings.seed)
        text = prepare_text(args, settings.seed)
        trainer = RelationDistillTrainer(
            model=student,
            teacher_model=teacher,
            args=settings,
            train_dataset=datasets_of(text.train),
            eval_dataset=datasets_of(text.evaluation) or None,
            processing_class=tokenizer,
            vocabulary_map=vocabulary_map,
        )
        metrics = train(trainer, folder)
        save(trainer, text, metrics, folder)
    before, after = metrics.get("before", {}), metrics.get("after", {})
    rows = [
        [
            language,
            text.report.read.get(language),
            text.report.kept.get(language),
            before.get(name),
            after.get(name),
        ]
        for language in sorted({*text.train, *text.evaluation})
        for name in [f"eval_{language}_loss"]
    ]
    say(format_table(["language", "lines", "trained on", "relation loss before", "after"], rows))
    say(f"student of {student.num_parameters():,} parameters, teacher of {teacher.num_parameters():,}")
    say(f"model written to {args.output_dir}")


def parse_sizes(text: str) -> dict[str, int]:
    """Read ``layers=6,hidden_size=384`` into arguments of `build_student`.

    Raises:
        ValueError: If a name is unknown, a value is no whole number, or layers or hidden_size is missing.
    """
    sizes: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        argument = name if name in SIZES.values() else SIZES.get(name)
        if argument is None:
            raise ValueError(f"--student {text}: {name!r} is no size; {nearest(name, SIZES, every=True)}")
        if not value.isdecimal() or int(value) < 1:
            raise ValueError(f"--student {text}: {name} is {value!r}; expected a whole number, 1 or more")
        sizes[argument] = int(value)
    if not {"num_hidden_layers", "hidden_size"} <= sizes.keys():
        raise ValueError(f"--student {text}: expected at least layers and hidden_size, as in layers=6,hidden_size=384")
    return sizes


def load_map(path: str | None) -> VocabularyMap | None:
    """Load the map from old to new ids, if one is named."""
    from hf_afro.vocabulary import VocabularyMap

    return None if path is None else VocabularyMap.load(path)


def check_map(teacher_rows: int, vocabulary_map: VocabularyMap | None, teacher: str) -> None:
    """Refuse a map to a vocabulary that the teacher does not have.

    Raises:
        ValueError: If the teacher has fewer tokens than the map's old vocabulary, as one that is pruned already.
    """
    if vocabulary_map is not None and teacher_rows < vocabulary_map.old_size:
        known = "is pruned already" if teacher_rows == len(vocabulary_map) else "has another vocabulary"
        raise ValueError(
            f"--teacher {teacher} has {teacher_rows:,} tokens and --vocabulary_map leads from "
            f"{len(vocabulary_map):,} to {vocabulary_map.old_size:,}: the teacher {known}; leave --vocabulary_map out"
        )


def build(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sizes: dict[str, Any],
    vocabulary_map: VocabularyMap | None,
    seed: int,
) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return a student of the sizes wanted and its tokenizer, over the map's tokens where there is a map."""
    from hf_afro.students import build_student
    from hf_afro.vocabulary import prune_vocabulary

    source: Any = teacher
    if vocabulary_map is not None:
        pruned = prune_vocabulary(teacher, tokenizer, vocabulary_map)
        source, tokenizer = pruned.model, pruned.tokenizer
    return build_student(source, **sizes, tokenizer=tokenizer, seed=seed), tokenizer
