"""The step `tasks`: the sets a model is evaluated on, and their sentences, which it must not be trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from transformers.hf_argparser import HfArg

from hf_afro.evaluation import TaskData, languages_of, load_task
from hf_afro.evaluation.data.descriptions import described_files, is_description, read_description
from hf_afro.evaluation.data.loading import HUB, check_splits
from hf_afro.evaluation.data.task_data import SPLITS
from hf_afro.files import write_whole
from hf_afro.messages import counted
from hf_afro.reports.tables import format_table
from hf_afro.sample import SAMPLE
from hf_afro.steps.records import Record
from hf_afro.steps.running import say
from hf_afro.steps.settings import Input, StepConfig, codes_of, place_of
from hf_afro.steps.step import Outcome, Plan, Step
from hf_afro.steps.text import SENTENCES
from hf_afro.tasks import kind_of

DESCRIPTION = """\
Read the sets a model will be evaluated on, and collect their sentences.

  hf-afro tasks --data ner=masakhaner1 topic=masakhanews --languages ner=hau,swa topic=swa --output_dir tasks

`hf-afro maft --exclude tasks` then removes their dev and test sentences from the text, and `hf-afro evaluate --data
tasks` evaluates on them.

Output: tasks.json, the sets with their sizes, labels and repairs; sentences.jsonl, their dev and test sentences.
"""
TASKS_FILE = "tasks.json"


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """The sets and their languages."""

    data: Annotated[list[str], Input(must_exist=False, files=described_files)] = HfArg(
        help=f"TASK=FOLDER for each task, or TASK={SAMPLE} or TASK={HUB}; the folder has one folder per language, or "
        "is a set's description in YAML"
    )
    languages: list[str] | None = HfArg(
        default=None,
        help="only these languages, codes or sets like masakhaner1; TASK=CODES for one task; by default all",
    )

    def __post_init__(self) -> None:
        """Check the tasks and the codes."""
        super().__post_init__()
        for task in self.places:
            kind_of(task)
        for task in self.places:
            self.languages_of(task)

    @property
    def places(self) -> dict[str, str]:
        """The place of each task.

        Raises:
            ValueError: If an entry names no task, or a task is given twice.
        """
        found: dict[str, str] = {}
        for word in self.data:
            task, equals, place = word.partition("=")
            if not equals or task in found:
                raise ValueError(f"data has {word!r}; expected each task once, as in ner=FOLDER")
            found[task] = place
        return found

    def languages_of(self, task: str) -> list[str] | None:
        """Return the languages requested for a task, by ISO 639-3 code; None for all."""
        own = [word.partition("=")[2] for word in self.languages or () if word.partition("=")[0] == task]
        general = [word for word in self.languages or () if "=" not in word]
        words = [code for word in own or general for code in word.replace(",", " ").split()]
        return codes_of(words) if words else None


def run(config: Config, folder: Path) -> Outcome:
    """Read every set once, and write its description and the sentences no model may be trained on.

    Raises:
        ValueError: If a set cannot be read.
    """
    found, sentences = [], 0
    with (folder / SENTENCES).open("w", encoding="utf-8", newline="\n") as file:
        for task, place in config.places.items():
            for language in _codes(config, task, place):
                data = load_task(task, place, language, trained=False)
                for split in [split for split in ("dev", "test") if split in data.splits]:
                    for sentence in data.sentences(split):
                        file.write(json.dumps([data.dataset, sentence]) + "\n")
                        sentences += 1
                found.append(_describe(data, place))
    write_whole(folder / TASKS_FILE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    rows = [[one["task"], one["language"], one["dataset"], *map(one["examples"].get, SPLITS)] for one in found]
    facts = {"sets": len(found), "evaluation_sentences": sentences}
    return Outcome(facts, format_table(["task", "language", "set", *SPLITS], rows))


def _codes(config: Config, task: str, place: str) -> list[str]:
    return config.languages_of(task) or list(languages_of(task, place))


def _describe(data: TaskData, place: str) -> dict[str, Any]:
    return {
        "task": data.task,
        "language": data.language,
        "dataset": data.dataset,
        "place": place,
        "labels": list(data.labels),
        "examples": {name: len(split) for name, split in data.splits.items()},
        "repairs": dict(data.repairs),
        "fingerprint": data.fingerprint,
    }


def load_sets(
    tasks: Sequence[str] | None,
    given: Sequence[str],
    languages: Sequence[str] | None,
    sources: Sequence[str] | None = None,
) -> list[TaskData]:
    """Return tasks in the languages asked for, reporting repairs.

    Args:
        tasks: Their names; None for all that `given` has or names.
        given: That output, or places: see `places_of`.
        languages: Those requested, by ISO 639-3 code; None for all.
        sources: Those to train on, by ISO 639-3 code, the others need no train split; None or empty for all.

    Raises:
        ValueError: If a task has no set, or a language is in none of the sets.
    """
    if len(given) == 1 and (Path(given[0]) / TASKS_FILE).is_file():
        data = _listed_sets(Path(given[0]), tasks, languages, sources)
    else:
        places = _named_places(given) if tasks is None else places_of(tasks, given) if tasks else {}
        data = _found_sets(places, languages, sources)
    for one in data:
        for what, count in one.repairs.items():
            say(f"{one.dataset}: {what}: {count}")
    return data


def _named_places(given: Sequence[str]) -> dict[str, str]:
    """Return the tasks that places name themselves, each with its place: `ner=masakhaner1`, or a set's description.

    Raises:
        FileNotFoundError: If a place does not exist.
        ValueError: If it names no task, or two name the same.
    """
    places: dict[str, str] = {}
    for word in given:
        place = place_of(word)
        if place != word:
            task = word.removesuffix(f"={place}")
        elif not Path(place).exists():
            raise FileNotFoundError(f"--data {word} does not exist; expected a folder, or what `hf-afro tasks` wrote")
        elif is_description(Path(place)):
            task = read_description(place).task
        else:
            raise ValueError(f"--tasks is missing, and --data {word} does not name its task; expected TASK={word}")
        if task in places:
            raise ValueError(f"--data is {' '.join(given)}; expected one set for each task")
        kind_of(task)
        places[task] = place
    return places


def _listed_sets(
    folder: Path, tasks: Sequence[str] | None, languages: Sequence[str] | None, sources: Sequence[str] | None
) -> list[TaskData]:
    """Return the sets that the step `tasks` listed, of the tasks and languages asked for."""
    listed = json.loads((folder / TASKS_FILE).read_text("utf-8"))
    record = Record.load(folder)
    places = {} if record is None else dict(word.split("=", 1) for word in record.settings["data"])
    names = list(dict.fromkeys(one["task"] for one in listed))
    if missing := [task for task in tasks or () if task not in names]:
        raise ValueError(f"--data {folder} has no {', '.join(missing)}; it has {', '.join(names)}")
    data = []
    for one in listed:
        task, code = one["task"], one["language"]
        if (tasks is not None and task not in tasks) or (languages is not None and code not in languages):
            continue
        own = load_task(task, places.get(task, one["place"]), code, trained=not sources or code in sources)
        # The sentences read then were removed from text; on the Hub they may have changed.
        if own.fingerprint != one["fingerprint"]:
            raise ValueError(f"{task} in {code} is no longer what {folder} says; run `hf-afro tasks` again")
        data.append(own)
    if not data:
        raise ValueError(f"--data {folder} has no set in {', '.join(languages or ())}")
    return data


def _found_sets(
    places: Mapping[str, str], languages: Sequence[str] | None, sources: Sequence[str] | None
) -> list[TaskData]:
    """Return the sets of each task in the languages asked for; one of several tasks may lack a language."""
    data = []
    for task, place in places.items():
        # A single set has to have every language asked for, and says which it lacks when it is read.
        there = languages if languages is not None and len(places) == 1 else languages_of(task, place)
        if not there:
            raise ValueError(f"--data {place} holds no folder named by a language; expected one such as swa")
        if missing := [code for code in languages or () if code not in there]:
            say(f"{task} has no data in {', '.join(missing)}")
        data += [
            load_task(task, place, code, trained=not sources or code in sources)
            for code in there
            if languages is None or code in languages
        ]
    nowhere = [code for code in languages or () if code not in {one.language for one in data}]
    if nowhere and places:
        raise ValueError(f"no set is in {', '.join(nowhere)}; leave the language out, or give a set that has it")
    return data


def places_of(tasks: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Return the folder or description of each task.

    Args:
        tasks: Those wanted.
        given: Words such as `ner=masakhaner1`, or one folder: of the set itself for a single task, else one with a
            set for each task, as in `ner/` or in `ner/masakhaner1/`.

    Raises:
        ValueError: If a task has no set, several, or a word names another task.
    """
    pairs = [word.split("=", 1) for word in given if word.partition("=")[0] in tasks and "=" in word]
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError(f"--data is {' '.join(given)}; expected one set for each task")
    rest = [word for word in given if not ("=" in word and word.partition("=")[0] in named)]
    missing = [task for task in tasks if task not in named]
    if rest and not missing:
        raise ValueError(f"--data {rest[0]} belongs to no task; each of {', '.join(tasks)} has its own")
    if len(rest) > 1:
        raise ValueError(f"--data has {' and '.join(rest)}; name them by task, as in {tasks[0]}={rest[0]}")
    if missing and not rest:
        raise ValueError(f"--data names no set for {', '.join(missing)}; expected {missing[0]}=FOLDER")
    for task in missing if len(tasks) > 1 else ():
        if not (Path(rest[0]) / task).is_dir():
            raise ValueError(f"--data {rest[0]} has no folder {task}; expected one per task, or {task}=FOLDER")
    return {task: named.get(task) or rest[0] for task in tasks}


def plan(config: Config, inputs: Mapping[str, Plan]) -> Plan:
    """Return which tasks there are, and their languages.

    Raises:
        FileNotFoundError: If a set has no test split in a language.
        ValueError: If a set does not have a language that is named.
    """
    sets = {
        task: tuple(_codes(config, task, place))
        for task, place in config.places.items()
        if place in (SAMPLE, HUB) or config.languages_of(task) is not None or Path(place).exists()
    }
    for task, codes in sets.items():
        place = config.places[task]
        for code in codes if place not in (SAMPLE, HUB) and Path(place).exists() else ():
            check_splits(task, place, code, trained=False)
    parts = [f"{task} in {counted(len(sets[task]), 'language')}" if task in sets else task for task in config.places]
    return Plan(", ".join(parts), sets=sets, places=config.places)


STEP = Step(
    name="tasks",
    description=DESCRIPTION,
    config=Config,
    run=run,
    gives="tasks",
    plan=plan,
    shows_names=True,  # the name of a set's folder says which published set it is
)
