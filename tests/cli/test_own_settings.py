"""What `--help` says of our settings is what the trainers have."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import TrainingArguments

from hf_afro.cli.own_settings import DISTILL_SETTINGS, MAFT_SETTINGS, describe_own_settings
from hf_afro.training.arguments import MAFTTrainingArguments, RelationDistillTrainingArguments


@pytest.mark.parametrize(
    ("described", "kind"),
    [(MAFT_SETTINGS, MAFTTrainingArguments), (DISTILL_SETTINGS, RelationDistillTrainingArguments)],
)
def test_names_and_defaults_are_those_of_the_arguments(described, kind):
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    own = {field.name: field.default for field in dataclasses.fields(kind) if field.name not in inherited}
    assert {name: default for name, (default, _) in described.items()} == own


def test_a_line_a_setting_with_its_default():
    lines = describe_own_settings(MAFT_SETTINGS).splitlines()
    assert len(lines) == len(MAFT_SETTINGS)
    assert lines[0].split()[:2] == ["--max_length", "512"]
    assert all(len(line) < 120 for line in lines)
