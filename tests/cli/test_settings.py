"""Settings of a trainer from the words of a command line."""

from __future__ import annotations

import pytest

from hf_afro.cli.settings import check_processes, parse_settings
from hf_afro.training.arguments import MAFTTrainingArguments


def parse(tmp_path, words: str) -> MAFTTrainingArguments:
    return parse_settings(MAFTTrainingArguments, words.split(), tmp_path, own_options=("model", "eval_lines"))


def test_every_field_is_a_setting(tmp_path):
    settings = parse(tmp_path, "--learning_rate 3e-5 --max_length=128 --no_packing --use_cpu --language-alpha 0.3")
    assert settings.output_dir == str(tmp_path)
    assert (settings.learning_rate, settings.max_length, settings.packing) == (3e-5, 128, False)
    assert (settings.use_cpu, settings.language_alpha) == (True, 0.3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lerning_rate 3e-5", "--lerning_rate is neither .* the nearest is --learning_rate"),
        ("--learning_rat=3e-5", "the nearest is --learning_rate"),
        ("--evaluation_strategy steps", "the nearest is --eval_strategy"),
        ("--eval_line 20", "the nearest is --eval_lines"),
        ("--learning 3e-5", "--learning is neither"),
        ("texts", "'texts' stands alone; expected --name value"),
        ("--seed one", "invalid int value: 'one'"),
        ("--mlm_probability 2", r"mlm_probability=2.0 is outside \(0, 1\)"),
        ("--eval_strategy sometimes", "invalid choice: 'sometimes'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        parse(tmp_path, words)


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    alone = parse(tmp_path, "--use_cpu")
    check_processes(alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched and the trainer sees 1; .* --use_cpu"):
        check_processes(alone)
