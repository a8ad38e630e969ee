"""What the trainers refuse before any work: pairs that do not fit, settings that would be ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_afro.families import encoder_of, positions_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from hf_afro.vocabulary import VocabularyMap

# A table of embeddings may be padded to a multiple, at most this one, for the sake of the hardware.
MOST_SPARE_ROWS = 128
_OWN_WORK = ("compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics")


def check_settings(args: TrainingArguments, trainer_settings: dict[str, Any]) -> None:
    """Refuse what the Trainer knows and these trainers would pass over.

    Raises:
        TypeError: If a part is handed in that the trainers make themselves.
        ValueError: If a setting has no meaning here, or several GPUs would share one process.
    """
    for name in _OWN_WORK:
        if trainer_settings.get(name) is not None:
            raise TypeError(
                f"{name} was given; loss and evaluation are this trainer's own; subclass it, or leave it out"
            )
    for name, default in (
        ("auto_find_batch_size", False),  # another batch size is another global batch, hence another run
        ("label_smoothing_factor", 0.0),
        ("train_sampling_strategy", "random"),
        ("dataloader_drop_last", False),  # an epoch is whole windows, and what is left over begins the next
        ("length_column_name", "length"),
        ("average_tokens_across_devices", True),  # the count is always that of all processes
        ("eval_accumulation_steps", None),
        ("batch_eval_metrics", False),
        ("eval_do_concat_batches", True),
        ("eval_use_gather_object", False),
        ("prediction_loss_only", False),
        ("fp16_full_eval", False),
        ("bf16_full_eval", False),
        ("use_liger_kernel", False),
        ("enable_jit_checkpoint", False),  # SIGTERM saves a checkpoint in any case
        ("ignore_data_skip", False),  # a run that goes on is the unbroken run
    ):
        if getattr(args, name) != default:
            raise ValueError(f"{name}={getattr(args, name)} has no meaning for this trainer; leave it at {default}")
    for name in ("include_for_metrics", "label_names"):
        if getattr(args, name):
            raise ValueError(f"{name}={getattr(args, name)} has no meaning for this trainer; leave it out")
    loading = args.accelerator_config
    if loading.split_batches or loading.dispatch_batches:
        raise ValueError(
            "accelerator_config asks for split_batches or dispatch_batches; each process reads its own share of the "
            "global batch here, leave them out"
        )
    if getattr(args, "streaming", False) and args.dataloader_num_workers > 1:
        raise ValueError(
            f"dataloader_num_workers={args.dataloader_num_workers} with streaming: datasets would give each worker "
            "other shards; use 0 or 1"
        )
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs would share one process (DataParallel), and these trainers want a process a GPU: "
            "start them with accelerate launch or torchrun, or show one GPU with CUDA_VISIBLE_DEVICES"
        )


def check_language_sets(sets: Any) -> None:
    """Raise a ValueError unless sets of languages are names with lists of codes, no name a code or one of our own."""
    if sets is None:
        return
    well_formed = isinstance(sets, Mapping) and all(
        isinstance(codes, list | tuple) and codes and all(isinstance(code, str) for code in codes)
        for codes in sets.values()
    )
    if not well_formed:
        raise ValueError(f"language_sets={sets!r}; expected a name and a list of languages each: {{'core': ['swa']}}")
    codes = {code for of_set in sets.values() for code in of_set}
    if taken := sorted(set(sets) & (codes | {"in_mix", "out_of_mix"})):
        raise ValueError(f"language_sets names a set {taken[0]!r}, which is the name of something else; use another")


def check_evaluated_languages(sets: Mapping[str, Sequence[str]], languages: Collection[str]) -> None:
    """Raise a ValueError if a set names a language that is not evaluated, or is named as one that is."""
    for name, codes in sets.items():
        if missing := sorted(set(codes) - set(languages)):
            raise ValueError(
                f"language_sets has {', '.join(missing)} in {name!r}, and the eval_dataset only "
                f"{', '.join(sorted(languages))}; give text of every language of a set"
            )
        if name in languages:
            raise ValueError(f"language_sets names a set {name!r} as a language that is evaluated; use another name")


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Raise a ValueError if sequences of `max_length` tokens are longer than the model has positions for."""
    positions = positions_of(model)
    if positions is not None and max_length > positions:
        raise ValueError(
            f"max_length={max_length}, and the {model.config.model_type} model holds {positions} positions; "
            f"set max_length to {positions} or less"
        )


def check_bidirectional(model: PreTrainedModel, role: str = "model") -> None:
    """Raise a ValueError if the configuration makes attention causal, which transformers does without a word."""
    if getattr(model.config, "is_decoder", False):
        raise ValueError(
            f"the configuration of the {model.config.model_type} {role} has is_decoder=True, so each token would "
            "attend to earlier ones only; load it again with from_pretrained(..., is_decoder=False)"
        )


def check_masked_lm(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
    """Raise a ValueError if there is no tokenizer, no masked-LM head, or no row for one of the tokens."""
    if tokenizer is None:
        raise ValueError("MAFT masks tokens and needs the model's tokenizer; pass processing_class=tokenizer")
    if model.get_output_embeddings() is None:
        raise ValueError(f"{type(model).__name__} has no masked-LM head; load it with AutoModelForMaskedLM")
    check_rows(model, tokenizer)


def check_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise a ValueError if the model has no row for one of the tokens."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {rows} rows; they do not belong together: take "
            "both from one folder"
        )


def check_models(student: PreTrainedModel, teacher: PreTrainedModel, max_length: int) -> None:
    """Raise a ValueError if teacher and student share a parameter, one is causal, or one is too short."""
    # The loss would be zero, or the teacher move.
    if {id(parameter) for parameter in teacher.parameters()} & {id(parameter) for parameter in student.parameters()}:
        raise ValueError("teacher and student share parameters; give the student weights of its own (copy.deepcopy)")
    for role, model in (("student", student), ("teacher", teacher)):
        check_bidirectional(model, role)
        check_length(model, max_length)


def check_vocabularies(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary_map: VocabularyMap | None,
) -> None:
    """Raise a ValueError unless the ids of the text fit the student, and through the map, if any, the teacher."""
    student_rows, teacher_rows = (encoder_of(m).get_input_embeddings().weight.shape[0] for m in (student, teacher))
    tokens = student_rows if tokenizer is None else len(tokenizer)
    if tokens > student_rows:
        raise ValueError(
            f"the tokenizer has {tokens} tokens and the student {student_rows} rows; give the student's own"
        )
    if vocabulary_map is not None:
        if tokens > len(vocabulary_map) or vocabulary_map.old_size > teacher_rows:
            raise ValueError(
                f"the vocabulary_map leads from {len(vocabulary_map)} tokens to {vocabulary_map.old_size}, the "
                f"student has {tokens} and the teacher {teacher_rows}; it belongs to other models"
            )
    elif tokens > teacher_rows or max(student_rows, teacher_rows) - tokens >= MOST_SPARE_ROWS:
        # Fewer rows than this apart are padding of one and the same vocabulary; more are another one.
        raise ValueError(
            f"the student has {student_rows} tokens and the teacher {teacher_rows}; pass the vocabulary_map that "
            "pruning saved beside the student, or use the pruned teacher"
        )
