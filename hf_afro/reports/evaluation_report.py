"""`EvalReport`: every figure measured of one model, each with what it rests on; where a card takes its scores from."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.files import read_limited, write_whole
from hf_afro.version import __version__

FORMAT = 3
# The first had no intervals, no collapsed runs and no transfer, the second no joint training.
_READ = (1, 2, FORMAT)
_LONGEST = 64 << 20  # bytes
REPORT_FILE = "evaluation_report.json"


@dataclass(frozen=True)
class Score:
    """One figure of a model: a task in a language by a metric, over some seeds.

    Attributes:
        task: `ner`, `topic`, `sentiment` or `bits_per_byte`.
        language: ISO 639-3 code.
        metric: Such as `entity_f1`, `macro_f1`, `weighted_f1`, `accuracy` or `bits_per_byte`; F1 and accuracy in
            [0, 1], bits a byte not negative and better when lower.
        values: The figure of each seed, at least one.
        seeds: The seeds, in the order of `values`; empty where nothing was trained.
        n: Examples the figure is over: sentences, texts, or masked words.
        split: The part of the data, such as `test`.
        dataset: What the data is called, such as `masakhaner1/swa`.
        fingerprint: Of the examples evaluated on.
        note: What a reader must know, such as a collapsed seed; empty where there is nothing.
        interval: The 95 % bootstrap interval over the examples, of the mean over the seeds; None where none was drawn.
        collapsed: Those seeds whose run answers the same to everything; they are among `seeds`.
        source: The language trained on where it is another than `language`, or several with a + between them; empty
            where `language` is among them.
        together: The languages trained on at once, `language` among them; empty where it was trained on alone.
    """

    task: str
    language: str
    metric: str
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    n: int
    split: str
    dataset: str
    fingerprint: str
    note: str = ""
    interval: tuple[float, float] | None = None
    collapsed: tuple[int, ...] = ()
    source: str = ""
    together: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.task} of {self.language} has no value; expected one a seed")
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"{self.task} of {self.language} has the values {self.values}; expected finite numbers")
        if self.seeds and len(self.seeds) != len(self.values):
            raise ValueError(f"{self.task} of {self.language} has {len(self.values)} values and seeds {self.seeds}")
        if not set(self.collapsed) <= set(self.seeds):
            raise ValueError(
                f"{self.task} of {self.language} collapsed in {self.collapsed}; expected some of {self.seeds}"
            )
        if self.together and (self.source or self.language not in self.together):
            raise ValueError(
                f"{self.task} of {self.language} was trained on {', '.join(self.together)} together; expected "
                f"{self.language} among them, and no source"
            )

    @property
    def trained_on(self) -> str:
        """The language trained on, or several with a + between them."""
        return self.source or "+".join(self.together) or self.language

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sound_mean(self) -> float | None:
        """The mean over the seeds that did not collapse; None where none did, or all."""
        sound = [value for value, seed in zip(self.values, self.seeds, strict=False) if seed not in self.collapsed]
        return statistics.fmean(sound) if sound and self.collapsed else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds, of a sample; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class EvalReport:
    """What was measured of one model.

    Attributes:
        name: What the model is called in tables, such as `student`.
        model: Facts about it: `model_type`, `parameters`, `bytes_on_disk`, `vocab_size`, `hidden_size`, `layers`,
            and whatever else describes it.
        scores: The figures, of models trained on the language they are measured on, or not trained at all.
        settings: How it was fine-tuned and evaluated, by task.
        provenance: Where it comes from: commands, data with fingerprints, languages, earlier stages.
        versions: Of the libraries.
        predictions: By `task/language`, the file beside the report that holds each example's gold and predicted
            labels for each seed, relative to the report.
        transfer: The figures of models measured on another language than they were trained on, each with its `source`.
    """

    name: str
    model: Mapping[str, Any]
    scores: tuple[Score, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: {"hf_afro": __version__})
    predictions: Mapping[str, str] = field(default_factory=dict)
    transfer: tuple[Score, ...] = ()

    def __post_init__(self) -> None:
        if any(score.source for score in self.scores) or not all(score.source for score in self.transfer):
            raise ValueError("scores with a source language belong into `transfer`, and no others")

    @property
    def over_adapters(self) -> bool:
        """Whether what was fine-tuned lies on adapters of languages, by the provenance."""
        return bool(self.provenance.get("language_adapters"))

    def select(
        self, *, task: str | None = None, language: str | None = None, metric: str | None = None
    ) -> tuple[Score, ...]:
        """Return the scores of a task, a language, a metric, or any of these together."""
        wanted = {"task": task, "language": language, "metric": metric}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return tuple(
            score for score in self.scores if all(getattr(score, name) == value for name, value in asked.items())
        )

    def mean(self, task: str, metric: str) -> float | None:
        """Return the mean of a metric over the languages of a task, each counting the same; None where none is."""
        scores = self.select(task=task, metric=metric)
        return statistics.fmean(score.mean for score in scores) if scores else None

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the report into a folder as JSON; the file appears whole or not at all."""
        path = Path(folder) / REPORT_FILE
        write_whole(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EvalReport:
        """Read a report from its file or its folder.

        Raises:
            ValueError: If the file is not a report of this format.
        """
        path = Path(path)
        file = path / REPORT_FILE if path.is_dir() else path
        try:
            facts = json.loads(read_limited(file, _LONGEST))
        except ValueError as error:
            raise ValueError(f"{file} is not an evaluation report: {error}; expected its JSON, in UTF-8") from error
        if not isinstance(facts, dict) or facts.pop("format", None) not in _READ:
            raise ValueError(f"{file} is not an evaluation report of format {FORMAT}; make it anew with this version")
        try:
            scores = tuple(map(_score, facts.pop("scores")))
            return cls(scores=scores, transfer=tuple(map(_score, facts.pop("transfer", ()))), **facts)
        except KeyError as error:
            raise ValueError(f"{file} is not a whole evaluation report: {error} is missing; make it anew") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not a whole evaluation report: {error}; make it anew") from error


def _score(facts: Mapping[str, Any]) -> Score:
    lists = {name: tuple(facts[name]) for name in ("values", "seeds")}
    lists["together"] = tuple(facts.get("together", ()))
    interval = facts.get("interval")
    if interval is not None:
        low, high = interval
        interval = float(low), float(high)
    return Score(**{**facts, **lists, "collapsed": tuple(facts.get("collapsed", ())), "interval": interval})
