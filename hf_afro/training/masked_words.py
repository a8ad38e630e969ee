"""Evaluate the prediction of masked words: the sums that loss, perplexity and bits per byte are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset, IterableDataset

from hf_afro.batching.collators import IGNORED, PaddingCollator, pad_rows
from hf_afro.batching.masking import MaskedSentence, mask_sentences
from hf_afro.losses import MaskedWordTotals, masked_lm_loss, restrict_to_kept
from hf_afro.training.masked_only import masked_lm_sum, masked_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.vocabulary import VocabularyMap

# The masked words must be the same for every model that is ever compared, so their seed is not a setting.
WORD_MASK_SEED = 0


def masked_sentences(
    datasets: Mapping[str, Dataset | IterableDataset], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, list[MaskedSentence]]:
    """Mask words in the sentences of every language, once for all evaluations.

    Args:
        datasets: ``{language: dataset}`` with a column `text`, one sentence per row.
        tokenizer: The model's tokenizer.
        max_length: Maximum number of tokens of a sentence; words beyond it are not scored.

    Raises:
        ValueError: If a dataset has no `text`, or none of its sentences has a masked word.
    """
    masked = {}
    for language, dataset in datasets.items():
        if dataset.column_names is not None and "text" not in dataset.column_names:
            raise ValueError(
                f"the evaluation set of {language} has the columns {dataset.column_names}; expected 'text', since "
                "bits per byte are counted over words, which token ids no longer show"
            )
        texts = (row["text"] for row in dataset)
        masked[language] = list(mask_sentences(texts, tokenizer, max_length=max_length, seed=WORD_MASK_SEED))
        if not any(sentence.words for sentence in masked[language]):
            raise ValueError(
                f"no sentence of {language} has a masked word within max_length={max_length} tokens; add sentences "
                "(200 are a good number) or use shorter ones"
            )
    return masked


def means_of_sets(bits: Mapping[str, float], sets: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the mean bits per byte of all languages under the name "", and of each complete set as `<name>_`.

    A set whose languages are not all measured is left out: its mean would be that of another set.

    Args:
        bits: Bits per byte by language.
        sets: Languages by the name of a set.
    """
    named = {"": list(bits), **{f"{name}_": list(codes) for name, codes in sets.items()}}
    return {
        name: math.fsum(bits[code] for code in codes) / len(codes)
        for name, codes in named.items()
        if codes and all(code in bits for code in codes)
    }


@torch.no_grad()
def masked_word_totals(
    model: PreTrainedModel,
    sentences: Sequence[MaskedSentence],
    pad_id: int,
    batch_size: int,
    restrict_to: VocabularyMap | None = None,
    *,
    through_forward: bool = False,
    forwards: int = 0,
) -> MaskedWordTotals:
    """Return the sums over the masked words of some sentences.

    Args:
        model: A masked language model in eval mode.
        sentences: From `masked_sentences` with the model's tokenizer; an empty sequence gives zeros.
        pad_id: Id that short rows are padded with.
        batch_size: Sentences per batch.
        restrict_to: For a full-vocabulary model: it chooses among the tokens this map keeps, to be compared with its
            pruned form; a word with a subword that is not kept counts as unknown.
        through_forward: Whether to run inside the model's forward, which `accept_run` has prepared: FSDP gathers the
            weights of a sharded model there.
        forwards: Minimum number of forward passes, with nothing to score once the sentences are used up: the
            processes of a sharded model wait for each other in every forward.
    """
    score = masked_lm_sum
    if restrict_to is not None:
        is_kept = np.isin(np.arange(restrict_to.old_size), restrict_to.old_ids)
        sentences = [sentence.restricted_to(is_kept) for sentence in sentences]
        score = partial(_restricted_sum, kept_ids=torch.from_numpy(restrict_to.old_ids.copy()).to(model.device))
    score = partial(model, run=score) if through_forward else partial(score, model)
    nats, pieces = torch.zeros((), dtype=torch.float64), 0
    by_length = sorted(sentences, key=lambda sentence: len(sentence.input_ids))
    collate = PaddingCollator(pad_id)
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    for batch in batches:
        inputs = collate([{"input_ids": sentence.input_ids} for sentence in batch])
        labels = torch.from_numpy(pad_rows([sentence.labels for sentence in batch], IGNORED)).flatten()
        inputs["positions"] = (labels != IGNORED).nonzero().squeeze(1)
        inputs["labels"] = labels[inputs["positions"]]
        total = score(**{name: tensor.to(model.device) for name, tensor in inputs.items()})
        nats += total.double().cpu()
        pieces += len(inputs["labels"])
    for _ in range(forwards - len(batches)):
        model(input_ids=torch.full((1, 1), pad_id, device=model.device))
    return MaskedWordTotals(
        nats=nats.item(),
        pieces=pieces,
        scored_bytes=sum(sentence.scored_bytes for sentence in sentences),
        unknown_bytes=sum(sentence.unknown_bytes for sentence in sentences),
        scored_words=sum(len(sentence.words) - sentence.unknown_words for sentence in sentences),
        unknown_words=sum(sentence.unknown_words for sentence in sentences),
        cut_words=sum(sentence.num_cut for sentence in sentences),
    )


def _restricted_sum(
    model: PreTrainedModel, labels: torch.Tensor, kept_ids: torch.Tensor, **inputs: torch.Tensor
) -> torch.Tensor:
    """Return what `masked_lm_sum` does, with probability spread over the kept tokens alone."""
    return masked_lm_loss(restrict_to_kept(masked_logits(model, **inputs), kept_ids), labels)
