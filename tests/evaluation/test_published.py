"""Sets on the Hub: the calls of `load_dataset` and the rows; nothing is downloaded."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from hf_afro.evaluation.data.published import CONVERSION, load_hub_task

TAGS = ["O", "B-PER", "I-PER"]


def hub(monkeypatch, rows: Dataset) -> list[dict]:
    asked = []

    def load(repository, **settings):
        asked.append({"repository": repository, **settings})
        return DatasetDict({split: rows for split in settings["data_files"]})

    monkeypatch.setattr("datasets.load_dataset", load)
    return asked


def test_the_conversion_is_read_by_configuration_and_split(monkeypatch):
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
    rows = Dataset.from_dict({"tokens": [["Eshe", "", "yupo"], ["Dayo"]], "ner_tags": [[1, 2, 0], [2]]}, features)
    asked = hub(monkeypatch, rows)
    data = load_hub_task("ner", "sw")
    assert asked == [
        {
            "repository": "masakhane/masakhaner2",
            "data_files": {
                "train": "swa/train/*.parquet",
                "dev": "swa/validation/*.parquet",
                "test": "swa/test/*.parquet",
            },
            "revision": CONVERSION,
        }
    ]
    assert data.dataset == "masakhaner2/swa"
    assert data.splits["test"]["tokens"][:] == [["Eshe", "yupo"], ["Dayo"]]
    assert data.gold() == [[1, 0], [1]]
    assert data.repairs["lines without a token dropped"] == 3


def test_texts_and_names_of_labels(monkeypatch):
    features = Features({"tweet": Value("string"), "label": ClassLabel(names=["positive", "neutral", "negative"])})
    asked = hub(monkeypatch, Dataset.from_dict({"tweet": ["nzuri", "mbaya"], "label": [0, 2]}, features))
    data = load_hub_task("sentiment", "swa", revision="abc")
    assert asked[0]["revision"] == "abc"
    assert data.labels == ("negative", "positive")
    assert data.gold() == [1, 0]


def test_numbers_without_names_and_other_columns_are_refused(monkeypatch):
    hub(monkeypatch, Dataset.from_dict({"tweet": ["a"], "label": [0]}))
    with pytest.raises(ValueError, match="without names of labels"):
        load_hub_task("sentiment", "swa")
    hub(monkeypatch, Dataset.from_dict({"text": ["a"], "label": [0]}))
    with pytest.raises(ValueError, match="expected tweet"):
        load_hub_task("sentiment", "swa")


def test_languages_and_sets_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="masakhaner2 has no amh"):
        load_hub_task("ner", "amh")
    with pytest.raises(
        ValueError, match="no set 'afrisenti' for ner on the Hub; expected one of masakhaner2, masakhaner1"
    ):
        load_hub_task("ner", "swa", dataset="afrisenti")
    with pytest.raises(ValueError, match="no set '' for tags on the Hub; expected one of none, or a description"):
        load_hub_task("tags", "swa")


def test_parts_of_speech(monkeypatch):
    features = Features({"tokens": List(Value("string")), "upos": List(ClassLabel(names=["NOUN", "VERB"]))})
    asked = hub(monkeypatch, Dataset.from_dict({"tokens": [["Eshe", "yupo"]], "upos": [[0, 1]]}, features))
    data = load_hub_task("pos", "yor")
    assert asked[0]["repository"] == "masakhane/masakhapos"
    assert data.labels == ("NOUN", "VERB")


def test_sib200_is_named_by_script(monkeypatch):
    rows = Dataset.from_dict({"index_id": [1, 2], "category": ["sports", "travel"], "text": ["a", "b"]})
    asked = hub(monkeypatch, rows)
    data = load_hub_task("topic", "swa", dataset="sib200")
    assert asked[0]["data_files"]["test"] == "swh_Latn/test/*.parquet"
    assert data.labels == ("sports", "travel")


def test_semrel_has_pairs_with_a_number_and_a_dev_split(monkeypatch):
    rows = Dataset.from_dict({"sentence1": ["a", "c"], "sentence2": ["b", "d"], "label": [0.25, 1.0]})
    asked = hub(monkeypatch, rows)
    data = load_hub_task("relatedness", "hau")
    assert asked[0]["repository"] == "SemRel/SemRel2024"
    assert asked[0]["data_files"]["dev"] == "hau/dev/*.parquet"
    assert (data.texts(), data.gold()) == ([("a", "b"), ("c", "d")], [0.25, 1.0])


def test_afrixnli_is_trained_on_the_english_of_xnli(monkeypatch):
    rows = Dataset.from_dict({"premise": ["a", "c"], "hypothesis": ["b", "d"], "label": [0, 2]})
    asked = hub(monkeypatch, rows)
    data = load_hub_task("nli", "yor")
    assert [one["repository"] for one in asked] == ["masakhane/afrixnli", "facebook/xnli"]
    assert asked[0]["data_files"] == {"dev": "yor/validation/*.parquet", "test": "yor/test/*.parquet"}
    assert asked[1]["data_files"] == {"train": "en/train/*.parquet"}
    assert data.labels == ("contradiction", "entailment")
    assert data.files["train"].startswith("facebook/xnli@")
    assert data.texts() == [("a", "b"), ("c", "d")]
