"""How well a model predicts masked words: the sums that loss, perplexity and bits a byte are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset, IterableDataset

from hf_afro.batching.collators import IGNORED, PaddingCollator, pad_rows
from hf_afro.batching.word_masks import MaskedSentence, mask_sentences
from hf_afro.losses import MaskedWordTotals, masked_lm_loss, restrict_to_kept

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.training.masked_only import MaskedOnlyHead
    from hf_afro.vocabulary import VocabularyMap

# The words that are masked must be the same for every model that is ever compared, so their seed is no setting.
WORD_MASK_SEED = 0


def masked_sentences(
    datasets: Mapping[str, Dataset | IterableDataset], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, list[MaskedSentence]]:
    """Mask words of every language's sentences, once and for good.

    Args:
        datasets: ``{language: dataset}`` with a column `text`, a sentence a row.
        tokenizer: The model's.
        max_length: Tokens of a sentence at most; words beyond are left out.

    Raises:
        ValueError: If a dataset has no `text`, or none of its sentences has a masked word.
    """
    masked = {}
    for language, dataset in datasets.items():
        if dataset.column_names is not None and "text" not in dataset.column_names:
            raise ValueError(
                f"the evaluation set of {language} has the columns {dataset.column_names}; expected 'text': bits a "
                "byte are counted over words, which ids no longer show"
            )
        texts = (row["text"] for row in dataset)
        masked[language] = list(mask_sentences(texts, tokenizer, max_length=max_length, seed=WORD_MASK_SEED))
        if not any(sentence.words for sentence in masked[language]):
            raise ValueError(
                f"no sentence of {language} has a masked word within max_length={max_length} tokens; give more "
                "sentences, 200 are a good number, or shorter ones"
            )
    return masked


def means_of_sets(bits: Mapping[str, float], sets: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the mean bits a byte of all languages under the name "", and of each set that has one as `<name>_`.

    A set whose languages are not all measured is left out: its mean would be that of another set.

    Args:
        bits: Bits a byte by language.
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
    head: MaskedOnlyHead,
    sentences: Sequence[MaskedSentence],
    pad_id: int,
    batch_size: int,
    restrict_to: VocabularyMap | None = None,
    forwards: int = 0,
) -> MaskedWordTotals:
    """Return the sums over the masked words of some sentences.

    Args:
        model: A masked language model in eval mode.
        head: The model's own masked-only head.
        sentences: What `masked_sentences` made with the model's tokenizer; an empty sequence gives zeros.
        pad_id: What short rows are filled with.
        batch_size: Sentences at a time.
        restrict_to: Of a full-vocabulary model: it is asked to choose among the tokens this map keeps alone, to stand
            beside its pruned form; a word with a piece that is not kept is unknown then.
        forwards: How often the model is run at least, with nothing to score once the sentences are through: the
            processes of a model sharded by FSDP wait for each other in every forward.
    """
    kept_ids = None
    if restrict_to is not None:
        kept_ids = torch.from_numpy(restrict_to.old_ids.copy()).to(model.device)
        is_kept = np.isin(np.arange(restrict_to.old_size), restrict_to.old_ids)
        sentences = [sentence.restricted_to(is_kept) for sentence in sentences]
    nats, pieces = torch.zeros((), dtype=torch.float64), 0
    by_length = sorted(sentences, key=lambda sentence: len(sentence.input_ids))
    collate = PaddingCollator(pad_id)
    batches = [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]
    for batch in batches:
        inputs = collate([{"input_ids": sentence.input_ids} for sentence in batch])
        labels = torch.from_numpy(pad_rows([sentence.labels for sentence in batch], IGNORED)).flatten()
        positions = (labels != IGNORED).nonzero().squeeze(1)
        hidden_ids, positions = labels[positions].to(model.device), positions.to(model.device)
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        if kept_ids is None:
            with head.at(positions, hidden_ids):
                logits = model(**inputs).logits
            nats += head.summed_loss(logits, positions, hidden_ids).double().cpu()
        else:
            with head.at(positions):
                logits = model(**inputs).logits
            logits = restrict_to_kept(head.select(logits, positions), kept_ids)
            nats += masked_lm_loss(logits, hidden_ids).double().cpu()
        pieces += len(positions)
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
