"""The front matter of a card, which the Hub reads: languages, base model, data, and the scores as a model index."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCardData

from hf_afro.cards.facts import CardFacts
from hf_afro.cards.use import use_of
from hf_afro.languages import find_language
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.formatting import describe_metric, language_name, task_name
from hf_afro.reports.published_sets import hub_id_of, set_title

DIGITS = 4
PIPELINES = {
    **dict.fromkeys(("ner", "pos", "spans", "tags"), "token-classification"),
    **dict.fromkeys(("topic", "sentiment", "nli", "texts", "pairs"), "text-classification"),
    "bits_per_byte": "fill-mask",
}
HUB_METRICS = {
    "entity_f1": "f1",
    "macro_f1": "f1",
    "weighted_f1": "f1",
    "entity_precision": "precision",
    "entity_recall": "recall",
}


class TaskResult(EvalResult):
    """An entry of the model index that is one with others of the same task only.

    Topics and sentiment of one set are both text classification, and the Hub's own class puts them into one entry.
    """

    @property
    def unique_identifier(self) -> tuple:
        """What entries have in common that are put together."""
        return (*super().unique_identifier, self.task_name)


def card_metadata(report: EvalReport, facts: CardFacts) -> ModelCardData:
    """Return what goes into the front matter; what is not known is left out.

    Args:
        report: Of the model itself.
        facts: About it.
    """
    use = use_of(report, facts)
    datasets = [source.hub_id for source in facts.text] + [hub_id_of(score.dataset) for score in report.scores]
    return ModelCardData(
        language=[find_language(code).iso639_1 or code for code in facts.languages] or None,
        license=facts.licence,
        library_name=use.library,
        tags=["hf_afro", *facts.methods],
        base_model=list(facts.base_model) or None,
        datasets=list(dict.fromkeys(filter(None, datasets))) or None,
        pipeline_tag=use.pipeline,
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
    return TaskResult(
        task_type=PIPELINES.get(score.task, score.task),
        task_name=task_name(score.task),
        dataset_type=hub_id_of(score.dataset) or score.dataset,
        dataset_name=f"{set_title(score.dataset)}, {language_name(score.language)}",
        dataset_config=score.language,
        dataset_split=score.split,
        metric_type=HUB_METRICS.get(score.metric, score.metric),
        metric_name=describe_metric(score.metric).name,
        metric_value=round(score.mean, DIGITS),
        metric_args=facts,
    )
