"""The front matter of a card, which the Hub reads: languages, base model, data, and the scores as a model index."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from hf_afro.cards.facts import CardFacts
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.formatting import describe_metric, language_name, task_name

LIBRARY = "transformers"
DIGITS = 4
PIPELINES = {
    "ner": "token-classification",
    "topic": "text-classification",
    "sentiment": "text-classification",
    "bits_per_byte": "fill-mask",
}
HUB_METRICS = {
    "entity_f1": "f1",
    "macro_f1": "f1",
    "weighted_f1": "f1",
    "entity_precision": "precision",
    "entity_recall": "recall",
}


def card_metadata(report: EvalReport, facts: CardFacts) -> ModelCardData:
    """Return what goes into the front matter; what is not known is left out.

    Args:
        report: Of the model itself.
        facts: About it.
    """
    return ModelCardData(
        language=[find_language(code).iso639_1 or code for code in facts.languages] or None,
        license=facts.licence,
        library_name=LIBRARY,
        tags=["hf_afro", *facts.methods],
        base_model=list(facts.base_model) or None,
        datasets=[source.hub_id for source in facts.text if source.hub_id] or None,
        pipeline_tag="feature-extraction" if facts.head == "untrained" else "fill-mask",
        model_name=facts.model_name,
        eval_results=[evaluation_result(score) for score in report.scores] or None,
    )


def evaluation_result(score: Score) -> EvalResult:
    """Return a score as an entry of the model index: its mean, rounded to four digits, with seeds, spread and n."""
    facts: dict[str, object] = {"n": score.n}
    if score.seeds:
        facts["seeds"] = list(score.seeds)
    if score.together:
        facts["trained_at_once_on"] = list(score.together)
    if score.spread is not None:
        facts["standard_deviation"] = round(score.spread, DIGITS)
    return EvalResult(
        task_type=PIPELINES.get(score.task, score.task),
        task_name=task_name(score.task),
        dataset_type=score.dataset,
        dataset_name=f"{score.dataset}, {language_name(score.language)}",
        dataset_config=score.language,
        dataset_split=score.split,
        metric_type=HUB_METRICS.get(score.metric, score.metric),
        metric_name=describe_metric(score.metric).name,
        metric_value=round(score.mean, DIGITS),
        metric_args=facts,
    )
