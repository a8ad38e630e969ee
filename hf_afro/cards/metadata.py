"""Front matter of a card, which the Hub reads: languages, pipeline, library, data, and scores as a model index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hf_afro.cards.card_facts import HEADS, CardFacts
from hf_afro.languages import find_language
from hf_afro.model_folders import MASKED_LM_HEAD
from hf_afro.reports import EvalReport, Score
from hf_afro.reports.formatting import describe_metric, describe_seeds, language_name, task_name
from hf_afro.reports.published_sets import BENCHMARK_TASKS, hub_id_of, set_title
from hf_afro.tasks import BITEXT, BITS_PER_BYTE, DROP, KINDS, metrics_of

DIGITS = 4
"""Decimals of the scores in the model index."""

HUB_METRICS = {
    "entity_f1": "f1",
    "macro_f1": "f1",
    "weighted_f1": "f1",
    "micro_f1": "f1",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "entity_precision": "precision",
    "entity_recall": "recall",
    "accuracy_at_1": "accuracy",
    "accuracy_at_1_from_language": "accuracy",
    "accuracy_at_1_into_language": "accuracy",
}

FILL_MASK, FEATURES, SIMILARITY = "fill-mask", "feature-extraction", "sentence-similarity"
SENTENCE_TRANSFORMERS, TRANSFORMERS = "sentence-transformers", "transformers"
_HEADS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
}
_MASKED_LM = ("ForMaskedLM", "WithLMHeadModel", "ForPreTraining")
_DETECTORS = ("ElectraForPreTraining", "FunnelForPreTraining")  # of replaced tokens, not masked-LM heads
_BUILT_FROM_ORDER = (
    *("teacher", "teacher_model_type", "layers", "embeddings"),
    *("embedding_energy", "embedding_energy_of_running_tokens"),
    *("head_bias", "head_transform", "head_differs"),
)
_TRAINED, _WITHOUT_HEAD = ("kept", "fitted_after_distillation"), ("drawn", "untrained")


class TaskResult(EvalResult):
    """An entry of the model index that is only merged with entries of the same task.

    Topics and sentiment of one set are both text classification, which the Hub's own class would merge.
    """

    @property
    def unique_identifier(self) -> tuple:
        """The key of entries that are merged."""
        return (*super().unique_identifier, self.task_name)


def card_metadata(report: EvalReport, facts: CardFacts) -> ModelCardData:
    """Return the front matter, without unknown values.

    Args:
        report: The report of the model itself.
        facts: The facts about it.
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
        # A drop is the difference of two scores, and no metric of the Hub.
        eval_results=[evaluation_result(score) for score in report.scores if DROP not in score.metric] or None,
    )


def evaluation_result(score: Score) -> EvalResult:
    """Return a score as an entry of the model index: its mean, rounded to four decimals, with seeds, spread and n."""
    facts: dict[str, object] = {"n": score.n}
    if score.seeds:
        facts["seeds"] = list(score.seeds)
    if score.together:
        facts["trained_jointly_on"] = list(score.together)
    if score.spread is not None:
        facts["standard_deviation"] = round(score.spread, DIGITS)
    return TaskResult(
        task_type=_pipeline_of(score.task),
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


def benchmark_results(report: EvalReport) -> dict[str, str]:
    """Return the files for `.eval_results/` by name: the main scores on sets that are benchmarks on the Hub.

    The Hub shows them on the model's page and on the leaderboard of the set, for which the model index is not enough.

    Args:
        report: The report of the model itself.
    """
    found: dict[str, list[EvalResultEntry]] = {}
    for score in report.scores:
        if score.dataset in BENCHMARK_TASKS and score.metric == metrics_of(score.task)[0]:
            seeds = f", fine-tuned, mean over {describe_seeds([score])}" if score.seeds else ""
            entry = EvalResultEntry(
                dataset_id=hub_id_of(score.dataset),
                task_id=BENCHMARK_TASKS[score.dataset],
                value=round(score.mean, DIGITS),
                notes=describe_metric(score.metric).name + seeds,
            )
            found.setdefault(score.dataset.partition("/")[0], []).append(entry)
    return {
        f"{name}.yaml": yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
        for name, entries in found.items()
    }


def _pipeline_of(task: str) -> str:
    """Return the Hub's name for the task of a score."""
    others = {BITS_PER_BYTE: FILL_MASK, BITEXT: SIMILARITY}
    return KINDS[task].pipeline if task in KINDS else others.get(task, task)


@dataclass(frozen=True)
class Use:
    """The pipeline and library that a card offers a model for.

    Attributes:
        pipeline: The `pipeline_tag`.
        library: The `library_name`.
        head: The state of its masked-LM head, a key of `HEADS`; empty if unknown, or if the model has another head.
        built_from: What `hf_afro.build_student` recorded about the model, with layers counted from 1; empty for other
            models.
    """

    pipeline: str
    library: str
    head: str
    built_from: Mapping[str, Any]

    @property
    def is_classifier(self) -> bool:
        """Whether it is fine-tuned on one task, and can do no other."""
        return self.pipeline in _HEADS.values()

    @property
    def teacher(self) -> str:
        """The teacher in `built_from`; empty if unknown."""
        return str(self.built_from.get("teacher") or "")


def use_of(report: EvalReport, facts: CardFacts) -> Use:
    """Return the pipeline and library of a model; nothing is offered without evidence.

    A masked-LM head counts as trained if the facts or the model's configuration say so, or if the model was saved with
    one and is not a student by `build_student`, whose head is new. An encoder alone has none, unless the facts say so.
    For a model with another head the masked-LM head is not mentioned.

    Args:
        report: The report of the model itself.
        facts: The facts about it.
    """
    architecture = str(report.model.get("architecture", ""))
    built_from = report.model.get("built_from")
    # Configurations are saved in alphabetical order.
    built_from = dict(sorted(built_from.items(), key=_place)) if isinstance(built_from, Mapping) else {}
    if isinstance(layers := built_from.get("layers"), list | tuple):  # recorded as indices
        built_from["layers"] = [index + 1 for index in layers]
    library = SENTENCE_TRANSFORMERS if report.model.get("library") == SENTENCE_TRANSFORMERS else TRANSFORMERS
    pipeline = next((task for ending, task in _HEADS.items() if architecture.endswith(ending)), "")
    if library == SENTENCE_TRANSFORMERS:
        pipeline = SIMILARITY
    if pipeline:
        return Use(pipeline, library, "", built_from)
    if architecture and (not architecture.endswith(_MASKED_LM) or architecture in _DETECTORS):
        alone = architecture.endswith("Model") and not architecture.endswith(("HeadModel", "HeadsModel"))
        return Use(FEATURES, library, (facts.head or "untrained") if alone else "", built_from)
    head = facts.head or _head_in_configuration(report)
    known = bool(architecture or head)
    trained = head in _TRAINED or (known and head not in _WITHOUT_HEAD and not built_from)
    return Use(FILL_MASK if trained else FEATURES, library, head, built_from)


def _place(item: tuple[str, Any]) -> int:
    """Return the position of an item of `built_from` on a card; unknown ones come last."""
    return _BUILT_FROM_ORDER.index(item[0]) if item[0] in _BUILT_FROM_ORDER else len(_BUILT_FROM_ORDER)


def _head_in_configuration(report: EvalReport) -> str:
    """Return the state of the masked-LM head according to the model's configuration; empty if it is not recorded."""
    head = report.model.get(MASKED_LM_HEAD, "")
    return head if head in HEADS else ""
