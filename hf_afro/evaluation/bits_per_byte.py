"""Bits per byte of a masked language model as scores of a report, on the same masked words for every model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from datasets import Dataset

from hf_afro.batching import PaddingCollator
from hf_afro.evaluation.encoding import longest
from hf_afro.evaluation.finetuning import check_tokenizer
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.reports import Score
from hf_afro.tasks import BITS_PER_BYTE
from hf_afro.training.finite import check_evaluated
from hf_afro.training.masked_words import masked_sentences, masked_word_totals

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hf_afro.vocabulary import VocabularyMap

logger = logging.getLogger(__name__)


def bits_per_byte_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Mapping[str, Sequence[str]],
    *,
    max_length: int = 512,
    batch_size: int = 32,
    dataset: str = "text",
    split: str = "held_out",
    restrict_to: VocabularyMap | None = None,
) -> tuple[Score, ...]:
    """Measure how well a model predicts masked words, by language.

    Nothing is trained. 15 % of the white-space words are masked, chosen by a hash of the text, so that models with
    different vocabularies are measured on the same words. A word that a tokenizer cannot represent costs 8 bits per
    byte.

    Args:
        model: A `...ForMaskedLM` model; its weights and mode are not changed.
        tokenizer: Its tokenizer.
        sentences: Lines of held-out text by ISO 639-3 code.
        max_length: The maximum number of tokens of a line; fewer if the model has fewer positions.
        batch_size: Lines per batch.
        dataset: The name of the text; the language is appended.
        split: The part of the text.
        restrict_to: Limits the predictions of a model with the full vocabulary to the tokens of this map, to compare
            it with its pruned form. The metric is then `bits_per_byte_restricted`.

    Returns:
        One score per language, lower being better. `n` counts masked words, and the note gives the share of unknown
        ones.

    Raises:
        ValueError: If a language has no masked word, the model has no masked-LM head, or tokenizer and model do not
            belong together.
        FloatingPointError: If a loss is not finite.
    """
    check_tokenizer(model, tokenizer)
    if model.get_output_embeddings() is None:
        raise ValueError(
            f"{type(model).__name__} has no masked-LM head; bits per byte need one: load AutoModelForMaskedLM"
        )
    if getattr(model.config, MASKED_LM_HEAD, None) in ("drawn", "untrained"):
        logger.warning(
            "the masked-LM head of this %s was never trained, so its bits per byte say little about the encoder; "
            "train the head first, with MAFTTrainer or hf-afro maft",
            type(model).__name__,
        )
    columns = {language: Dataset.from_dict({"text": list(lines)}) for language, lines in sentences.items()}
    masked = masked_sentences(columns, tokenizer, longest(model, max_length))
    pad_id = PaddingCollator.from_tokenizer(tokenizer).pad_id
    was_training = model.training
    model.eval()
    scores = []
    for language, examples in masked.items():
        totals = masked_word_totals(model, examples, pad_id, batch_size, restrict_to)
        check_evaluated({language: totals.nats})
        scores.append(
            Score(
                task=BITS_PER_BYTE,
                language=language,
                metric=BITS_PER_BYTE if restrict_to is None else f"{BITS_PER_BYTE}_restricted",
                values=(totals.bits_per_byte,),
                seeds=(),
                n=int(totals.scored_words + totals.unknown_words),
                split=split,
                dataset=f"{dataset}/{language}",
                fingerprint=hashlib.sha256("\n".join(sentences[language]).encode()).hexdigest(),
                note=f"{totals.unknown_share:.2%} of the words contain <unk>" if totals.unknown_words else "",
            )
        )
    model.train(was_training)
    return tuple(scores)
