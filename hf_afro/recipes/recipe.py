"""`Recipe`: the stages of a recipe in order, read from YAML and checked before anything runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from hf_afro.messages import nearest
from hf_afro.steps import SUMMARIES, step_named
from hf_afro.steps.parsing import (
    Given,
    SettingError,
    StepParser,
    compose,
    entries,
    is_null,
    pairs_of,
    settings_of,
    where,
)
from hf_afro.steps.settings import Input, inputs_of, is_folder_name, markers_of, place_of
from hf_afro.steps.step import Step
from hf_afro.tasks import MEASURED

DATA = "${data}"
"""Stands in a value for the folder that `data` names."""

GENERAL = ("name", "description", "data")

_NAME = re.compile(r"[^./][^/]*")


class RecipeError(SettingError):
    """A recipe is invalid; the message names the place and what was expected."""


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        name: Its key in the recipe: its step, or its step with a word of its own, as in `distill-6x384`.
        step: Its step.
        config: The step's settings, in which earlier stages are named by their names.
        inputs: The names of the earlier stages it reads, by setting.
        place: Its file and line, for messages.
    """

    name: str
    step: Step
    config: Any
    inputs: Mapping[str, tuple[str, ...]]
    place: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Every stage it reads, once."""
        return tuple(dict.fromkeys(name for names in self.inputs.values() for name in names))

    def config_in(self, root: Path) -> Any:
        """Return the settings with each named stage replaced by its folder in that of the run."""
        changed: dict[str, Any] = {}
        for name, _, values in inputs_of(self.config):
            stages = self.inputs.get(name, ())
            placed = [
                value.removesuffix(place_of(value)) + str(root / place_of(value))
                if place_of(value) in stages
                else value
                for value in values
            ]
            changed[name] = placed if isinstance(getattr(self.config, name), list) else placed[0]
        return dataclasses.replace(self.config, **changed)


@dataclass(frozen=True)
class Recipe:
    """A recipe that has been read and checked.

    Attributes:
        name: Its name.
        description: What it does.
        data: The folder that `${data}` stands for.
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


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "shipped").glob("*.yaml"))}


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it.

    Args:
        name_or_path: One that is shipped, by name, or a YAML file.
        overrides: Words of a command line, such as ``["--maft.learning_rate", "3e-5", "--data", "texts"]``.

    Raises:
        FileNotFoundError: If there is no such file.
        SettingError: If it is not YAML or is invalid; the message names file, line and the nearest right word.
    """
    path = recipe_path(name_or_path)
    root = compose(path)
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{path} holds no recipe; expected `name: ...` and stages, each with its settings")
    nodes = {key.value: (key, value) for key, value in entries(root, "the recipe")}
    general, own = _split_overrides(overrides, nodes)
    for name in GENERAL:
        if name in nodes and name not in general and not is_null(nodes[name][1]):
            general[name] = _text(nodes[name][1], name)
    title = general.get("name")
    if not title:
        raise RecipeError(f"{path} has no `name`; expected one, and stages, each with its settings")
    if not _NAME.fullmatch(title):
        raise RecipeError(f"{path}: name is {title!r}; it becomes a folder: expected no / in it")
    stages: list[Stage] = []
    for key, value in nodes.values():
        if key.value not in GENERAL:
            stages.append(_stage(key, value, own.get(key.value, []), general.get("data"), stages))
    for stage in stages:
        _check_later(stage, stages)
    if not stages:
        raise RecipeError(f"{path} has no stage; expected some of {', '.join(SUMMARIES)}")
    return Recipe(title, general.get("description", ""), general.get("data"), tuple(stages), str(path))


def recipe_path(name_or_path: str) -> Path:
    """Return the file of a recipe.

    Raises:
        FileNotFoundError: If a file that is named does not exist.
        RecipeError: If there is no such recipe.
    """
    shipped = shipped_recipes()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml") or "/" in name_or_path:
            raise FileNotFoundError(f"{path} does not exist; expected a recipe file, or one of {', '.join(shipped)}")
        raise RecipeError(f"unknown recipe {name_or_path!r}; {nearest(name_or_path, shipped, every=True)}")
    return path


def _split_overrides(words: Sequence[str], nodes: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, list[Given]]]:
    """Return the values of a command line: of the recipe, and of its stages."""
    general: dict[str, str] = {}
    own: dict[str, list[Given]] = {}
    for option, values in pairs_of(words):
        stage, dot, setting = option.partition(".")
        if not values and not dot:
            raise RecipeError(f"--{option} has no value; expected --stage.setting value")
        if not dot:
            if option not in GENERAL:
                raise RecipeError(
                    f"--{option} names no setting; expected --stage.setting, or --{', --'.join(GENERAL)}"
                )
            general[option] = " ".join(values)
            continue
        stages = [name for name in nodes if name not in GENERAL]
        if stage not in stages:
            raise RecipeError(f"--{option}: the recipe has no stage {stage!r}; {nearest(stage, stages)}")
        own.setdefault(stage, []).append(Given(setting, tuple(values), f"--{option}"))
    return general, own


def _text(node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise RecipeError(f"{where(node)}: {name} is not text; expected a word or a sentence")
    return node.value


def _stage(
    key: yaml.ScalarNode, node: yaml.Node, overrides: list[Given], data: str | None, earlier: Sequence[Stage]
) -> Stage:
    """Read one stage: its settings, with those of the command line in place of its own, and the stages it reads."""
    name, place = key.value, where(key)
    kind = name.split("-")[0]
    if kind not in SUMMARIES:
        raise RecipeError(
            f"{place}: {name!r} is not a stage; {nearest(kind, [*SUMMARIES, *GENERAL], every=True)}; several of a "
            "step are named as in distill-6x384"
        )
    if not is_folder_name(name):
        raise RecipeError(f"{place}: {name!r} becomes a folder; expected letters, digits, -, _ and .")
    step = step_named(kind)
    parser = StepParser(step, prog=name)
    given = _replaced(settings_of(node, parser, name), overrides)
    if {"max_steps", "num_train_epochs"} <= {one.name for one in given}:
        raise RecipeError(f"{place}: {name} has max_steps and num_train_epochs; give one of the two")
    if data is not None:
        given = [one.replaced(DATA, data) for one in given]
    given = [dataclasses.replace(one, place=f"{one.place}: {name}") for one in given]
    for one in given:
        parser.check_value(one)
    nulls = {key.value for key, value in entries(node, name) if is_null(value)}
    last = {one.name: one for one in [*given, *_found(step, given, earlier, f"{place}: {name}", nulls)]}
    try:
        config = parser.parse([], list(last.values()))
    except SettingError as error:
        named = str(error).startswith(tuple(one.place for one in last.values()))
        raise RecipeError(str(error) if named else f"{place}: {name}: {error}") from error
    return Stage(name, step, config, _inputs(config, place, name, earlier), place)


def _replaced(given: Sequence[Given], overrides: Sequence[Given]) -> list[Given]:
    """Return settings with those of the command line in their place; of steps and epochs one replaces the other."""
    lengths = {"max_steps", "num_train_epochs"}
    names = {one.name.replace("-", "_") for one in overrides}
    out = names | (lengths if names & lengths else set())
    return [*(one for one in given if one.name.replace("-", "_") not in out), *overrides]


def _found(step: Step, given: Sequence[Given], earlier: Sequence[Stage], place: str, nulls: set[str]) -> list[Given]:
    """Return the settings that a recipe may leave out: the last stage before this one that gives what is read.

    A setting that is null, among `nulls`, stays empty; and what is measured without training needs no sets.
    """
    names = {one.name.replace("-", "_") for one in given} | nulls
    if any(one.name in ("tasks", "task") and set(one.words) <= set(MEASURED) for one in given):
        names.add("data")
    found = []
    for name, markers in markers_of(step.config).items():
        for marker in markers:
            able = [stage.name for stage in earlier if isinstance(marker, Input) and stage.step.gives == marker.gives]
            if isinstance(marker, Input) and marker.default and name not in names and able:
                found.append(Given(name, (able[-1],), place))
    return found


def _check_later(stage: Stage, stages: Sequence[Stage]) -> None:
    """Refuse a value that is, or nearly is, the name of a stage, but not of an earlier one."""
    names = [one.name for one in stages]
    for name, _, values in inputs_of(stage.config):
        for value in map(place_of, values):
            if value in stage.inputs.get(name, ()) or "/" in value or Path(value).exists():
                continue
            if value in names:
                raise RecipeError(f"{stage.place}: {stage.name}.{name} is {value!r}, which is not an earlier stage")
            if close := get_close_matches(value, names, n=1, cutoff=0.8):
                raise RecipeError(
                    f"{stage.place}: {stage.name}.{name} is {value!r}, and there is no such stage; "
                    f"{nearest(value, close)} A model of that name on the Hub is named by a stage `base`"
                )


def _inputs(config: Any, place: str, owner: str, earlier: Sequence[Stage]) -> dict[str, tuple[str, ...]]:
    """Return the earlier stages that settings name; refuse a stage that does not give what is read."""
    gives = {stage.name: stage.step.gives for stage in earlier}
    inputs: dict[str, tuple[str, ...]] = {}
    for name, marker, values in inputs_of(config):
        named = [value for value in map(place_of, values) if value in gives]
        for value in named:
            wanted = [kind for kind in (marker.gives, marker.or_gives) if kind]
            if gives[value] not in wanted:
                able = [stage for stage, kind in gives.items() if kind in wanted]
                what = " or ".join(wanted) or "that"
                hint = nearest(value, able, every=True) if able else f"none before it gives {what}"
                raise RecipeError(f"{place}: {owner}.{name} is {value!r}, which gives {gives[value]}; {hint}")
        if named:
            inputs[name] = tuple(named)
    return inputs
