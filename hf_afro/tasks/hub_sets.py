"""Tasks from the Hugging Face Hub, through the Parquet conversions that the Hub keeps of every public set.

The sets' own repositories hold loading scripts, which `datasets` no longer runs. The conversion is a branch of the
repository, ``refs/convert/parquet``, with one folder a configuration and one a split. **Not verified offline**: the
ids, the branch and its layout are as public documentation has them; none of it was fetched when this was written.
A branch is no commit, so what was read is known by the `fingerprint` of the task alone; pass a commit of that branch
as `revision` to fix it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hf_afro.languages import find_language, languages_in
from hf_afro.tasks.data import TaskData, make_task_data
from hf_afro.tasks.formats import Example, Repairs, repaired_sentence
from hf_afro.tasks.loading import check_task

CONVERSION = "refs/convert/parquet"
_HUB_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@dataclass(frozen=True)
class HubSet:
    """One set on the Hub.

    Attributes:
        task: The task it is for.
        repository: Its id.
        languages: The set of `hf_afro.languages` that its configurations are named after.
        text: The columns of the text, or the one of the tokens.
        label: The column of the label or the tags.
        revision: The branch that is read.
    """

    task: str
    repository: str
    languages: str
    text: tuple[str, ...]
    label: str
    revision: str = CONVERSION


HUB_SETS: dict[str, HubSet] = {
    "masakhaner1": HubSet("ner", "masakhane/masakhaner", "masakhaner1", ("tokens",), "ner_tags"),
    "masakhaner2": HubSet("ner", "masakhane/masakhaner2", "masakhaner2", ("tokens",), "ner_tags"),
    "masakhanews": HubSet("topic", "masakhane/masakhanews", "masakhanews", ("headline", "text"), "label"),
    "afrisenti": HubSet("sentiment", "shmuhammad/AfriSenti-twitter-sentiment", "afrisenti", ("tweet",), "label"),
}
_DEFAULT = {"ner": "masakhaner2", "topic": "masakhanews", "sentiment": "afrisenti"}


def load_hub_task(task: str, language: str, *, dataset: str | None = None, revision: str | None = None) -> TaskData:
    """Read one task in one language from the Hub; see the module for what is not verified.

    Args:
        task: `ner`, `topic` or `sentiment`.
        language: In any code.
        dataset: A name of `HUB_SETS`; by default MasakhaNER 2.0, MasakhaNEWS or AfriSenti.
        revision: A commit or branch in place of the set's own.

    Raises:
        ValueError: If task, language or set is unknown, the set has not that language, or its columns are others.
    """
    # A second to import, and local files need none of it.
    from datasets import load_dataset

    check_task(task)
    code = find_language(language).iso639_3
    name = dataset or _DEFAULT[task]
    if name not in HUB_SETS or HUB_SETS[name].task != task:
        own = ", ".join(known for known, hub_set in HUB_SETS.items() if hub_set.task == task)
        raise ValueError(f"no set {name!r} for {task}; expected one of {own}")
    hub_set = HUB_SETS[name]
    if code not in languages_in(hub_set.languages):
        raise ValueError(f"{name} has no {code}; it has {', '.join(languages_in(hub_set.languages))}")
    splits = load_dataset(
        hub_set.repository,
        data_files={split: f"{code}/{folder}/*.parquet" for split, folder in _HUB_SPLITS.items()},
        revision=revision or hub_set.revision,
    )
    repairs = Repairs()
    examples = {split: list(_examples(hub_set, splits[split], repairs)) for split in _HUB_SPLITS}
    files = {split: f"{hub_set.repository}@{revision or hub_set.revision}" for split in _HUB_SPLITS}
    return make_task_data(task, code, f"{name}/{code}", examples, repairs, files)


def _examples(hub_set: HubSet, rows: Any, repairs: Repairs) -> Iterator[Example]:
    missing = [column for column in (*hub_set.text, hub_set.label) if column not in rows.column_names]
    if missing:
        raise ValueError(f"{hub_set.repository} has the columns {rows.column_names}; expected {', '.join(missing)}")
    feature = rows.features[hub_set.label]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    for row in rows:
        label = row[hub_set.label]
        if hub_set.task == "ner":
            sentence = repaired_sentence(row["tokens"], [_name(hub_set, names, tag) for tag in label], repairs)
            if sentence is not None:
                yield sentence
            continue
        text = "\n".join(row[column] for column in hub_set.text if row[column].strip())
        if text:
            yield text, _name(hub_set, names, label)
        else:
            repairs["rows without text dropped"] += 1


def _name(hub_set: HubSet, names: list[str] | None, label: int | str) -> str:
    if isinstance(label, str):
        return label
    if names is None:
        raise ValueError(f"{hub_set.repository} gives the label {label} and no names of labels; expected a ClassLabel")
    return names[label]
