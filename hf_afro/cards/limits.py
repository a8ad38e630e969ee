"""Limits that a card must state: languages and tasks not measured, few seeds, possible leaks, licences, the head."""

from __future__ import annotations

from collections.abc import Iterable

from hf_afro.cards.card_facts import HEADS, CardFacts
from hf_afro.cards.metadata import use_of
from hf_afro.corpora.cleaning_report import LEAKED
from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import format_count, language_name, task_name, tasks_in
from hf_afro.tasks import STANDARD

NO_HARMS = (
    "The evaluation does not measure social bias, toxic or false output, fairness between dialects or groups, or the "
    "privacy of the training text; do not assume that the model is free of such problems."
)
FINE_TUNED = (
    "Task scores are for models fine-tuned on the same kind of text that they are tested on; other kinds of text, "
    "spellings and registers were not measured."
)


def limits_of(report: EvalReport, facts: CardFacts) -> list[str]:
    """Return the limits that follow from the facts and the report, one or two sentences each.

    Args:
        report: The report of the model itself.
        facts: The facts about it.
    """
    limits = [*_not_measured(report, facts), *_about_scores(report)]
    searched = report.provenance.get("distillation", {}).get("evaluation_sentences")
    if not facts.removed and not searched:
        limits.append(
            "Decontamination of the training text is not recorded, so it may contain sentences of the evaluation sets."
        )
    elif facts.removed and not any(reason in counts for counts in facts.removed.values() for reason in LEAKED):
        limits.append(_nothing_leaked(facts.searched))
    if not facts.text:
        limits.append("The training text and its licence are not recorded.")
    elif any(source.licence is None for source in facts.text):
        unlicensed = [source.name for source in facts.text if source.licence is None]
        limits.append(f"The licence of this training text is not recorded: {', '.join(unlicensed)}.")
    use = use_of(report, facts)
    if use.head:
        limits.append(HEADS[use.head])
    if made_from := facts.base_model or tuple(filter(None, [use.teacher])):
        limits.append(f"The limits and biases of {_join(made_from)} may apply to this model too.")
    if any(score.seeds for score in report.scores):
        limits.append(FINE_TUNED)
    return [*limits, NO_HARMS, *facts.limits]


def _nothing_leaked(searched: int | None) -> str:
    """Return why no line was dropped for an evaluation sentence, given how many were searched for."""
    if searched:
        return f"{format_count(searched)} evaluation sentences were searched for in the training text; none was found."
    if searched == 0:
        return "No evaluation sentences were searched for in the training text, so it may contain some."
    return (
        "No evaluation sentence was dropped from the training text; how many were searched for is not recorded, so it "
        "may contain some."
    )


def _not_measured(report: EvalReport, facts: CardFacts) -> list[str]:
    measured = {(score.task, score.language) for score in report.scores}
    tasks = tasks_in([report])
    limits = []
    missing_tasks = [task_name(task).lower() for task in STANDARD if task not in tasks]
    if missing_tasks and not use_of(report, facts).is_classifier:
        limits.append(f"Tasks not measured: {_join(missing_tasks)}.")
    nowhere = [code for code in facts.languages if not any(code == language for _, language in measured)]
    if nowhere:
        limits.append(f"Languages not measured on any task: {_names(nowhere)}.")
    for task in tasks:
        missing = [code for code in facts.languages if (task, code) not in measured and code not in nowhere]
        if missing:
            limits.append(f"{task_name(task)}: not measured in {_names(missing)}.")
    return limits


def _about_scores(report: EvalReport) -> list[str]:
    limits = []
    single = {
        score.task: None
        for score in report.scores
        if len(score.seeds) == 1 and not report.is_probe(score.task, score.language)
    }
    if single:
        names = _join([task_name(task).lower() for task in single])
        limits.append(f"Fine-tuned with a single seed, so without a standard deviation: {names}.")
    together = dict.fromkeys((score.task, score.together) for score in report.scores if score.together)
    limits += [f"{task_name(task)}: trained jointly on {_names(codes)}." for task, codes in together]
    # All metrics of a task have the same note.
    noted = dict.fromkeys((score.task, score.language, score.note) for score in report.scores if score.note)
    limits += [f"{task_name(task)}, {language_name(language)}: {note}." for task, language, note in noted]
    return limits


def _names(codes: Iterable[str]) -> str:
    return _join([language_name(code) for code in codes])


def _join(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
