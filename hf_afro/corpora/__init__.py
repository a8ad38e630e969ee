"""Monolingual text: reading, cleaning, language identification, decontamination, near-duplicates, preparation."""

from __future__ import annotations

from hf_afro.corpora.cleaning import LineRules as LineRules, clean as clean, reason_to_drop as reason_to_drop
from hf_afro.corpora.cleaning_report import CleaningReport as CleaningReport, Tally as Tally
from hf_afro.corpora.decontamination import (
    EvaluationSentences as EvaluationSentences,
    decontaminate as decontaminate,
    excluded_sentences as excluded_sentences,
)
from hf_afro.corpora.language_identification import (
    DatatroveIdentifier as DatatroveIdentifier,
    FastTextIdentifier as FastTextIdentifier,
    LanguageCheck as LanguageCheck,
)
from hf_afro.corpora.near_duplicates import find_near_duplicates as find_near_duplicates
from hf_afro.corpora.preparation import PreparedCorpora as PreparedCorpora, prepare_corpora as prepare_corpora
from hf_afro.corpora.reading import TextSource as TextSource, load_hub as load_hub, read_corpora as read_corpora
