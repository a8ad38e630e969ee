"""Batches for training: tokenizing, packing, mixing languages, streaming, masking."""

from __future__ import annotations

from hf_afro.batching.collators import (
    MaskingCollator as MaskingCollator,
    PaddingCollator as PaddingCollator,
    mask_tokens as mask_tokens,
    pad_rows as pad_rows,
)
from hf_afro.batching.mixing import (
    Mixture as Mixture,
    MixtureBatchSampler as MixtureBatchSampler,
    MixtureDataset as MixtureDataset,
)
from hf_afro.batching.packing import TokenRows as TokenRows, cut as cut, pack as pack
from hf_afro.batching.tokenizing import (
    boundary_ids as boundary_ids,
    ready_rows as ready_rows,
    tokenize_corpus as tokenize_corpus,
)
from hf_afro.batching.word_masks import (
    MaskedSentence as MaskedSentence,
    choose_words as choose_words,
    mask_sentences as mask_sentences,
    mask_words as mask_words,
)
