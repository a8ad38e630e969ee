"""`EvalReport`: all scores of one model with their data, seeds and provenance; saved, loaded and joined."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_afro.files import read_limited, write_whole
from hf_afro.reports.published_sets import set_title
from hf_afro.version import __version__

FORMAT = 3
# Format 1 had no intervals, collapsed runs or transfer; format 2 had no joint training.
_READ = (1, 2, FORMAT)
_LONGEST = 64 << 20  # bytes
REPORT_FILE = "evaluation_report.json"


@dataclass(frozen=True)
class Score:
    """A score of a model: a task in a language by a metric, over one or more seeds.

    Attributes:
        task: The task, such as `ner`, `topic`, `sentiment` or `bits_per_byte`.
        language: ISO 639-3 code.
        metric: The metric, such as `entity_f1`, `macro_f1`, `accuracy` or `bits_per_byte`. F1 and accuracy are in
            [0, 1], correlations in [-1, 1]; bits per byte are not negative, and lower is better. With `_drop_` and the
            name of a perturbation, by how much a metric is lower on changed text.
        values: One value per seed, at least one.
        seeds: The seeds, in the order of `values`; empty if nothing was trained.
        n: The number of examples: sentences, texts, or masked words.
        split: The split, such as `test`.
        dataset: The name of the data, such as `masakhaner1/swa`.
        fingerprint: Fingerprint of the examples.
        note: A remark for readers, such as a collapsed seed.
        interval: The 95 % bootstrap interval over the examples, of the mean over the seeds; None if not computed.
        collapsed: The seeds whose model gives the same answer to everything.
        source: The language trained on if it is not `language`, or several joined by `+`; empty if `language` is
            among them.
        together: All languages of a joint training, `language` among them; empty if it was trained on alone.
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
            raise ValueError(f"{self.task} of {self.language} has no value; expected one per seed")
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"{self.task} of {self.language} has the values {self.values}; expected finite numbers")
        if self.seeds and len(self.seeds) != len(self.values):
            raise ValueError(
                f"{self.task} of {self.language} has {len(self.values)} values and the seeds {self.seeds}; expected "
                "one value per seed"
            )
        if not set(self.collapsed) <= set(self.seeds):
            raise ValueError(
                f"{self.task} of {self.language}: collapsed is {self.collapsed}; expected a subset of {self.seeds}"
            )
        if self.together and (self.source or self.language not in self.together):
            raise ValueError(
                f"{self.task} of {self.language} was trained jointly on {', '.join(self.together)}; expected "
                f"{self.language} among them, and no source"
            )

    @property
    def trained_on(self) -> str:
        """The language trained on, or several joined by `+`."""
        return self.source or "+".join(self.together) or self.language

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sound_mean(self) -> float | None:
        """The mean over the seeds that did not collapse; None if none or all of them did."""
        sound = [value for value, seed in zip(self.values, self.seeds, strict=False) if seed not in self.collapsed]
        return statistics.fmean(sound) if sound and self.collapsed else None

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over the seeds; None for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class EvalReport:
    """The evaluation of one model.

    Attributes:
        name: The name of the model in tables, such as `student`.
        model: Facts about it: `model_type`, `parameters`, `bytes_on_disk`, `vocab_size`, `hidden_size`, `layers` and
            any others.
        scores: Scores on the languages trained on, or of models that were not trained.
        settings: The settings of fine-tuning and evaluation, by task.
        provenance: Commands, data with fingerprints, languages, earlier stages.
        versions: Library versions.
        predictions: By `task/language`, the file with the gold and predicted labels of each example and seed,
            relative to the report.
        transfer: Scores on languages that were not trained on, each with its `source`.
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
            raise ValueError("expected scores with a source language in `transfer`, and all others in `scores`")

    def select(
        self, *, task: str | None = None, language: str | None = None, metric: str | None = None
    ) -> tuple[Score, ...]:
        """Return the scores of a task, of a language, by a metric, or of any combination."""
        wanted = {"task": task, "language": language, "metric": metric}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return tuple(
            score for score in self.scores if all(getattr(score, name) == value for name, value in asked.items())
        )

    def is_probe(self, task: str, language: str) -> bool:
        """Tell whether a task was measured by a probe on frozen vectors, which is the same for every seed."""
        own = self.settings.get(f"{task}/{language}")
        return isinstance(own, Mapping) and own.get("adaptation") == "probe"

    def mean(self, task: str, metric: str) -> float | None:
        """Average a metric over the languages of a task with equal weights; None if there is no such score."""
        scores = self.select(task=task, metric=metric)
        return statistics.fmean(score.mean for score in scores) if scores else None

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the report into a folder as JSON, atomically, and return the file."""
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
            raise ValueError(
                f"{file} is not an evaluation report of format {FORMAT}; evaluate again with this version"
            )
        try:
            scores = tuple(map(_score, facts.pop("scores")))
            return cls(scores=scores, transfer=tuple(map(_score, facts.pop("transfer", ()))), **facts)
        except KeyError as error:
            raise ValueError(
                f"{file} is not a complete evaluation report: {error} is missing; evaluate again"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} is not a complete evaluation report: {error}") from error


def _score(facts: Mapping[str, Any]) -> Score:
    lists = {name: tuple(facts[name]) for name in ("values", "seeds")}
    lists["together"] = tuple(facts.get("together", ()))
    interval = facts.get("interval")
    if interval is not None:
        low, high = interval
        interval = float(low), float(high)
    return Score(**{**facts, **lists, "collapsed": tuple(facts.get("collapsed", ())), "interval": interval})


@dataclass(frozen=True)
class LoadedReport:
    """A report that was loaded, perhaps joined from several.

    Attributes:
        report: The report.
        name: The name of the folder or file of its first part.
        parts: The reports it was joined from, each with its folder, to which its predictions are relative.
    """

    report: EvalReport
    name: str
    parts: tuple[tuple[EvalReport, Path], ...]


def load_reports(paths: Sequence[str | os.PathLike[str]]) -> list[LoadedReport]:
    """Load reports, and join those of one model.

    Reports that still share a name get the names of their folders added: those of different models, and those of one
    model with different values of the same score.

    Raises:
        FileNotFoundError: If a report does not exist.
        ValueError: If a file is not a report, or two models have the same name in folders of the same name.
    """
    for path in map(Path, paths):
        file = path / REPORT_FILE if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist; expected the output of `hf-afro evaluate`")
    loaded: list[LoadedReport] = []
    for path in map(Path, paths):
        report = EvalReport.load(path)
        part = (report, path if path.is_dir() else path.parent)
        for index, other in enumerate(loaded):
            joined = join_reports(other.report, report) if are_of_one_model(other.report, report) else None
            if joined is not None:
                loaded[index] = LoadedReport(joined, other.name, (*other.parts, part))
                break
        else:
            loaded.append(LoadedReport(report, path.name, (part,)))
    given = [one.report.name for one in loaded]
    loaded = [
        replace(one, report=replace(one.report, name=f"{one.report.name} ({one.name})"))
        if given.count(one.report.name) > 1
        else one
        for one in loaded
    ]
    names = [one.report.name for one in loaded]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"several reports are named {', '.join(twice)}; rename them with `hf-afro evaluate --name`")
    return loaded


def are_of_one_model(one: EvalReport, other: EvalReport) -> bool:
    """Tell whether two reports are of the same model: the same name and encoder."""
    own, others = (report.provenance.get("encoder_fingerprint") for report in (one, other))
    return one.name == other.name and own == others is not None


def join_reports(one: EvalReport, other: EvalReport) -> EvalReport | None:
    """Join two reports of one model; see `are_of_one_model`.

    Returns:
        The report, without predictions, which are relative to the folders of their own reports; None if the two have
        different values of the same score.
    """
    scores, transfer = _joined_scores(one.scores, other.scores), _joined_scores(one.transfer, other.transfer)
    if scores is None or transfer is None:
        return None
    sets = {f"{score.task}/{score.language}": set_title(score.dataset) for score in other.scores}
    data = _joined_by_set(one.provenance.get("data", {}), other.provenance.get("data", {}), sets)
    return replace(
        one,
        model={**other.model, **one.model},
        scores=scores,
        transfer=transfer,
        settings=_joined_by_set(one.settings, other.settings, sets),
        provenance={**other.provenance, **one.provenance, "data": data},
        versions={
            name: " and ".join(dict.fromkeys(own[name] for own in (one.versions, other.versions) if name in own))
            for name in {**one.versions, **other.versions}
        },
        predictions={},
    )


def _joined_scores(one: Sequence[Score], other: Sequence[Score]) -> tuple[Score, ...] | None:
    """Return the scores of both without repetition; None if they contradict each other."""
    found: dict[tuple[str, ...], Score] = {}
    for score in (*one, *other):
        key = (score.task, score.language, score.metric, score.dataset, score.split, score.source)
        if found.setdefault(key, score) != score:
            return None
    return tuple(found.values())


def _joined_by_set(one: Mapping[str, Any], other: Mapping[str, Any], sets: Mapping[str, str]) -> dict[str, Any]:
    """Join what is recorded by task and language; where both differ, the other's key gets the name of its data."""
    joined = dict(one)
    for key, value in other.items():
        joined[key if joined.get(key, value) == value else f"{key}, {sets.get(key, 'another run')}"] = value
    return joined
