"""The cache of tokenised splits: the same rows, made anew where anything else was asked or a file is broken."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hf_afro.evaluation import encoding_cache
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.encoding import encode
from hf_afro.evaluation.encoding_cache import encode_with_cache
from hf_afro.evaluation.predictions import run_key
from hf_afro.evaluation.presets import FineTuningSettings
from tests.evaluation.conftest import make

PAIRS = {split: [(("na", "na jana"), "x"), (("mvua", "a"), "y")] for split in ("train", "dev", "test")}


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    made = []
    monkeypatch.setattr(encoding_cache, "encode", lambda *args: made.append(1) or encode(*args))
    return made


def same(rows, others) -> bool:
    return len(rows) == len(others) and all(
        row.keys() == other.keys()
        and all(type(row[name]) is type(other[name]) and np.array_equal(row[name], other[name]) for name in row)
        and all(row[name].dtype == other[name].dtype for name in row if isinstance(row[name], np.ndarray))
        for row, other in zip(rows, others, strict=True)
    )


@pytest.mark.parametrize(
    "data", [make("ner"), make("topic"), make_task_data("nli", "swa", "a/swa", PAIRS)], ids=lambda data: data.task
)
def test_rows_are_the_same_from_the_disk(data, tokenizer, tmp_path, calls):
    fresh = encode_with_cache(data, "train", tokenizer, 16, tmp_path / "cache")
    again = encode_with_cache(data, "train", tokenizer, 16, tmp_path / "cache")
    assert len(calls) == 1
    assert same(fresh, encode(data.task, data.splits["train"], tokenizer, 16))
    assert same(again, fresh)


def test_anything_else_is_made_anew(ner, tokenizer, tmp_path, calls):
    encode_with_cache(ner, "train", tokenizer, 16, tmp_path)
    encode_with_cache(ner, "train", tokenizer, 17, tmp_path)
    encode_with_cache(ner, "dev", tokenizer, 16, tmp_path)
    encode_with_cache(ner.limited(train=10), "train", tokenizer, 16, tmp_path)
    tokenizer.add_tokens(["aliondoka"])
    encode_with_cache(ner, "train", tokenizer, 16, tmp_path)
    assert len(calls) == 5
    assert len(list(tmp_path.iterdir())) == 5


def test_the_same_examples_with_other_ids_are_made_anew(tokenizer, tmp_path, calls):
    """The fingerprint of test is the same in both."""
    test = [("mvua", "x"), ("jana", "z")]
    sets = [
        make_task_data("topic", "swa", "a/swa", {"test": test, **others}, trained=False)
        for others in ({}, {"train": [("na", "y")]})
    ]
    assert sets[0].fingerprint == sets[1].fingerprint
    rows = [encode_with_cache(data, "test", tokenizer, 16, tmp_path) for data in sets]
    assert [[row["labels"] for row in own] for own in rows] == [[0, 1], [0, 2]]
    assert len(calls) == 2


def test_runs_that_predict_other_ids_have_other_keys(tokenizer):
    """What is left of train may not have all labels that the ids are of."""
    train = [("na", "x"), ("jana", "z"), ("leo", "y")]
    splits = {"dev": [("a", "x")], "test": [("mvua", "x"), ("jana", "z")]}
    few = make_task_data("topic", "swa", "a/swa", {**splits, "train": train[:2]})
    every = make_task_data("topic", "swa", "a/swa", {**splits, "train": train})
    every = dataclasses.replace(every, splits={**every.splits, "train": every.splits["train"].select([0, 1])})
    assert all(few.fingerprint_of(split) == every.fingerprint_of(split) for split in few.splits)
    keys = {run_key("model", tokenizer, data, FineTuningSettings(), 1) for data in (few, every)}
    assert len(keys) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"", lambda content: b"x" * 50])
def test_a_damaged_file_is_made_anew(ner, tokenizer, tmp_path, calls, damage):
    fresh = encode_with_cache(ner, "test", tokenizer, 16, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert same(encode_with_cache(ner, "test", tokenizer, 16, tmp_path), fresh)
    assert same(encode_with_cache(ner, "test", tokenizer, 16, tmp_path), fresh)
    assert len(calls) == 2


def test_a_file_under_a_wrong_name_is_not_taken(ner, tokenizer, tmp_path, calls):
    encode_with_cache(ner, "test", tokenizer, 16, tmp_path)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    encode_with_cache(ner, "dev", tokenizer, 16, tmp_path)
    (other,) = [path for path in tmp_path.iterdir() if path != file]
    other.write_bytes(content)
    assert same(
        encode_with_cache(ner, "dev", tokenizer, 16, tmp_path), encode("ner", ner.splits["dev"], tokenizer, 16)
    )
    assert len(calls) == 3


def test_without_a_cache_nothing_is_written(ner, tokenizer, tmp_path, calls):
    encode_with_cache(ner, "test", tokenizer, 16, None)
    assert len(calls) == 1
    assert not list(tmp_path.iterdir())
