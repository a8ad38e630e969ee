"""Where `hf-afro evaluate` finds its sets: one folder for a task, one for each, or a folder of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_afro.cli.evaluate_shown import BITS_PER_BYTE
from hf_afro.cli.output import say

if TYPE_CHECKING:
    from hf_afro.evaluation import TaskData


def tasks_of(tasks: Sequence[str]) -> list[str]:
    """Return those of some tasks that are fine-tuned on, each once."""
    return [task for task in dict.fromkeys(tasks) if task != BITS_PER_BYTE]


def places_of(tasks: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """Return the folder or description of each task.

    Args:
        tasks: Those wanted.
        given: Words such as `ner=masakhaner1`, or one folder: of the set itself for a single task, else one that holds
            a set a task, as in `ner/` or in `ner/masakhaner1/`.

    Raises:
        ValueError: If a task has no set, several, or a word names another task.
    """
    named = dict(word.split("=", 1) for word in given if word.partition("=")[0] in tasks and "=" in word)
    rest = [word for word in given if not ("=" in word and word.partition("=")[0] in named)]
    missing = [task for task in tasks if task not in named]
    if rest and not missing:
        raise ValueError(f"--data {rest[0]} is of no task; every one of {', '.join(tasks)} has its own")
    if len(rest) > 1:
        raise ValueError(f"--data has {' and '.join(rest)}; name them by task, as in {tasks[0]}={rest[0]}")
    if missing and not rest:
        raise ValueError(f"--data names no set for {', '.join(missing)}; expected such as {missing[0]}=FOLDER")
    alone = len(tasks) == 1
    return {task: named.get(task) or _found(task, rest[0], alone=alone) for task in tasks}


def _found(task: str, root: str, *, alone: bool) -> str:
    """The set of a task at or below a folder."""
    from hf_afro.evaluation.data.loading import language_folders

    folder = Path(root)
    if alone and (not folder.is_dir() or language_folders(folder) or not (folder / task).is_dir()):
        return root  # what is wrong with it is said when it is read
    home = folder / task
    if not home.is_dir():
        raise ValueError(f"--data {root} has no folder {task}; expected one a task, or {task}=FOLDER")
    if language_folders(home):
        return str(home)
    sets = [path for path in sorted(home.iterdir()) if path.is_dir() and language_folders(path)]
    if len(sets) == 1:
        return str(sets[0])
    names = ", ".join(path.name for path in sets) or "none"
    raise ValueError(f"{home} has the sets: {names}; say which, as in --data {root} {task}={home}/SET")


def adapters_of(root: str) -> dict[str, Path]:
    """Return the folders of adapters in a folder, by the language that each is named by.

    Raises:
        ValueError: If there is none.
    """
    from hf_afro.evaluation.data.loading import language_folders

    found = {
        code: path for code, path in language_folders(Path(root)).items() if (path / "adapter_config.json").is_file()
    }
    if not found and (Path(root) / "adapter_config.json").is_file():
        raise ValueError(f"--language_adapters {root} is one adapter; give the folder that holds one a language")
    if not found:
        raise ValueError(
            f"--language_adapters {root} holds no adapter in a folder named by a language, as in {root}/swa"
        )
    others = [path.parent for path in sorted(Path(root).glob("*/adapter_config.json"))]
    if unused := [path.name for path in others if path not in found.values()]:
        say(f"--language_adapters {root}: left out {', '.join(unused)}, not named by a language code")
    return found


def load_sets(
    tasks: Sequence[str],
    given: Sequence[str],
    languages: Sequence[str] | None,
    sources: Sequence[str] | None = None,
) -> list[TaskData]:
    """Return every task in every language asked for, saying what was repaired.

    Of several tasks, one need not be there in every language, which is said.

    Args:
        tasks: Their names.
        given: See `places_of`.
        languages: Those asked for, in any code; None for all there are.
        sources: Those to train on, by ISO 639-3 code, the others needing no train split; None or nothing for all.

    Raises:
        ValueError: If a task has no set or a language is in none of the sets, or is named twice; see
            `hf_afro.evaluation.data.loading`.
    """
    from hf_afro.evaluation import load_task
    from hf_afro.evaluation.data.loading import languages_of
    from hf_afro.languages import find_languages

    places = places_of(tasks, given) if tasks else {}
    wanted = None if languages is None else find_languages(languages)
    data = []
    for task, place in places.items():
        there = list(languages_of(place)) if wanted is None or len(places) > 1 else list(wanted)
        if not there:
            raise ValueError(f"--data {place} holds no folder named by a language; expected such as swa")
        chosen = there if wanted is None else [code for code in wanted if code in there]
        if missing := [code for code in wanted or () if code not in there]:
            say(f"{task} is not there in {', '.join(missing)}")
        data += [
            # A set's own description may have its files under the code as it was asked for.
            load_task(task, place, (wanted or {}).get(code, code), trained=not sources or code in sources)
            for code in chosen
        ]
    nowhere = [code for code in wanted or () if code not in {one.language for one in data}]
    if nowhere and places:
        raise ValueError(f"no set is in {', '.join(nowhere)}; leave the language out, or give a set that has it")
    for one in data:
        for what, count in one.repairs.items():
            say(f"{one.dataset}: {what}: {count}")
    return data
