"""From the nodes of a YAML file to frozen dataclasses: the fields are the schema, and every refusal names its line."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

import yaml

from hf_afro.nearest import nearest

Settings = TypeVar("Settings")

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WORDS = frozenset({"yes", "no", "on", "off"})  # truth to YAML 1.1, and words all the same
_MOST_NODES = 100_000
_TEXT, _NULL, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null", "<<"
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class RecipeError(ValueError):
    """A recipe says something that cannot be done; the message names the place and what would be right."""


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # the word of argparse and of transformers' own arguments
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Iterable[str] = (),
    reads: str = "",
    path: bool = False,
) -> Any:
    """Describe one setting of a stage; the annotation of the field is its type.

    Args:
        default: Its value where a recipe says nothing; without one the setting has to be given.
        help: What it means, with its unit.
        low: The least value, itself allowed; of a list or a mapping, the least number of entries.
        high: The largest, itself allowed.
        above: A bound that is not itself allowed.
        below: The same from the other side.
        choices: The values allowed, where they are few.
        reads: For the name of an earlier stage: what that stage has to give, such as `model`.
        path: Whether the value names files outside the run, whose content counts and not their name.
    """
    limits = {"low": low, "high": high, "above": above, "below": below, "choices": tuple(choices)}
    metadata = {"help": help, **limits, "reads": reads, "path": path}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def where(node: yaml.Node) -> str:
    """Return the file and line of a node, or the option of the command line it came from."""
    mark = node.start_mark
    return mark.name if mark.name.startswith("--") else f"{mark.name}, line {mark.line + 1}"


def read_settings(node: yaml.Node, kind: type[Settings], owner: str) -> Settings:
    """Make a dataclass of a mapping.

    Args:
        node: The mapping; nothing at all stands for an empty one.
        kind: The dataclass, its fields made by `setting`.
        owner: What the settings belong to, for messages.

    Raises:
        RecipeError: If a key is unknown, there twice or missing, or a value has the wrong type or is impossible.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in entries(node, owner):
        if key.value not in fields:
            raise RecipeError(f"{where(key)}: {key.value!r} is no setting of {owner}; {nearest(key.value, fields)}")
        field = fields[key.value]
        values[field.name] = convert(value, hints[field.name], f"{owner}.{field.name}", field.metadata)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise RecipeError(f"{where(node)}: {owner} needs {name!r}: {field.metadata['help']}")
    try:
        return kind(**values)
    except ValueError as error:
        raise RecipeError(f"{where(node)}: {owner}: {error}") from error


def entries(node: yaml.Node, owner: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """Return the keys and values of a mapping.

    Raises:
        RecipeError: If it is no mapping, a key is no word, or one is there twice, of which YAML keeps the last.
    """
    if is_null(node):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{where(node)}: {owner} is {described(node)}; expected settings, one `name: value` a line")
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == _MERGE:
            raise RecipeError(f"{where(key)}: {described(key)} stands where {owner} has the name of a setting")
        if key.value in seen:
            raise RecipeError(f"{where(key)}: {key.value!r} is given twice, first in {where(seen[key.value])}")
        seen[key.value] = key
    return list(node.value)


def convert(node: yaml.Node, kind: Any, name: str, limits: typing.Mapping[str, Any]) -> Any:
    """Return a node's value as a type, within its limits.

    Numbers are read as Python reads them, since YAML 1.1 takes `1e-3` for text; text is what was written, so that the
    language code `no` is not `false`.

    Args:
        node: The value.
        kind: The type: int, float, bool, str, Any, one of these or None, a tuple, a dict or a dataclass.
        name: Of the setting, for messages.
        limits: What `setting` was given.

    Raises:
        RecipeError: If the value has another type or is outside the limits.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if is_null(node):
            return None
        (kind,) = (one for one in typing.get_args(kind) if one is not types.NoneType)
        return convert(node, kind, name, limits)
    if origin is tuple:
        items = tuple(convert(item, typing.get_args(kind)[0], name, {}) for item in _items(node, name))
        _check(node, len(items), name, limits, "entries")
        return items
    if origin is dict:
        values = {
            key.value: convert(value, typing.get_args(kind)[1], f"{name}.{key.value}", {})
            for key, value in entries(node, name)
        }
        _check(node, len(values), name, limits, "entries")
        return values
    if dataclasses.is_dataclass(kind):
        return read_settings(node, kind, name)  # type: ignore[arg-type]
    if kind is Any:
        return _whatever(node, name)
    value = _scalar(node, kind, name)
    _check(node, value, name, limits)
    return value


def _scalar(node: yaml.Node, kind: type, name: str) -> Any:
    wrong = RecipeError(f"{where(node)}: {name} is {described(node)}; expected {_NAMES[kind]}")
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise wrong
    text, plain = node.value, node.style is None
    if kind is str:
        if plain and node.tag != _TEXT and text.lower() not in _WORDS:
            raise wrong
        return text
    if not plain:
        raise RecipeError(f"{where(node)}: {name} is {described(node)}, in quotes; expected {_NAMES[kind]} without")
    if kind is bool:
        if text.lower() not in _TRUTHS:
            raise wrong
        return _TRUTHS[text.lower()]
    number = _number(text)
    if number is None or (kind is int and number != int(number)):
        raise wrong
    return kind(number)


def _number(text: str) -> float | int | None:
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    # A leading zero is an octal number to YAML 1.1 and a decimal one to everybody else.
    return number if math.isfinite(number) and not re.match(r"[-+]?0[0-9]", text) else None


def _items(node: yaml.Node, name: str) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if isinstance(node, yaml.ScalarNode) and not is_null(node):
        words = [word for word in node.value.replace(",", " ").split() if word]
        return [parse_value(word, node.start_mark.name, node.start_mark) for word in words]
    raise RecipeError(f"{where(node)}: {name} is {described(node)}; expected a list, as in [swa, yor] or swa, yor")


def _check(node: yaml.Node, value: Any, name: str, limits: typing.Mapping[str, Any], unit: str = "") -> None:
    if limits.get("choices") and value not in limits["choices"]:
        choices = limits["choices"]
        raise RecipeError(f"{where(node)}: {name} is {value!r}; {nearest(value, choices, every=True)}")
    tests = (
        ("low", lambda limit: value >= limit, "at least"),
        ("high", lambda limit: value <= limit, "at most"),
        ("above", lambda limit: value > limit, "more than"),
        ("below", lambda limit: value < limit, "less than"),
    )
    given = [
        (test(limits[key]), f"{word} {_shown(limits[key])}")
        for key, test, word in tests
        if limits.get(key) is not None
    ]
    if not all(holds for holds, _ in given):
        raise RecipeError(
            f"{where(node)}: {name} is {value!r}{' ' + unit if unit else ''}; expected "
            f"{' and '.join(words for _, words in given)}"
        )


def _shown(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


def _whatever(node: yaml.Node, name: str, above: tuple[yaml.Node, ...] = ()) -> Any:
    if any(node is one for one in above):
        raise RecipeError(f"{where(node)}: {name} holds itself, by an alias; write out what is meant")
    above = (*above, node)
    if isinstance(node, yaml.MappingNode):
        return {key.value: _whatever(value, f"{name}.{key.value}", above) for key, value in entries(node, name)}
    if isinstance(node, yaml.SequenceNode):
        return [_whatever(item, name, above) for item in node.value]
    if is_null(node):
        return None
    if node.style is not None:
        return node.value
    number = _number(node.value)
    return _TRUTHS.get(node.value.lower(), node.value) if number is None else number


def compose(text: str, name: str) -> yaml.Node | None:
    """Return the one node of some YAML, None where there is nothing.

    Args:
        text: The YAML.
        name: What messages call the place it stands in.

    Raises:
        YAMLError: If it is no YAML, holds characters that may not be, or more than one document.
    """
    loader = yaml.SafeLoader(text)
    loader.name = name
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    if node is not None and _spelt_out(node, {}) > _MOST_NODES:
        raise yaml.YAMLError(f"{name} has more than {_MOST_NODES:,} values, once its aliases are spelt out")
    return node


def _spelt_out(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many nodes there are with each alias counted as what it stands for; a few lines may be billions."""
    if id(node) not in sizes:
        sizes[id(node)] = 1  # for an alias to what it stands in, which is told where that is read
        inside = node.value if isinstance(node, yaml.CollectionNode) else ()
        nodes = [one for entry in inside for one in (entry if isinstance(entry, tuple) else (entry,))]
        sizes[id(node)] = 1 + sum(_spelt_out(one, sizes) for one in nodes)
    return sizes[id(node)]


def parse_value(text: str, name: str, mark: yaml.Mark | None = None) -> yaml.Node:
    """Return the node of a value that is no file, such as one of the command line.

    Args:
        text: The value, as it would stand in a recipe.
        name: What messages call its place.
        mark: Where it stands, if that is in a file.

    Raises:
        RecipeError: If it is no YAML.
    """
    try:
        node = compose(text, name)
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: {text!r} cannot be read: {' '.join(str(error).split())}") from error
    if node is None:
        node = yaml.ScalarNode(_NULL, "", yaml.Mark(name, 0, 0, 0, None, None))
    if mark is not None:
        node.start_mark = mark
    return node


def is_null(node: yaml.Node) -> bool:
    """Tell whether nothing, `null` or `~` was written."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL and node.style is None


def is_folder_name(word: str) -> bool:
    """Tell whether a name of the recipe can be that of a folder: letters, digits, - and _."""
    return word.replace("-", "").replace("_", "").isalnum()


def described(node: yaml.Node) -> str:
    """Return what was written, as a message shows it."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "empty" if is_null(node) else repr(node.value)
