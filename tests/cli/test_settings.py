"""Settings of a trainer from the words of a command line."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

from hf_afro.cli.own_settings import MAFT_SETTINGS
from hf_afro.cli.settings import check_names, parse_settings
from hf_afro.training import check_processes
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
        ("--zzz 1", "--zzz is neither an option of this command nor a field of MAFTTrainingArguments$"),
        ("--resume_from_checkpoint run/checkpoint-3", "goes on by itself when the same command is given again"),
        ("texts", "'texts' stands alone; expected --name value"),
        ("--seed one", "invalid int value: 'one'"),
        ("--mlm_probability 2", r"mlm_probability=2.0 is outside \(0, 1\)"),
        ("--eval_strategy sometimes", "invalid choice: 'sometimes'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        parse(tmp_path, words)


def test_names_are_looked_at_before_text_and_model_are():
    fields = [field.name for field in dataclasses.fields(MAFTTrainingArguments) if field.init]
    words = [f"--{name}" for name in fields]
    check_names([*words, "--no_packing", "--learning-rate=3", "3"], MAFT_SETTINGS, (), "MAFTTrainingArguments")
    for wrong, near in (("--lerning_rate", "learning_rate"), ("--no_packin", "packing"), ("--modle", "model")):
        with pytest.raises(ValueError, match=f"{wrong} is neither .* nor a field of Kind; the nearest is --{near}$"):
            check_names([wrong, "3"], MAFT_SETTINGS, ("model",), "Kind")


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    alone = parse(tmp_path, "--use_cpu")
    check_processes(alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched and the trainer sees 1; .* --use_cpu"):
        check_processes(alone)


def launcher(*words):
    """The environment that `accelerate launch` gives to the one process of its simple launcher."""
    args = launch_command_parser().parse_args([*words, "script.py"])
    args.mixed_precision, args.dynamo_backend, args.num_machines, args.use_cpu = "no", "no", 1, False
    return prepare_simple_launcher_cmd_env(args)[1]


def test_one_process_where_several_were_asked_for_is_refused(tmp_path, monkeypatch):
    for name, value in launcher("--cpu", "--num_processes", "1").items():
        monkeypatch.setenv(name, value)
    alone = parse(tmp_path, "--use_cpu")
    monkeypatch.setenv("MASTER_PORT", "29511")  # as a script for a cluster may
    check_processes(alone)
    for name, value in launcher("--cpu", "--num_processes", "2").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="was asked for several processes and started one.*--multi_gpu"):
        check_processes(alone)
    with pytest.raises(ValueError, match="was asked for several processes and started one"):
        parse(tmp_path, "--use_cpu")


def test_one_process_on_a_gpu_may_know_an_address(tmp_path, monkeypatch):
    """Scripts for a cluster export where the main process is, however many there are."""
    alone = parse(tmp_path, "--use_cpu")
    for name, value in launcher("--num_processes", "1").items():
        monkeypatch.setenv(name, value)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    check_processes(alone)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(ValueError, match="unset MASTER_ADDR and MASTER_PORT"):
        check_processes(alone)
