"""`Recipe`: the stages of a recipe in order, read from YAML and checked before anything runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_afro.files import check_size
from hf_afro.nearest import nearest
from hf_afro.recipes import settings as kinds
from hf_afro.recipes.folders import shipped_recipes
from hf_afro.recipes.schema import (
    RecipeError,
    compose,
    convert,
    described,
    entries,
    is_folder_name,
    is_null,
    parse_value,
    read_settings,
    where,
)

DATA = "${data}"
_LONGEST = 1 << 20  # bytes; those that ship have a few thousand
"""Stands in a path for the folder that `data` names."""

GENERAL = ("name", "description", "data")

_NAME = re.compile(r"[^./][^/]*")


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Attributes:
        settings: The dataclass of its settings.
        gives: What later stages may read of it.
        file: The file of `hf_afro.recipes.stages` that does the work.
        resumes: Whether the work goes on from what was left when it was cut short; else it starts over.
    """

    settings: type
    gives: str
    file: str
    resumes: bool = False


KINDS: dict[str, Kind] = {
    "base": Kind(kinds.BaseSettings, "model", "models"),
    "tasks": Kind(kinds.TasksSettings, "tasks", "text"),
    "corpora": Kind(kinds.CorporaSettings, "text", "text"),
    "teacher": Kind(kinds.TeacherSettings, "model", "training", resumes=True),
    "count": Kind(kinds.CountSettings, "counts", "models"),
    "prune": Kind(kinds.PruneSettings, "model", "models"),
    "maft": Kind(kinds.MaftSettings, "model", "training", resumes=True),
    "distill": Kind(kinds.DistillSettings, "model", "training", resumes=True),
    "fit": Kind(kinds.MaftSettings, "model", "training", resumes=True),
    "evaluate": Kind(kinds.EvaluateSettings, "reports", "evaluation", resumes=True),
    "report": Kind(kinds.ReportSettings, "page", "publishing"),
    "card": Kind(kinds.CardSettings, "card", "publishing"),
}


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        name: Its key in the recipe: its kind, or its kind with a word of its own, as in `distill-6x384`.
        kind: What it does; a key of `KINDS`.
        settings: The settings, complete.
        inputs: The names of earlier stages it reads, by the setting that names them.
        place: Where it stands, for messages: file and line.
    """

    name: str
    kind: str
    settings: Any
    inputs: dict[str, tuple[str, ...]]
    place: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Every stage it reads, once."""
        return tuple(dict.fromkeys(name for names in self.inputs.values() for name in names))


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and checked.

    Attributes:
        name: What it is called.
        description: What it does.
        data: The folder that its paths may start at.
        stages: In order.
        source: The file it was read from.
    """

    name: str
    description: str
    data: str | None
    stages: tuple[Stage, ...]
    source: str

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def upstream(self, stage: Stage) -> list[Stage]:
        """Return all stages that a stage goes back to, in order."""
        wanted = set(stage.needs)
        for earlier in reversed(self.stages):
            if earlier.name in wanted:
                wanted |= set(earlier.needs)
        return [one for one in self.stages if one.name in wanted]


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it.

    Args:
        name_or_path: One that is shipped, by name, or a YAML file.
        overrides: Words of a command line, such as ``["--maft.learning_rate", "3e-5", "--data", "texts"]``.

    Raises:
        FileNotFoundError: If there is no such file.
        RecipeError: If it is no YAML or says what cannot be done; the message names file, line and the nearest right
            word.
    """
    path = _path_of(name_or_path)
    check_size(path, _LONGEST)
    try:
        root = compose(path.read_text("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}, line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{path} holds no recipe; expected `name: ...` and stages, each with its settings")
    for option, value in _pairs(overrides):
        _override(root, option, value)
    return _recipe_of(root, str(path))


def _path_of(name_or_path: str) -> Path:
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
            raise FileNotFoundError(f"{path} does not exist; expected a recipe file, or one of {', '.join(shipped)}")
        raise RecipeError(f"{name_or_path!r} is no recipe; {nearest(name_or_path, shipped, every=True)}")
    return path


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield options and values of ``--name value`` and ``--name=value``."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            raise RecipeError(
                f"{word!r} stands alone; expected --stage.setting value, as in --maft.learning_rate 3e-5"
            )
        option, sign, value = word.partition("=")
        if not sign:
            following = next(rest, None)
            if following is None:
                raise RecipeError(f"{option} has no value; expected --stage.setting value")
            value = following
        yield option, value


def _override(root: yaml.MappingNode, option: str, text: str) -> None:
    """Put a value of the command line in its place; whether it may stand there is seen when all is read."""
    path = option.removeprefix("--").split(".")
    names = [key.value for key, _ in entries(root, "the recipe")]
    if len(path) == 1 and path[0] not in GENERAL:
        raise RecipeError(f"{option} names no setting; expected --stage.setting, or --{', --'.join(GENERAL)}")
    if len(path) > 1 and (path[0] in GENERAL or path[0] not in names):
        stages = [name for name in names if name not in GENERAL]
        raise RecipeError(f"{option}: the recipe has no stage {path[0]!r}; {nearest(path[0], stages)}")
    node = root
    for name in path[:-1]:
        inner = next((value for key, value in entries(node, option) if key.value == name), None)
        if inner is None or is_null(inner):
            mark = yaml.Mark(option, 0, 0, 0, None, None)
            inner = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
            _put(node, name, option, inner)
        if not isinstance(inner, yaml.MappingNode):
            raise RecipeError(f"{option}: {name!r} is {described(inner)} in the recipe and has no settings of its own")
        node = _own(node, name, inner)
    _put(node, path[-1], option, parse_value(text, option))


def _own(node: yaml.MappingNode, name: str, inner: yaml.MappingNode) -> yaml.MappingNode:
    """Give a mapping a copy of one in it: by an anchor, another stage may have the very same node."""
    copy = yaml.MappingNode(inner.tag, list(inner.value), inner.start_mark, inner.end_mark)
    node.value = [(key, copy if key.value == name else value) for key, value in node.value]
    return copy


def _put(node: yaml.MappingNode, name: str, option: str, value: yaml.Node) -> None:
    mark = yaml.Mark(option, 0, 0, 0, None, None)
    pairs = [(key, old) for key, old in node.value if key.value != name]
    place = next((index for index, (key, _) in enumerate(node.value) if key.value == name), len(pairs))
    pairs.insert(place, (yaml.ScalarNode("tag:yaml.org,2002:str", name, mark, mark), value))
    node.value = pairs


def _recipe_of(root: yaml.MappingNode, source: str) -> Recipe:
    general: dict[str, str | None] = {"description": "", "data": None}
    stages: list[Stage] = []
    data_node = next((value for key, value in entries(root, "the recipe") if key.value == "data"), None)
    data = None if data_node is None else convert(data_node, str | None, "data", {})
    for key, value in entries(root, "the recipe"):
        if key.value in GENERAL:
            general[key.value] = convert(value, str | None, key.value, {})
            if key.value == "name" and not _NAME.fullmatch(general["name"] or "-"):
                raise RecipeError(
                    f"{where(value)}: name is {general['name']!r}; it becomes a folder: expected no / in it"
                )
            continue
        kind = key.value.split("-")[0]
        if kind not in KINDS:
            raise RecipeError(
                f"{where(key)}: {key.value!r} is no stage; {nearest(kind, [*KINDS, *GENERAL], every=True)}; "
                "several of a kind are told apart as in distill-6x384"
            )
        if not is_folder_name(key.value):
            raise RecipeError(f"{where(key)}: {key.value!r} becomes a folder; expected letters, digits, - and _")
        settings = read_settings(value, KINDS[kind].settings, key.value)
        stages.append(_connected(key, kind, _with_data(settings, data), stages))
    if not general.get("name"):
        raise RecipeError(f"{source} has no `name`; expected one, and stages, each with its settings")
    if not stages:
        raise RecipeError(f"{source} has no stage; expected some of {', '.join(KINDS)}")
    return Recipe(str(general["name"]), general["description"] or "", data, tuple(stages), source)


def _connected(key: yaml.ScalarNode, kind: str, settings: Any, earlier: Iterable[Stage]) -> Stage:
    """Find the stages that a stage reads: those it names, else the last before it that gives what it needs."""
    inputs: dict[str, tuple[str, ...]] = {}
    chosen = {}
    for field in dataclasses.fields(settings):
        what, value = field.metadata["reads"], getattr(settings, field.name)
        if not what:
            continue
        own = f"{where(key)}: {key.value}"
        able = [stage.name for stage in earlier if KINDS[stage.kind].gives == what]
        names = tuple(value.values()) if isinstance(value, dict) else (value,) if value is not None else ()
        if names == ("",):
            if not able:
                raise RecipeError(f"{own} needs a stage before it that gives {what}: {_givers(what)}")
            names = (able[-1],)
            chosen[field.name] = able[-1]
        for name in names:
            if name not in able:
                raise RecipeError(
                    f"{own}.{field.name} is {name!r}; expected a stage before it that gives {what}, "
                    + (nearest(name, able, every=True) if able else f"a {_givers(what)}")
                )
        if names:
            inputs[field.name] = names
    return Stage(key.value, kind, dataclasses.replace(settings, **chosen), inputs, where(key))


def _givers(what: str) -> str:
    return " or ".join(name for name, kind in KINDS.items() if kind.gives == what)


def _with_data(settings: Any, data: str | None) -> Any:
    """Put the folder of `data` into every path, where there is one."""
    if data is None:
        return settings
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = _with_data(value, data)
        elif isinstance(value, str) and DATA in value:
            changed[field.name] = value.replace(DATA, data)
    return dataclasses.replace(settings, **changed) if changed else settings


def paths_of(settings: Any) -> Iterator[str]:
    """Yield the files and folders outside the run that settings name, those of settings inside them too."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from paths_of(value)
        elif field.metadata["path"] and value is not None:
            yield value
