"""Count tokens, select the ones to keep, prune a model and its tokenizer to them, and verify the result."""

from __future__ import annotations

from hf_afro.vocabulary.audit import (
    VocabularyAudit as VocabularyAudit,
    compare_vocabularies as compare_vocabularies,
)
from hf_afro.vocabulary.checkpoint import (
    PrunedCheckpoint as PrunedCheckpoint,
    foresee_pruning as foresee_pruning,
    prune_checkpoint as prune_checkpoint,
    prune_model as prune_model,
)
from hf_afro.vocabulary.contents import (
    VocabularyContents as VocabularyContents,
    inspect_vocabulary as inspect_vocabulary,
)
from hf_afro.vocabulary.counting import count_tokens as count_tokens, count_with_cache as count_with_cache
from hf_afro.vocabulary.counts import TextSize as TextSize, TokenCounts as TokenCounts
from hf_afro.vocabulary.extending import (
    ExtendedVocabulary as ExtendedVocabulary,
    extend_vocabulary as extend_vocabulary,
)
from hf_afro.vocabulary.mapping import VocabularyMap as VocabularyMap
from hf_afro.vocabulary.pruning import (
    PrunedModel as PrunedModel,
    PruningReport as PruningReport,
    prune_vocabulary as prune_vocabulary,
)
from hf_afro.vocabulary.segmentation import TextReport as TextReport, report_on_text as report_on_text
from hf_afro.vocabulary.selection import (
    LanguageCoverage as LanguageCoverage,
    measure_coverage as measure_coverage,
    select_tokens as select_tokens,
)
from hf_afro.vocabulary.verify import (
    VerificationError as VerificationError,
    VerificationReport as VerificationReport,
    verify as verify,
)
