"""Vectors of sentences: the hidden states of a text's tokens pooled to one vector of length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from hf_afro.batching import PaddingCollator
from hf_afro.evaluation.encoding import encode_texts, longest
from hf_afro.evaluation.finetuning import check_tokenizer
from hf_afro.families import encoder_of
from hf_afro.sentence_modules import POOLINGS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def sentence_vectors(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    pooling: str = "mean",
    prompt: str = "",
    max_length: int = 512,
    batch_size: int = 64,
) -> np.ndarray:
    """Return the vectors of texts, of length 1, so that their products are cosines.

    They equal those of sentence-transformers' ``encode(texts, prompt=prompt, normalize_embeddings=True)`` for a folder
    of an encoder and a pooling. `hf_afro.sentence_modules.sentence_modules_of(folder)` reads what such a folder says:
    its `pooling`, `default_prompt` and `max_length`.

    Args:
        model: An encoder, with any head; its weights and mode are not changed. It runs where it is.
        tokenizer: Its tokenizer.
        texts: The texts, in any order, with repetitions.
        pooling: One of `POOLINGS`. Padding never counts.
        prompt: Put before every text, such as `query: ` for E5, whose space counts.
        max_length: The maximum number of tokens of a text, prompt and special ones included; fewer if the model has
            fewer positions.
        batch_size: Texts per batch, of similar length.

    Returns:
        float32 ``[texts, width]``, in the order of the texts.

    Raises:
        ValueError: If the pooling is unknown, there is no text, or tokenizer and model do not belong together.
        FloatingPointError: If a vector is not finite.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    if not len(texts):
        raise ValueError("there are no texts; expected at least one")
    check_tokenizer(model, tokenizer)
    encoder: Any = encoder_of(model)
    rows = encode_texts([prompt + text for text in texts], tokenizer, longest(model, max_length))
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    collate = PaddingCollator.from_tokenizer(tokenizer)
    vectors: np.ndarray = np.empty((len(rows), encoder.config.hidden_size), dtype=np.float32)
    was_training = encoder.training
    encoder.eval()
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([{"input_ids": rows[index]} for index in chosen])
        inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
        pooled = pool(encoder(**inputs)[0].float(), inputs["attention_mask"], pooling)
        vectors[chosen] = functional.normalize(pooled, dim=-1).cpu().numpy()
    encoder.train(was_training)
    if not np.isfinite(vectors).all():
        raise FloatingPointError(f"vectors of {type(model).__name__} are not finite; expected finite weights")
    return vectors


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool the hidden states of each text.

    Args:
        states: ``[texts, length, width]``.
        mask: 1 for tokens and 0 for padding on their right, ``[texts, length]``.
        pooling: One of `POOLINGS`.

    Returns:
        ``[texts, width]``.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    held = mask.unsqueeze(-1)
    if pooling == "max":
        return states.masked_fill(held == 0, -torch.inf).amax(1)
    return (states * held).sum(1) / held.sum(1)
