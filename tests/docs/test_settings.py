"""The page of settings is what the settings themselves say."""

from __future__ import annotations

from docs.settings import PAGE, page
from hf_afro.steps import SUMMARIES, step_named
from hf_afro.steps.parsing import StepParser


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == page(), "run `python -m docs.settings`"


def test_every_setting_of_every_step_is_explained():
    sections = dict(zip(SUMMARIES, page().split("\n## ")[1:], strict=True))
    for name, section in sections.items():
        assert section.startswith(f"{name}\n")
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        assert all(row[-1].removesuffix("|").strip() for row in rows), name
        named = [row[0].strip("|` ") for row in rows]
        assert set(named) <= set(StepParser(step_named(name), prog=name).names())
