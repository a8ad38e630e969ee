"""`TaskData`: labels and fingerprints come from the examples, and shared examples are counted."""

from __future__ import annotations

import dataclasses

import pytest

from hf_afro.evaluation.data.task_data import joined, loose_key, make_task_data, seen_in
from tests.evaluation.conftest import make

ROWS = {"train": [("a", "x"), ("b", "y"), ("c", "x")], "dev": [("c", "y")], "test": [("a", "x"), ("d", "x")]}


def test_labels_are_those_of_the_data(ner, topic):
    assert ner.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert topic.labels == ("farming", "music", "rain")
    row = ner.splits["train"][0]
    assert [ner.labels[tag] for tag in row["tags"]][:1] == ["B-PER"]
    assert len(row["tokens"]) == len(row["tags"])


def test_a_label_that_train_has_not_is_refused():
    with pytest.raises(ValueError, match="test has the labels postive, which train lacks; it has x, y"):
        make_task_data("topic", "swa", "set/swa", {**ROWS, "test": [("a", "postive")]})
    tagged = {"train": [(["a"], ["B-PER"])], "dev": [(["a"], ["B-PER"])], "test": [(["a"], ["B-ORG"])]}
    with pytest.raises(ValueError, match="ORG"):
        make_task_data("ner", "swa", "set/swa", tagged)


def test_an_i_that_only_test_has_is_no_new_label():
    tagged = {"train": [(["a"], ["B-PER"])], "dev": [(["a"], ["O"])], "test": [(["a", "b"], ["B-PER", "I-PER"])]}
    assert make_task_data("ner", "swa", "set/swa", tagged).labels == ("O", "B-PER", "I-PER")


def test_a_split_without_examples_and_a_single_label_are_refused():
    with pytest.raises(ValueError, match="no examples in dev"):
        make_task_data("topic", "swa", "set/swa", {**ROWS, "dev": []})
    with pytest.raises(ValueError, match="expected at least two to tell apart"):
        make_task_data("topic", "swa", "set/swa", {split: [("a", "x")] for split in ROWS})


def test_examples_that_splits_share_are_counted_and_kept():
    data = make_task_data("topic", "swa", "set/swa", ROWS)
    assert data.repairs == {
        "dev examples also in train": 1,
        "dev examples also in train with another label": 1,
        "test examples also in train": 1,
    }
    assert len(data.splits["test"]) == 2


def test_the_fingerprint_is_of_test():
    def fingerprint(**changes):
        return make_task_data("topic", "swa", "set/swa", {**ROWS, **changes}).fingerprint

    assert fingerprint() == fingerprint(dev=[("other", "x")])
    assert fingerprint() != fingerprint(test=[("d", "x"), ("a", "x")])
    assert fingerprint() != fingerprint(test=[("a", "y"), ("d", "x")])
    assert fingerprint() == fingerprint(train=[("a", "x"), ("b", "w")], dev=[("c", "w")])


TEXTS = {
    "train": [("a", "negative"), ("b", "neutral"), ("c", "positive")],
    "dev": [("d", "neutral")],
    "test": [("e", "negative"), ("f", "positive")],
}
WORDS = {
    "train": [(["a", "b", "c"], ["NOUN", "NOUN", "X"])],
    "dev": [(["a"], ["NOUN"])],
    "test": [(["a", "b"], ["VERB", "NOUN"]), (["b"], ["VERB"])],
}
ENTITIES = {
    "train": [(["a", "b"], ["B-DATE", "B-PER"])],
    "dev": [(["a"], ["O"])],
    "test": [(["a", "b"], ["B-PER", "I-PER"])],
}


@pytest.mark.parametrize(("task", "rows"), [("sentiment", TEXTS), ("pos", WORDS), ("ner", ENTITIES)])
def test_a_test_split_has_one_fingerprint_alone_and_with_the_others(task, rows):
    """The ids of its labels differ between the two."""
    whole = make_task_data(task, "swa", "set/swa", rows, unseen_labels=True)
    alone = make_task_data(task, "swa", "set/swa", {"test": rows["test"]}, trained=False)
    assert whole.gold() != alone.gold()
    assert whole.fingerprint == alone.fingerprint
    # The same ids with other labels are different examples.
    assert dataclasses.replace(alone, labels=alone.labels[::-1]).fingerprint != alone.fingerprint


def test_limits_choose_by_seed_and_keep_the_order(topic):
    limited = topic.limited(train=10, test=None)
    assert {split: len(rows) for split, rows in limited.splits.items()} == {"train": 10, "dev": 16, "test": 16}
    texts = topic.splits["train"]["text"]
    assert limited.splits["train"]["text"] == topic.limited(train=10).splits["train"]["text"]
    places, start = [], 0
    for text in limited.splits["train"]["text"]:
        start = list(texts).index(text, start) + 1
        places.append(start)
    assert len(places) == 10
    assert limited.fingerprint == topic.fingerprint
    assert topic.limited(test=3).fingerprint != topic.fingerprint


def test_sentences_are_what_adaptation_text_must_not_hold():
    assert make("ner").sentences()[0].split()[-1] == "jana"
    assert len(make("topic").sentences("train")) == 64


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


def test_sentences_of_tagged_words():
    rows = [(["Kano", "."], ["B-LOC", "O"]), (["Eshe"], ["B-PER"])]
    data = make_task_data("ner", "swa", "set/swa", {"train": rows, "dev": rows, "test": [*rows, (["na"], ["O"])]})
    assert data.seen_in_train().tolist() == [True, True, False]


def test_texts_have_any_number_of_labels():
    rows = [("Ninafurahi na kushangaa", ["surprise", "joy"]), ("Leo ni Jumatatu", []), ("Nalia", ("sadness",))]
    data = make_task_data("emotion", "swa", "own/swa", {split: rows for split in ("train", "dev", "test")})
    assert data.labels == ("joy", "sadness", "surprise")
    assert data.splits["test"]["label"][:] == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert data.gold() == [[0, 2], [], [1]]
    other = make_task_data(
        "emotion", "swa", "own/swa", {**dict.fromkeys(("train", "dev"), rows), "test": [(rows[0][0], ["joy"])]}
    )
    assert other.fingerprint != data.fingerprint
    with pytest.raises(ValueError, match="dev has the labels anger, which train lacks"):
        make_task_data("emotion", "swa", "own", {"train": rows, "dev": [("Hasira", ["anger"])], "test": rows})


def test_several_languages_share_their_labels():
    rows = {"swa": [("Nalia", ["sadness"]), ("Leo", [])], "hau": [("Farin ciki", ["joy"]), ("Yau", [])]}
    both = joined(
        [
            make_task_data("emotion", code, f"own/{code}", dict.fromkeys(("train", "dev", "test"), own))
            for code, own in rows.items()
        ]
    )
    assert both.labels == ("joy", "sadness")
    assert both.gold() == [[1], [], [0], []]


def test_texts_have_a_number():
    rows = [(("Mvua", "Mvua kubwa"), 0.75), (("Mvua", "Muziki"), 0)]
    data = make_task_data("relatedness", "swa", "own/swa", {split: rows for split in ("train", "dev", "test")})
    assert data.labels == ("number",)
    assert data.gold() == [0.75, 0.0]
    assert data.texts()[0] == ("Mvua", "Mvua kubwa")
