"""Mixing: the same order for every split into processes and micro-batches, and when resumed; no language starves."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from accelerate import skip_first_batches
from accelerate.data_loader import DataLoaderShard
from torch.utils.data import DataLoader

from hf_afro.batching.mixing import Mixture, MixtureBatchSampler, MixtureDataset, largest_remainder
from hf_afro.batching.packing import TokenRows

SIZES = {"swa": 700, "yor": 90, "amh": 13}


def steps_of(mixture, num_processes, accumulation, epochs):
    """Return the keys of every optimizer step over all ranks, and those of each rank."""
    batch_size = mixture.window // (num_processes * accumulation)
    ranks = []
    for rank in range(num_processes):
        sampler = MixtureBatchSampler(mixture, batch_size, rank, num_processes, accumulation)
        batches = []
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            batches.extend(sampler)
        ranks.append(batches)
    steps = []
    for first in range(0, len(ranks[0]), accumulation):
        step = [key for micro in range(first, first + accumulation) for batches in ranks for key in batches[micro]]
        steps.append(step)
    return steps, ranks


@pytest.mark.parametrize(("num_processes", "accumulation"), [(1, 4), (2, 1), (2, 2)])
def test_global_batches_do_not_depend_on_the_split(num_processes, accumulation):
    mixture = Mixture(SIZES, window=8, seed=7, alpha=0.5)
    expected, _ = steps_of(mixture, 1, 1, epochs=2)
    steps, ranks = steps_of(mixture, num_processes, accumulation, epochs=2)
    assert len(expected) == 200
    # Not only the same sets: the window has the same rows of the epoch in the same order.
    assert steps == expected
    for left, right in zip(ranks[0], ranks[-1], strict=True):
        assert num_processes == 1 or not set(left) & set(right)


def test_epochs_and_seeds_give_other_orders():
    mixture = Mixture(SIZES, window=8, seed=7)
    assert not np.array_equal(mixture.epoch(0), mixture.epoch(1))
    assert not np.array_equal(mixture.epoch(0), Mixture(SIZES, window=8, seed=8).epoch(0))
    assert np.array_equal(mixture.epoch(3), Mixture(dict(reversed(SIZES.items())), window=8, seed=7).epoch(3))


def test_the_order_is_pinned():
    """A change of the order would break resuming runs."""
    keys = Mixture({"swa": 5, "yor": 2}, window=3, seed=11, alpha=0.5).epoch(1)
    assert keys.tolist() == PINNED


PINNED = [[1, 5], [1, 6], [1, 0], [0, 2], [1, 4], [1, 2]]


@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.0])
def test_every_epoch_holds_the_quotas(alpha):
    mixture = Mixture(SIZES, window=16, seed=1, alpha=alpha)
    ends = np.cumsum(list(mixture.sizes.values()))
    for epoch in range(3):
        keys = mixture.epoch(epoch)
        counts = Counter(mixture.languages[int(np.searchsorted(ends, sample, side="right"))] for _, sample in keys)
        assert counts == mixture.quotas
        assert len(keys) == mixture.samples_per_epoch == 800


def test_quotas_by_hand():
    # n^0.5 is 10, 4 and 2: of 48 samples 30, 12 and 6.
    sizes = {"aaa": 100, "bbb": 16, "ccc": 4}
    mixture = Mixture(sizes, window=48, alpha=0.5)
    assert mixture.samples_per_epoch == 96
    assert mixture.quotas == {"aaa": 60, "bbb": 24, "ccc": 12}
    assert Mixture(sizes, window=120).quotas == sizes
    assert Mixture(sizes, window=120, alpha=0.0).quotas == {"aaa": 40, "bbb": 40, "ccc": 40}
    # 50 seats over 100:16:4 are 41.67, 6.67 and 1.67; the two that remain go to the first two of equal remainders.
    assert Mixture(sizes, window=50).samples_per_epoch == 100
    assert largest_remainder([100, 16, 4], 50) == [42, 7, 1]


def test_no_language_is_left_without_a_sample():
    mixture = Mixture({"big": 10_000, "one": 1, "two": 1}, window=10_000)
    assert mixture.quotas == {"big": 9_998, "one": 1, "two": 1}
    small = Mixture({"aaa": 1, "bbb": 1, "ccc": 1}, window=2)
    assert (small.samples_per_epoch, small.steps_per_epoch) == (4, 2)
    assert all(small.quotas.values())


def test_an_epoch_is_at_least_one_window():
    mixture = Mixture({"swa": 3}, window=8)
    assert mixture.samples_per_epoch == 8
    keys = mixture.epoch(0)
    assert Counter(keys[:, 0].tolist()) == {0: 3, 1: 3, 2: 2}, "two whole passes and a part of the third"
    assert sorted(Counter(keys[:, 1].tolist()).values()) == [2, 3, 3]


def test_a_language_drawn_less_than_its_size_is_seen_whole_over_epochs():
    mixture = Mixture(SIZES, window=8, seed=3, alpha=0.0)
    quota = mixture.quotas["swa"]
    offset = mixture.sizes["amh"]  # sorted: amh, swa, yor
    epochs = -(-SIZES["swa"] // quota)
    assert epochs > 1
    seen = [tuple(key) for epoch in range(epochs) for key in mixture.epoch(epoch).tolist()]
    first_pass = [sample for number, sample in seen if number == 0 and offset <= sample < offset + SIZES["swa"]]
    assert sorted(first_pass) == list(range(offset, offset + SIZES["swa"]))
    assert len(set(seen)) == len(seen), "a pass holds a sample once, so no key comes twice"


def test_skipping_batches_goes_on_in_the_same_place():
    mixture = Mixture(SIZES, window=8, seed=5)
    sampler = MixtureBatchSampler(mixture, batch_size=4, accumulation=2)
    loader = DataLoaderShard(_Keys(), batch_sampler=sampler, collate_fn=list)
    loader.set_epoch(2)
    whole = list(loader)
    skipping = skip_first_batches(
        DataLoaderShard(_Keys(), batch_sampler=MixtureBatchSampler(mixture, 4, accumulation=2), collate_fn=list), 7
    )
    skipping.set_epoch(2)
    assert list(skipping) == whole[7:]


class _Keys:
    def __getitem__(self, key):
        return key

    def __len__(self):
        return sum(SIZES.values())


def test_dataset_reads_by_key():
    dataset = MixtureDataset(
        {"yor": TokenRows.from_rows([[0, 8, 2]]), "amh": TokenRows.from_rows([[0, 5, 2], [0, 6, 7, 2]])}
    )
    assert dataset.languages == ("amh", "yor")
    assert dataset.sizes == {"amh": 2, "yor": 1}
    sample = dataset[3, 1]
    assert sample.pop("input_ids").tolist() == [0, 6, 7, 2]
    assert sample == {"pass_index": 3, "sample_id": 1, "language": 0}
    assert dataset[0, 2]["input_ids"].tolist() == [0, 8, 2]
    assert dataset[0, 2]["language"] == 1
    assert dataset.language_of(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    for sample_id in (-1, 3):
        with pytest.raises(IndexError, match="there are 3 samples"):
            dataset[0, sample_id]


def test_dataset_and_sampler_work_in_a_torch_loader():
    dataset = MixtureDataset({"swa": TokenRows.from_rows([[index] for index in range(6)])})
    sampler = MixtureBatchSampler(Mixture(dataset.sizes, window=2, seed=1), 2)
    batches = list(DataLoader(dataset, batch_sampler=sampler, collate_fn=list))
    assert len(batches) == len(sampler) == 3
    assert sorted(int(sample["input_ids"][0]) for batch in batches for sample in batch) == list(range(6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sizes": {}}, "expected at least one language"),
        ({"sizes": {"swa": 0}}, "'swa' has 0 samples"),
        ({"window": 0}, "window is 0"),
        ({"alpha": 1.5}, "alpha is 1.5"),
    ],
)
def test_impossible_mixtures_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Mixture(**{"sizes": {"swa": 3}, "window": 2, **settings})


def test_impossible_samplers_are_refused():
    mixture = Mixture({"swa": 30}, window=8)
    with pytest.raises(ValueError, match="2 x 2 processes x accumulation 1 is 4, but the mixture's window is 8"):
        MixtureBatchSampler(mixture, batch_size=2, num_processes=2)
    with pytest.raises(ValueError, match="rank is 2; expected 0 to 1"):
        MixtureBatchSampler(mixture, batch_size=4, rank=2, num_processes=2)
    with pytest.raises(ValueError, match="'yor' has no text"):
        MixtureDataset({"yor": TokenRows.from_rows([])})
    with pytest.raises(ValueError, match="seed is -1"):
        Mixture({"swa": 3}, window=1, seed=-1).epoch(0)
