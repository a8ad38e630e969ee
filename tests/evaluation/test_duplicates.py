"""Test examples that train holds too: which they are, and the scores without them."""

from __future__ import annotations

import pytest

from hf_afro.evaluation.data.duplicates import deduplicated_scores, loose_key, seen_in
from hf_afro.evaluation.data.task_data import make_task_data

TRAIN = [("Habari, dunia!", "x"), ("Ọjà", "y"), ("😀", "x")]
TEST = [("habari dunia", "x"), ("Ọjà", "x"), ("😀", "x"), ("😡", "y"), ("mpya", "y"), ("oja", "y")]


def texts(rows):
    return [text for text, _ in rows]


def test_case_spaces_and_punctuation_are_set_apart_and_tones_are_not():
    assert seen_in(texts(TRAIN), texts(TEST), exact=True).tolist() == [False, True, True, False, False, False]
    assert seen_in(texts(TRAIN), texts(TEST)).tolist() == [True, True, True, False, False, False]
    assert loose_key("o\u0323") == loose_key("\u1ecc")
    assert loose_key(["Habari", ",", "dunia"]) == loose_key(["habari", "dunia"])
    assert loose_key(("a", "b!")) == ("a", "b")
    assert loose_key(("ab", "c")) != loose_key(("a", "bc"))


def test_what_splits_share_is_counted_by_kind():
    data = make_task_data("topic", "swa", "set/swa", {"train": TRAIN, "dev": [("z", "x")], "test": TEST})
    assert data.repairs == {
        "test examples also in train": 2,
        "test examples also in train but for case, spaces or punctuation": 1,
        "test examples also in train with another label": 1,
    }
    assert data.seen_in_train().tolist() == [True, True, True, False, False, False]
    assert not data.seen_in_train("dev").any()


def test_the_scores_without_them():
    data = make_task_data("topic", "swa", "set/swa", {"train": TRAIN, "dev": [("z", "x")], "test": TEST})
    # All that train has is right, and one of the three others.
    scores, count = deduplicated_scores(data, [0, 0, 0, 1, 0, 0])
    assert count == 3
    assert scores["accuracy"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="1 predictions for 6 examples"):
        deduplicated_scores(data, [0])


def test_nothing_is_left():
    rows = {"train": TRAIN, "dev": TRAIN, "test": TRAIN}
    assert deduplicated_scores(make_task_data("topic", "swa", "set/swa", rows), [0, 0, 0]) == ({}, 0)


def test_sentences_of_tagged_words():
    rows = [(["Kano", "."], ["B-LOC", "O"]), (["Eshe"], ["B-PER"])]
    data = make_task_data("ner", "swa", "set/swa", {"train": rows, "dev": rows, "test": [*rows, (["na"], ["O"])]})
    assert data.seen_in_train().tolist() == [True, True, False]
    assert deduplicated_scores(data, [[1, 0], [3], [0]]) == (
        {"entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0},
        1,
    )
