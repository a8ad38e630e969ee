"""Streams: the samples of the whole text, independent of processes, and resumed from any sample."""

from __future__ import annotations

import dataclasses
import json
from itertools import islice

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from hf_afro.batching import streaming
from hf_afro.batching.mixing import MixtureBatchSampler
from hf_afro.batching.packing import boundary_ids, cut, pack, tokenize_corpus
from hf_afro.batching.streaming import LanguageStream, Place, ReadyRows, StreamedSamples, StreamSchedule, TextRows
from tests.texts import SENTENCES

WEIGHTS = {"yor": 1.0, "amh": 0.2, "swa": 3.0}


def samples(block: int = 8) -> StreamedSamples:
    """Return three languages of 30, 50 and 70 distinct rows."""
    streams = {}
    for index, (language, size) in enumerate((("amh", 30), ("swa", 50), ("yor", 70))):
        rows = [[100 * index, number] for number in range(size)]
        source = Dataset.from_dict({"input_ids": rows}).to_iterable_dataset(num_shards=2)
        streams[language] = LanguageStream(source, "input_ids", ReadyRows(8))
    return StreamedSamples(streams, seed=1, block=block)


def test_every_language_has_its_share_and_none_starves():
    schedule = StreamSchedule(WEIGHTS, window=16, steps=128, seed=0)
    keys = np.concatenate(list(schedule.windows(0)))
    counts = np.bincount(keys[:, 0])
    assert counts.tolist() == [2 * quota for quota in schedule.quotas]
    assert counts / len(keys) == pytest.approx(np.array([0.2, 3.0, 1.0]) / 4.2, abs=1e-3)
    rare = StreamSchedule({"swa": 1.0, "wol": 1e-9}, window=4, steps=64)
    assert rare.quotas == [255, 1]


def test_the_numbers_of_a_language_are_in_order_and_none_is_left_out():
    keys = np.concatenate(list(StreamSchedule(WEIGHTS, window=16, steps=200, seed=3).windows(0)))
    for language in range(3):
        numbers = keys[keys[:, 0] == language][:, 1]
        assert numbers.tolist() == list(range(len(numbers)))


def test_the_order_depends_on_seed_and_window_alone_and_not_on_the_steps():
    def first(steps=64, seed=0):
        return np.concatenate(list(islice(StreamSchedule(WEIGHTS, 16, steps, seed).windows(0), 64)))

    assert (first() == first(steps=1000)).all()
    assert (first() != first(seed=1)).any()


def test_the_global_batch_is_the_same_for_any_split():
    schedule = StreamSchedule(WEIGHTS, window=16, steps=6, seed=0)
    whole = [sorted(batch) for batch in MixtureBatchSampler(schedule, 16)]
    for processes, accumulation in ((2, 1), (2, 4), (1, 4)):
        ranks = [
            list(MixtureBatchSampler(schedule, 16 // (processes * accumulation), rank, processes, accumulation))
            for rank in range(processes)
        ]
        steps = [
            sum(
                (ranks[rank][step * accumulation + part] for part in range(accumulation) for rank in range(processes)),
                [],
            )
            for step in range(6)
        ]
        assert [sorted(step) for step in steps] == whole
        assert all(len(set(step)) == 16 for step in steps)


def read(source: StreamedSamples, keys) -> list:
    return [json.dumps(source[tuple(key)], default=np.ndarray.tolist) for key in keys.tolist()]


def test_every_row_comes_once_a_pass_shuffled():
    source = samples()
    rows = [source[(1, number)] for number in range(104)]
    firsts = [int(row["input_ids"][1]) for row in rows if row["pass_index"] == 0]
    assert sorted(firsts) == list(range(50))
    assert firsts != sorted(firsts)
    assert len({row["sample_id"] for row in rows}) == 104
    assert {int(row["input_ids"][0]) for row in rows} == {100}


@pytest.mark.parametrize("step", [1, 5, 17])
def test_another_process_goes_on_from_the_places_of_a_step(step):
    keys = np.concatenate(list(StreamSchedule(WEIGHTS, window=16, steps=30, seed=0).windows(0)))
    whole = samples()
    unbroken = read(whole, keys)
    source = samples()
    places = {}
    for key in keys[: 16 * step : 2]:  # as the first of two processes, which sees a part
        sample = source[tuple(key)]
        places[source.languages[sample["language"]]] = sample["stream"]
    again = samples()
    again.resume_from(places)
    assert read(again, keys[16 * step :]) == unbroken[16 * step :]
    assert read(again, keys[:16]) == unbroken[:16]  # before the place: starts over


TEXTS = ["", *(f"{number} {sentence}" for number in range(6) for sentence in SENTENCES["swa"]), ""]


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(streaming, "DOCUMENTS_AT_ONCE", 7)


def dataset(shards: int = 3) -> IterableDataset:
    return Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(num_shards=shards)


def stream(tokenizer, source=None, **settings) -> LanguageStream:
    return LanguageStream(dataset() if source is None else source, "text", TextRows(tokenizer, 16, **settings))


def rows_of(samples) -> list[list[int]]:
    return [row.tolist() for _, row in samples]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.usefixtures("small_batches")
def test_a_pass_is_the_text_read_whole(tokenizer, packing):
    make = pack if packing else cut
    whole = make(tokenize_corpus(TEXTS, tokenizer), 16, *boundary_ids(tokenizer))
    # One shard, since `datasets` reorders several shards in later passes.
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
    """Return the place without the state of `datasets`, whose form differs after a restart."""
    return dataclasses.replace(place, dataset=None)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.usefixtures("small_batches")
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


@pytest.mark.usefixtures("small_batches")
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


@pytest.mark.usefixtures("small_batches")
def test_other_text_at_the_place_is_refused(tokenizer):
    place = list(islice(stream(tokenizer).samples_from(Place()), 20))[-1][0]
    other = Dataset.from_dict({"text": [text + " x" for text in TEXTS]}).to_iterable_dataset(num_shards=3)
    with pytest.raises(ValueError, match="differs from when the checkpoint was saved"):
        next(stream(tokenizer, other).samples_from(place))


@pytest.mark.parametrize("texts", [[""], ["", "", ""]])
@pytest.mark.usefixtures("small_batches")
def test_no_text_at_all_is_refused(tokenizer, texts):
    with pytest.raises(ValueError, match="has no tokens to train on"):
        next(stream(tokenizer, Dataset.from_dict({"text": texts})).samples_from(Place()))


def test_ready_rows_are_taken_as_they_are():
    rows = [[0, 5 + number, 2] for number in range(20)]
    source = Dataset.from_dict({"input_ids": rows}).to_iterable_dataset()
    found = list(islice(LanguageStream(source, "input_ids", ReadyRows(8)).samples_from(Place()), 25))
    assert rows_of(found) == [*rows, *rows[:5]]
    assert found[0][1].dtype == np.int32
