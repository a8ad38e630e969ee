"""Plots: markers lie where their scores say, and the same scores give the same bytes."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.plots import (
    COLOURS,
    COSTS,
    coverage_plot,
    language_plot,
    loss_plot,
    pareto_front,
    size_plot,
    transfer_plot,
)
from hf_afro.reports.score_tables import transfer_matrix
from tests.reports.examples import crossed, report, score, three

SVG = "{http://www.w3.org/2000/svg}"
CURVE = {
    "budgets": [100, 1_000, 10_000, 70_000],
    "coverage": {
        "amh": [0.2, 0.5, 0.9, 0.999],
        "swa": [0.5, 0.8, 0.99, 1.0],
        **{code: [0.6, 0.9, 0.995, 0.99999] for code in ("afr", "hau", "ibo", "yor", "zul")},
    },
}


def texts(svg: str) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]


def marks(svg: str, series: int) -> list[tuple[float, float]]:
    """Return the positions of the markers of a series, from left to right, without the legend's."""
    colour = f"fill: var(--s{series},{COLOURS[series]})"
    places = [
        (float(element.get("x")), float(element.get("y")))
        for element in ET.fromstring(svg).iter(f"{SVG}use")
        if colour in element.get("style")
    ]
    legend = min(places, key=lambda place: place[1])
    return sorted(place for place in places if place != legend)


def test_size_plot_has_a_mark_for_each_model_in_the_order_of_size_and_score():
    figure = size_plot(three(), "ner", "entity_f1")
    (teacher,), (pruned,), (student,) = (marks(figure.svg, series) for series in range(3))
    assert student[0] < pruned[0] < teacher[0]
    assert student[1] > pruned[1] > teacher[1]
    assert {"teacher", "pruned", "student"} < set(texts(figure.svg))
    assert "Mean over 3 languages" in figure.caption


def test_a_score_against_latency_where_that_was_measured():
    slow, _, fast = (
        dataclasses.replace(one, model={**one.model, "latency_ms": latency})
        for one, latency in zip(three(), (80.0, 70.0, 9.5), strict=True)
    )
    figure = size_plot([slow, fast], "ner", "entity_f1", COSTS[1])
    assert figure.title.endswith("against latency")
    assert "with 9.5 ms" in figure.svg
    assert "milliseconds per sentence, one at a time" in figure.svg
    assert size_plot(three(), "ner", "entity_f1", COSTS[1]) is None


def test_size_plot_needs_two_models_with_a_size_and_a_score():
    nameless = EvalReport("a", {}, (score(),))
    assert size_plot([report("teacher")], "ner", "entity_f1") is None
    assert size_plot([report("teacher"), nameless], "ner", "entity_f1") is None
    assert size_plot(three(), "sentiment", "weighted_f1") is None


def test_the_front_is_what_nothing_smaller_beats():
    assert pareto_front([(30, 0.8), (10, 0.5), (20, 0.4), (40, 0.8), (30, 0.7)]) == [(10, 0.5), (30, 0.8)]


def test_language_plot_has_a_mark_for_every_score_and_no_other():
    models = three()
    figure = language_plot(models, "bits_per_byte", "bits_per_byte")
    for series, model in enumerate(models):
        scores = sorted(one.mean for one in model.select(task="bits_per_byte"))
        places = [x for x, _ in marks(figure.svg, series)]
        assert len(places) == len(scores)
        # Distances in the plot are proportional to those of the scores.
        steps = [(b - a) / (v - u) for (a, b), (u, v) in zip(pairwise(places), pairwise(scores), strict=True)]
        assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-3)
    assert {"Amharic (amh)", "Hausa (hau)", "Swahili (swa)"} < set(texts(figure.svg))
    assert figure.caption == "Left is better."
    assert language_plot(three(), "sentiment", "weighted_f1") is None


def test_a_name_that_begins_with_an_underscore_is_in_the_legend():
    models = [dataclasses.replace(one, name=f"_{one.name}") for one in three()]
    for figure in (size_plot(models, "ner", "entity_f1"), language_plot(models, "ner", "entity_f1")):
        assert {"_teacher", "_pruned", "_student"} < set(texts(figure.svg))


def test_values_below_zero_are_drawn():
    """A metric such as a correlation may have them."""
    values = {"amh": (-0.4,), "hau": (0.0,), "swa": (0.4,)}
    model = EvalReport("a", {}, tuple(score(code, own, metric="correlation") for code, own in values.items()))
    svg = language_plot([model], "ner", "correlation").svg
    width = float(ET.fromstring(svg).get("viewBox").split()[2])
    places = [x for x, _ in marks(svg, 0)]
    assert len(places) == 3
    assert all(0 < x < width for x in places)
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], rel=1e-3)
    assert "-0.4" in texts(svg)


def test_language_plot_says_what_its_bars_are():
    assert "one standard deviation" in language_plot(three(), "ner", "entity_f1").caption


def test_the_higher_a_transfer_score_the_darker_its_cell():
    teacher = crossed()
    figure = transfer_plot(teacher, "ner", "entity_f1")
    tree = ET.fromstring(figure.svg)
    paths = [one for one in tree.iter() if one.tag.endswith("}path") and "opacity" in one.get("style", "")]
    strengths = [float(re.search(r"opacity: ([\d.]+)", one.get("style"))[1]) for one in paths]
    scores = [score.mean for score in transfer_matrix(teacher, "ner", "entity_f1").values()]
    assert len(strengths) == len(scores) == 6
    assert sorted(range(6), key=strengths.__getitem__) == sorted(range(6), key=scores.__getitem__)
    assert (min(strengths), max(strengths)) == (0.06, 0.56)
    assert "best Swahili (swa) to Hausa (hau), 70.0" in tree.get("aria-label")


def test_coverage_plot_names_the_languages_that_lose_most():
    figure = coverage_plot(CURVE)
    named = [text for text in texts(figure.svg) if text.endswith(")")]
    assert named[:2] == ["Amharic (amh)", "Swahili (swa)"]
    assert len(named) == 5
    assert "2 others are grey" in figure.caption
    grey = re.findall(r"stroke: var\(--faint,#b6bfc9\)", figure.svg)
    assert len(grey) == 2


@pytest.mark.parametrize(
    "curve", [{"budgets": [100], "coverage": {"swa": [0.5]}}, {"budgets": [1, 2], "coverage": {}}]
)
def test_a_curve_of_one_point_is_not_drawn(curve):
    assert coverage_plot(curve) is None


def test_a_curve_that_is_flat_is_drawn():
    assert coverage_plot({"budgets": [10, 20], "coverage": {"swa": [1.0, 1.0]}}) is not None
    assert coverage_plot({"budgets": [10, 20], "coverage": {"swa": [0.0, 0.0]}}) is not None


def test_loss_plot_draws_what_was_logged_and_leaves_out_what_is_no_number():
    history = [
        {"step": 10, "loss": 3.5, "learning_rate": 1e-4},
        {"step": 20, "loss": float("nan")},
        {"step": 20, "eval_loss": 3.0, "eval_runtime": 1.0},
        {"step": 30, "loss": 2.5},
        {"step": 30, "train_runtime": 9.0},
    ]
    figure = loss_plot(history, "maft")
    (first, second), (middle,) = marks(figure.svg, 0), marks(figure.svg, 1)
    assert middle == pytest.approx(((first[0] + second[0]) / 2, (first[1] + second[1]) / 2), abs=0.01)
    assert figure.title == "Loss: maft"
    assert loss_plot(history[:1], "maft") is None
    assert loss_plot([], "maft") is None


def test_the_same_figures_give_the_same_bytes():
    assert size_plot(three(), "ner", "entity_f1") == size_plot(three(), "ner", "entity_f1")
    assert coverage_plot(CURVE) == coverage_plot(CURVE)
