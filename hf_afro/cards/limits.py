"""What a card must admit: languages and tasks not measured, few seeds, leaks not looked for, a head fitted late."""

from __future__ import annotations

from collections.abc import Iterable

from hf_afro.cards.facts import HEADS, CardFacts
from hf_afro.cards.use import use_of
from hf_afro.corpora.cleaning_report import LEAKED
from hf_afro.reports import EvalReport
from hf_afro.reports.formatting import TASKS, language_name, task_name

NO_HARMS = (
    "Nothing in the evaluation reports measures social bias, toxic or false output, fairness between dialects or "
    "groups, or privacy of what the text held; none of these may be taken as absent."
)
FINE_TUNED = (
    "Scores of tasks say how the model does once it is fine-tuned on text of the very kind it was tested on; other "
    "kinds of text, spellings and registers were not measured."
)


def admitted_limits(report: EvalReport, facts: CardFacts) -> list[str]:
    """Return the limits that follow from the facts and the report, one or two sentences each.

    Args:
        report: Of the model itself.
        facts: About it.
    """
    limits = [*_not_measured(report, facts), *_about_scores(report)]
    if not facts.removed:
        limits.append(
            "What was taken out of the text before training is not recorded, so sentences of the evaluation sets may "
            "have been in it."
        )
    elif not any(reason in counts for counts in facts.removed.values() for reason in LEAKED):
        limits.append(
            "Among the lines taken out of the text no evaluation sentence is counted: none was in it, or they were "
            "not looked for."
        )
    if not facts.text:
        limits.append("The text it learnt from is not recorded here, nor is that text's licence.")
    elif any(source.licence is None for source in facts.text):
        unlicensed = [source.name for source in facts.text if source.licence is None]
        limits.append(f"The licence of this text is not recorded: {', '.join(unlicensed)}.")
    use = use_of(report, facts)
    if use.head:
        limits.append(HEADS[use.head])
    if made_from := facts.base_model or tuple(filter(None, [use.teacher])):
        limits.append(f"What limits {_join(made_from)} has, biases included, this model may have kept.")
    if any(score.seeds for score in report.scores):
        limits.append(FINE_TUNED)
    return [*limits, NO_HARMS, *facts.limits]


def _not_measured(report: EvalReport, facts: CardFacts) -> list[str]:
    measured = {(score.task, score.language) for score in report.scores}
    tasks = [task for task in TASKS if any(task == one for one, _ in measured)]
    limits = []
    missing_tasks = [task_name(task).lower() for task in TASKS if task not in tasks]
    if missing_tasks:
        limits.append(f"Not measured at all: {_join(missing_tasks)}.")
    nowhere = [code for code in facts.languages if not any(code == language for _, language in measured)]
    if nowhere:
        limits.append(f"Languages it was made for and that were measured on nothing: {_names(nowhere)}.")
    for task in tasks:
        missing = [code for code in facts.languages if (task, code) not in measured and code not in nowhere]
        if missing:
            limits.append(f"{task_name(task)}: not measured in {_names(missing)}.")
    return limits


def _about_scores(report: EvalReport) -> list[str]:
    limits = []
    single = {score.task: None for score in report.scores if len(score.seeds) == 1}
    if single:
        names = _join([task_name(task).lower() for task in single])
        limits.append(f"Fine-tuned with one seed only, so without a spread: {names}.")
    together = dict.fromkeys((score.task, score.together) for score in report.scores if score.together)
    limits += [f"{task_name(task)}: trained at once on {_names(codes)}." for task, codes in together]
    if report.over_adapters:
        limits.append("Fine-tuned by LoRA over adapters of languages, which are not in the model itself.")
    # The metrics of one task share what befell it.
    noted = dict.fromkeys((score.task, score.language, score.note) for score in report.scores if score.note)
    limits += [f"{task_name(task)}, {language_name(language)}: {note}." for task, language, note in noted]
    return limits


def _names(codes: Iterable[str]) -> str:
    return _join([language_name(code) for code in codes])


def _join(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
