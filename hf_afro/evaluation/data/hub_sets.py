"""Tasks from the Hugging Face Hub, through the Parquet conversions that the Hub keeps of every public set.

The sets' own repositories hold loading scripts, which `datasets` no longer runs. The conversion is a branch of the
repository, ``refs/convert/parquet``, with one folder a configuration and one a split. **Not verified offline**: the
ids, the branch and its layout are as public documentation has them; none of it was fetched when this was written.
A branch is no commit, so what was read is known by the `fingerprint` of the task alone; pass a commit of that branch
as `revision` to fix it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_afro.evaluation.data.examples import Columns, Labels, examples_of
from hf_afro.evaluation.data.formats import Repairs
from hf_afro.evaluation.data.kinds import kind_of
from hf_afro.evaluation.data.published import NLI_LABELS
from hf_afro.evaluation.data.tables import dataset_rows
from hf_afro.evaluation.data.task_data import TaskData, make_task_data
from hf_afro.languages import find_language, languages_in
from hf_afro.reports.published_sets import hub_id_of

CONVERSION = "refs/convert/parquet"
_HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class HubSet:
    """One set on the Hub.

    Attributes:
        task: The task it is for.
        repository: Its id.
        languages: The set of `hf_afro.languages` that its configurations are named after.
        columns: Where text and labels stand.
        labels: What labels are called that are written otherwise, such as in numbers.
        tagged_by_script: Whether configurations are called such as `swh_Latn`.
        train: Where the training split comes from if not from there: a repository and a configuration.
        revision: The branch that is read.
    """

    task: str
    repository: str
    languages: str
    columns: Columns
    labels: Mapping[str, str] = field(default_factory=dict)
    tagged_by_script: bool = False
    train: tuple[str, str] | None = None
    revision: str = CONVERSION


_NER = Columns(tags="ner_tags")
HUB_SETS: dict[str, HubSet] = {
    "masakhaner1": HubSet("ner", hub_id_of("masakhaner1"), "masakhaner1", _NER),
    "masakhaner2": HubSet("ner", hub_id_of("masakhaner2"), "masakhaner2", _NER),
    "masakhapos": HubSet("pos", hub_id_of("masakhapos"), "masakhapos", Columns(tags="upos")),
    "masakhanews": HubSet("topic", hub_id_of("masakhanews"), "masakhanews", Columns(text=("headline", "text"))),
    "sib200": HubSet("topic", hub_id_of("sib200"), "sib200", Columns(label="category"), tagged_by_script=True),
    "afrisenti": HubSet("sentiment", hub_id_of("afrisenti"), "afrisenti", Columns(text=("tweet",))),
    "afrixnli": HubSet(
        "nli",
        hub_id_of("afrixnli"),
        "afrixnli",
        Columns(text=("premise",), text_pair="hypothesis"),
        NLI_LABELS,
        train=("facebook/xnli", "en"),
    ),
}
_DEFAULT = {
    "ner": "masakhaner2",
    "pos": "masakhapos",
    "topic": "masakhanews",
    "sentiment": "afrisenti",
    "nli": "afrixnli",
}


def load_hub_task(
    task: str, language: str, *, dataset: str | None = None, revision: str | None = None, trained: bool = True
) -> TaskData:
    """Read one task in one language from the Hub; see the module for what is not verified.

    Sets that are not of `HUB_SETS` are read by `load_described`. ANTC is not on the Hub under a name known here.

    Args:
        task: `ner`, `pos`, `topic`, `sentiment` or `nli`.
        language: In any code.
        dataset: A name of `HUB_SETS`; by default MasakhaNER 2.0, MasakhaPOS, MasakhaNEWS, AfriSenti or AfriXNLI.
        revision: A commit or branch in place of the set's own.
        trained: Whether it is to be trained on; else test alone is read.

    Raises:
        ValueError: If task, language or set is unknown, the set has not that language, or its columns are others.
    """
    kind = kind_of(task)
    code = find_language(language).iso639_3
    name = dataset or _DEFAULT.get(task, "")
    if name not in HUB_SETS or HUB_SETS[name].task != task:
        own = ", ".join(known for known, hub_set in HUB_SETS.items() if hub_set.task == task) or "none"
        raise ValueError(f"no set {name!r} for {task}; expected one of {own}, or a description of the set")
    hub_set = HUB_SETS[name]
    if code not in languages_in(hub_set.languages):
        raise ValueError(f"{name} has no {code}; it has {', '.join(languages_in(hub_set.languages))}")
    splits, files = _splits(hub_set, code, revision or hub_set.revision, _HUB_SPLITS if trained else ("test",))
    for split, rows in splits.items():
        _check_columns(hub_set, rows, f"{hub_set.repository}, {split}", hub_set.columns.needed(kind)[-1])
    repairs = Repairs()
    scheme = "iob2" if kind.spans else "none"
    numbers: dict[str, list[int]] = {split: [] for split in splits}
    examples = {
        split: examples_of(
            dataset_rows(splits[split], f"{hub_set.repository}, {split}"),
            kind,
            hub_set.columns,
            Labels(hub_set.labels, scheme),
            repairs,
            numbers[split],
        )
        for split in splits
    }
    rare = kind.tagged and not kind.spans
    dataset = f"{name}/{code}"
    return make_task_data(
        task, code, dataset, examples, repairs, files, unseen_labels=rare, trained=trained, numbers=numbers
    )


def _check_columns(hub_set: HubSet, rows: Any, source: str, column: str) -> None:
    """Refuse columns of other names, and numbers that nothing gives names to: what 0 means may differ by revision."""
    missing = [name for name in hub_set.columns.needed(kind_of(hub_set.task)) if name not in rows.column_names]
    if missing:
        raise ValueError(f"{source} has the columns {', '.join(rows.column_names)}; expected {', '.join(missing)}")
    feature = rows.features[column]
    feature = getattr(feature, "feature", feature)
    if not hub_set.labels and not hasattr(feature, "names") and "int" in str(getattr(feature, "dtype", "")):
        raise ValueError(f"{source}: {column!r} holds numbers and no names of labels; expected a ClassLabel")


def _splits(hub_set: HubSet, code: str, revision: str, wanted: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the splits of one language that are wanted, and where each is from."""
    # A second to import, and local files need none of it.
    from datasets import load_dataset

    folder = find_language(code).tag if hub_set.tagged_by_script else code
    patterns = {split: f"{folder}/{_HUB_SPLITS[split]}/*.parquet" for split in wanted}
    origin = f"{hub_set.repository}@{revision}"
    if hub_set.train is None or "train" not in patterns:
        splits = load_dataset(hub_set.repository, data_files=patterns, revision=revision)
        return {split: splits[split] for split in patterns}, dict.fromkeys(patterns, origin)
    repository, configuration = hub_set.train
    del patterns["train"]
    own = load_dataset(hub_set.repository, data_files=patterns, revision=revision)
    train = load_dataset(
        repository, data_files={"train": f"{configuration}/train/*.parquet"}, revision=hub_set.revision
    )
    files = {"train": f"{repository}@{hub_set.revision}, {configuration}", **dict.fromkeys(patterns, origin)}
    return {"train": train["train"], **{split: own[split] for split in patterns}}, files
