"""Quickstart runs to its end, and what it shows is so, on the text that ships."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_afro.evaluation.metrics import classification_scores
from hf_afro.pretrained import load_model, load_tokenizer
from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.reports.evaluation_report import load_reports
from hf_afro.steps.records import Record
from hf_afro.steps.report import expanded
from hf_afro.steps.running import DONE, UP_TO_DATE
from hf_afro.steps.tasks import load_sets
from hf_afro.vocabulary import verify

# A few steps of everything, and a fine-tuning of a few examples.
TOY = [
    *("--pretrain.max_steps", "2", "--maft.max_steps", "2", "--distill.max_steps", "2", "--maft-fit.max_steps", "2"),
    *("--evaluate.models", "student=maft-fit", "--evaluate.epochs", "1"),
    *("--evaluate.max_train", "8", "--evaluate.max_dev", "4", "--evaluate.max_test", "4"),
]


def test_a_second_run_does_nothing(tmp_path):
    recipe = load_recipe("quickstart", TOY)
    for status in (DONE, UP_TO_DATE):
        assert {result.status for result in run_recipe(recipe, tmp_path / "out")} == {status}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    run_recipe(load_recipe("quickstart"), folder)
    return folder


@pytest.fixture(scope="module")
def reports(quickstart):
    loaded = [one.report for one in load_reports(expanded([str(quickstart / "evaluate")]))]
    return {report.name: report for report in loaded}


@pytest.mark.slow
def test_the_pruned_model_is_the_original_on_what_was_kept(quickstart):
    """Hidden states are equal, logits but for the rounding of another matrix shape."""
    model, tokenizer = (read(str(quickstart / "pretrain")) for read in (load_model, load_tokenizer))
    verification = verify(quickstart / "prune", model, tokenizer)
    assert verification.hidden_difference == 0.0
    assert verification.logit_difference <= 1e-6
    facts = Record.load(quickstart / "prune").facts
    assert facts["vocabulary"] < facts["old_vocabulary"]
    assert facts["below_coverage"] == []


@pytest.mark.slow
def test_adaptation_lowers_bits_per_byte(reports):
    before, after = (reports[name].mean("bits_per_byte", "bits_per_byte") for name in ("pruned", "adapted"))
    assert after < before - 0.05


@pytest.mark.slow
def test_the_student_is_smaller_than_the_teacher(reports):
    assert reports["student"].model["parameters"] * 3 < reports["teacher"].model["parameters"]


@pytest.mark.slow
def test_the_student_learns_every_task(quickstart, reports):
    sets = load_sets(None, [str(quickstart / "tasks")], None)
    assert len(sets) == 4
    for data in sets:
        if data.task == "ner":
            # Saying O to every word finds no entity.
            metric, least = "entity_f1", 0.0
        else:
            gold = data.gold()
            ((majority, _),) = Counter(gold).most_common(1)
            metric = "weighted_f1"
            least = classification_scores(gold, [majority] * len(gold))[metric]
        (score,) = reports["student"].select(task=data.task, language=data.language, metric=metric)
        assert score.mean > least + 0.1, f"{data.task} {data.language}"


@pytest.mark.slow
def test_page_and_card_are_there_and_of_the_student(quickstart, reports):
    page = (quickstart / "report" / "index.html").read_text("utf-8")
    card = (quickstart / "card" / "README.md").read_text("utf-8")
    assert "<svg" in page
    assert "<link" not in page
    assert 'src="http' not in page
    assert f"{reports['student'].model['parameters']:,}" in card
    assert "A toy" in card
    assert "# quickstart" in card
