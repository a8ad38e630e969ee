"""The arguments of a trainer: what cannot be resumed, and processes that do not know of each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

from hf_afro.recipes import load_recipe
from hf_afro.steps.training import LogLines, trainer_arguments
from hf_afro.training import MAFTTrainingArguments, check_processes


def arguments(tmp_path, **given) -> MAFTTrainingArguments:
    return trainer_arguments(MAFTTrainingArguments, {"use_cpu": True, **given}, tmp_path)


def test_the_folder_is_that_of_the_step_and_what_was_given_is_kept(tmp_path):
    made = arguments(tmp_path, learning_rate=3e-5)
    assert (made.output_dir, made.learning_rate) == (str(tmp_path), 3e-5)
    assert made.disable_tqdm  # a test is no terminal
    assert not arguments(tmp_path, disable_tqdm=False).disable_tqdm


def test_mixed_precision_needs_no_other_word_on_a_cpu(tmp_path):
    distill = load_recipe("afro-mini").stage("distill")
    made = trainer_arguments(distill.step.arguments, distill.config.arguments, tmp_path)
    assert made.bf16
    assert made.use_cpu != torch.accelerator.is_available()


def test_a_run_is_reported_under_the_name_of_its_folder(tmp_path):
    assert arguments(tmp_path / "adapted.unfinished").run_name == "adapted"
    assert arguments(tmp_path / "adapted.unfinished", run_name="mine").run_name == "mine"


def test_nothing_is_reported_unless_asked_for(tmp_path):
    assert arguments(tmp_path).report_to == arguments(tmp_path, report_to="none").report_to == []
    assert arguments(tmp_path, report_to="trackio").report_to == ["trackio"]


def test_another_checkpoint_is_named_as_the_model(tmp_path):
    with pytest.raises(ValueError, match="an interrupted run resumes by itself when the same command is repeated"):
        arguments(tmp_path, resume_from_checkpoint="run/checkpoint-3")


def test_processes_that_do_not_know_of_each_other_are_refused(tmp_path, monkeypatch):
    alone = arguments(tmp_path)
    check_processes(alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched but the trainer sees 1; .* --use_cpu"):
        check_processes(alone)


def launcher(*words):
    """The environment that `accelerate launch` gives to the one process of its simple launcher."""
    args = launch_command_parser().parse_args([*words, "script.py"])
    args.mixed_precision, args.dynamo_backend, args.num_machines, args.use_cpu = "no", "no", 1, False
    return prepare_simple_launcher_cmd_env(args)[1]


def test_one_process_where_several_were_asked_for_is_refused(tmp_path, monkeypatch):
    for name, value in launcher("--cpu", "--num_processes", "1").items():
        monkeypatch.setenv(name, value)
    alone = arguments(tmp_path)
    monkeypatch.setenv("MASTER_PORT", "29511")  # as a script for a cluster may
    check_processes(alone)
    for name, value in launcher("--cpu", "--num_processes", "2").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="was asked for several processes and started one.*--multi_gpu"):
        check_processes(alone)
    with pytest.raises(ValueError, match="was asked for several processes and started one"):
        arguments(tmp_path)


def test_one_process_on_a_gpu_may_know_an_address(tmp_path, monkeypatch):
    """Scripts for a cluster export where the main process is, however many there are."""
    alone = arguments(tmp_path)
    for name, value in launcher("--num_processes", "1").items():
        monkeypatch.setenv(name, value)
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    check_processes(alone)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(ValueError, match="unset MASTER_ADDR and MASTER_PORT"):
        check_processes(alone)


def test_without_a_bar_each_log_is_one_short_line(capsys):
    times = iter([100.0, 110.0, 150.0])
    lines, state = LogLines(lambda: next(times)), SimpleNamespace(global_step=0, max_steps=0)
    lines.on_log(None, state, None, {"eval_swa_loss": 3.0, "eval_loss": 2.5, "eval_bits_per_byte": 1.25})
    state.max_steps = 100
    lines.on_train_begin(None, state, None)
    for state.global_step in (20, 30):
        lines.on_log(None, state, None, {"loss": 2.34567, "grad_norm": 1.0, "learning_rate": 5e-5, "tokens_seen": 900})
    lines.on_log(None, state, None, {"train_runtime": 50.0})
    assert capsys.readouterr().out.splitlines() == [
        "step 0: evaluation loss 2.5, bits per byte 1.25",
        "step 20 of 100: loss 2.346, learning rate 5e-05, 2 steps/s",
        "step 30 of 100: loss 2.346, learning rate 5e-05, 0.25 steps/s",
    ]
