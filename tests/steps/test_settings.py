"""Settings check themselves: limits, lists of names, languages; and places are told from names."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from hf_afro.languages import languages_in
from hf_afro.steps.settings import Input, Languages, Limits, StepConfig, Words, codes_of, inputs_of, place_of


@dataclass(frozen=True, kw_only=True)
class Config(StepConfig):
    """One field of each kind."""

    share: Annotated[float | None, Limits(above=0, high=1)] = None
    counts: Annotated[list[int] | None, Limits(low=1, below=9)] = None
    languages: Annotated[list[str] | None, Languages()] = None
    scripts: Annotated[list[str] | None, Words()] = None
    text: Annotated[str | None, Input("text", default=True)] = None
    data: Annotated[list[str] | None, Input("tasks", must_exist=False)] = None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0}, "share is 0; expected at most 1 and more than 0"),
        ({"share": 1.5}, "share is 1.5; expected"),
        ({"share": math.nan}, "share is nan; expected"),
        ({"counts": [3, 9]}, "counts is 9; expected at least 1 and less than 9"),
        ({"languages": ["swaa"]}, r"unknown language 'swaa'; did you mean swa \(Swahili\)"),
        ({"languages": ["gaz_Latn,orm"]}, "'gaz_Latn' and 'orm' are one language"),
        ({"languages": [" , "]}, "languages names nothing; expected names, or leave it out"),
        ({"scripts": []}, "scripts names nothing"),
    ],
)
def test_what_is_outside_its_limits_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_what_is_within_is_kept_and_lists_are_split():
    config = Config(share=1, counts=[1, 8], scripts=["Latin,Arabic", "Ethiopic"])
    assert (config.share, config.counts, config.scripts) == (1, [1, 8], ["Latin", "Arabic", "Ethiopic"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.share = 2


def test_languages_may_be_sets():
    masakhaner = languages_in("masakhaner1")
    config = Config(languages=["swa,masakhaner1", "bem"])
    assert config.languages[0] == "swa"
    assert set(config.languages) == {*masakhaner, "swa", "bem"}
    assert len(config.languages) == len(set(config.languages))
    assert codes_of(["swh_Latn", "yo"]) == ["swa", "yor"]


def test_languages_are_iso_codes_once_they_are_settings():
    assert Config(languages=["sw,gaz_Latn", "bem"]).languages == ["swa", "orm", "bem"]
    assert Config(languages=["sw", "masakhaner1"]).languages.count("swa") == 1  # which the set has too
    assert dataclasses.replace(Config(languages=["sw"]), share=1).languages == ["swa"]


def test_inputs_are_found_with_their_places():
    assert list(inputs_of(Config())) == []
    found = {name: values for name, _, values in inputs_of(Config(text="t", data=["ner=a/b", "c"]))}
    assert found == {"text": ["t"], "data": ["ner=a/b", "c"]}
    assert [place_of(word) for word in ("ner=a/b", "c", "./x=y/z", "a=b=c")] == ["a/b", "c", "./x=y/z", "b=c"]
