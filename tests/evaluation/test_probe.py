"""Probes: a logistic regression on frozen vectors, with the strength that is best on dev, made and kept like runs."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from hf_afro.evaluation import evaluate_model, runs, sentence_vectors
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.probe import STRENGTHS, features_of, fit_probe
from tests.evaluation.conftest import labelled, make

SETTINGS = FineTuningSettings(max_length=32, adaptation="probe")


def pairs(count: int, seed: int):
    """Whether two lines are of one topic."""
    examples = zip(labelled(count, seed), labelled(count, seed + 100), strict=True)
    return [((one, other), "same" if label == another else "other") for (one, label), (other, another) in examples]


@pytest.fixture
def nli():
    return make_task_data(
        "nli", "swa", "made/swa", {split: pairs(48, seed) for seed, split in enumerate(("train", "dev", "test"))}
    )


def test_it_is_the_regression_that_is_best_on_dev(model, tokenizer, topic):
    before = copy.deepcopy(model.state_dict())
    probe = fit_probe(model, tokenizer, topic, SETTINGS)
    train, dev, test = (
        sentence_vectors(model, tokenizer, topic.texts(split), max_length=32) for split in ("train", "dev", "test")
    )
    fitted = [LogisticRegression(C=C, max_iter=1000).fit(train, topic.gold("train")) for C in STRENGTHS]
    scores = [
        task_scores("topic", topic.labels, topic.gold("dev"), one.predict(dev).tolist())["weighted_f1"]
        for one in fitted
    ]
    assert probe.dev_scores == pytest.approx(scores)
    assert probe.best_epoch == scores.index(max(scores)) + 1
    assert probe.predict(topic) == fitted[probe.best_epoch - 1].predict(test).tolist()
    # The three topics have words of their own, which even the vectors of an untrained model tell apart.
    assert np.mean(np.array(probe.predict(topic)) == topic.gold()) > 0.9
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_pair_has_both_vectors_their_difference_and_their_product(model, tokenizer, nli):
    features = features_of(model, tokenizer, nli, "test", SETTINGS)
    first, second = (sentence_vectors(model, tokenizer, own, max_length=32) for own in zip(*nli.texts(), strict=True))
    assert features.shape == (48, 4 * 32)
    expected = np.concatenate([first, second, np.abs(first - second), first * second], axis=1)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)
    assert fit_probe(model, tokenizer, nli, SETTINGS).predict(nli)[0] in (0, 1)


def test_pooling_and_prompt_are_used(model, tokenizer, topic):
    settings = SETTINGS.replace(pooling="cls", prompt="Mvua ")
    expected = sentence_vectors(model, tokenizer, topic.texts(), pooling="cls", prompt="Mvua ", max_length=32)
    np.testing.assert_array_equal(features_of(model, tokenizer, topic, "test", settings), expected)


def test_words_and_other_labels_are_refused(model, tokenizer, ner, topic, tmp_path):
    with pytest.raises(ValueError, match="ner labels words, and a probe classifies the vectors of texts"):
        fit_probe(model, tokenizer, ner, SETTINGS)
    with pytest.raises(ValueError, match="ner labels words"):
        evaluate_model(model, tokenizer, [topic, ner], name="m", output_dir=tmp_path, settings=SETTINGS)
    with pytest.raises(ValueError, match="a probe of topic is no model that could be saved; leave save_models out"):
        evaluate_model(model, tokenizer, [topic], name="m", output_dir=tmp_path, settings=SETTINGS, save_models=True)
    probe = fit_probe(model, tokenizer, topic, SETTINGS)
    other = make_task_data(
        "topic", "yor", "made/yor", dict.fromkeys(("train", "dev", "test"), [("a", "x"), ("b", "y")])
    )
    with pytest.raises(ValueError, match="expected the probe's"):
        probe.predict(other)
    assert not list(tmp_path.iterdir())


def test_a_report_has_scores_predictions_and_transfer_like_any_other(model, tokenizer, topic, tmp_path, monkeypatch):
    yor = make("topic", "yor")
    calls = []
    monkeypatch.setattr(runs, "fit_probe", lambda *given: calls.append(given[2].language) or fit_probe(*given))
    report = evaluate_model(
        model,
        tokenizer,
        [topic, yor],
        name="tiny",
        output_dir=tmp_path,
        settings=SETTINGS.replace(max_train=24),
        seeds=(1, 2, 3),
        transfer=["swa"],
    )
    assert calls == ["swa"]  # nothing is drawn at random, so that one seed says all
    (score,) = report.select(task="topic", metric="weighted_f1")
    assert (score.seeds, score.language, score.n) == ((1,), "swa", 16)
    assert {score.language for score in report.transfer} == {"yor"}
    assert report.settings["topic/swa"] == {
        "max_length": 32,
        "max_test": None,
        "eval_batch_size": 64,
        "pooling": "mean",
        "prompt": "",
        "max_train": 24,
        "max_dev": None,
        "adaptation": "probe",
    }
    lines = (tmp_path / report.predictions["topic/swa"]).read_text("utf-8").splitlines()
    assert json.loads(lines[0]).keys() == {"index", "gold", "predicted", "in_train"}


def test_the_modules_of_the_model_say_how(model, tokenizer, topic, tmp_path):
    folder = tmp_path / "m"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    entries = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1", "Pooling"))
    ]
    (folder / "modules.json").write_text(json.dumps(entries), "utf-8")
    (folder / "1").mkdir()
    (folder / "1" / "config.json").write_text('{"pooling_mode_cls_token": true}', "utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}', "utf-8")
    prompts = {"prompts": {"query": "Mvua "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")
    report = evaluate_model(folder, None, [topic], name="m", output_dir=tmp_path / "out", settings=SETTINGS)
    own = report.settings["topic/swa"]
    assert (own["pooling"], own["prompt"], own["max_length"]) == ("cls", "Mvua ", 16)
    given = SETTINGS.replace(pooling="max", prompt="")
    report = evaluate_model(folder, None, [topic], name="m", output_dir=tmp_path / "other", settings=given)
    own = report.settings["topic/swa"]
    assert (own["pooling"], own["prompt"], own["max_length"]) == ("max", "", 16)


def test_each_of_several_labels_has_a_regression_of_its_own(model, tokenizer):
    data = make("emotion")
    probe = fit_probe(model, tokenizer, data, SETTINGS)
    train, test = (sentence_vectors(model, tokenizer, data.texts(own), max_length=32) for own in ("train", "test"))
    gold = np.array(data.splits["train"]["label"])
    strength = STRENGTHS[probe.best_epoch - 1]
    alone = [LogisticRegression(C=strength, max_iter=1000).fit(train, gold[:, label]) for label in range(3)]
    expected = np.stack([one.predict(test) for one in alone], axis=1)
    assert probe.predict(data) == [np.flatnonzero(own).tolist() for own in expected]
    assert task_scores("emotion", data.labels, data.gold(), probe.predict(data))["macro_f1"] > 0.8


def test_numbers_have_a_linear_regression(model, tokenizer):
    data = make("relatedness")
    probe = fit_probe(model, tokenizer, data, SETTINGS)
    train, test = (features_of(model, tokenizer, data, split, SETTINGS) for split in ("train", "test"))
    ridge = Ridge(alpha=1 / STRENGTHS[probe.best_epoch - 1]).fit(train, data.gold("train"))
    np.testing.assert_allclose(probe.predict(data), ridge.predict(test), atol=1e-3)
    assert task_scores("relatedness", data.labels, data.gold(), probe.predict(data))["spearman"] > 0.8
