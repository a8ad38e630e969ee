"""Text in: reading, cleaning, taking out evaluation sentences, cutting into chunks, mixing languages, masking."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_afro.corpora.batching import MaskingCollator, PaddingCollator, mask_tokens, pad_rows
    from hf_afro.corpora.chunks import TokenRows, cut, pack
    from hf_afro.corpora.cleaning import LineRules, clean, reason_to_drop
    from hf_afro.corpora.cleaning_report import CleaningReport, Tally
    from hf_afro.corpora.decontamination import EvaluationSentences, decontaminate
    from hf_afro.corpora.mixing import Mixture, MixtureBatchSampler, MixtureDataset
    from hf_afro.corpora.near_duplicates import find_near_duplicates
    from hf_afro.corpora.preparation import PreparedCorpora, prepare_corpora
    from hf_afro.corpora.sources import TextSource, load_hub, read_corpora
    from hf_afro.corpora.tokenizing import boundary_ids, ready_rows, tokenize_corpus
    from hf_afro.corpora.word_masks import MaskedSentence, choose_words, mask_sentences, mask_words

__all__ = [
    "CleaningReport",
    "EvaluationSentences",
    "LineRules",
    "MaskedSentence",
    "MaskingCollator",
    "Mixture",
    "MixtureBatchSampler",
    "MixtureDataset",
    "PaddingCollator",
    "PreparedCorpora",
    "Tally",
    "TextSource",
    "TokenRows",
    "boundary_ids",
    "choose_words",
    "clean",
    "cut",
    "decontaminate",
    "find_near_duplicates",
    "load_hub",
    "mask_sentences",
    "mask_tokens",
    "mask_words",
    "pack",
    "pad_rows",
    "prepare_corpora",
    "read_corpora",
    "ready_rows",
    "reason_to_drop",
    "tokenize_corpus",
]

_FILES = {
    "batching": "MaskingCollator PaddingCollator mask_tokens pad_rows",
    "chunks": "TokenRows cut pack",
    "cleaning": "LineRules clean reason_to_drop",
    "cleaning_report": "CleaningReport Tally",
    "decontamination": "EvaluationSentences decontaminate",
    "mixing": "Mixture MixtureBatchSampler MixtureDataset",
    "near_duplicates": "find_near_duplicates",
    "preparation": "PreparedCorpora prepare_corpora",
    "sources": "TextSource load_hub read_corpora",
    "tokenizing": "boundary_ids ready_rows tokenize_corpus",
    "word_masks": "MaskedSentence choose_words mask_sentences mask_words",
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: reading and cleaning text needs no torch, batching does."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
