"""How a task is fine-tuned: the papers' settings, and smaller ones for CPUs and tiny models."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_afro.evaluation.data.kinds import TASKS, kind_of
from hf_afro.nearest import nearest

SEEDS = (1, 2, 3, 4, 5)
"""Five, as in the papers; which five they were is not published."""

ADAPTATIONS = ("full", "lora", "frozen")
"""What of the encoder is trained: all of it, low-rank additions to its queries and values, or nothing."""

RATE_OF_PARTS = 10
"""How many times the learning rate of full fine-tuning LoRA and a head alone get: about what Schulman et al. 2025,
*LoRA without regret*, find best for LoRA, whatever the model; of heads alone it is a guess."""

LARGEST_SEED = 2**32 - 1
"""The largest that numpy takes, and so transformers' `set_seed`."""


@dataclass(frozen=True)
class FineTuningSettings:
    """How one task is fine-tuned.

    Attributes:
        max_length: Tokens of a sequence at most, special tokens included; less where the model has fewer positions.
        batch_size: Examples of an optimizer step, of all accumulation steps together.
        accumulation: Steps a batch is split into; the result is the same, memory is less.
        epochs: Passes over the training examples at most.
        learning_rate: The highest one; it falls linearly to zero.
        warmup: Share of the steps over which it rises first, in [0, 1).
        weight_decay: Of AdamW.
        patience: Epochs without a better score on dev after which training ends; None to train all epochs. The best
            epoch on dev is kept either way.
        max_train: Training examples at most, chosen by seed 0; None for all.
        max_dev: The same of dev.
        max_test: The same of test.
        eval_batch_size: Examples at a time when predicting.
        adaptation: A name of `ADAPTATIONS`. Whatever it is, what is kept is a plain classifier: LoRA is merged.
        lora_rank: Of the low-rank additions, if there are any; they are scaled by 2, as with alpha at twice the rank.
    """

    max_length: int = 164
    batch_size: int = 16
    accumulation: int = 1
    epochs: int = 50
    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.0
    patience: int | None = None
    max_train: int | None = None
    max_dev: int | None = None
    max_test: int | None = None
    eval_batch_size: int = 64
    adaptation: str = "full"
    lora_rank: int = 8

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "epochs", "eval_batch_size", "lora_rank"):
            _check(name, getattr(self, name), 1)
        for name in ("patience", "max_train", "max_dev", "max_test"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), 1)
        _check("max_length", self.max_length, 3)
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation={self.accumulation} does not divide batch_size={self.batch_size}")
        if self.adaptation not in ADAPTATIONS:
            raise ValueError(f"adaptation={self.adaptation!r}; expected one of {', '.join(ADAPTATIONS)}")
        self._check_rates()

    def _check_rates(self) -> None:
        for name in ("learning_rate", "warmup", "weight_decay"):
            if not isinstance(getattr(self, name), int | float) or not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}; expected a number, such as 5e-5")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate!r}; expected a number above 0, such as 5e-5")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup!r} is outside [0, 1); it is a share of the steps")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay!r} is negative")

    def replace(self, **changes: Any) -> FineTuningSettings:
        """Return settings with some of them changed.

        Raises:
            ValueError: If there is no such setting, the message naming the nearest, or a value is not possible.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ValueError(f"no setting {name!r} of fine-tuning; {nearest(name, names)}")
        return dataclasses.replace(self, **changes)


def adapted(settings: FineTuningSettings, adaptation: str) -> FineTuningSettings:
    """Return settings of full fine-tuning for another adaptation: the rate of learning is raised by `RATE_OF_PARTS`.

    Raises:
        ValueError: If there is no such adaptation.
    """
    factor = 1 if adaptation == "full" else RATE_OF_PARTS
    return settings.replace(adaptation=adaptation, learning_rate=factor * settings.learning_rate)


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that fine-tuning cannot be run with.

    Raises:
        ValueError: If there is none, one is there twice, or one is out of range.
    """
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed <= LARGEST_SEED for seed in seeds):
        raise ValueError(f"seeds are {list(seeds)}; expected at least one, each once, from 0 to {LARGEST_SEED}")


def _check(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}; expected a whole number, at least {least}")


_PAPER_NER = FineTuningSettings(max_length=164, batch_size=16, epochs=50, learning_rate=5e-5)
_PAPER_TAGS = FineTuningSettings(max_length=200, batch_size=16, epochs=20, learning_rate=5e-5)
_PAPER_TEXT = FineTuningSettings(max_length=512, batch_size=32, epochs=25, learning_rate=5e-5)
_PAPER_PAIRS = FineTuningSettings(max_length=128, batch_size=32, epochs=3, learning_rate=2e-5)
_SMALL = FineTuningSettings(
    max_length=128, batch_size=16, epochs=10, learning_rate=5e-4, patience=5, max_train=1000, max_dev=300
)

PRESETS: dict[str, Mapping[str, FineTuningSettings]] = {
    # Alabi et al. 2022 (NER, text) and Adelani et al. 2022 (MasakhaNER 2.0). They name no warm-up; without it large
    # models collapsed in every ninth of their published runs, hence ours. Of parts of speech and pairs no settings
    # were at hand in print: these are customary ones, not a paper's.
    "paper": {
        "ner": _PAPER_NER,
        "masakhaner2": _PAPER_NER.replace(batch_size=32, epochs=20),
        "spans": _PAPER_NER,
        "pos": _PAPER_TAGS,
        "tags": _PAPER_TAGS,
        **{task: _PAPER_TEXT for task in ("topic", "sentiment", "texts")},
        **{task: _PAPER_PAIRS for task in ("nli", "pairs")},
    },
    # Minutes on two cores for a model of a few million parameters; a rate that a small, briefly trained one needs.
    "small": {task: _SMALL for task in TASKS},
}


def preset(name: str, task: str, dataset: str = "") -> FineTuningSettings:
    """Return the settings of a preset.

    Args:
        name: `paper` or `small`.
        task: A name of `hf_afro.evaluation.data.kinds.KINDS`.
        dataset: What the data is called, such as `masakhaner2/swa`: some sets have settings of their own.

    Raises:
        ValueError: If there is no such preset or task.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}")
    kind_of(task)
    by_task = PRESETS[name]
    own = dataset.partition("/")[0]
    return by_task.get(own, by_task[task]) if task == "ner" else by_task[task]
