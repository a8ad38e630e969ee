"""A value of YAML becomes what its field says, or the message names line, setting and what would be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from hf_afro.recipes.schema import RecipeError, parse_value, read_settings, setting


@dataclass(frozen=True)
class Inner:
    depth: int = setting(1, help="how deep", low=1, high=9)


@dataclass(frozen=True, kw_only=True)
class Example:
    rate: float = setting(0.5, help="a rate", above=0, below=1)
    steps: int | None = setting(None, help="steps", low=1)
    name: str = setting("a", help="a name")
    kind: str = setting("big", help="a kind", choices=("big", "small"))
    fast: bool = setting(False, help="whether")
    codes: tuple[str, ...] = setting((), help="codes")
    seeds: tuple[int, ...] = setting((1,), help="seeds", low=1)
    models: dict[str, str] = setting({}, help="names")
    more: dict[str, Any] = setting({}, help="anything")
    inner: Inner = setting(Inner(), help="more")

    def __post_init__(self) -> None:
        if self.name == "impossible":
            raise ValueError("that name cannot be")


def read(text: str) -> Example:
    return read_settings(parse_value(text, "file.yaml"), Example, "example")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("rate: 1e-3", "rate", 1e-3),  # text to YAML 1.1
        ("rate: 3E-5", "rate", 3e-5),
        ("steps: 70_000", "steps", 70_000),
        ("steps: 1e3", "steps", 1000),
        ("steps: null", "steps", None),
        ("steps:", "steps", None),
        ("name: no", "name", "no"),  # false to YAML 1.1
        ("name: '12'", "name", "12"),
        ("fast: yes", "fast", True),
        ("fast: false", "fast", False),
        ("codes: [no, swa]", "codes", ("no", "swa")),
        ("codes: swa, yor", "codes", ("swa", "yor")),
        ("codes: swa", "codes", ("swa",)),
        ("seeds: [1, 2]", "seeds", (1, 2)),
        ("seeds: 3", "seeds", (3,)),
        ("models: {no: one, b: two}", "models", {"no": "one", "b": "two"}),
        (
            "more: {a: 1e-6, b: yes, c: [1, x], d: null, e: '1'}",
            "more",
            {"a": 1e-6, "b": True, "c": [1, "x"], "d": None, "e": "1"},
        ),
        ("inner: {depth: 3}", "inner", Inner(3)),
        ("inner:", "inner", Inner()),
    ],
)
def test_values_are_read_as_their_type(text, name, value):
    found = getattr(read(text), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 0.1\nstep: 3", r"file\.yaml, line 2: 'step' is no setting of example; the nearest is 'steps'"),
        ("rate: fast", r"line 1: example\.rate is 'fast'; expected a number"),
        ("rate: '0.1'", r"example\.rate is '0\.1', in quotes; expected a number without"),
        ("rate: nan", r"expected a number"),
        ("rate: 0", r"example\.rate is 0\.0; expected more than 0 and less than 1"),
        ("rate: 1", r"less than 1"),
        ("rate: [1]", r"example\.rate is a list; expected a number"),
        ("rate:", r"example\.rate is empty; expected a number"),
        ("steps: 2.5", r"example\.steps is '2\.5'; expected a whole number"),
        ("steps: 010", r"expected a whole number"),  # 8 to YAML 1.1
        ("steps: 1:30", r"expected a whole number"),  # 90 to YAML 1.1
        ("steps: yes", r"expected a whole number"),
        ("steps: 0", r"example\.steps is 0; expected at least 1"),
        ("name: 12", r"example\.name is '12'; expected text"),
        ("name: true", r"expected text"),
        ("kind: bigg", r"example\.kind is 'bigg'; the nearest is 'big' of big, small"),
        ("fast: 1", r"example\.fast is '1'; expected true or false"),
        ("codes: {a: b}", r"example\.codes is a mapping; expected a list"),
        ("codes: [[a]]", r"example\.codes is a list; expected text"),
        ("seeds: []", r"example\.seeds is 0 entries; expected at least 1"),
        ("seeds: [a]", r"expected a whole number"),
        ("models: [a]", r"example\.models is a list; expected settings"),
        ("inner: {deep: 1}", r"'deep' is no setting of example\.inner; the nearest is 'depth'"),
        ("inner:\n  depth: 12", r"line 2: example\.inner\.depth is 12; expected at least 1 and at most 9"),
        ("rate: 0.1\nname: b\nrate: 0.2", r"line 3: 'rate' is given twice, first in file\.yaml, line 1"),
        ("name: impossible", r"file\.yaml, line 1: example: that name cannot be"),
        ("[a, b]", r"example is a list; expected settings"),
        ("? [a]\n: b", r"stands where example has the name of a setting"),
        ("<<: {rate: 0.1}", r"'<<' stands where example has the name of a setting"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text, message):
    with pytest.raises(RecipeError, match=message):
        read(text)


def test_a_setting_without_a_default_has_to_be_given():
    @dataclass(frozen=True)
    class Needy:
        size: int = setting(help="how large")

    with pytest.raises(RecipeError, match=r"line 1: needy needs 'size': how large"):
        read_settings(parse_value("{}", "file.yaml"), Needy, "needy")


def test_broken_yaml_is_named():
    with pytest.raises(RecipeError, match=r"--a\.b: '\[1' cannot be read"):
        parse_value("[1", "--a.b")
