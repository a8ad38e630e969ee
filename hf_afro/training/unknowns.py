"""Measure how much of each language's training text the tokenizer does not know, before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hf_afro.corpora.mixing import MixtureDataset
from hf_afro.corpora.streams import Place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.corpora.streaming import StreamedSamples

# Samples at the beginning of a stream that stand for it.
_OF_A_STREAM = 64


def unknown_shares(samples: MixtureDataset | StreamedSamples, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Return unknown tokens over running tokens of each language, special tokens left out, 0 to 1.

    Args:
        samples: The rows of all languages; of a stream the first rows are read.
        tokenizer: The one they were tokenised with. One that has no unknown token of its own leaves nothing unknown.
    """
    unknown = tokenizer.unk_token_id
    around = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "sep", "cls")} - {None}
    if unknown is None or unknown in around:
        return dict.fromkeys(samples.languages, 0.0)
    if isinstance(samples, MixtureDataset):
        flat = {language: [rows.tokens] for language, rows in samples.chunks.items()}
    else:
        first = {language: stream.samples_from(Place()) for language, stream in samples.streams.items()}
        flat = {code: [row for _, row in itertools.islice(rows, _OF_A_STREAM)] for code, rows in first.items()}
    return {language: _share(rows, unknown, around) for language, rows in flat.items()}


def _share(rows: Iterable[np.ndarray], unknown: int, around: set[int]) -> float:
    lost = running = 0
    for tokens in rows:
        lost += int(np.count_nonzero(tokens == unknown))
        running += len(tokens) - sum(int(np.count_nonzero(tokens == one)) for one in around)
    return lost / max(running, 1)
