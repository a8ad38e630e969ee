"""The settings of the two trainers: a few fields of their own on top of Hugging Face's `TrainingArguments`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from transformers import TrainingArguments

from hf_afro.objectives.relations import IMPLEMENTATIONS
from hf_afro.training.checks import check_language_sets

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

    def __post_init__(self) -> None:
        """Check the bounds."""
        super().__post_init__()
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


@dataclass
class MAFTTrainingArguments(MixtureTrainingArguments):
    """Settings of `MAFTTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Tokens in a training sequence at most, special tokens included (512).
        packing: Pack the documents of a language into full sequences; otherwise a line is a row (True).
        language_alpha: Languages are sampled with p proportional to n^alpha, in [0, 1] (1, as in the paper).
        mlm_probability: Share of the tokens that are masked, in (0, 1) (0.15).
        whole_word_masking: Mask all pieces of a word together (False).
        embedding_warmup_steps: For so many steps only the embeddings learn, for languages and scripts new to the
            model (0).
        language_sets: ``{name: [languages]}``; of each, evaluation reports the mean as `eval_<name>_bits_per_byte`,
            to choose the best checkpoint and to stop early by (none).
    """

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "language_sets"]

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


@dataclass
class RelationDistillTrainingArguments(MixtureTrainingArguments):
    """Settings of `RelationDistillTrainer`, beside those of `transformers.TrainingArguments`.

    Args:
        max_length: Tokens in a training sequence at most, special tokens included (512).
        packing: Pack the documents of a language into full sequences; otherwise a line is a row (True).
        language_alpha: Languages are sampled with p proportional to n^alpha, in [0, 1] (1).
        teacher_layer: Layer of the teacher that is taught, counted from 1 (as in the paper: the last; of 24 layers
            the 21st of BERT, the 19th of RoBERTa and XLM-R).
        num_relation_heads: Relation heads, dividing both widths (four times the teacher's heads, or the next lower
            number that does).
        relation_impl: `auto`, `reference` or `chunked` (`auto`).
    """

    teacher_layer: int | None = field(
        default=None,
        metadata={
            "help": "Layer of the teacher that is taught, counted from 1. By default as in the paper: the last; of 24 "
            "layers the 21st (BERT) or the 19th (RoBERTa, XLM-R)."
        },
    )
    num_relation_heads: int | None = field(
        default=None,
        metadata={
            "help": "Relation heads; they divide both widths. By default four times the teacher's attention heads, "
            "as in the paper (48 of base teachers, 64 of large ones), or the next lower number that divides both."
        },
    )
    relation_impl: str = field(
        default="auto", metadata={"help": "Implementation of the relation loss: auto, reference or chunked."}
    )
    # The rest of the student's last layer and its head take no part in the relation loss. DDP has to be told that
    # parameters may get no gradient, with activation checkpointing too, where the Trainer's own default is False.
    ddp_find_unused_parameters: bool | None = field(
        default=True, metadata={"help": "Passed to DistributedDataParallel; relation distillation needs True."}
    )

    def __post_init__(self) -> None:
        """Check the choice."""
        super().__post_init__()
        if self.relation_impl not in IMPLEMENTATIONS:
            raise ValueError(
                f"relation_impl={self.relation_impl!r} is not known; use one of {', '.join(IMPLEMENTATIONS)}"
            )
