"""Collators: padding, and masks that depend on the sample only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hf_afro.batching.collators import PLACE, MaskingCollator, PaddingCollator, pad_rows
from hf_afro.batching.masking import IGNORED
from hf_afro.batching.mixing import Mixture, MixtureBatchSampler, MixtureDataset
from hf_afro.batching.packing import TokenRows

VOCAB_SIZE, MASK_ID, SPECIAL_IDS = 1000, 999, (0, 1, 2, 3, 500, 999)


def test_padding():
    rows = [np.array([5, 6, 7]), np.array([8])]
    assert pad_rows(rows, 1).tolist() == [[5, 6, 7], [8, 1, 1]]
    assert pad_rows(rows, 1, side="left").tolist() == [[5, 6, 7], [1, 1, 8]]
    assert pad_rows(rows, 1, multiple_of=4).tolist() == [[5, 6, 7, 1], [8, 1, 1, 1]]


def samples():
    generator = np.random.default_rng(1)
    return MixtureDataset(
        {
            language: TokenRows.from_rows(generator.integers(4, 499, generator.integers(5, 40)) for _ in range(size))
            for language, size in {"swa": 40, "yor": 9}.items()
        }
    )


def collator(**settings):
    return MaskingCollator(
        **{
            "pad_id": 1,
            "mask_id": MASK_ID,
            "special_ids": SPECIAL_IDS,
            "vocab_size": VOCAB_SIZE,
            "seed": 4,
            **settings,
        }
    )


def test_masks_do_not_depend_on_the_rest_of_the_batch():
    dataset, collate = samples(), collator()
    together = collate([dataset[2, index] for index in range(49)])
    for index in range(49):
        alone = collate([dataset[2, index]])
        length = alone["input_ids"].shape[1]
        for name in ("input_ids", "labels"):
            assert torch.equal(together[name][index, :length], alone[name][0])
            assert (together[name][index, length:] == {"input_ids": 1, "labels": IGNORED}[name]).all()
        assert together["attention_mask"][index].tolist() == [1] * length + [0] * (
            together["input_ids"].shape[1] - length
        )


def test_masks_do_not_depend_on_the_number_of_workers():
    dataset = samples()
    sampler = MixtureBatchSampler(Mixture(dataset.sizes, window=8, seed=2, alpha=0.3), 4, accumulation=2)
    loaders = [
        DataLoader(dataset, batch_sampler=sampler, collate_fn=collator(keep_place=True), num_workers=workers)
        for workers in (0, 2)
    ]
    batches = [list(loader) for loader in loaders]
    assert len(batches[0]) == len(sampler)
    for left, right in zip(*batches, strict=True):
        assert left.keys() == right.keys() == {"input_ids", "attention_mask", "labels", *PLACE}
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_plain_batches_have_no_labels(tokenizer):
    collate = PaddingCollator.from_tokenizer(tokenizer, pad_to_multiple_of=8, padding_side="left")
    batch = collate([{"input_ids": np.array([0, 5, 2])}, {"input_ids": [0, 5, 6, 2]}])
    assert batch["input_ids"].tolist() == [[1, 1, 1, 1, 1, 0, 5, 2], [1, 1, 1, 1, 0, 5, 6, 2]]
    assert batch["attention_mask"].tolist() == [[0] * 5 + [1] * 3, [0] * 4 + [1] * 4]
    assert batch.keys() == {"input_ids", "attention_mask"}


def test_ids_come_from_the_tokenizer(tokenizer):
    collate = MaskingCollator.from_tokenizer(tokenizer, seed=3, probability=0.2)
    assert collate.mask_id == tokenizer.mask_token_id
    assert collate.pad_id == tokenizer.pad_token_id
    assert set(collate.special_ids) == set(tokenizer.all_special_ids)
    assert collate.vocab_size == len(tokenizer)
    assert (collate.seed, collate.probability) == (3, 0.2)


def test_what_cannot_be_masked_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"probability is 0.0; .*PaddingCollator"):
        collator(probability=0.0)
    with pytest.raises(ValueError, match="6 ids are special"):
        collator(vocab_size=6)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask_token"):
        MaskingCollator.from_tokenizer(tokenizer)
