"""Parsing of command lines and YAML into the settings of a step.

There is one parser per step, `StepParser`, transformers' `HfArgumentParser` over the step's `Config` and, where it
trains, the trainer's arguments. A command line is words already; what a `--config` file or a stage of a recipe holds
is turned into the same words first, so that all three accept the same settings and refuse the same mistakes.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser, TrainingArguments

from hf_afro.files import check_size
from hf_afro.messages import nearest
from hf_afro.steps.settings import checked_value, is_folder_name, markers_of
from hf_afro.steps.step import Step

_LONGEST_FILE = 1 << 20  # bytes; recipes have a few thousand
_MOST_NODES = 100_000
_TEXT, _NULL, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null", "<<"
_NONE = "none"
_STOCK = frozenset(field.name for field in dataclasses.fields(TrainingArguments))
_NOT_GIVEN: Any = object()
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, which YAML 1.1 takes for text."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


class SettingError(ValueError):
    """A setting is unknown or impossible; the message names its place and what was expected."""


@dataclass(frozen=True)
class Given:
    """One setting as it was given.

    Attributes:
        name: Of the setting.
        words: Its value, as it would stand on a command line.
        place: The file and line, or the option, for messages.
    """

    name: str
    words: tuple[str, ...]
    place: str

    def replaced(self, old: str, new: str) -> Given:
        """Return the same with a part of its words replaced."""
        return dataclasses.replace(self, words=tuple(word.replace(old, new) for word in self.words))

    def option(self) -> list[str]:
        """Return the words of a command line that give the setting."""
        # Joined by "=" a value may begin with a dash.
        return [f"--{self.name}={self.words[0]}"] if len(self.words) == 1 else [f"--{self.name}", *self.words]


class _OneName(argparse.RawDescriptionHelpFormatter):
    """Shows an option by its name with underscores; that with hyphens is accepted as well."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = [name for name in action.option_strings if "-" not in name.removeprefix("--")]
        return super()._format_action_invocation(shown if shown.option_strings else action)


class StepParser(HfArgumentParser):
    """The parser of a step: every field of its `Config` and of its trainer's arguments is an option.

    Args:
        step: The step.
        prog: The command, as in ``hf-afro prune``.
        epilog: What `--help` shows after the settings.
    """

    def __init__(self, step: Step, prog: str, epilog: str = "") -> None:
        self.step = step
        own = {field.name for field in dataclasses.fields(step.config)}
        self._hidden = _STOCK - own if step.trains else frozenset()
        super().__init__(
            [step.config, *([] if step.arguments is None else [step.arguments])],
            prog=prog,
            description=step.description,
            formatter_class=_OneName,
            allow_abbrev=False,  # the prefix of an option may be the full name of another
            usage=f"{prog} --setting value ...",
            epilog=(_TRAINER_EPILOG if step.trains else "") + epilog,
        )

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action:
        """Add an option: its default goes into its help, and those of transformers are left out of `--help`."""
        default, name = settings.get("default"), names[0].removeprefix("--").removeprefix("no_")
        if name == "arguments":  # the trainer's, each of which is an option of its own
            return argparse.Action([], name)
        if name in self._hidden:
            settings["help"] = argparse.SUPPRESS
        elif (
            default not in (None, False, [], argparse.SUPPRESS)
            and settings.get("action") != "store_false"
            and "help" in settings
        ):
            settings["help"] += f" (default: {_shown(default)})"
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print.

        Raises:
            SettingError: Always.
        """
        raise SettingError(plainer(message))

    def parse(self, words: Sequence[str], given: Sequence[Given] = ()) -> Any:
        """Return the step's `Config`.

        Args:
            words: Options and their values; before them, where the step has a positional setting, its values.
            given: Settings of a file, which those of `words` replace.

        Raises:
            SettingError: If a setting is unknown (the message names the nearest), missing or impossible.
        """
        words = self._without_positional(list(words))
        replaced = {_name_of(word) for word in words if word.startswith("--")}
        given = [one for one in given if one.name not in replaced]
        try:
            return self._parse([*(word for one in given for word in one.option()), *words])
        except SettingError as error:
            # The trainer's arguments are checked all at once; what they refuse is found by its name.
            named = [one.place for one in given if re.search(rf"--{one.name}\b|\b{one.name}(=| is )", str(error))]
            raise SettingError(f"{named[0]}: {error}" if named else str(error)) from error

    def _parse(self, words: list[str]) -> Any:
        words, nulls = self._without_nulls(words)
        if not {"-h", "--help"} & set(words):
            names = [field.name for kind in self.dataclass_types for field in dataclasses.fields(kind) if field.init]
            self.set_defaults(**dict.fromkeys(names, _NOT_GIVEN))
        try:
            namespace, rest = self.parse_known_args(words)
        except SettingError as error:
            unknown = (
                [f"; {self._unknown(word)}" for word in self._misspelt(words)] if "are required" in str(error) else []
            )
            raise SettingError(f"{error}{''.join(unknown)}") from None
        if rest:
            raise SettingError(self._unknown(rest[0]))
        given = {name: value for name, value in vars(namespace).items() if value is not _NOT_GIVEN} | nulls
        own = {field.name for field in dataclasses.fields(self.step.config)}
        settings = {name: value for name, value in given.items() if name in own}
        others = {name: value for name, value in given.items() if name not in own}
        return self.make(settings, others)

    def make(self, settings: dict[str, Any], arguments: dict[str, Any]) -> Any:
        """Return the `Config` of settings and of a trainer's arguments, those that were given."""
        try:
            if self.step.arguments is None:
                return self.step.config(**settings)
            check_arguments(self.step.arguments, arguments)
            return self.step.config(**settings, arguments=arguments)
        except (ValueError, TypeError, ImportError) as error:  # what transformers refuses is the user's mistake
            raise SettingError(str(error)) from error

    def check_value(self, given: Given) -> None:
        """Refuse a setting of a file by itself, so that the message names its place.

        Raises:
            SettingError: If it is unknown, or its value has the wrong type.
        """
        if given.name not in self.names():
            raise SettingError(f"{given.place}: {self._unknown(f'--{given.name}')}")
        words, _ = self._without_nulls(given.option())
        self.set_defaults(**dict.fromkeys(self.names(), _NOT_GIVEN))
        required = [action for action in self._actions if action.required]
        try:
            for action in required:  # others may give them
                action.required = False
            value = getattr(self.parse_known_args(words)[0], given.name)
            if value is not None and value is not _NOT_GIVEN:
                checked_value(given.name, value, markers_of(self.step.config).get(given.name, ()))
        except ValueError as error:
            raise SettingError(f"{given.place}: {error}") from None
        finally:
            for action in required:
                action.required = True

    def names(self) -> list[str]:
        """Return the names of all settings."""
        names = [field.name for kind in self.dataclass_types for field in dataclasses.fields(kind) if field.init]
        return [name for name in names if name not in ("arguments", "output_dir")]

    def kind_of(self, name: str) -> Any:
        """Return the type of a setting; None where there is no such setting."""
        for kind in self.dataclass_types:
            hints = typing.get_type_hints(kind)
            if name in hints:
                return hints[name]
        return None

    def _without_positional(self, words: list[str]) -> list[str]:
        leading = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
        if not leading:
            return words
        if self.step.positional is None:
            raise SettingError(f"{words[0]!r} stands alone; expected --name value")
        return [f"--{self.step.positional}", *words[:leading], *words[leading:]]

    def _without_nulls(self, words: list[str]) -> tuple[list[str], dict[str, None]]:
        """Take out settings whose value is the word `none`, where they are numbers or lists that may be left open."""
        kept: list[str] = []
        nulls: dict[str, None] = {}
        for index, word in enumerate(words):
            name = _name_of(word)
            alone = index + 1 == len(words) or words[index + 1].startswith("--")
            before = _name_of(kept[-1]) if kept and kept[-1].startswith("--") and "=" not in kept[-1] else ""
            if word.lower() == _NONE and alone and self.may_be_null(before):
                kept.pop()
                nulls[before] = None
            elif word.startswith("--") and word.partition("=")[2].lower() == _NONE and self.may_be_null(name):
                nulls[name] = None
            else:
                kept.append(word)
                nulls.pop(name if word.startswith("--") else "", None)
        return kept, nulls

    def may_be_null(self, name: str) -> bool:
        """Tell whether a setting is a number or a list that may be left open."""
        kinds = typing.get_args(self.kind_of(name))
        return types.NoneType in kinds and str not in kinds

    def _misspelt(self, words: Sequence[str]) -> list[str]:
        """Return the unknown options among words."""
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        return [word for word in options if word not in self._option_string_actions]

    def _unknown(self, word: str) -> str:
        if not word.startswith("--"):
            return f"{word!r} stands alone; expected --name value"
        name = _name_of(word)
        return f"unknown setting --{name} of {self.step.name}; {nearest(name, self.names())}"


def plainer(message: str) -> str:
    """Return an error of argparse with each option under its first name, and types in plain words."""
    text = re.sub(r"(--\w+)(?:/--?[\w-]+)+", r"\1", message.removeprefix("argument "))
    for kind, words in (("int", "a whole number"), ("float", "a number")):
        text = re.sub(rf"invalid {kind} value: ('.*')", rf"expected {words}, received \1", text)
    return text


def _name_of(option: str) -> str:
    """Return the name of the setting that an option gives, as in ``--max-length=32``."""
    return option.removeprefix("--").partition("=")[0].replace("-", "_")


# Whether a device supports these is known where the training runs, not where it is planned.
_OF_THE_DEVICE = ("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval")


def check_arguments(kind: type, given: Mapping[str, Any]) -> Any:
    """Return an instance of a class of arguments, after refusing what is impossible on any device."""
    return kind(**{name: value for name, value in given.items() if name not in _OF_THE_DEVICE})


_TRAINER_EPILOG = """\
Every field of transformers.TrainingArguments is a setting as well, such as --learning_rate 5e-5 --max_steps 1000
--per_device_train_batch_size 16 --gradient_accumulation_steps 4 --bf16 --save_steps 500 --seed 42.

"""


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, list) else str(default)


def read_config(path: str, parser: StepParser) -> list[Given]:
    """Return the settings of a YAML file.

    Args:
        path: The file: a mapping of names of settings to values.
        parser: Of the step.

    Raises:
        FileNotFoundError: If there is no such file.
        SettingError: If it is not YAML, or a setting is unknown or of the wrong type; the message names its line.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist; --config takes a YAML file of settings")
    given = settings_of(compose(Path(path)), parser, path)
    for one in given:
        parser.check_value(one)
    return given


def settings_of(node: yaml.Node | None, parser: StepParser, owner: str) -> list[Given]:
    """Return the settings of a mapping, as words.

    Args:
        node: The mapping; None stands for an empty one.
        parser: Of the step, which knows the type of each setting.
        owner: What the settings belong to, for messages.

    Raises:
        SettingError: If it is not a mapping, a key is given twice, or a value cannot be given on a command line.
    """
    if node is None:
        return []
    return [
        Given(key.value, tuple(_words(value, key.value, parser.kind_of(key.value))), where(value))
        for key, value in entries(node, owner)
        if not is_null(value) or parser.may_be_null(key.value) or key.value not in parser.names()
    ]


def _words(node: yaml.Node, name: str, kind: Any) -> list[str]:
    """Return a value as words: numbers and text as they were written, so that `no` is Norwegian and 1e-3 a number."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if isinstance(node, yaml.ScalarNode):
        return [_NONE] if is_null(node) else [node.value]
    if dict in kinds or any(typing.get_origin(one) is dict for one in kinds):
        return [json.dumps(_Loader("").construct_document(node), ensure_ascii=False)]
    if not node.value:
        word = described(node).removeprefix("a ")
        raise SettingError(f"{where(node)}: {name} is an empty {word}; add entries, or leave it out")
    is_list = any(typing.get_origin(one) is list for one in kinds)
    if isinstance(node, yaml.SequenceNode):
        if not is_list and kind is not None:
            raise SettingError(f"{where(node)}: {name} is a list; expected one value")
        return [_scalar(one, name) for one in node.value]
    pairs = [f"{key.value}={_joined(value, name)}" for key, value in entries(node, name)]
    for key, _ in entries(node, name) if is_list else ():
        if not is_folder_name(key.value):
            raise SettingError(f"{where(key)}: {key.value!r} becomes a folder; expected letters, digits, -, _ and .")
    return pairs if is_list else [",".join(pairs)]


def _joined(node: yaml.Node, name: str) -> str:
    return ",".join(_scalar(one, name) for one in (node.value if isinstance(node, yaml.SequenceNode) else [node]))


def _scalar(node: yaml.Node, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise SettingError(f"{where(node)}: {name} holds {described(node)}; expected a word or a number")
    return node.value


def compose(path: Path) -> yaml.Node | None:
    """Return the root node of a YAML file; None if it is empty.

    Raises:
        SettingError: If it is not UTF-8, not YAML, or far too large once its aliases are expanded.
    """
    check_size(path, _LONGEST_FILE)
    try:
        loader = _Loader(path.read_text("utf-8"))
        loader.name = str(path)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        if node is not None and _spelt_out(node, {}) > _MOST_NODES:
            raise yaml.YAMLError(f"{path} has more than {_MOST_NODES:,} values, once its aliases are expanded")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingError(f"{path}, line {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error
    except yaml.YAMLError as error:
        raise SettingError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    return node


def _spelt_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of nodes with each alias expanded; a few lines may stand for billions."""
    if id(node) not in sizes:
        sizes[id(node)] = _MOST_NODES + 1  # for an alias inside its own anchor, which would never end
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = [one for entry in inside for one in (entry if isinstance(entry, tuple) else (entry,))]
        sizes[id(node)] = 1 + sum(_spelt_out(one, sizes) for one in nodes)
    return sizes[id(node)]


def entries(node: yaml.Node, owner: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the keys and values of a mapping.

    Raises:
        SettingError: If it is not a mapping, a key is not a word, or a key is given twice, where YAML keeps the last.
    """
    if is_null(node):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise SettingError(f"{where(node)}: {owner} is {described(node)}; expected `name: value` lines")
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == _MERGE:
            raise SettingError(f"{where(key)}: {described(key)} stands where {owner} has the name of a setting")
        if key.value in seen:
            raise SettingError(f"{where(key)}: {key.value!r} is given twice, first in {where(seen[key.value])}")
        seen[key.value] = key
    return list(node.value)


def where(node: yaml.Node) -> str:
    """Return the file and line of a node."""
    return f"{node.start_mark.name}, line {node.start_mark.line + 1}"


def is_null(node: yaml.Node) -> bool:
    """Tell whether nothing, `null` or `~` was written."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL and node.style is None


def described(node: yaml.Node) -> str:
    """Describe a node for a message."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "empty" if is_null(node) else repr(node.value)


def pairs_of(words: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return options and their values, of ``--name value ...`` and ``--name=value``.

    Raises:
        SettingError: If a word stands before any option.
    """
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            found.append((name, [value] if equals else []))
        elif found:
            found[-1][1].append(word)
        else:
            raise SettingError(f"{word!r} stands alone; expected --name value")
    return found
