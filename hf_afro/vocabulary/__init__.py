"""The vocabulary: count tokens, choose those worth keeping, cut model and tokenizer down to them, and prove it."""

from __future__ import annotations

from hf_afro.vocabulary.checkpoint import PrunedCheckpoint, prune_checkpoint
from hf_afro.vocabulary.counting import count_tokens
from hf_afro.vocabulary.counts import TextSize, TokenCounts
from hf_afro.vocabulary.counts_cache import count_with_cache
from hf_afro.vocabulary.coverage import LanguageCoverage, measure_coverage
from hf_afro.vocabulary.extending import ExtendedVocabulary, extend_vocabulary
from hf_afro.vocabulary.mapping import VocabularyMap
from hf_afro.vocabulary.pruning import PrunedModel, PruningReport, prune_vocabulary
from hf_afro.vocabulary.segmentation import TextReport, report_on_text
from hf_afro.vocabulary.selection import select_tokens
from hf_afro.vocabulary.verify import VerificationError, VerificationReport, verify

__all__ = [
    "ExtendedVocabulary",
    "LanguageCoverage",
    "PrunedCheckpoint",
    "PrunedModel",
    "PruningReport",
    "TextReport",
    "TextSize",
    "TokenCounts",
    "VerificationError",
    "VerificationReport",
    "VocabularyMap",
    "count_tokens",
    "count_with_cache",
    "extend_vocabulary",
    "measure_coverage",
    "prune_checkpoint",
    "prune_vocabulary",
    "report_on_text",
    "select_tokens",
    "verify",
]
