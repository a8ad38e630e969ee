"""Plots: marks lie where their figures say, what cannot be drawn is left out, and the bytes are always the same."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

from hf_afro.reports import EvalReport
from hf_afro.reports.plots import COSTS, _apart, _front, coverage_plot, language_plot, loss_plot, size_plot
from tests.reports.examples import report, score, three

SVG = "{http://www.w3.org/2000/svg}"
CURVE = {
    "budgets": [100, 1_000, 10_000, 70_000],
    "coverage": {
        "amh": [0.2, 0.5, 0.9, 0.999],
        "swa": [0.5, 0.8, 0.99, 1.0],
        **{code: [0.6, 0.9, 0.995, 0.99999] for code in ("afr", "hau", "ibo", "yor", "zul")},
    },
}


def marks(svg: str) -> dict[str, tuple[float, float]]:
    """Where the marks with a title are, by their title."""
    places = {}
    for element in ET.fromstring(svg).iter():
        title = element.find(f"{SVG}title")
        if title is None:
            continue
        if element.tag == f"{SVG}circle":
            places[title.text] = (float(element.get("cx")), float(element.get("cy")))
        else:
            points = [tuple(map(float, point.split(","))) for point in element.get("points").split()]
            places[title.text] = tuple(sum(axis) / len(axis) for axis in zip(*points, strict=True))
    return places


def test_size_plot_has_a_mark_for_each_model_in_the_order_of_size_and_score():
    figure = size_plot(three(), "ner", "entity_f1")
    places = {title.split(":")[0]: place for title, place in marks(figure.svg).items()}
    assert places["student"][0] < places["pruned"][0] < places["teacher"][0]
    assert places["student"][1] > places["pruned"][1] > places["teacher"][1]
    assert "Mean over 3 languages" in figure.caption


def test_a_score_against_latency_where_that_was_measured():
    slow, _, fast = (
        dataclasses.replace(one, model={**one.model, "latency_ms": latency})
        for one, latency in zip(three(), (80.0, 70.0, 9.5), strict=True)
    )
    figure = size_plot([slow, fast], "ner", "entity_f1", COSTS[1])
    assert figure.title.endswith("against latency")
    assert "with 9.5 ms" in figure.svg
    assert "milliseconds a sentence alone" in figure.svg
    assert size_plot(three(), "ner", "entity_f1", COSTS[1]) is None


def test_size_plot_needs_two_models_with_a_size_and_a_score():
    nameless = EvalReport("a", {}, (score(),))
    assert size_plot([report("teacher")], "ner", "entity_f1") is None
    assert size_plot([report("teacher"), nameless], "ner", "entity_f1") is None
    assert size_plot(three(), "sentiment", "weighted_f1") is None


def test_the_front_is_what_nothing_smaller_beats():
    assert _front([(30, 0.8), (10, 0.5), (20, 0.4), (40, 0.8), (30, 0.7)]) == [(10, 0.5), (30, 0.8)]


def test_labels_do_not_lie_on_one_another():
    placed = _apart([(100, 50, 20), (105, 52, 20), (110, 48, 20), (300, 50, 20)])
    assert placed[3] == (300, 37)
    heights = sorted(height for _, height in placed[:3])
    assert all(after - before >= 12 for before, after in zip(heights, heights[1:], strict=False))


def test_language_plot_has_a_mark_for_every_score_and_no_other():
    figure = language_plot(three(), "bits_per_byte", "bits_per_byte")
    assert set(marks(figure.svg)) == {
        f"{one.name}, {name}, example/{code}: {one.select(task='bits_per_byte', language=code)[0].mean:.3f}"
        for one in three()
        for code, name in (("amh", "Amharic (amh)"), ("hau", "Hausa (hau)"), ("swa", "Swahili (swa)"))
        if one.select(task="bits_per_byte", language=code)
    }
    assert figure.caption == "Further left is better."
    assert language_plot(three(), "sentiment", "weighted_f1") is None


def test_language_plot_says_what_its_bars_are():
    assert "one standard deviation" in language_plot(three(), "ner", "entity_f1").caption


def test_coverage_plot_names_the_languages_that_lose_most():
    figure = coverage_plot(CURVE)
    texts = [element.text for element in ET.fromstring(figure.svg).iter(f"{SVG}text")]
    named = [text for text in texts if text.endswith(")")]
    assert named[:2] == ["Amharic (amh)", "Swahili (swa)"]
    assert len(named) == 5
    assert "2 others are grey" in figure.caption
    lines = re.findall(r'stroke-width="(?:2|1\.2)"', figure.svg)
    assert len(lines) == len(CURVE["coverage"])


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
    assert set(marks(figure.svg)) == {"training, step 10: 3.5", "training, step 30: 2.5", "evaluation, step 20: 3"}
    assert figure.title == "Loss: maft"
    assert loss_plot(history[:1], "maft") is None
    assert loss_plot([], "maft") is None


def test_the_same_figures_give_the_same_bytes():
    assert size_plot(three(), "ner", "entity_f1") == size_plot(three(), "ner", "entity_f1")
    assert coverage_plot(CURVE) == coverage_plot(CURVE)
