"""Arguments of the two trainers: Hugging Face's `TrainingArguments` with a few fields of our own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from hf_afro.losses.hidden_states import HIDDEN_LOSSES
from hf_afro.losses.relations import IMPLEMENTATIONS

OBJECTIVES = ("minilmv2", "minilm", "hybrid")
TEACHER_DTYPES = ("float32", "bfloat16")

# Raju et al. 2025: the distillation of outputs and that of attention weigh 0.5 each.
HYBRID_LOGIT_WEIGHT = 0.5

# The largest seed of numpy, and so of transformers' `set_seed`.
_LARGEST_SEED = 2**32 - 1


@dataclass
class MixtureTrainingArguments(TrainingArguments):
    """Fields shared by both trainers: how text of several languages becomes training batches.

    `seed` decides the order and the masks: both are functions of it and of the sample alone.
    """

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "language_sizes"]

    max_length: int = field(
        default=512, metadata={"help": "Maximum number of tokens in a training sequence, special tokens included."}
    )
    packing: bool = field(
        default=True,
        metadata={
            "help": "Pack the documents of each language end to end into full sequences. Without it each line is a "
            "row, cut at max_length."
        },
    )
    language_alpha: float = field(
        default=1.0,
        metadata={
            "help": "Sample languages in proportion to n^alpha, n being their number of sequences: 1 as in the MAFT "
            "paper, 0.3 as XLM-R was trained, 0 uniformly. In [0, 1]."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the text during training, for text that does not fit into memory. Needs max_steps, and "
            "language_sizes unless language_alpha is 0."
        },
    )
    language_sizes: dict | str | None = field(
        default=None,
        metadata={
            "help": "With streaming: the amount of text of each language, in any unit, as JSON, such as "
            '{"swa": 120, "yor": 30}. A stream does not know its size.'
        },
    )

    def __post_init__(self) -> None:
        """Check the bounds."""
        super().__post_init__()
        self._check_streaming()
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is less than 1; expected an integer from 1")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed={self.seed} is outside 0 to {_LARGEST_SEED}")
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"learning_rate={self.learning_rate}; expected a finite number such as 5e-5")
        if self.max_steps <= 0 and not self.num_train_epochs > 0:
            raise ValueError(
                f"max_steps={self.max_steps} and num_train_epochs={self.num_train_epochs} leave nothing to train; "
                "set one of them above 0"
            )
        if self.max_length < 3:
            raise ValueError(f"max_length={self.max_length} leaves no room between the two special tokens; use 3 up")
        if not 0 <= self.language_alpha <= 1:
            raise ValueError(f"language_alpha={self.language_alpha} is outside [0, 1]; 1 keeps the sizes of the texts")

    @property
    def rows_are_sentences(self) -> bool:
        """Whether each row has to be a single sequence; rows of ids that hold several are then refused."""
        return False

    def _check_streaming(self) -> None:
        """Refuse a stream without a number of steps, and sizes that are malformed or come without a stream."""
        if self.language_sizes is not None:
            if not self.streaming:
                raise ValueError("language_sizes needs streaming; text that is read whole has known sizes")
            sizes: Any = self.language_sizes
            if not isinstance(sizes, dict) or not all(
                isinstance(size, int | float) and 0 < size < math.inf for size in sizes.values()
            ):
                raise ValueError(f"language_sizes={sizes!r}; expected a number above 0 for each language")
        if self.streaming and self.max_steps <= 0:
            raise ValueError(
                f"streaming=True needs max_steps, got {self.max_steps}: a stream has no known length, so no epochs"
            )


@dataclass
class MAFTTrainingArguments(MixtureTrainingArguments):
    """Arguments of `MAFTTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Maximum number of tokens in a training sequence, special tokens included (512).
        packing: Pack the documents of each language into full sequences; otherwise each line is a row (True).
        language_alpha: Sample languages in proportion to n^alpha, in [0, 1] (1, as in the paper).
        streaming: Read the text during training; needs `max_steps` (False).
        language_sizes: With `streaming`, the amount of text of each language, in any unit (None).
        mlm_probability: Share of the tokens that are masked, in (0, 1) (0.15).
        whole_word_masking: Mask all subwords of a word together (False).
        embedding_warmup_steps: Train only the embeddings for this many steps, for languages and scripts new to the
            model (0).
        language_sets: ``{name: [languages]}``; evaluation reports the mean of each as `eval_<name>_bits_per_byte`, to
            choose the best checkpoint and stop early by (None).
    """

    _VALID_DICT_FIELDS = [*MixtureTrainingArguments._VALID_DICT_FIELDS, "language_sets"]

    mlm_probability: float = field(
        default=0.15, metadata={"help": "Share of the tokens that are masked in training, in (0, 1)."}
    )
    whole_word_masking: bool = field(
        default=False, metadata={"help": "Mask all subwords of a word together in training; evaluation always does."}
    )
    embedding_warmup_steps: int = field(
        default=0,
        metadata={
            "help": "Train only the embeddings for this many optimizer steps, for languages and scripts new to the "
            "model."
        },
    )
    language_sets: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Sets of languages as JSON, such as {"name": ["swa", "yor"]}. Evaluation reports the mean of each '
            "as eval_<name>_bits_per_byte, for metric_for_best_model and early stopping."
        },
    )
    # Every parameter of a masked language model takes part in its loss, so DDP need not search for others every step.
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Passed to DistributedDataParallel; MAFT has no unused parameters."}
    )

    def __post_init__(self) -> None:
        """Check the bounds."""
        super().__post_init__()
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability={self.mlm_probability} is outside (0, 1); the paper masks 0.15")
        if self.embedding_warmup_steps < 0:
            raise ValueError(f"embedding_warmup_steps={self.embedding_warmup_steps} is less than 0")
        _check_language_sets(self.language_sets)


@dataclass
class RelationDistillTrainingArguments(MixtureTrainingArguments):
    """Arguments of `RelationDistillTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Maximum number of tokens in a training sequence, special tokens included (512).
        packing: Pack the documents of each language into full sequences; otherwise each line is a row (True).
        language_alpha: Sample languages in proportion to n^alpha, in [0, 1] (1).
        streaming: Read the text during training; needs `max_steps` (False).
        language_sizes: With `streaming`, the amount of text of each language, in any unit (None).
        objective: `minilmv2`, `minilm` or `hybrid` (`minilmv2`).
        teacher_layer: Layer of the teacher that teaches, counted from 1 (as in the paper: the last; of 24 layers the
            21st for BERT, the 19th for RoBERTa and XLM-R).
        teacher_layers: Several layers, in place of `teacher_layer`; their losses are averaged (None).
        student_layers: The layers that learn from them, as many or one (the last).
        num_relation_heads: Relation heads, dividing both widths (four times the teacher's heads, or the next lower
            number that does). `minilm` and `hybrid` use the attention heads.
        relation_weights: One weight for each relation of the objective, 0 or more (1 each; 0.5 for `hybrid`).
        relation_impl: Implementation of the loss, see `hf_afro.losses.relation_loss` (`auto`).
        mlm_weight: Weight of the student's masked-LM loss, 0 or more; above 0, text is masked (0).
        logit_weight: Weight of matching the teacher's predictions of masked tokens, 0 or more (0; 0.5 for `hybrid`).
        temperature: Divides both logits in that term, above 0 (2).
        mlm_probability: Share of the tokens that are masked for these two terms, in (0, 1) (0.15).
        hidden_weight: Weight of matching the teacher's hidden states, token by token, 0 or more (0).
        hidden_loss: Their distance: `cosine`, 1 - cosine, or `mse`, the mean of squares over the width (`cosine`).
        hidden_teacher_layers: The layers whose output is matched, counted from 1; their losses are averaged (the
            last).
        hidden_student_layers: The layers that match them, as many or one (the last).
        pooled_weight: Weight of matching the teacher's sentence vectors, 0 or more; above 0, each row has to be one
            sentence, so `packing=False` (0).
        freeze_embeddings_steps: Train everything but the embeddings for this many steps (0).
        teacher_dtype: `float32` or `bfloat16`, to convert the teacher's weights to (as loaded).
    """

    objective: str = field(
        default="minilmv2",
        metadata={
            "help": "minilmv2 (relations of queries, keys and values), minilm (attention and relations of values) or "
            "hybrid (attention averaged over heads, and the teacher's predictions)."
        },
    )
    teacher_layer: int | None = field(
        default=None,
        metadata={
            "help": "Layer of the teacher that teaches, counted from 1. By default as in the paper: the last; of 24 "
            "layers the 21st (BERT) or the 19th (RoBERTa, XLM-R)."
        },
    )
    teacher_layers: list[int] | None = field(
        default=None, metadata={"help": "Several layers of the teacher, in place of teacher_layer."}
    )
    student_layers: list[int] | None = field(
        default=None,
        metadata={"help": "Layers of the student that learn: one, or as many as teach. By default the last."},
    )
    num_relation_heads: int | None = field(
        default=None,
        metadata={
            "help": "Relation heads; they divide both widths. By default four times the teacher's attention heads, "
            "as in the paper (48 of base teachers, 64 of large ones), or the next lower number that divides both."
        },
    )
    relation_weights: list[float] | None = field(
        default=None,
        metadata={
            "help": "Weights of query, key and value (minilmv2), of attention and value (minilm), or of attention "
            "(hybrid). By default as in the papers."
        },
    )
    relation_impl: str = field(
        default="auto", metadata={"help": f"Implementation of the relation loss: {', '.join(IMPLEMENTATIONS)}."}
    )
    mlm_weight: float = field(
        default=0.0, metadata={"help": "Weight of the student's masked-LM loss; above 0, text is masked."}
    )
    logit_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of matching the teacher's predictions of masked tokens; above 0, text is masked. By "
            "default 0, and 0.5 with objective hybrid."
        },
    )
    temperature: float = field(
        default=2.0, metadata={"help": "Temperature at which the teacher's predictions are matched, above 0."}
    )
    mlm_probability: float = field(
        default=0.15, metadata={"help": "Share of the tokens masked for mlm_weight and logit_weight, in (0, 1)."}
    )
    hidden_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of matching the teacher's hidden states, token by token. If the widths differ, a "
            "projection is trained, which is not saved with the student."
        },
    )
    hidden_loss: str = field(
        default="cosine",
        metadata={
            "help": "Distance of two hidden states: cosine (1 - cosine) or mse (mean of squares over the width)."
        },
    )
    hidden_teacher_layers: list[int] | None = field(
        default=None,
        metadata={"help": "Layers of the teacher whose hidden states are matched. By default the last."},
    )
    hidden_student_layers: list[int] | None = field(
        default=None,
        metadata={"help": "Layers of the student that match them: one, or as many. By default the last."},
    )
    pooled_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of matching the teacher's sentence vectors (mean of the tokens, of length 1), for "
            "students that embed sentences. Needs packing off: each row is one sentence."
        },
    )
    freeze_embeddings_steps: int = field(
        default=0,
        metadata={
            "help": "Train everything but the embeddings for this many optimizer steps; those of a student that was "
            "built from its teacher are good from the start."
        },
    )
    teacher_dtype: str | None = field(
        default=None,
        metadata={"help": "float32 or bfloat16: convert the teacher's weights to it. By default as loaded."},
    )
    # The rest of the student's last layer and its head take no part in the relation loss. DDP has to be told that
    # parameters may get no gradient, with activation checkpointing too, where the Trainer's own default is False.
    ddp_find_unused_parameters: bool | None = field(
        default=True, metadata={"help": "Passed to DistributedDataParallel; relation distillation needs True."}
    )

    def __post_init__(self) -> None:
        """Check the choices and the bounds."""
        super().__post_init__()
        for name, choices in (
            ("objective", OBJECTIVES),
            ("relation_impl", IMPLEMENTATIONS),
            ("hidden_loss", HIDDEN_LOSSES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name}={getattr(self, name)!r}; expected one of {', '.join(choices)}")
        if self.teacher_dtype not in (None, *TEACHER_DTYPES):
            raise ValueError(f"teacher_dtype={self.teacher_dtype!r}; expected one of {', '.join(TEACHER_DTYPES)}")
        if self.teacher_layer is not None and self.teacher_layers is not None:
            raise ValueError("teacher_layer and teacher_layers were both given; use one of them")
        layers = ("teacher_layers", "student_layers", "hidden_teacher_layers", "hidden_student_layers")
        if empty := [name for name in (*layers, "relation_weights") if getattr(self, name) == []]:
            raise ValueError(f"{empty[0]} is empty; leave it out, or fill it")
        if self.logit_weight is None:
            self.logit_weight = HYBRID_LOGIT_WEIGHT if self.objective == "hybrid" else 0.0
        self._check_weights(
            self.mlm_weight,
            self.logit_weight,
            self.hidden_weight,
            self.pooled_weight,
            *(self.relation_weights or (1.0,)),
        )
        self._check_states()
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature}; expected a finite number above 0, such as 2")
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability={self.mlm_probability} is outside (0, 1); BERT masks 0.15")
        if self.activation_checkpointing_kwargs and dict(self.activation_checkpointing_kwargs).get("use_reentrant"):
            raise ValueError(
                "activation_checkpointing_kwargs has use_reentrant=True, which cuts captured vectors off from their "
                "gradients; leave it out"
            )

    def _check_states(self) -> None:
        """Check the settings of hidden states, of sentence vectors and of the embeddings."""
        if not self.hidden_weight and (self.hidden_teacher_layers or self.hidden_student_layers):
            raise ValueError("hidden_teacher_layers or hidden_student_layers needs hidden_weight above 0, got 0")
        if self.pooled_weight and self.packing:
            raise ValueError(
                f"pooled_weight={self.pooled_weight} compares sentence vectors, but packing=True puts several "
                "sentences into a row; set packing=False (--no_packing)"
            )
        if self.freeze_embeddings_steps < 0:
            raise ValueError(f"freeze_embeddings_steps={self.freeze_embeddings_steps} is less than 0")

    @property
    def rows_are_sentences(self) -> bool:
        """Whether a term compares sentence vectors."""
        return self.pooled_weight > 0

    @staticmethod
    def _check_weights(*weights: float) -> None:
        for weight in weights:
            if not 0 <= weight < math.inf:
                raise ValueError(f"got a weight of {weight}; weights are finite and 0 or more")
        if not any(weights):
            raise ValueError("every weight is 0, so there is nothing to learn; set one of them above 0")


def check_settings(args: TrainingArguments, trainer_settings: dict[str, Any]) -> None:
    """Refuse settings of `transformers.Trainer` that these trainers would ignore.

    Raises:
        TypeError: If an argument replaces a part that the trainers make themselves.
        ValueError: If a setting has no meaning here, or several GPUs would share one process.
    """
    for name in ("compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics"):
        if trainer_settings.get(name) is not None:
            raise TypeError(
                f"{name} is not supported: loss and evaluation are this trainer's own; subclass it, or leave it out"
            )
    for name, default in (
        ("auto_find_batch_size", False),  # another batch size is another global batch, hence another run
        ("label_smoothing_factor", 0.0),
        ("train_sampling_strategy", "random"),
        ("dataloader_drop_last", False),  # an epoch is complete windows, and the rest begins the next
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
        ("ignore_data_skip", False),  # a resumed run is the unbroken run
    ):
        if getattr(args, name) != default:
            raise ValueError(f"{name}={getattr(args, name)} has no meaning for this trainer; leave it at {default}")
    for name in ("include_for_metrics", "label_names"):
        if getattr(args, name):
            raise ValueError(f"{name}={getattr(args, name)} has no meaning for this trainer; leave it out")
    loading = args.accelerator_config
    if loading.split_batches or loading.dispatch_batches:
        raise ValueError(
            "accelerator_config sets split_batches or dispatch_batches; here each process reads its own share of the "
            "global batch, so leave them out"
        )
    if getattr(args, "streaming", False) and args.dataloader_num_workers > 1:
        raise ValueError(
            f"dataloader_num_workers={args.dataloader_num_workers} with streaming: datasets would give each worker "
            "other shards; use 0 or 1"
        )
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs would share one process (DataParallel), but these trainers need one process per GPU: "
            "start them with accelerate launch or torchrun, or show one GPU with CUDA_VISIBLE_DEVICES"
        )


def _check_language_sets(sets: Any) -> None:
    """Raise a ValueError unless sets map names to lists of codes, and no name is a code or one of our own."""
    if sets is None:
        return
    well_formed = isinstance(sets, Mapping) and all(
        isinstance(codes, list | tuple) and codes and all(isinstance(code, str) for code in codes)
        for codes in sets.values()
    )
    if not well_formed:
        raise ValueError(
            f"language_sets={sets!r}; expected a list of languages for each name, like {{'core': ['swa']}}"
        )
    codes = {code for of_set in sets.values() for code in of_set}
    if taken := sorted(set(sets) & (codes | {"in_mix", "out_of_mix"})):
        raise ValueError(f"language_sets names a set {taken[0]!r}, which is the name of something else; rename it")
