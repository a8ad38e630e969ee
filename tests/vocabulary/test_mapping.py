"""Ids are translated both ways, in every form they come in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from hypothesis import given, strategies as st

from hf_afro.model_folders import MAP_FILE
from hf_afro.vocabulary import VocabularyMap
from tests.texts import AFRICAN

MAP = VocabularyMap(np.array([0, 1, 3, 7, 9]), 12, 3, "f", {"budget": 5, "name": "Yorùbá"})


def test_ids_of_every_form():
    assert MAP.to_new([0, 3, 9, 5, -100]) == [0, 2, 4, 2, -100]
    assert MAP.to_new([[0], [9, 11]]) == [[0], [4, 2]]
    assert MAP.to_old([4, 0, -100]) == [9, 0, -100]
    array = MAP.to_new(np.array([[0, 3], [9, -100]], dtype=np.int32))
    assert array.dtype == np.int32
    assert array.tolist() == [[0, 2], [4, -100]]
    tensor = MAP.to_new(torch.tensor([[0, 3], [9, -100]], dtype=torch.int32))
    assert tensor.dtype == torch.int32
    assert tensor.tolist() == [[0, 2], [4, -100]]
    assert MAP.to_old(torch.tensor([4, 1])).tolist() == [9, 1]
    assert MAP.to_new([]) == []
    assert MAP.to_new(torch.empty(0, dtype=torch.long)).shape == (0,)
    assert MAP.to_new(np.empty((0, 3), dtype=np.int64)).shape == (0, 3)


@given(st.lists(st.integers(0, 4)))
def test_new_ids_survive_the_way_there_and_back(ids):
    assert MAP.to_new(MAP.to_old(ids)) == ids
    assert MAP.to_new(MAP.to_old(torch.tensor(ids, dtype=torch.long))).tolist() == ids


@given(st.lists(st.integers(0, 11)))
def test_old_ids_survive_exactly_where_they_are_kept(ids):
    back = MAP.to_old(MAP.to_new(ids))
    assert [one == other for one, other in zip(back, ids, strict=True)] == MAP.keeps(np.array(ids, dtype=int)).tolist()
    assert all(one in (other, 3) for one, other in zip(back, ids, strict=True))


@pytest.mark.parametrize("form", [list, np.array, torch.tensor])
def test_an_id_beyond_the_vocabulary_is_refused(form):
    with pytest.raises(ValueError, match="id 12 lies beyond the old vocabulary of 12"):
        MAP.to_new(form([0, 12]))
    with pytest.raises(ValueError, match="id 5 lies beyond the new vocabulary of 5"):
        MAP.to_old(form([5]))


def test_a_saved_map_reads_back_equal_and_can_be_read_by_eye(tmp_path):
    MAP.save(tmp_path / "map.json")
    assert VocabularyMap.load(tmp_path / "map.json") == MAP
    facts = json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))
    assert facts["new_size"] == 5
    assert "Yorùbá" in (tmp_path / "map.json").read_text(encoding="utf-8")
    assert len(MAP) == 5


def test_the_folder_that_pruning_wrote_is_read_as_its_file_is(tmp_path):
    MAP.save(tmp_path / MAP_FILE)
    assert VocabularyMap.load(tmp_path) == MAP


@pytest.mark.parametrize("path", [".", "vocabulary_map.json"])
def test_a_map_that_is_not_there_is_missed_by_what_was_expected(tmp_path, path):
    with pytest.raises(
        FileNotFoundError, match=r"vocabulary_map\.json does not exist; expected the folder that `hf-afro prune` wrote"
    ):
        VocabularyMap.load(tmp_path / path)


SAVED = {"format": 1, "old_size": 2, "old_unknown_id": 0, "tokenizer_fingerprint": "", "provenance": {}}


@pytest.mark.parametrize(
    "facts", [{}, {"format": 1, "old_ids": [0]}, SAVED | {"old_ids": "a"}, SAVED | {"old_ids": []}]
)
def test_another_file_is_refused(tmp_path, facts):
    (tmp_path / "map.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="holds no vocabulary map"):
        VocabularyMap.load(tmp_path / "map.json")


@pytest.mark.parametrize(
    ("old_ids", "message"),
    [
        ([3, 1], "ascending"),
        ([1, 3, 3], "ascending"),
        ([3, 12], "expected 0 to 11"),
        ([0, 1], "is not kept"),
        ([], "ascending"),
    ],
)
def test_impossible_maps_are_refused(old_ids, message):
    with pytest.raises(ValueError, match=message):
        VocabularyMap(np.array(old_ids, dtype=np.int64), 12, 3, "f")


def test_a_map_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        MAP.old_ids[0] = 2


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tokenised_dataset_is_reencoded_as_its_text_would_be(tokenizer, pruned, streamed):
    encoded = tokenizer(AFRICAN["swa"])
    rows = {"input_ids": encoded["input_ids"], "labels": [[-100, *ids[1:]] for ids in encoded["input_ids"]]}
    dataset = Dataset.from_dict({**rows, "label": [7] * len(AFRICAN["swa"])})
    dataset = dataset.to_iterable_dataset() if streamed else DatasetDict(train=dataset)
    reencoded = pruned.vocabulary_map.reencode(dataset, ["input_ids", "labels"])
    new = list(reencoded if streamed else reencoded["train"])
    assert [row["input_ids"] for row in new] == pruned.tokenizer(AFRICAN["swa"])["input_ids"]
    assert [row["labels"] for row in new] == [[-100, *row["input_ids"][1:]] for row in new]
    assert {row["label"] for row in new} == {7}


def test_a_column_that_is_not_there_is_refused(pruned):
    dataset = Dataset.from_dict({"tokens": [[1]]})
    with pytest.raises(ValueError, match="no column input_ids in the dataset; it has tokens"):
        pruned.vocabulary_map.reencode(dataset)
