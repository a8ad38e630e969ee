"""Streams of several languages in one order, which no split into processes and no interruption changes."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
from datasets import Dataset

from hf_afro.batching.mixing import MixtureBatchSampler
from hf_afro.batching.streaming import StreamedSamples, StreamSchedule
from hf_afro.batching.streams import LanguageStream, ReadyRows

WEIGHTS = {"yor": 1.0, "amh": 0.2, "swa": 3.0}


def samples(block: int = 8) -> StreamedSamples:
    """Three languages of 30, 50 and 70 rows that say who they are."""
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
    again.go_on_from(places)
    assert read(again, keys[16 * step :]) == unbroken[16 * step :]
    assert read(again, keys[:16]) == unbroken[:16]  # before the place: begins anew
