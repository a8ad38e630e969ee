"""Quickstart means something: what it shows is so, on the text that ships."""

from __future__ import annotations

from collections import Counter

import pytest

from hf_afro.evaluation.metrics import classification_scores
from hf_afro.recipes import load_recipe, run_recipe
from hf_afro.recipes.manifest import read
from hf_afro.recipes.pretrained import load_model, load_tokenizer
from hf_afro.recipes.stages.evaluation import read_reports
from hf_afro.recipes.stages.text import load, sources_of
from hf_afro.vocabulary import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    run_recipe(load_recipe("quickstart"), folder)
    return folder


@pytest.fixture(scope="module")
def reports(quickstart):
    return {report.name: report for report in read_reports(quickstart / "evaluate").values()}


def test_the_pruned_model_is_the_original_on_what_was_kept(quickstart):
    """Hidden states are equal, logits but for the rounding of another matrix shape."""
    model, tokenizer = (read_it(str(quickstart / "teacher")) for read_it in (load_model, load_tokenizer))
    verification = verify(quickstart / "prune", model, tokenizer)
    assert verification.hidden_difference == 0.0
    assert verification.logit_difference <= 1e-6
    facts = read(quickstart / "prune")["facts"]
    assert facts["vocabulary"] < facts["old_vocabulary"]
    assert facts["below_coverage"] == []


def test_adaptation_lowers_bits_a_byte(reports):
    before, after = (reports[name].mean("bits_per_byte", "bits_per_byte") for name in ("pruned", "adapted"))
    assert after < before - 0.05


def test_the_student_is_smaller_than_the_teacher(reports):
    assert reports["student"].model["parameters"] * 3 < reports["teacher"].model["parameters"]


def test_the_student_learns_every_task(quickstart, reports):
    stage = load_recipe("quickstart").stage("tasks")
    checked = 0
    for task, source in sources_of(stage.settings):
        for language in source.languages:
            data = load(quickstart / "tasks", task, source, language, trained=True)
            if task == "ner":
                # Saying O to every word finds no entity.
                metric, least = "entity_f1", 0.0
            else:
                gold = data.gold()
                ((majority, _),) = Counter(gold).most_common(1)
                metric = "weighted_f1"
                least = classification_scores(gold, [majority] * len(gold))[metric]
            (score,) = reports["student"].select(task=task, language=language, metric=metric)
            assert score.mean > least + 0.1, f"{task} {language}"
            checked += 1
    assert checked == 4


def test_page_and_card_are_there_and_of_the_student(quickstart, reports):
    page = (quickstart / "report" / "index.html").read_text("utf-8")
    card = (quickstart / "card" / "README.md").read_text("utf-8")
    assert "<svg" in page
    assert "<link" not in page
    assert 'src="http' not in page
    assert f"{reports['student'].model['parameters']:,}" in card
    assert "A toy" in card
