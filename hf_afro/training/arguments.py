"""The settings of the two trainers: a few fields of their own on top of Hugging Face's `TrainingArguments`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from hf_afro.losses.relations import IMPLEMENTATIONS
from hf_afro.training.checks import check_language_sets

# Raju et al. 2025: the distillation of outputs and that of attention weigh 0.5 each.
HYBRID_LOGIT_WEIGHT = 0.5

# The largest that numpy takes, and so transformers' `set_seed`.
_LARGEST_SEED = 2**32 - 1


@dataclass
class MixtureTrainingArguments(TrainingArguments):
    """How text of several languages becomes training batches; shared by both trainers.

    Every other setting is documented with `transformers.TrainingArguments`. `seed` decides the order and the masks:
    both are functions of it and of the sample alone.
    """

    max_length: int = field(
        default=512, metadata={"help": "Tokens in a training sequence at most, special tokens included."}
    )
    packing: bool = field(
        default=True,
        metadata={
            "help": "Pack the documents of a language end to end into full sequences; otherwise a line is a row, cut "
            "where it is longer than max_length."
        },
    )
    language_alpha: float = field(
        default=1.0,
        metadata={
            "help": "Languages are sampled with p proportional to n^alpha, n their number of sequences: 1 as in the "
            "paper, 0.3 as XLM-R was trained, 0 all alike. In [0, 1]."
        },
    )

    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the text while training goes on, for text that does not fit into memory; otherwise all of "
            "it is read and tokenised before. Needs max_steps, and language_sizes unless language_alpha is 0."
        },
    )
    language_sizes: dict | str | None = field(
        default=None,
        metadata={
            "help": 'With streaming: how much text each language has, in any unit, such as {"swa": 120, "yor": 30}, '
            "since a stream does not know."
        },
    )

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "language_sizes"]

    def __post_init__(self) -> None:
        """Check the bounds."""
        super().__post_init__()
        self._check_streaming()
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is less than 1; use a whole number from 1")
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise ValueError(f"seed={self.seed} is outside 0 to {_LARGEST_SEED}; use a number in it")
        if not math.isfinite(self.learning_rate):
            raise ValueError(f"learning_rate={self.learning_rate} is not a finite number; use one such as 5e-5")
        if self.max_steps <= 0 and not self.num_train_epochs > 0:
            raise ValueError(
                f"max_steps={self.max_steps} and num_train_epochs={self.num_train_epochs} leave nothing to train; "
                "give one of them above 0"
            )
        if self.max_length < 3:
            raise ValueError(
                f"max_length={self.max_length} leaves no room between the two special tokens; use at least 3"
            )
        if not 0 <= self.language_alpha <= 1:
            raise ValueError(f"language_alpha={self.language_alpha} is outside [0, 1]; 1 keeps the texts' own sizes")

    def _check_streaming(self) -> None:
        """Refuse a stream without a budget of steps, and sizes without a stream or that are none."""
        if self.language_sizes is not None:
            if not self.streaming:
                raise ValueError("language_sizes was given without streaming; text that is read whole knows its sizes")
            sizes: Any = self.language_sizes
            if not isinstance(sizes, dict) or not all(
                isinstance(size, int | float) and 0 < size < math.inf for size in sizes.values()
            ):
                raise ValueError(f"language_sizes={sizes!r}; expected a number above 0 for each language")
        if self.streaming and self.max_steps <= 0:
            raise ValueError(
                f"streaming=True with max_steps={self.max_steps}: a stream does not know how long it is, so it has no "
                "epochs; say with max_steps how many steps to take"
            )


@dataclass
class MAFTTrainingArguments(MixtureTrainingArguments):
    """Settings of `MAFTTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Tokens in a training sequence at most, special tokens included (512).
        packing: Pack the documents of a language into full sequences; otherwise a line is a row (True).
        language_alpha: Languages are sampled with p proportional to n^alpha, in [0, 1] (1, as in the paper).
        streaming: Read the text while training goes on; needs `max_steps` (False).
        language_sizes: With `streaming`, how much text each language has, in any unit (None).
        mlm_probability: Share of the tokens that are masked, in (0, 1) (0.15).
        whole_word_masking: Mask all pieces of a word together (False).
        embedding_warmup_steps: For so many steps only the embeddings learn, for languages and scripts new to the
            model (0).
        language_sets: ``{name: [languages]}``; of each, evaluation reports the mean as `eval_<name>_bits_per_byte`,
            to choose the best checkpoint and to stop early by (none).
    """

    _VALID_DICT_FIELDS = [*MixtureTrainingArguments._VALID_DICT_FIELDS, "language_sets"]

    mlm_probability: float = field(
        default=0.15, metadata={"help": "Share of the tokens that are masked in training, in (0, 1)."}
    )
    whole_word_masking: bool = field(
        default=False, metadata={"help": "Mask all pieces of a word together, in training; evaluation always does."}
    )
    embedding_warmup_steps: int = field(
        default=0,
        metadata={
            "help": "For so many steps only the embeddings learn and the layers stay as they are: for languages and "
            "scripts new to the model. Steps of the optimizer, from 0."
        },
    )
    language_sets: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Sets of languages as JSON, {"name": ["swa", "yor"]}: evaluation reports the mean of each as '
            "eval_<name>_bits_per_byte, for metric_for_best_model and early stopping."
        },
    )
    # Every parameter of a masked language model takes part in its loss, so DDP need not look for others every step.
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Passed to DistributedDataParallel; MAFT has no unused parameters."}
    )

    def __post_init__(self) -> None:
        """Check the bounds."""
        super().__post_init__()
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability={self.mlm_probability} is outside (0, 1); the paper masks 0.15")
        if self.embedding_warmup_steps < 0:
            raise ValueError(f"embedding_warmup_steps={self.embedding_warmup_steps} is less than 0; use steps from 0")
        check_language_sets(self.language_sets)


OBJECTIVES = ("minilmv2", "minilm", "hybrid")
TEACHER_DTYPES = ("float32", "bfloat16")


@dataclass
class RelationDistillTrainingArguments(MixtureTrainingArguments):
    """Settings of `RelationDistillTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Tokens in a training sequence at most, special tokens included (512).
        packing: Pack the documents of a language into full sequences; otherwise a line is a row (True).
        language_alpha: Languages are sampled with p proportional to n^alpha, in [0, 1] (1).
        streaming: Read the text while training goes on; needs `max_steps` (False).
        language_sizes: With `streaming`, how much text each language has, in any unit (None).
        objective: `minilmv2`, `minilm` or `hybrid` (`minilmv2`).
        teacher_layer: Layer of the teacher that is taught, counted from 1 (as in the paper: the last; of 24 layers
            the 21st of BERT, the 19th of RoBERTa and XLM-R).
        teacher_layers: Several, in place of `teacher_layer`; their losses are averaged (None).
        student_layers: The layers that learn from them, as many or one (the last).
        num_relation_heads: Relation heads, dividing both widths (four times the teacher's heads, or the next lower
            number that does). `minilm` and `hybrid` have the attention heads.
        relation_weights: One for each relation of the objective, 0 or more (1 each; 0.5 of `hybrid`).
        relation_impl: How the loss is computed, see `hf_afro.losses.relation_loss` (`auto`).
        mlm_weight: Weight of the student's masked-LM loss, 0 or more; above 0, text is masked (0).
        logit_weight: Weight of matching the teacher's predictions of masked tokens, 0 or more (0; 0.5 of `hybrid`).
        temperature: What both logits are divided by in that term, above 0 (2).
        mlm_probability: Share of the tokens that are masked for these two terms, in (0, 1) (0.15).
        teacher_dtype: `float32` or `bfloat16`: what the teacher is turned into (as it was loaded).
        teacher_cache_dir: A folder, on a disk of this machine, that keeps the teacher's vectors for the passes after
            the first; not where text is masked or streamed. The size, some kilobytes a token, is logged before
            anything is written (None).
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
            "help": "Layer of the teacher that is taught, counted from 1. By default as in the paper: the last; of 24 "
            "layers the 21st (BERT) or the 19th (RoBERTa, XLM-R)."
        },
    )
    teacher_layers: list[int] | None = field(
        default=None, metadata={"help": "Several layers of the teacher, in place of teacher_layer."}
    )
    student_layers: list[int] | None = field(
        default=None,
        metadata={"help": "Layers of the student that learn, as many as of the teacher or one. By default the last."},
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
        default=0.0, metadata={"help": "Weight of the student's masked-language-model loss; above 0, text is masked."}
    )
    logit_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of matching the teacher's predictions of masked tokens; the teacher then runs to its "
            "head. By default 0, and 0.5 with objective hybrid."
        },
    )
    temperature: float = field(
        default=2.0, metadata={"help": "Temperature at which the teacher's predictions are matched, above 0."}
    )
    mlm_probability: float = field(
        default=0.15, metadata={"help": "Share of the tokens masked for mlm_weight and logit_weight, in (0, 1)."}
    )
    teacher_dtype: str | None = field(
        default=None,
        metadata={"help": "float32 or bfloat16: what the teacher's weights are turned into. By default as loaded."},
    )
    teacher_cache_dir: str | None = field(
        default=None,
        metadata={
            "help": "A folder that keeps the teacher's vectors for the passes after the first. Its size, some "
            "kilobytes a token, is told before it is written. Not where text is masked or streamed."
        },
    )
    # The rest of the student's last layer and its head take no part in the relation loss. DDP has to be told that
    # parameters may get no gradient, with activation checkpointing too, where the Trainer's own default is False.
    ddp_find_unused_parameters: bool | None = field(
        default=True, metadata={"help": "Passed to DistributedDataParallel; relation distillation needs True."}
    )

    def __post_init__(self) -> None:
        """Check the choices and the bounds."""
        super().__post_init__()
        for name, choices in (("objective", OBJECTIVES), ("relation_impl", IMPLEMENTATIONS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; use one of {', '.join(choices)}")
        if self.teacher_dtype not in (None, *TEACHER_DTYPES):
            raise ValueError(f"teacher_dtype={self.teacher_dtype!r}; use one of {', '.join(TEACHER_DTYPES)}")
        if self.teacher_layer is not None and self.teacher_layers is not None:
            raise ValueError("teacher_layer and teacher_layers were both given; name the layers in one of them")
        if [] in (self.teacher_layers, self.student_layers, self.relation_weights):
            raise ValueError("teacher_layers, student_layers or relation_weights is empty; leave it out, or fill it")
        if self.logit_weight is None:
            self.logit_weight = HYBRID_LOGIT_WEIGHT if self.objective == "hybrid" else 0.0
        self._check_weights(self.mlm_weight, self.logit_weight, *(self.relation_weights or (1.0,)))
        self._check_cache()
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature={self.temperature} is not above 0 and finite; the Comet paper has 2")
        if not 0 < self.mlm_probability < 1:
            raise ValueError(f"mlm_probability={self.mlm_probability} is outside (0, 1); BERT masks 0.15")
        if self.activation_checkpointing_kwargs and dict(self.activation_checkpointing_kwargs).get("use_reentrant"):
            raise ValueError(
                "activation_checkpointing_kwargs has use_reentrant=True, which cuts captured vectors off from their "
                "gradients; leave it out"
            )

    def _check_cache(self) -> None:
        is_masked = bool(self.mlm_weight or self.logit_weight)
        if self.teacher_cache_dir is not None and (is_masked or self.streaming):
            what = "mlm_weight or logit_weight masks the text anew" if is_masked else "streaming reads other rows"
            raise ValueError(
                f"teacher_cache_dir={self.teacher_cache_dir!r} keeps what is the same in every pass, and {what}; "
                "leave one of them out"
            )

    @staticmethod
    def _check_weights(*weights: float) -> None:
        for weight in weights:
            if not 0 <= weight < math.inf:
                raise ValueError(f"a weight of {weight} was given; weights are finite and 0 or more")
        if not any(weights):
            raise ValueError("every weight is 0, so nothing is left to learn; give one of them a weight above 0")
