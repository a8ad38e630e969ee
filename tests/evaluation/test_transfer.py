"""Transfer: training on some languages and measuring on all, with labels that may differ."""

from __future__ import annotations

import dataclasses
import json

import pytest

from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.predictions import read_predictions
from hf_afro.evaluation.task_evaluation import evaluate_model, transfer_scores
from hf_afro.reports import EvalReport
from tests.evaluation.conftest import make


def test_some_languages_are_trained_on_and_all_measured(model, tokenizer, quick, tmp_path):
    data = [make("ner", code) for code in ("swa", "yor", "hau")]
    common = {"name": "tiny", "settings": quick.replace(epochs=2), "seeds": (1, 2)}
    report = evaluate_model(model, tokenizer, data, output_dir=tmp_path, transfer=["yor", "swa"], **common)
    found = {(score.source, score.language) for score in report.transfer}
    assert found == {("swa", "yor"), ("swa", "hau"), ("yor", "swa"), ("yor", "hau")}
    assert {score.language for score in report.scores} == {"swa", "yor"}
    # The languages differ only in name here, so scores are equal.
    (own,) = report.select(language="swa", metric="entity_f1")
    (other,) = (
        score
        for score in report.transfer
        if (score.source, score.language, score.metric) == ("swa", "hau", "entity_f1")
    )
    assert (other.values, other.seeds, other.n) == (own.values, (1, 2), 16)
    assert EvalReport.load(tmp_path) == report
    alone = evaluate_model(model, tokenizer, data[:1], output_dir=tmp_path / "alone", **common)
    assert alone.select(language="swa") == report.select(language="swa")
    kept = read_predictions(tmp_path / report.predictions["ner/hau from swa"])
    assert list(kept.predicted) == ["1", "2"]


def test_a_language_to_train_on_has_to_be_there(model, tokenizer, quick, tmp_path):
    for wanted in (["zul"], []):
        with pytest.raises(ValueError, match="the languages of the data are swa"):
            evaluate_model(
                model, tokenizer, [make("ner")], name="a", output_dir=tmp_path, settings=quick, transfer=wanted
            )


def test_a_language_that_is_measured_on_alone_needs_no_train(model, tokenizer, quick, tmp_path):
    whole = make("topic", "yor")
    names = [whole.labels[label] for label in whole.gold()]
    rows = {"test": list(zip(whole.texts(), names, strict=True))}
    alone = make_task_data("topic", "tir", "made/tir", rows, trained=False)
    common = {"name": "a", "settings": quick.replace(epochs=1, max_train=32, max_dev=8, max_test=8), "seeds": (1,)}
    for joint in (False, True):
        sources = [make("topic"), make("topic", "hau")]
        report = evaluate_model(
            model,
            tokenizer,
            [*sources, alone],
            output_dir=tmp_path / str(joint),
            transfer=["swa", "hau"],
            joint=joint,
            **common,
        )
        measured = [score for score in report.transfer if score.language == "tir"]
        assert {score.source for score in measured} == ({"swa+hau"} if joint else {"swa", "hau"})
        assert {score.n for score in measured} == {8}
        kept = read_predictions(tmp_path / str(joint) / report.predictions[f"topic/tir from {measured[0].source}"])
        assert [rows["test"][number][1] for number in kept.index] == kept.gold
    for transfer in (None, ["tir"]):
        with pytest.raises(ValueError, match="made/tir has no train and no dev to train on"):
            evaluate_model(
                model, tokenizer, [sources[0], alone], output_dir=tmp_path / "no", transfer=transfer, **common
            )


def test_labels_are_compared_by_name_and_one_unknown_is_wrong():
    rows = [("a", "sport"), ("b", "arts")]
    data = make_task_data("topic", "hau", "set/hau", dict.fromkeys(("train", "dev", "test"), rows))
    assert data.labels == ("arts", "sport")
    trained = dataclasses.replace(data, language="swa", labels=("health", "sport"))
    scores = transfer_scores(data, trained, {1: [1, 0], 2: [0, 0]})
    by_metric = {score.metric: score for score in scores}
    assert by_metric["accuracy"].values == (0.5, 0.0)
    assert by_metric["accuracy"].source == "swa"
    assert by_metric["accuracy"].collapsed == (2,)
    assert json.loads(json.dumps(by_metric["accuracy"].note)) == "seed 2 collapsed: every text is 'health'"
    assert by_metric["accuracy"].sound_mean == 0.5
