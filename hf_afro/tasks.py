"""Tasks: what is labelled (words, texts or pairs of texts), with what, and which metrics score it.

Every other module takes the names of tasks and their metrics from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hf_afro.messages import nearest

MULTI_LABEL, REGRESSION = "multi_label_classification", "regression"
"""Values of `problem_type` in the configurations of transformers."""

BITS_PER_BYTE = "bits_per_byte"
"""The task and metric name of bits per byte in reports."""

BITEXT = "bitext"
"""The task of finding the translation of each sentence of parallel text by its vector."""


@dataclass(frozen=True)
class TaskKind:
    """The form of a task's examples, labels and scores.

    Attributes:
        title: Its name in headings.
        metrics: The metrics that tables show. The first is the main one, which also selects the best epoch.
        tagged: Whether every word has a label; otherwise each text or pair has one.
        spans: Whether labels are IOB2 tags and scored as entities.
        pairs: Whether an example is a pair of texts.
        problem_type: What the head of a text or pair learns, as transformers names it: one label, any number of
            labels (`MULTI_LABEL`) or a number (`REGRESSION`).
        counted: What `n` of a score counts.
    """

    title: str
    metrics: tuple[str, ...]
    tagged: bool = False
    spans: bool = False
    pairs: bool = False
    problem_type: str = "single_label_classification"
    counted: str = "examples"

    @property
    def main_metric(self) -> str:
        """The metric that selects the best epoch and that papers report first."""
        return self.metrics[0]

    @property
    def multi_label(self) -> bool:
        """Whether a text has any number of labels, none included."""
        return self.problem_type == MULTI_LABEL

    @property
    def regression(self) -> bool:
        """Whether a text or pair has a number, and no label."""
        return self.problem_type == REGRESSION

    @property
    def lists_labels(self) -> bool:
        """Whether an example has a list of labels: one per word, or any number of a text's."""
        return self.tagged or self.multi_label

    @property
    def has_rare_labels(self) -> bool:
        """Whether dev and test may have labels that train lacks, as of the seventeen parts of speech some are rare."""
        return self.tagged and not self.spans

    @property
    def pipeline(self) -> str:
        """The pipeline tag of a fine-tuned model on the Hub."""
        return "token-classification" if self.tagged else "text-classification"


_SPANS = TaskKind("Spans", ("entity_f1", "entity_precision", "entity_recall"), tagged=True, spans=True)
_TAGS = TaskKind("Word tags", ("accuracy", "macro_f1", "weighted_f1"), tagged=True)
_TEXTS = TaskKind("Text classes", ("weighted_f1", "macro_f1", "accuracy"))
_PAIRS = TaskKind("Classes of text pairs", ("accuracy", "macro_f1", "weighted_f1"), pairs=True)
_MULTI_LABEL = TaskKind("Texts with several labels", ("macro_f1", "micro_f1"), problem_type=MULTI_LABEL)
_REGRESSION = TaskKind("Texts with a number", ("pearson", "spearman"), problem_type=REGRESSION)
_PAIR_REGRESSION = TaskKind("Text pairs with a number", ("spearman", "pearson"), pairs=True, problem_type=REGRESSION)

KINDS: dict[str, TaskKind] = {
    "ner": replace(_SPANS, title="Named entities"),
    "topic": replace(_TEXTS, title="News topics"),
    "sentiment": replace(_TEXTS, title="Sentiment"),
    "pos": replace(_TAGS, title="Parts of speech"),
    "nli": replace(_PAIRS, title="Natural language inference"),
    "hate": replace(_TEXTS, title="Hate speech", metrics=("macro_f1", "weighted_f1", "accuracy")),
    "intent": replace(_TEXTS, title="Intents", metrics=("accuracy", "macro_f1", "weighted_f1")),
    "slots": replace(_SPANS, title="Slots"),
    "emotion": replace(_MULTI_LABEL, title="Emotions"),
    "relatedness": replace(_PAIR_REGRESSION, title="Semantic relatedness"),
    # For a set of your own that is none of the above.
    "spans": _SPANS,
    "tags": _TAGS,
    "texts": _TEXTS,
    "pairs": _PAIRS,
    "multi_label": _MULTI_LABEL,
    "regression": _REGRESSION,
    "pair_regression": _PAIR_REGRESSION,
}
"""By the name of the task, in the order of tables."""

MEASURED: dict[str, TaskKind] = {
    BITS_PER_BYTE: TaskKind("Bits per byte", (BITS_PER_BYTE,), counted="masked words"),
    BITEXT: TaskKind(
        "Bitext retrieval",
        ("accuracy_at_1", "accuracy_at_1_from_language", "accuracy_at_1_into_language"),
        counted="pairs",
    ),
}
"""What is measured without training, so that it has no examples with labels and is not in `KINDS`."""

TASKS = tuple(KINDS)

PERTURBATIONS = {"no_diacritics": "without diacritics", "lower_case": "in lower case"}
"""How test text is changed to measure robustness, with the words for headings; see
`hf_afro.evaluation.perturbation`."""

DROP = "_drop_"
"""Between a metric and a perturbation: how much lower the score is on the changed text."""

STANDARD = ("ner", "topic", "sentiment", BITS_PER_BYTE)
"""What models are compared by in print; a card says which of these were not measured."""


def kind_of(task: str) -> TaskKind:
    """Return the kind of a task.

    Raises:
        ValueError: If the task is unknown; the message names the nearest one and lists all.
    """
    if task in KINDS:
        return KINDS[task]
    raise ValueError(f"unknown task {task!r}; {nearest(task, TASKS, every=True)}")


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the metrics that tables show for a task of `KINDS` or `MEASURED`, the main one first."""
    return (MEASURED.get(task) or kind_of(task)).metrics
