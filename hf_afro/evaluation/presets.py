"""Settings of fine-tuning: those of the papers, and smaller ones for CPUs and tiny models."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_afro.messages import nearest
from hf_afro.sentence_modules import POOLINGS
from hf_afro.tasks import BITEXT, kind_of

SEEDS = (1, 2, 3, 4, 5)
"""Five, as in the papers, which do not publish theirs."""

ADAPTATIONS = ("full", "lora", "frozen", "probe")
"""The parts of the encoder that are trained: all, low-rank additions to queries and values, or none: under a head, or
under a logistic regression on the vectors of texts."""

OF_VECTORS = ("pooling", "prompt")
"""The settings that have an effect on the vectors of texts alone."""
OF_TEACHER = ("logit_weight", "logit_loss", "temperature", "max_unlabelled")
"""The settings that have an effect with a teacher alone."""
OF_BITEXT: tuple[str, ...] = ("max_length", "max_test", "eval_batch_size", *OF_VECTORS)
"""The settings that have an effect on bitext retrieval."""
OF_PROBES: tuple[str, ...] = (*OF_BITEXT, "max_train", "max_dev", "adaptation")
"""The settings that have an effect on probes."""

LOGIT_LOSSES = ("mse", "kl")
"""The losses between a student's and a teacher's logits: `logit_distance` and `logit_matching` of `hf_afro.losses`."""

RATE_OF_PARTS = 10
"""The learning rate of LoRA and of a head alone, relative to full fine-tuning: about what Schulman et al. 2025, *LoRA
without regret*, find best for LoRA on any model; for a head alone it is a guess."""

LARGEST_SEED = 2**32 - 1
"""The largest seed that numpy accepts, and so transformers' `set_seed`."""


def _setting(default: Any, description: str) -> Any:
    return field(default=default, metadata={"help": description})


@dataclass(frozen=True)
class FineTuningSettings:
    """The settings of fine-tuning on one task. `metadata["help"]` describes each field."""

    max_length: int = _setting(164, "Maximum number of tokens, special ones included; at most the model's positions.")
    batch_size: int = _setting(16, "Examples per optimizer step, over all accumulation steps.")
    accumulation: int = _setting(1, "Parts that a batch is split into to save memory; must divide batch_size.")
    epochs: int = _setting(50, "Maximum number of passes over the training examples.")
    learning_rate: float = _setting(5e-5, "Peak learning rate; it falls linearly to zero.")
    warmup: float = _setting(0.1, "Share of the steps in which the learning rate rises, in [0, 1).")
    weight_decay: float = _setting(0.0, "Weight decay of AdamW.")
    bf16: bool = _setting(
        False,
        "Mixed precision: bfloat16 in the products of training and of the teacher, for GPUs and CPUs that have it "
        "(AMX); weights and predictions stay in float32.",
    )
    patience: int | None = _setting(
        None,
        "Epochs without improvement on dev after which training stops, from the first score above 0; none to train "
        "all epochs. The best epoch on dev is kept either way.",
    )
    max_train: int | None = _setting(None, "Maximum number of training examples, sampled with seed 0; none for all.")
    max_dev: int | None = _setting(None, "Maximum number of dev examples, sampled with seed 0; none for all.")
    max_test: int | None = _setting(None, "Maximum number of test examples, sampled with seed 0; none for all.")
    eval_batch_size: int = _setting(64, "Examples per batch in prediction.")
    adaptation: str = _setting(
        "full",
        "Part of the encoder that is trained: full, lora (low-rank additions to queries and values, merged "
        "afterwards), frozen (only the head is trained) or probe (a logistic regression on the vectors of texts).",
    )
    lora_rank: int = _setting(8, "Rank of LoRA; alpha is twice the rank.")
    logit_weight: float = _setting(
        1.0, "With a teacher: weight of matching its logits, beside 1 for the labels; 0 to learn from labels alone."
    )
    logit_loss: str = _setting(
        "mse", "How logits are matched: mse, or kl (the divergence of predictions softened by temperature)."
    )
    temperature: float = _setting(2.0, "With logit_loss kl: divides both logits, above 0.")
    max_unlabelled: int | None = _setting(
        None, "Maximum number of unlabelled texts per language, sampled with seed 0; none for all."
    )
    pooling: str | None = _setting(
        None,
        "For probes and bitext: how the vectors of tokens become one: mean, cls, max or lasttoken. By default as the "
        "model's sentence-transformers modules say, and mean without any.",
    )
    prompt: str | None = _setting(
        None, "For probes and bitext: put before every text, such as 'query: '; by default the model's default prompt."
    )
    report_to: str = _setting(
        "none", "Where losses and dev scores are shown after each epoch: none, trackio, tensorboard, wandb, ..."
    )

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "epochs", "eval_batch_size", "lora_rank"):
            _check_whole(name, getattr(self, name), 1)
        for name in ("patience", "max_train", "max_dev", "max_test", "max_unlabelled"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1)
        _check_whole("max_length", self.max_length, 3)
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation={self.accumulation} does not divide batch_size={self.batch_size}")
        if self.adaptation not in ADAPTATIONS:
            raise ValueError(f"adaptation={self.adaptation!r}; expected one of {', '.join(ADAPTATIONS)}")
        if self.logit_loss not in LOGIT_LOSSES:
            raise ValueError(f"logit_loss={self.logit_loss!r}; expected one of {', '.join(LOGIT_LOSSES)}")
        if self.pooling not in (None, *POOLINGS):
            raise ValueError(f"pooling={self.pooling!r}; expected one of {', '.join(POOLINGS)}")
        self._check_rates()

    def _check_rates(self) -> None:
        for name in ("learning_rate", "warmup", "weight_decay", "logit_weight", "temperature"):
            if not isinstance(getattr(self, name), int | float) or not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}; expected a number, such as 5e-5")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r}; expected a number above 0, such as 5e-5")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup!r} is outside [0, 1); it is a share of the steps")
        for name in ("weight_decay", "logit_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)!r} is negative")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature!r}; expected a number above 0, such as 2")

    def replace(self, **changes: Any) -> FineTuningSettings:
        """Return a copy with some settings changed.

        Raises:
            ValueError: If a setting is unknown (the message names the nearest) or its value is invalid.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ValueError(f"unknown fine-tuning setting {name!r}; {nearest(name, names)}")
        return dataclasses.replace(self, **changes)

    @property
    def of_vectors(self) -> dict[str, Any]:
        """The arguments of `sentence_vectors`."""
        return {
            "pooling": self.pooling or "mean",
            "prompt": self.prompt or "",
            "max_length": self.max_length,
            "batch_size": self.eval_batch_size,
        }

    def used(self, task: str, *, taught: bool = False) -> dict[str, Any]:
        """Return the settings that have an effect on a task, by name; `taught` says whether there is a teacher."""
        every = dataclasses.asdict(self)
        if task == BITEXT:
            names = OF_BITEXT
        elif self.adaptation == "probe":
            names = OF_PROBES
        else:
            idle = ("report_to", *OF_VECTORS, *(() if taught else OF_TEACHER))
            if self.logit_loss != "kl":
                idle = (*idle, "temperature")
            names = tuple(name for name in every if name not in idle)
        return {name: every[name] for name in names}


def adapted(settings: FineTuningSettings, adaptation: str) -> FineTuningSettings:
    """Return settings of full fine-tuning for another adaptation, with the learning rate times `RATE_OF_PARTS`.

    Raises:
        ValueError: If the adaptation is unknown.
    """
    factor = 1 if adaptation == "full" else RATE_OF_PARTS
    return settings.replace(adaptation=adaptation, learning_rate=factor * settings.learning_rate)


def check_seeds(seeds: Sequence[int]) -> None:
    """Check the seeds of fine-tuning runs.

    Raises:
        ValueError: If there is none, one is repeated, or one is out of range.
    """
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise ValueError(f"seeds are {list(seeds)}; expected one or more different ones from 0 to {LARGEST_SEED}")


def _check_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}; expected a whole number, at least {least}")


_PAPER_NER = FineTuningSettings(max_length=164, batch_size=16, epochs=50, learning_rate=5e-5)
_PAPER_TAGS = FineTuningSettings(max_length=200, batch_size=16, epochs=20, learning_rate=5e-5)
_PAPER_TEXT = FineTuningSettings(max_length=512, batch_size=32, epochs=25, learning_rate=5e-5)
_PAPER_PAIRS = FineTuningSettings(max_length=128, batch_size=32, epochs=3, learning_rate=2e-5)
_BITEXT = FineTuningSettings(max_length=512)
_SMALL = FineTuningSettings(
    max_length=128, batch_size=16, epochs=10, learning_rate=1e-4, patience=5, max_train=1000, max_dev=300
)

PRESETS = ("paper", "small")
# Alabi et al. 2022 (NER, text) and Adelani et al. 2022 (MasakhaNER 2.0). They name no warmup; without it large models
# collapsed in every ninth of their published runs, hence ours. No published settings for parts of speech and pairs
# were at hand: these are customary ones.
_PAPER_OF_SET = {"masakhaner2": _PAPER_NER.replace(batch_size=32, epochs=20)}


def preset(name: str, task: str, dataset: str = "") -> FineTuningSettings:
    """Return the settings of a preset.

    Args:
        name: `paper`, or `small`: minutes on two CPU cores for a model of some tens of million parameters, with a
            higher learning rate. At five times as much multilingual-e5-small gives one answer to everything.
        task: A name in `hf_afro.tasks.KINDS`, or `bitext`.
        dataset: The name of the data, such as `masakhaner2/swa`: some sets have settings of their own.

    Raises:
        ValueError: If the preset or the task is unknown.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    if task == BITEXT:
        return _BITEXT
    kind = kind_of(task)
    if name == "small":
        return _SMALL
    if kind.spans:
        return _PAPER_OF_SET.get(dataset.partition("/")[0], _PAPER_NER)
    return _PAPER_TAGS if kind.tagged else _PAPER_PAIRS if kind.pairs else _PAPER_TEXT
