"""Joint training on several languages: joined data, separate scores, and their place in reports."""

from __future__ import annotations

import dataclasses

import pytest

from hf_afro.cards.metadata import evaluation_result
from hf_afro.evaluation.data.task_data import joined, make_task_data
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.predictions import Predictions, read_predictions
from hf_afro.evaluation.runs import Run
from hf_afro.evaluation.significance import compare
from hf_afro.evaluation.task_evaluation import evaluate_model, predicted_for, scores_of
from hf_afro.languages import LANGUAGES
from hf_afro.reports import EvalReport
from hf_afro.reports.plots import transfer_plot
from hf_afro.reports.score_tables import comparison_table, interval_tables, transfer_matrix, transfer_table
from tests.evaluation.conftest import make


def topics(language: str, rows: list[tuple[str, str]]):
    return make_task_data("topic", language, f"set/{language}", dict.fromkeys(("train", "dev", "test"), rows))


def test_labels_of_all_languages_by_name():
    hausa = topics("hau", [("a", "sport"), ("b", "arts")])
    swahili = topics("swa", [("c", "health"), ("d", "sport"), ("e", "health")])
    both = joined([hausa, swahili])
    assert (both.language, both.dataset, both.labels) == ("hau+swa", "set/hau+swa", ("arts", "health", "sport"))
    assert [both.labels[label] for label in both.gold()] == ["sport", "arts", "health", "sport", "health"]
    assert both.texts("train") == ["a", "b", "c", "d", "e"]
    run = Run([2, 0, 1, 2, 0], (), 1, 0.0)
    assert [predicted_for(run.predicted, [hausa, swahili], index) for index in (0, 1)] == [[2, 0], [1, 2, 0]]


def test_words_keep_their_tags():
    data = [make("ner", code, train=4, other=3) for code in ("swa", "yor")]
    both = joined(data)
    for split in ("train", "dev", "test"):
        assert both.gold(split) == [*data[0].gold(split), *data[1].gold(split)]
        assert both.texts(split) == [*data[0].texts(split), *data[1].texts(split)]


@pytest.mark.parametrize("given", [("swa",), ("swa", "swa"), ()])
def test_two_languages_at_least(given):
    with pytest.raises(ValueError, match="expects one task in two or more different languages"):
        joined([make("ner", code) for code in given])


def test_a_language_is_scored_by_its_own_labels_and_without_what_any_train_has():
    hausa = topics("hau", [("a", "sport"), ("b", "arts")])
    train, other = [("b", "health"), ("x", "sport")], [("y", "sport"), ("b", "health")]
    swahili = make_task_data("topic", "swa", "set/swa", {"train": train, "dev": train, "test": other})
    alone = dataclasses.replace(hausa, splits={**hausa.splits, "train": swahili.splits["train"]})
    both = joined([alone, swahili])
    assert both.labels == ("arts", "health", "sport")
    # Correct on "a"; "b" is predicted as health, which Hausa lacks, and was trained on in Swahili.
    scores = {score.metric: score for score in scores_of(alone, {1: [2, 1]}, both)}
    assert scores["accuracy"].values == (0.5,)
    assert scores["accuracy"].fingerprint == alone.fingerprint
    assert scores["accuracy"].together == ("hau", "swa")
    assert scores["weighted_f1_deduplicated"].fingerprint != alone.fingerprint
    assert (scores["weighted_f1_deduplicated"].n, scores["weighted_f1_deduplicated"].values) == (1, (1.0,))


def test_one_run_a_seed_serves_all_languages(model, tokenizer, quick, tmp_path):
    data = [make("ner", code) for code in ("swa", "yor", "hau")]
    settings = quick.replace(epochs=2)
    common = {"name": "tiny", "settings": settings, "seeds": (1, 2), "joint": True}
    told = []
    report = evaluate_model(
        model, tokenizer, data, output_dir=tmp_path, transfer=["yor", "swa"], save_models=True,
        on_run=lambda what, done, total: told.append((what.partition(";")[0], done, total)), **common
    )  # fmt: skip
    assert told == [("ner swa+yor, seed 1", 1, 2), ("ner swa+yor, seed 2", 2, 2)]
    assert (tmp_path / "models" / "ner-swa+yor-2" / "config.json").is_file()
    assert {(score.language, score.together) for score in report.scores} == {
        ("swa", ("swa", "yor")),
        ("yor", ("swa", "yor")),
    }
    assert {(score.source, score.language) for score in report.transfer} == {("swa+yor", "hau")}
    assert EvalReport.load(tmp_path) == report
    # The same as fine-tuning by hand on both.
    tuned = finetune(model, tokenizer, joined(data[:2]), settings, 1)
    by_hand = scores_of(data[1], {1: tuned.predict(data[1])}, joined(data[:2]))
    of_yoruba = {score.metric: score for score in report.select(language="yor")}
    assert {score.metric: score.values[0] for score in by_hand} == {
        metric: score.values[0] for metric, score in of_yoruba.items()
    }
    assert set(read_predictions(tmp_path / report.predictions["ner/yor"]).predicted) == {"1", "2"}

    assert set(transfer_matrix(report, "ner", "entity_f1")) == {("swa+yor", code) for code in ("swa", "yor", "hau")}
    table = transfer_table(report, "ner", "entity_f1")
    assert [row[0].text for row in table.rows] == ["swa, yor together"]
    assert table.header == ("trained on", "swa", "yor", "hau", "mean of the others")
    assert "best swa, yor together to Hausa (hau)" in transfer_plot(report, "ner", "entity_f1").svg
    assert "tiny: trained jointly on swa, yor." in comparison_table([report], "ner").notes
    assert "tiny: trained jointly on swa, yor." in interval_tables([report])[0].notes
    assert evaluation_result(report.scores[0]).metric_args["trained_jointly_on"] == ["swa", "yor"]


def test_many_languages_have_a_short_name(model, tokenizer, quick, tmp_path):
    codes = sorted(LANGUAGES)[:30]
    data = [make("ner", code, train=2, other=2) for code in codes]
    settings = quick.replace(epochs=1)
    report = evaluate_model(
        model, tokenizer, data, name="many", output_dir=tmp_path, settings=settings, seeds=(1,), joint=True,
        transfer=codes[:-1], save_models=True,
    )  # fmt: skip
    assert [path.name.split("-")[:3] for path in (tmp_path / "models").iterdir()] == [["ner", "29", "languages"]]
    assert report.transfer[0].source == "+".join(codes[:-1])
    assert EvalReport.load(tmp_path) == report


def test_sets_that_are_trained_differently_are_not_joined(model, tokenizer, quick, tmp_path):
    first, second = (make("ner", code) for code in ("swa", "yor"))
    data = [
        dataclasses.replace(first, dataset="masakhaner1/swa"),
        dataclasses.replace(second, dataset="masakhaner2/yor"),
    ]
    with pytest.raises(ValueError, match="masakhaner1/swa and masakhaner2/yor have different fine-tuning settings"):
        evaluate_model(model, tokenizer, data, name="a", output_dir=tmp_path, settings="paper", joint=True)


def test_two_trainings_are_compared_on_what_neither_knows():
    gold = ["a", "b", "a", "b"]
    one = Predictions(gold, {"1": ["a", "b", "b", "b"]}, (True, False, False, False))
    other = Predictions(gold, {"1": ["a", "b", "a", "b"]}, (False, True, False, False))
    short = Predictions(gold[2:], {"1": ["b", "b"]}, (False, False))
    both = Predictions(gold[2:], {"1": ["a", "b"]}, (False, False))
    assert compare(one, other, "topic", deduplicated=True) == compare(short, both, "topic")


def test_joint_training_needs_two_languages(model, tokenizer, quick, tmp_path):
    common = {"name": "tiny", "output_dir": tmp_path, "settings": quick, "joint": True}
    with pytest.raises(ValueError, match="two or more different languages"):
        evaluate_model(model, tokenizer, [make("ner")], **common)
