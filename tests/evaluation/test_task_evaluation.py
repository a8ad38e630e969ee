"""`evaluate_model`: scores with their provenance, predictions, and resuming after an interruption."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import XLMRobertaForMaskedLM, pipeline

from hf_afro.cards import render_card
from hf_afro.evaluation import runs
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.metrics import task_scores
from hf_afro.evaluation.predictions import read_predictions, write_predictions
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.significance import MEASURES, bootstrap_interval, score_of
from hf_afro.evaluation.task_evaluation import collapse_of, evaluate_model, scores_of
from hf_afro.reports import EvalReport, Score
from tests.conftest import tiny_config
from tests.evaluation.conftest import make


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of an evaluation of two tasks by two seeds."""
    return tmp_path_factory.mktemp("evaluation") / "out"


@pytest.fixture(scope="module")
def report(_tokenizer, out):
    torch.manual_seed(0)
    seen = []
    made = evaluate_model(
        XLMRobertaForMaskedLM(tiny_config(len(_tokenizer))).eval(),
        _tokenizer,
        [make("ner", "yor"), make("topic")],
        name="tiny",
        output_dir=out,
        settings=FineTuningSettings(
            max_length=32, batch_size=16, epochs=2, learning_rate=2e-3, patience=6, max_test=10
        ),
        seeds=(3, 4),
        on_run=lambda *what: seen.append(what),
    )
    assert [what[1:] for what in seen] == [(index, 4) for index in range(1, 5)]
    return made


def test_a_report_says_what_its_scores_rest_on(report, out):
    assert EvalReport.load(out) == report
    assert {(score.task, score.language) for score in report.scores} == {
        ("ner", "yor"),
        ("topic", "swa"),
    }
    (score,) = report.select(task="topic", metric="weighted_f1")
    assert (score.seeds, score.n, score.split, score.dataset) == ((3, 4), 10, "test", "made/swa")
    assert score.fingerprint == make("topic").limited(test=10).fingerprint
    assert report.model["parameters"] > report.model["encoder_parameters"] > 0
    assert report.settings["ner/yor"]["epochs"] == 2
    assert report.provenance["data"]["ner/yor"]["sizes"] == {"train": 64, "dev": 16, "test": 16}


def test_every_score_can_be_computed_again_from_the_predictions(report, out):
    for task, language in (("ner", "yor"), ("topic", "swa")):
        data = make(task, language).limited(test=10)
        ids = {label: index for index, label in enumerate(data.labels)}
        file = out / report.predictions[f"{task}/{language}"]
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        # Their numbers in the whole test split, of which ten were drawn.
        assert [line["index"] for line in lines] == list(data.numbers_of()) != list(range(10))
        whole = make(task, language)
        assert [whole.texts()[line["index"]] for line in lines] == data.texts()

        def by_id(labels, ids=ids):
            return ids[labels] if isinstance(labels, str) else [ids[label] for label in labels]

        assert [by_id(line["gold"]) for line in lines] == data.gold()
        for place, seed in enumerate((3, 4)):
            again = task_scores(
                data.task, data.labels, data.gold(), [by_id(line["predicted"][str(seed)]) for line in lines]
            )
            for metric, value in again.items():
                (own,) = report.select(task=task, language=language, metric=metric)
                assert own.values[place] == value
    assert sorted(path.name for path in (out).iterdir()) == ["evaluation_report.json", "predictions"]


def test_an_evaluation_that_was_cut_short_goes_on(model, tokenizer, quick, tmp_path, monkeypatch):
    def call(**changes):
        settings = quick.replace(**{"epochs": 1, **changes})
        common = {"name": "tiny", "settings": settings, "seeds": (1, 2), "on_run": stop_after_one}
        return evaluate_model(
            model, tokenizer, [make("topic", train=16, other=4)], output_dir=tmp_path / "out", **common
        )

    def stop_after_one(what, done, total):
        if stops and done == 1:
            raise KeyboardInterrupt

    stops, calls = [True], []
    tune = runs.finetune
    monkeypatch.setattr(runs, "finetune", lambda *args, **more: calls.append(args[-1]) or tune(*args, **more))
    with pytest.raises(KeyboardInterrupt):
        call()
    stops.clear()
    cut_short = call()
    assert calls == [1, 2]
    calls.clear()
    assert call().scores == cut_short.scores
    assert calls == [1, 2]
    # Runs with other settings are not taken over.
    stops.append(True)
    with pytest.raises(KeyboardInterrupt):
        call(epochs=2)
    stops.clear()
    calls.clear()
    call()
    assert calls == [1, 2]


def test_fine_tuned_models_are_kept_where_wanted(model, tokenizer, ner, quick, tmp_path):
    made = evaluate_model(
        model, tokenizer, [ner], name="tiny", output_dir=tmp_path, settings=quick, seeds=[1, 2], save_models=True
    )
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["ner-swa-1", "ner-swa-2"]
    lines = [json.loads(line) for line in (tmp_path / made.predictions["ner/swa"]).read_text("utf-8").splitlines()]
    words = ner.splits["test"]["tokens"]
    for seed in (1, 2):
        label = pipeline("token-classification", str(tmp_path / "models" / f"ner-swa-{seed}"))
        for index, line in enumerate(lines):
            # The first token of a word answers for it; it may be a bare word mark.
            answers = label(" ".join(words[index]), ignore_labels=[])
            found = {answer["start"]: answer["entity"] for answer in reversed(answers)}
            starts = [sum(len(word) + 1 for word in words[index][:place]) for place in range(len(words[index]))]
            assert [found[start] for start in starts] == line["predicted"][str(seed)]


def test_a_run_whose_model_is_missing_is_made_again(model, tokenizer, topic, quick, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    common = {"name": "tiny", "output_dir": tmp_path, "settings": quick.replace(epochs=1), "seeds": [1]}
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(model, tokenizer, [topic], on_run=stop, **common)
    calls = []
    tune = runs.finetune
    monkeypatch.setattr(runs, "finetune", lambda *args, **more: calls.append(args[-1]) or tune(*args, **more))
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(model, tokenizer, [topic], save_models=True, on_run=stop, **common)
    evaluate_model(model, tokenizer, [topic], save_models=True, **common)
    assert calls == [1]
    assert (tmp_path / "models" / "topic-swa-1" / "tokenizer.json").is_file()


def test_a_kept_model_of_another_run_is_made_again(model, tokenizer, topic, quick, tmp_path, monkeypatch):
    """The model that is kept is the one that made the predictions."""

    def stop(*_):
        raise KeyboardInterrupt

    def call(epochs, **more):
        settings = quick.replace(epochs=epochs)
        evaluate_model(
            model, tokenizer, [topic], name="tiny", output_dir=tmp_path, settings=settings, seeds=[1], **more
        )

    call(1, save_models=True)
    kept = tmp_path / "models" / "topic-swa-1" / "model.safetensors"
    former = kept.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        call(2, on_run=stop)
    call(2, save_models=True)
    assert kept.read_bytes() != former
    calls = []
    monkeypatch.setattr(runs, "finetune", lambda *args, **more: calls.append(args[-1]) or finetune(*args, **more))
    with pytest.raises(KeyboardInterrupt):
        call(1, save_models=True, on_run=stop)
    call(1, save_models=True)
    assert calls == [1]
    assert kept.read_bytes() == former


def test_a_collapsed_run_is_noted(ner, topic):
    right = ner.gold()
    all_o = [[0] * len(tags) for tags in ner.gold()]
    scores = scores_of(ner, {1: right, 2: all_o})
    assert scores[0].values == (1.0, 0.0)
    assert {score.note for score in scores} == {"seed 2 collapsed: every word is 'O'"}
    assert (scores[0].collapsed, scores[0].mean, scores[0].sound_mean) == ((2,), 0.5, 1.0)
    assert scores_of(ner, {1: right})[0].note == ""
    assert scores_of(ner, {1: all_o, 2: right, 3: all_o})[0].note == "seeds 1, 3 collapsed: every word is 'O'"
    assert collapse_of(topic, [2] * len(topic.gold())) == "every text is 'rain'"
    assert collapse_of(topic, [2, *[1] * (len(topic.gold()) - 1)]) == ""


def test_a_score_has_the_interval_that_its_predictions_give(report, out):
    for one in report.scores:
        if one.metric in ("entity_precision", "entity_recall"):
            assert one.interval is None
            continue
        read = read_predictions(out / report.predictions[f"{one.task}/{one.language}"])
        if not one.metric.endswith("_deduplicated"):
            again = bootstrap_interval(read.counts(one.task), MEASURES[one.metric])
            assert one.interval == pytest.approx((again.low, again.high))
            assert again.low <= one.mean <= again.high


def test_a_folder_and_objects_give_the_same(model, tokenizer, quick, tmp_path):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    common = {"name": "tiny", "settings": quick.replace(epochs=1), "seeds": [1]}
    by_folder = evaluate_model(tmp_path / "model", None, [make("topic")], output_dir=tmp_path / "a", **common)
    by_object = evaluate_model(model, tokenizer, [make("topic")], output_dir=tmp_path / "b", **common)
    assert by_folder.scores == by_object.scores
    assert by_folder.model["parameters"] == by_object.model["parameters"]
    assert by_folder.provenance["model"] == str(tmp_path / "model")
    assert by_folder.model["bytes_on_disk"] == (tmp_path / "model" / "model.safetensors").stat().st_size


def test_scores_of_other_measures_go_into_the_report(model, tokenizer, tmp_path):
    other = Score("bits_per_byte", "swa", "bits_per_byte", (2.0,), (), 5, "held_out", "text/swa", "f")
    report = evaluate_model(model, tokenizer, [], name="tiny", output_dir=tmp_path, extra_scores=[other])
    assert report.scores == (other,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, "nothing to evaluate;"),
        ({"data": ["swa", "swa"]}, "topic/swa is given twice"),
        ({"seeds": []}, "expected one or more different ones"),
        ({"seeds": [1, 1]}, "expected one or more different ones"),
        ({"settings": {}}, "no settings for topic"),
        ({"settings": "tiny"}, "unknown preset 'tiny'"),
        ({"tokenizer": None}, "without its tokenizer; pass both"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_begins(model, tokenizer, tmp_path, changes, message):
    call = {"data": ["swa"], "seeds": [1], "settings": "small", "tokenizer": tokenizer, **changes}
    data = [make("topic", language) for language in call.pop("data")]
    with pytest.raises(ValueError, match=message):
        evaluate_model(model, data=data, name="tiny", output_dir=tmp_path / "out", **call)
    assert not (tmp_path / "out").exists()


def test_the_score_without_what_train_has_stands_beside(tmp_path):
    rows = {"train": [("a", "x"), ("b", "y")], "dev": [("c", "x")], "test": [("A!", "x"), ("d", "x"), ("e", "y")]}
    data = make_task_data("topic", "swa", "set/swa", rows)
    predicted = {1: [0, 0, 0], 2: [0, 0, 1]}
    scores = {score.metric: score for score in scores_of(data, predicted)}
    assert scores["weighted_f1"].n == 3
    fresh = scores["weighted_f1_deduplicated"]
    assert (fresh.n, fresh.values) == (2, pytest.approx((1 / 3, 1.0)))
    assert list(scores)[-1] == "weighted_f1_deduplicated"
    lines = (tmp_path / write_predictions(tmp_path, data, predicted)).read_text("utf-8").splitlines()
    assert [json.loads(line)["in_train"] for line in lines] == [True, False, False]


def test_several_labels_and_numbers_are_evaluated_together_and_abroad(model, tokenizer, quick, tmp_path):
    data = [make(task, code) for task in ("emotion", "relatedness") for code in ("hau", "swa")]
    report = evaluate_model(
        model,
        tokenizer,
        data,
        name="tiny",
        output_dir=tmp_path,
        settings=quick.replace(batch_size=8, learning_rate=5e-3, epochs=12),
        seeds=[1, 2],
        transfer=["swa"],
        save_models=True,
    )
    assert {score.metric for score in report.select(task="emotion")} >= {"macro_f1", "micro_f1"}
    for one in data:
        swahili = one.language == "swa"
        file = report.predictions[f"{one.task}/{one.language}" + ("" if swahili else " from swa")]
        told = read_predictions(tmp_path / file)
        main = one.kind.main_metric
        (score,) = [
            own
            for own in (report.scores if swahili else report.transfer)
            if (own.task, own.language, own.metric) == (one.task, one.language, main)
        ]
        assert score.mean > 0.5
        assert score.interval[0] <= score.mean <= score.interval[1]
        labels = () if one.kind.regression else one.labels
        values = [score_of(counts, MEASURES[main]) for counts in told.counts(one.task, labels)]
        assert values == pytest.approx(score.values)
    assert (tmp_path / "models" / "relatedness-swa-1" / "config.json").is_file()
    card = render_card([report])
    assert "Semantic relatedness, Spearman correlation" in card
    assert "type: spearmanr" in card


def test_runs_that_always_answer_alike_have_collapsed():
    emotion, number = make("emotion"), make("regression")
    assert collapse_of(emotion, [[]] * 16) == "every text is without a label"
    assert collapse_of(emotion, [[0, 2]] * 16) == "every text is farming, rain"
    assert collapse_of(emotion, [[0, 2]] * 15 + [[2]]) == ""
    assert collapse_of(number, [0.125] * 16) == "every number is 0.125"


@pytest.mark.parametrize("task", ["pos", "nli"])
def test_parts_of_speech_and_pairs_are_learnt(task, model, tokenizer, tmp_path):
    words = {"Amina": "PROPN", "Kano": "PROPN", "aliondoka": "VERB", "jana": "ADV"}
    if task == "pos":
        texts = [[one, "aliondoka", other] for one in words for other in words]
        rows = [(own, [words[word] for word in own]) for own in texts]
    else:
        rows = [((one, other), "name" if words[other] == "PROPN" else "none") for one in words for other in words]
    data = make_task_data(task, "swa", "made/swa", dict.fromkeys(("train", "dev", "test"), rows))
    settings = FineTuningSettings(max_length=32, batch_size=4, epochs=25, learning_rate=3e-3)
    report = evaluate_model(model, tokenizer, [data], name="tiny", output_dir=tmp_path, settings=settings, seeds=[1])
    (score,) = report.select(task=task, metric="accuracy")
    assert score.n == len(rows)
    # Test and train are the same, so nothing is left after deduplication.
    assert not report.select(task=task, metric="accuracy_deduplicated")
    assert score.mean > 0.9
