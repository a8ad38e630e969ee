"""Measure how much of each language's training text the tokenizer does not know, before training."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hf_afro.batching.mixing import MixtureDataset
from hf_afro.batching.streams import Place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hf_afro.batching.streaming import StreamedSamples
    from hf_afro.batching.streams import LanguageStream

# Samples at the beginning of a stream that stand for it.
_OF_A_STREAM = 64


def unknown_shares(samples: MixtureDataset | StreamedSamples, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Return unknown tokens over running tokens of each language, special tokens left out, 0 to 1.

    Args:
        samples: The rows of all languages. Of a stream the first rows are read, and thrown away: a stream that is
            shuffled by `datasets` fills its buffer for them.
        tokenizer: The one they were tokenised with. One that has no unknown token of its own leaves nothing unknown.

    Raises:
        ValueError: If a stream has no text; the message names its language.
    """
    unknown = tokenizer.unk_token_id
    around = {getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "sep", "cls")} - {None}
    if unknown is None or unknown in around:
        return dict.fromkeys(samples.languages, 0.0)
    if isinstance(samples, MixtureDataset):
        flat = {language: [rows.tokens] for language, rows in samples.chunks.items()}
    else:
        flat = {language: _beginning(language, stream) for language, stream in samples.streams.items()}
    return {language: _share(rows, unknown, around) for language, rows in flat.items()}


def _beginning(language: str, stream: LanguageStream) -> list[np.ndarray]:
    try:
        return [row for _, row in itertools.islice(stream.samples_from(Place()), _OF_A_STREAM)]
    except ValueError as error:
        raise ValueError(f"{language}: {error}") from error


def _share(rows: Iterable[np.ndarray], unknown: int, around: set[int]) -> float:
    lost = running = 0
    for tokens in rows:
        lost += int(np.count_nonzero(tokens == unknown))
        running += len(tokens) - sum(int(np.count_nonzero(tokens == one)) for one in around)
    return lost / max(running, 1)
