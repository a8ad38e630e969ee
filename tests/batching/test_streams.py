"""A stream gives the samples of the text read whole, and goes on from any of them as if it had never stopped."""

from __future__ import annotations

import dataclasses
from itertools import islice

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from hf_afro.batching import streams
from hf_afro.batching.packing import cut, pack
from hf_afro.batching.streams import LanguageStream, Place, ReadyRows, TextRows
from hf_afro.batching.tokenizing import boundary_ids, tokenize_corpus
from tests.texts import SENTENCES

TEXTS = ["", *(f"{number} {sentence}" for number in range(6) for sentence in SENTENCES["swa"]), ""]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(streams, "DOCUMENTS_AT_ONCE", 7)


def dataset(shards: int = 3) -> IterableDataset:
    return Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(num_shards=shards)


def stream(tokenizer, source=None, **settings) -> LanguageStream:
    return LanguageStream(dataset() if source is None else source, "text", TextRows(tokenizer, 16, **settings))


def rows_of(samples) -> list[list[int]]:
    return [row.tolist() for _, row in samples]


@pytest.mark.parametrize("packing", [True, False])
def test_a_pass_is_the_text_read_whole(tokenizer, packing):
    make = pack if packing else cut
    whole = make(tokenize_corpus(TEXTS, tokenizer), 16, *boundary_ids(tokenizer))
    # One shard, since datasets puts several into another order on later passes.
    found = list(islice(stream(tokenizer, dataset(1), packing=packing).samples_from(Place()), 2 * len(whole) + 1))
    expected = [whole[index].tolist() for index in range(len(whole))]
    assert rows_of(found) == [*expected, *expected, expected[0]]
    assert [place.pass_index for place, _ in found] == [0] * len(whole) + [1] * len(whole) + [2]
    assert [place.samples for place, _ in found] == list(range(len(found)))


SOURCES = {
    "in order": dataset,
    "one shard": lambda: dataset(1),
    "mapped": lambda: dataset().map(lambda row: {"text": row["text"] + "!"}),
    "shuffled": lambda: dataset().shuffle(seed=5, buffer_size=9),
    "generated": lambda: IterableDataset.from_generator(lambda: ({"text": text} for text in TEXTS)),
    "in memory": lambda: Dataset.from_dict({"text": TEXTS}),
}


def without_state(place: Place) -> Place:
    """The place without datasets' own state, which says the same in other words after a new start."""
    return dataclasses.replace(place, dataset=None)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_goes_on_from_every_place_in_another_process(tokenizer, source, packing):
    unbroken = list(islice(stream(tokenizer, source(), packing=packing).samples_from(Place()), 300))
    assert unbroken[-1][0].pass_index >= 1
    for number in (0, 1, 6, 20, 95, 96, 140, 193, 200):
        place = Place.from_json(unbroken[number][0].to_json())
        again = list(islice(stream(tokenizer, source(), packing=packing).samples_from(place), 30))
        assert rows_of(again) == rows_of(unbroken[number : number + 30])
        assert [without_state(one) for one, _ in again] == [
            without_state(one) for one, _ in unbroken[number : number + 30]
        ]


def test_text_is_not_read_again_where_the_dataset_knows_its_place(tokenizer):
    read: list[int] = []

    def rows(shards):
        for shard in shards:
            read.append(shard)
            for text in TEXTS:
                yield {"text": f"{shard} {text}"}

    def source():
        return IterableDataset.from_generator(rows, gen_kwargs={"shards": list(range(9))})

    unbroken = list(islice(stream(tokenizer, source()).samples_from(Place()), 400))
    read.clear()
    again = list(islice(stream(tokenizer, source()).samples_from(unbroken[350][0]), 40))
    assert rows_of(again) == rows_of(unbroken[350:390])
    assert read[0] >= 2


def test_other_text_at_the_place_is_refused(tokenizer):
    place = list(islice(stream(tokenizer).samples_from(Place()), 20))[-1][0]
    other = Dataset.from_dict({"text": [text + " x" for text in TEXTS]}).to_iterable_dataset(num_shards=3)
    with pytest.raises(ValueError, match="are not what they were when the checkpoint was saved"):
        next(stream(tokenizer, other).samples_from(place))


@pytest.mark.parametrize("texts", [[""], ["", "", ""]])
def test_no_text_at_all_is_refused(tokenizer, texts):
    with pytest.raises(ValueError, match="not a single token"):
        next(stream(tokenizer, Dataset.from_dict({"text": texts})).samples_from(Place()))


def test_ready_rows_are_taken_as_they_are():
    rows = [[0, 5 + number, 2] for number in range(20)]
    source = Dataset.from_dict({"input_ids": rows}).to_iterable_dataset()
    found = list(islice(LanguageStream(source, "input_ids", ReadyRows(8)).samples_from(Place()), 25))
    assert rows_of(found) == [*rows, *rows[:5]]
    assert found[0][1].dtype == np.int32
