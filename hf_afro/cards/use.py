"""The pipeline and the library that a card offers a model for; nothing is offered without evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_afro.cards.facts import HEADS, CardFacts
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.reports import EvalReport

FILL_MASK, FEATURES, SIMILARITY = "fill-mask", "feature-extraction", "sentence-similarity"
SENTENCE_TRANSFORMERS, TRANSFORMERS = "sentence-transformers", "transformers"
_HEADS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
}
_MASKED_LM = ("ForMaskedLM", "WithLMHeadModel", "ForPreTraining")
_DETECTORS = ("ElectraForPreTraining", "FunnelForPreTraining")  # of words that another model put in
_TOLD = (
    *("teacher", "teacher_model_type", "layers", "embeddings", "embedding_energy"),
    *("head_bias", "head_transform", "head_differs"),
)
_TRAINED, _WITHOUT_HEAD = ("kept", "fitted_after_distillation"), ("drawn", "untrained")


@dataclass(frozen=True)
class Use:
    """The use that a card offers.

    Attributes:
        pipeline: The `pipeline_tag`.
        library: The `library_name`.
        head: What became of its masked-LM head, a key of `HEADS`; empty where that is not known, or where the model
            has another head.
        built_from: What `hf_afro.build_student` noted of how it made the model; empty where it did not make it.
    """

    pipeline: str
    library: str
    head: str
    built_from: Mapping[str, Any]

    @property
    def teacher(self) -> str:
        """The facts of `built_from`; empty where they are not known."""
        return str(self.built_from.get("teacher") or "")


def use_of(report: EvalReport, facts: CardFacts) -> Use:
    """Return what a model is offered for.

    A masked-LM head counts as trained where the facts or the model's configuration say so, or where the model was
    saved with one and is no student of `build_student`, whose head is new. An encoder alone has none, unless the facts
    say so. Of a model with another head nothing is said of a masked-LM head.

    Args:
        report: Of the model itself.
        facts: About it.
    """
    architecture = str(report.model.get("architecture", ""))
    built_from = report.model.get("built_from")
    # A configuration is saved in the order of the alphabet.
    built_from = dict(sorted(built_from.items(), key=_place)) if isinstance(built_from, Mapping) else {}
    library = SENTENCE_TRANSFORMERS if report.model.get("library") == SENTENCE_TRANSFORMERS else TRANSFORMERS
    pipeline = next((task for ending, task in _HEADS.items() if architecture.endswith(ending)), "")
    if library == SENTENCE_TRANSFORMERS:
        pipeline = SIMILARITY
    if pipeline:
        return Use(pipeline, library, "", built_from)
    if architecture and (not architecture.endswith(_MASKED_LM) or architecture in _DETECTORS):
        alone = architecture.endswith("Model") and not architecture.endswith(("HeadModel", "HeadsModel"))
        return Use(FEATURES, library, (facts.head or "untrained") if alone else "", built_from)
    head = facts.head or _head_told(report)
    known = bool(architecture or head)
    trained = head in _TRAINED or (known and head not in _WITHOUT_HEAD and not built_from)
    return Use(FILL_MASK if trained else FEATURES, library, head, built_from)


def _place(item: tuple[str, Any]) -> int:
    """Return the place of a fact of `built_from` on a card; unknown ones come last."""
    return _TOLD.index(item[0]) if item[0] in _TOLD else len(_TOLD)


def _head_told(report: EvalReport) -> str:
    """Return what became of the masked-LM head by the model's configuration; empty where it does not say."""
    head = report.model.get(MASKED_LM_HEAD, "")
    return head if head in HEADS else ""
