"""Batches for training: tokenizing, packing, mixing languages, streaming, masking, collating."""

from __future__ import annotations

from hf_afro.batching.collators import (
    MaskingCollator as MaskingCollator,
    PaddingCollator as PaddingCollator,
    pad_rows as pad_rows,
)
from hf_afro.batching.masking import (
    MaskedSentence as MaskedSentence,
    choose_words as choose_words,
    mask_sentences as mask_sentences,
    mask_tokens as mask_tokens,
)
from hf_afro.batching.mixing import (
    Mixture as Mixture,
    MixtureBatchSampler as MixtureBatchSampler,
    MixtureDataset as MixtureDataset,
)
from hf_afro.batching.packing import (
    TokenRows as TokenRows,
    boundary_ids as boundary_ids,
    cut as cut,
    pack as pack,
    ready_rows as ready_rows,
    tokenize_corpus as tokenize_corpus,
)
