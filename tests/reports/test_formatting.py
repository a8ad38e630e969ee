"""Formatting: digits, units, names, and the main metric of a task."""

from __future__ import annotations

import pytest

from hf_afro.reports.formatting import (
    describe_metric,
    describe_seeds,
    format_fact,
    format_score,
    format_value,
    language_name,
    metrics_in,
    task_name,
    tasks_in,
)
from tests.reports.examples import report, score


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("entity_f1", 0.8741, "87.4"),
        ("accuracy", 1.0, "100.0"),
        ("bits_per_byte", 1.23456, "1.235"),
        ("bits_per_byte_restricted", 1.23456, "1.235"),
        ("latency", 12.3456, "12.35"),
        ("spearman", -0.0512, "-5.1"),
        ("spearman_drop_no_diacritics", 0.0512, "5.1"),
    ],
)
def test_values(metric, value, text):
    assert format_value(metric, value) == text


def test_a_spread_is_shown_only_over_several_seeds():
    assert format_score(score(values=(0.8, 0.9))) == "85.0 ± 7.1"
    assert format_score(score(values=(0.8,))) == "80.0"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("parameters", 278_295_186, "278.3 M"),
        ("embedding_parameters", 37_510, "37,510"),
        ("bytes_on_disk", 1_113_180_744, "1,113.2 MB"),
        ("bytes_on_disk", 117_832, "117.8 kB"),
        ("vocab_size", 250_002, "250,002"),
        ("learning_rate", 5e-5, "5e-05"),
        ("bits_per_byte", 5.0004, "5.000"),
        ("unpad", True, "yes"),
        ("embedding_size", None, "–"),
        ("languages", ["swa", "yor"], "swa, yor"),
        ("model_type", "xlm-roberta", "xlm-roberta"),
    ],
)
def test_facts_are_read_by_their_name(name, value, text):
    assert format_fact(name, value) == text


def test_tasks_and_metrics_have_an_order():
    reports = [report("teacher")]
    assert metrics_in(reports, "topic") == ("weighted_f1", "macro_f1")
    assert tasks_in(reports) == ("ner", "topic", "bits_per_byte")


def test_what_is_not_in_the_tables_is_shown_as_it_is():
    assert describe_metric("exact_match").name == "exact match"
    assert describe_metric("entity_f1_drop_nothing").higher_is_better is None
    assert describe_metric("entity_f1_drop_no_diacritics").name == "entity F1 lost without diacritics"
    assert describe_metric("exact_match").higher_is_better is None
    assert task_name("question_answering") == "Question answering"
    assert language_name("swa") == "Swahili (swa)"
    assert language_name("bem") == "Bemba (bem)"
    assert language_name("xqz") == "xqz"
    assert language_name("swa+yor") == "swa+yor"


def test_seeds_are_counted():
    assert describe_seeds([score(values=(0.5,))]) == "1 seed"
    assert describe_seeds([score(values=(0.5,)), score(values=(0.5, 0.6, 0.7))]) == "1 to 3 seeds"
    assert describe_seeds([score(seeds=())]) == ""
