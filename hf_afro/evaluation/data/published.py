"""Published sets: the forms of their files, and where they are on the Hub.

On the Hub, sets are read from the Parquet conversion that it keeps of every public set, since the repositories hold
loading scripts, which `datasets` no longer runs. The conversion is the branch ``refs/convert/parquet``, with one
folder per configuration and one per split in it. **Not verified offline**: ids, branch and layout are as documented;
none of it was fetched when this was written. A branch is no commit, so only the `fingerprint` of the task identifies
what was read; pass a commit of that branch as `revision` to pin it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_afro.evaluation.data.conll import Example, Repairs
from hf_afro.evaluation.data.descriptions import SetDescription
from hf_afro.evaluation.data.tables import (
    Columns,
    Labels,
    TableForm,
    dataset_rows,
    examples_of,
    header_of,
    read_rows,
)
from hf_afro.evaluation.data.task_data import SPLITS, TaskData, make_task_data
from hf_afro.languages import find_language, languages_in
from hf_afro.reports.published_sets import hub_id_of
from hf_afro.tasks import KINDS, TaskKind, kind_of

_NLI = ("entailment", "neutral", "contradiction")
# Numbers in the order of XNLI; the repository of AfriXNLI has had names and numbers.
_NLI_LABELS = {**{str(number): name for number, name in enumerate(_NLI)}, **{name: name for name in _NLI}}


@dataclass(frozen=True)
class PublishedForm:
    """The layout of the TSV files of a published set.

    Attributes:
        header: The columns it begins with; more may follow.
        columns: The columns that hold text and label.
        quoted: Whether cells may be quoted.
        labels: From labels as written to their names.
    """

    header: tuple[str, ...]
    columns: Columns
    quoted: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)


FORMS = (
    # MasakhaNEWS; most files have `url` too
    PublishedForm(("category", "headline", "text"), Columns(text=("headline", "text"), label="category")),
    # ANTC
    PublishedForm(("text", "label"), Columns()),
    # AfriSenti; its Oromo and Tigrinya begin with an ID
    PublishedForm(("tweet", "label"), Columns(text=("tweet",)), quoted=False),
    PublishedForm(("ID", "tweet", "label"), Columns(text=("tweet",)), quoted=False),
    # AfriHate, as its configurations on the Hub have it
    PublishedForm(("id", "tweet", "label"), Columns(text=("tweet",))),
    # SIB-200
    PublishedForm(("index_id", "category", "text"), Columns(label="category")),
    # AfriXNLI; some files have `language` and other columns too
    PublishedForm(
        ("premise", "hypothesis", "label"), Columns(text=("premise",), text_pair="hypothesis"), labels=_NLI_LABELS
    ),
)


def read_tsv(
    path: Path, repairs: Repairs, kind: TaskKind = KINDS["texts"], numbers: list[int] | None = None
) -> list[Example]:
    """Read texts or pairs and their labels from a TSV of a published set, recognised by its header; see `FORMS`.

    In MasakhaNEWS, the text is the headline, a line feed and the article. Rows without text are dropped.

    Args:
        path: The file.
        repairs: Counts what was repaired.
        kind: The kind of task.
        numbers: Receives the number of each example among the rows, from 0, counting dropped ones.

    Raises:
        ValueError: If the header is unknown, a row has another number of columns or no label, a quote is never closed,
            or the file cannot be read.
    """
    header = header_of(path)
    wanted = [form for form in FORMS if (form.columns.text_pair in form.header) == kind.pairs]
    form = next((form for form in wanted if tuple(header[: len(form.header)]) == form.header), None)
    if form is None:
        forms = " or ".join(repr("\t".join(form.header)) for form in wanted)
        raise ValueError(f"{path} starts with {header[:5]}; expected the header {forms}, or a description of the set")
    rows = read_rows(path, TableForm("tsv", quoted=form.quoted), repairs)
    return examples_of(rows, kind, form.columns, Labels(form.labels, "none"), repairs, numbers)


_EMOTIONS = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
_INJONGO = {"train": "{language}/train.jsonl", "dev": "{language}/dev.jsonl", "test": "{language}/test.jsonl"}

LAYOUTS: tuple[tuple[str, SetDescription], ...] = (
    # emotion-analysis-project/SemEval2025-Task11; Afrikaans has no surprise
    (
        "task-dataset/semeval-2025-task11-dataset/track_a",
        SetDescription(
            name="brighter",
            task="emotion",
            files={split: f"{split}/{{language}}.csv" for split in ("train", "dev", "test")},
            languages={**{code: code for code in languages_in("brighter")}, "por": "ptmz", "vmw": "vmw"},
            columns=Columns(labels=_EMOTIONS),
        ),
    ),
    # semantic-textual-relatedness/Semantic_Relatedness_SemEval2024; both sentences are in one cell
    (
        "Track A",
        SetDescription(
            name="semrel",
            task="relatedness",
            files={
                "train": "{language}/{language}_train.csv",
                "dev": "{language}/{language}_dev_with_labels.csv",
                "test": "{language}/{language}_test_with_labels.csv",
            },
            languages={code: code for code in languages_in("semrel")},
            columns=Columns(text=("Text",), text_pair="Text", label="Score"),
        ),
    ),
    # McGill-NLP/Injongo
    (
        "data/cleaned-dataset",
        SetDescription(
            name="injongo",
            task="intent",
            files=_INJONGO,
            languages={code: code for code in languages_in("injongo")},
            columns=Columns(label="intent"),
        ),
    ),
    (
        "data/cleaned-dataset",
        SetDescription(
            name="injongo",
            task="slots",
            files=_INJONGO,
            languages={code: code for code in languages_in("injongo")},
            columns=Columns(spans="spans"),
            unseen_labels=True,  # slots are many, and some are rare
        ),
    ),
)
"""Published sets whose files are not one folder per language with `train.tsv` or `train.txt`: the folder in their
repository, and what is in it."""


def find_layout(task: str, root: Path) -> tuple[SetDescription, Path] | None:
    """Return the set of `LAYOUTS` that a folder holds for a task, and the folder that its files are relative to.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        root: A copy of the set's repository or of the folder in it, or a folder with such a copy in it, under the name
            of the task or deeper.
    """
    own = [(Path(home).parts, description) for home, description in LAYOUTS if description.task == task]
    below = sorted((root / task).glob("*/")) if own else []
    for base in (root, root / task, *below):
        for home, description in own:
            # The whole repository, the last folder in it, or anything between.
            for start in range(len(home), -1, -1):
                if description.files_in(folder := base.joinpath(*home[start:]), "test"):
                    return description, folder
    return None


def languages_there(description: SetDescription, folder: Path) -> tuple[str, ...]:
    """Return the languages of a set whose test split a folder holds."""
    files = description.files_in(folder, "test")
    return tuple(code for code, name in description.languages.items() if name in files)


CONVERSION = "refs/convert/parquet"


@dataclass(frozen=True)
class HubSet:
    """One set on the Hub, in one configuration per language.

    Attributes:
        task: Its task.
        columns: The columns that hold text and labels.
        labels: From labels as written to their names.
        tagged_by_script: Whether configurations are named such as `swh_Latn`, and not by ISO 639-3 code.
        train: Repository and configuration of the training split, where that is elsewhere.
        dev: The name of the dev split.
    """

    task: str
    columns: Columns
    labels: Mapping[str, str] = field(default_factory=dict)
    tagged_by_script: bool = False
    train: tuple[str, str] | None = None
    dev: str = "validation"


_NER = Columns(tags="ner_tags")
HUB_SETS: dict[str, HubSet] = {
    "masakhaner2": HubSet("ner", _NER),
    "masakhaner1": HubSet("ner", _NER),
    "masakhapos": HubSet("pos", Columns(tags="upos")),
    "masakhanews": HubSet("topic", Columns(text=("headline", "text"))),
    "sib200": HubSet("topic", Columns(label="category"), tagged_by_script=True),
    "afrisenti": HubSet("sentiment", Columns(text=("tweet",))),
    "afrixnli": HubSet(
        "nli", Columns(text=("premise",), text_pair="hypothesis"), _NLI_LABELS, train=("facebook/xnli", "en")
    ),
    "afrihate": HubSet("hate", Columns(text=("tweet",))),
    "injongo": HubSet("intent", Columns(label="intent")),
    "semrel": HubSet("relatedness", Columns(text=("sentence1",), text_pair="sentence2"), dev="dev"),
}
"""By the names that `PUBLISHED_SETS` and the language sets of `hf_afro.languages` use too. The first of a task is its
default."""


def hub_set_of(task: str, dataset: str | None = None) -> str:
    """Return the name of a set on the Hub for a task: the one asked for, or the task's default.

    Raises:
        ValueError: If the task is unknown, or has no such set.
    """
    kind_of(task)
    own = [name for name, hub_set in HUB_SETS.items() if hub_set.task == task]
    if (dataset or own) and (dataset is None or dataset in own):
        return dataset or own[0]
    raise ValueError(
        f"no set {dataset or ''!r} for {task} on the Hub; expected one of {', '.join(own) or 'none'}, or a "
        "description of the set"
    )


def load_hub_task(
    task: str, language: str, *, dataset: str | None = None, revision: str = CONVERSION, trained: bool = True
) -> TaskData:
    """Read one task in one language from the Hub; see the module for what is not verified.

    `load_described` reads sets that are not in `HUB_SETS`. ANTC is not on the Hub under a name known here.

    Args:
        task: A name in `hf_afro.tasks.KINDS`.
        language: In any code.
        dataset: A name in `HUB_SETS`; by default the task's first.
        revision: A commit or branch of the set.
        trained: Whether a model is trained on it; otherwise only the test split is read.

    Raises:
        ValueError: If the task or set is unknown, the set lacks the language, or its columns are not as expected.
    """
    name = hub_set_of(task, dataset)
    hub_set, kind = HUB_SETS[name], kind_of(task)
    known = find_language(language)
    code = known.iso639_3
    if code not in languages_in(name):
        raise ValueError(f"{name} has no {code}; it has {', '.join(languages_in(name))}")
    folder = known.tag if hub_set.tagged_by_script else code
    splits, files = _splits(name, folder, revision, SPLITS if trained else ("test",))
    repairs = Repairs()
    numbers: dict[str, list[int]] = {split: [] for split in splits}
    examples = {}
    for split, rows in splits.items():
        source = f"{hub_id_of(name)}, {split}"
        _check_columns(hub_set, rows, source)
        labels = Labels(hub_set.labels, "iob2" if kind.spans else "none")
        own = dataset_rows(rows, source)
        examples[split] = examples_of(own, kind, hub_set.columns, labels, repairs, numbers[split])
    return make_task_data(
        task,
        code,
        f"{name}/{code}",
        examples,
        repairs,
        files,
        unseen_labels=kind.has_rare_labels,
        trained=trained,
        numbers=numbers,
    )


def _check_columns(hub_set: HubSet, rows: Any, source: str) -> None:
    """Refuse unexpected columns, and numbered labels without names: what 0 means may differ by revision."""
    needed = hub_set.columns.needed(kind_of(hub_set.task))
    missing = [name for name in needed if name not in rows.column_names]
    if missing:
        raise ValueError(f"{source} has the columns {', '.join(rows.column_names)}; expected {', '.join(missing)}")
    feature = rows.features[needed[-1]]
    feature = getattr(feature, "feature", feature)
    if not hub_set.labels and not hasattr(feature, "names") and "int" in str(getattr(feature, "dtype", "")):
        raise ValueError(f"{source}: {needed[-1]!r} holds numbers without names of labels; expected a ClassLabel")


def _splits(name: str, folder: str, revision: str, wanted: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the wanted splits of the language in a folder, and the origin of each."""
    from datasets import load_dataset

    hub_set, repository = HUB_SETS[name], hub_id_of(name)
    names = {split: hub_set.dev if split == "dev" else split for split in wanted}
    patterns = {split: f"{folder}/{own}/*.parquet" for split, own in names.items()}
    elsewhere = hub_set.train if "train" in patterns else None
    if elsewhere:
        del patterns["train"]
    own = load_dataset(repository, data_files=patterns, revision=revision)
    splits = {split: own[split] for split in patterns}
    files = dict.fromkeys(patterns, f"{repository}@{revision}")
    if elsewhere:
        other, configuration = elsewhere
        pattern = {"train": f"{configuration}/train/*.parquet"}
        splits = {"train": load_dataset(other, data_files=pattern, revision=CONVERSION)["train"], **splits}
        files = {"train": f"{other}@{CONVERSION}, {configuration}", **files}
    return splits, files
