"""Perturbations: which letters change, that words keep their tags, and what is said where nothing changes."""

from __future__ import annotations

import json
import unicodedata

import pytest

from hf_afro.evaluation import runs
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.perturbation import no_diacritics, perturbed
from hf_afro.evaluation.predictions import read_predictions
from hf_afro.evaluation.task_evaluation import drop_score, evaluate_model
from hf_afro.reports.formatting import describe_metric
from hf_afro.reports.score_tables import comparison_tables, interval_tables, other_tables
from tests.evaluation.conftest import make


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ẹ̀kọ́ ṣe pàtàkì", "Eko se pataki"),
        ("Ọjọ́ dị ụtọ", "Ojo di uto"),
        ("señor façade", "senor facade"),
        # Letters of their own have no mark that could be removed.
        ("ɓera, ɗaki, ƙarfi, ƴaƴa, ŋ, ɛ, ɔ́, ø", "ɓera, ɗaki, ƙarfi, ƴaƴa, ŋ, ɛ, ɔ, ø"),
        # Ge'ez with its gemination mark; Arabic with a hamza that decomposes, and with vowel marks; Greek; Devanagari.
        ("አበበ፟", "አበበ፟"),
        ("آمَنَ", "آمَنَ"),
        ("ά हिन्दी", "ά हिन्दी"),
        ("", ""),
    ],
)
def test_marks_on_latin_letters_are_removed_in_either_normal_form(text, expected):
    for form in ("NFC", "NFD"):
        given = unicodedata.normalize(form, text)
        # Text of other scripts stays in the normal form that it has.
        assert no_diacritics(given) == unicodedata.normalize(form, expected)


def test_a_mark_after_another_script_stays():
    assert no_diacritics("\u0301a\u0301 1\u0301") == "\u0301a 1\u0301"


def test_words_keep_their_tags_and_no_word_becomes_empty():
    rows = [(["Adé", "lọ", "a\u0300", "\u0300"], ["B-PER", "O", "O", "O"])]
    data = make_task_data("ner", "yor", "own/yor", dict.fromkeys(("train", "dev", "test"), rows))
    changed = perturbed(data, "no_diacritics")
    assert changed.texts() == [["Ade", "lo", "a", "\u0300"]]
    assert changed.gold() == data.gold()
    assert changed.texts("train") == data.texts("train")
    assert perturbed(data, "lower_case").texts() == [["adé", "lọ", "a\u0300", "\u0300"]]


def test_both_texts_of_a_pair_change():
    rows = [(("Òjò", "Oòrùn"), 0.5), (("Ọjà", "Orin"), 0.1)]
    data = make_task_data("relatedness", "yor", "own/yor", dict.fromkeys(("train", "dev", "test"), rows))
    assert perturbed(data, "no_diacritics").texts() == [("Ojo", "Oorun"), ("Oja", "Orin")]


def test_where_nothing_changes_there_is_no_other_text():
    rows = [("ሰላም ለዓለም", "a"), ("ደህና ዋልሽ", "b")]
    data = make_task_data("topic", "amh", "own/amh", dict.fromkeys(("train", "dev", "test"), rows))
    assert perturbed(data, "no_diacritics") is perturbed(data, "lower_case") is None
    score = drop_score(data, "lower_case", {1: [0, 1], 2: [0, 0]}, None)
    assert (score.values, score.interval) == ((0, 0), (0, 0))
    assert score.note == "seed 2 collapsed: every text is 'a'; lower_case changes no text of this set"
    with pytest.raises(ValueError, match="unknown perturbation 'lowercase'; did you mean 'lower_case'"):
        perturbed(data, "lowercase")


def test_the_drop_by_hand():
    rows = [("A", "x"), ("B", "x"), ("C", "y"), ("D", "y")]
    data = make_task_data("intent", "swa", "own/swa", dict.fromkeys(("train", "dev", "test"), rows))
    # All right, and three of four right on the same text.
    score = drop_score(data, "lower_case", {1: [0, 0, 1, 1]}, {1: [0, 0, 1, 0]})
    assert (score.metric, score.values, score.n) == ("accuracy_drop_lower_case", (0.25,), 4)
    assert score.interval == (0, 0.75)
    described = describe_metric(score.metric)
    assert (described.name, described.higher_is_better) == ("accuracy lost in lower case", False)


def test_the_same_models_are_measured_on_changed_text_jointly_and_resumed(
    model, tokenizer, quick, tmp_path, monkeypatch
):
    """One language with capitals, and one that has been lower-cased already."""
    swahili = make("topic", train=16, other=6)
    rows = {
        split: [(text.lower(), swahili.labels[label]) for text, label in zip(own["text"], own["label"], strict=True)]
        for split, own in swahili.splits.items()
    }
    hausa = make_task_data("topic", "hau", "made/hau", rows)
    report = evaluate_model(
        model,
        tokenizer,
        [hausa, swahili],
        name="tiny",
        output_dir=tmp_path,
        settings=quick.replace(epochs=2),
        seeds=[1, 2],
        joint=True,
        perturb=["lower_case"],
    )
    drops = {score.language: score for score in report.scores if "_drop_" in score.metric}
    assert drops["hau"].note.endswith("lower_case changes no text of this set")
    assert drops["hau"].values == (0, 0)
    clean, changed = (
        read_predictions(tmp_path / report.predictions[f"topic/swa{name}"]) for name in ("", " lower_case")
    )
    assert "topic/hau lower_case" not in report.predictions
    # Swahili in lower case is the text of Hausa, so its answers are those.
    told = read_predictions(tmp_path / report.predictions["topic/hau"])
    assert changed.predicted == told.predicted
    (before,), (after,) = (report.select(language=code, metric="weighted_f1") for code in ("swa", "hau"))
    lost = [one - other for one, other in zip(before.values, after.values, strict=True)]
    assert drops["swa"].values == pytest.approx(lost)
    titles = [table.title for table in comparison_tables([report])]
    assert titles == ["News topics, weighted F1", "News topics, weighted F1 lost in lower case"]
    assert "News topics, weighted F1 lost in lower case: 95 % intervals" in {
        table.title for table in interval_tables([report])
    }
    assert not any("lost" in table.title for table in other_tables([report]))
    # A run belongs to what it was measured on.
    settings = dict.fromkeys(("topic/hau", "topic/swa"), quick)
    keys = {
        runs.plan_runs([hausa, swahili], settings, [1], "f", tokenizer, joint=True, perturb=names)[0].key
        for names in ((), ("lower_case",), ("no_diacritics",))
    }
    assert len(keys) == 2  # nothing here has diacritics
    assert json.loads((tmp_path / "evaluation_report.json").read_text("utf-8"))["predictions"]
