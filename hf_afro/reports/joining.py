"""Several reports of one model as one, where none contradicts another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hf_afro.reports.evaluation_report import EvalReport, Score
from hf_afro.reports.published_sets import set_title

_FINGERPRINT, _ADAPTERS = "encoder_fingerprint", "language_adapters"


def are_of_one_model(one: EvalReport, other: EvalReport) -> bool:
    """Tell whether two reports are of the same model: the same name, encoder and adapters of languages."""
    same_encoder = one.provenance.get(_FINGERPRINT) == other.provenance.get(_FINGERPRINT) is not None
    return same_encoder and one.name == other.name and one.provenance.get(_ADAPTERS) == other.provenance.get(_ADAPTERS)


def join_reports(one: EvalReport, other: EvalReport) -> EvalReport | None:
    """Return two reports of one model as one; None where they give different values of the same figure.

    Args:
        one: A report, which goes first.
        other: Another, of the same model; see `are_of_one_model`.

    Returns:
        The report, without predictions, whose files lie beside their own reports.
    """
    scores, transfer = _scores(one.scores, other.scores), _scores(one.transfer, other.transfer)
    if scores is None or transfer is None:
        return None
    sets = {f"{score.task}/{score.language}": set_title(score.dataset) for score in other.scores}
    data = _by_set(one.provenance.get("data", {}), other.provenance.get("data", {}), sets)
    return dataclasses.replace(
        one,
        model={**other.model, **one.model},
        scores=scores,
        transfer=transfer,
        settings=_by_set(one.settings, other.settings, sets),
        provenance={**other.provenance, **one.provenance, "data": data},
        versions={
            name: " and ".join(dict.fromkeys(own[name] for own in (one.versions, other.versions) if name in own))
            for name in {**one.versions, **other.versions}
        },
        predictions={},
    )


def _scores(one: Sequence[Score], other: Sequence[Score]) -> tuple[Score, ...] | None:
    """The scores of both, each once; None where the same figure has two values."""
    found = {_figure(score): score for score in one}
    for score in other:
        if found.setdefault(_figure(score), score) != score:
            return None
    return tuple(found.values())


def _figure(score: Score) -> tuple[str, ...]:
    return score.task, score.language, score.metric, score.dataset, score.split, score.source


def _by_set(one: Mapping[str, Any], other: Mapping[str, Any], sets: Mapping[str, str]) -> dict[str, Any]:
    """What is told of each task and language; where both tell another thing, that of the other with its set's name."""
    told = dict(one)
    for key, value in other.items():
        told[key if told.get(key, value) == value else f"{key}, {sets.get(key, 'another run')}"] = value
    return told
