"""`hf-afro maft --language_adapter_rank`: an adapter a language, the model as it was, and going on after a kill."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from hf_afro.cli.main import main
from hf_afro.evaluation.language_adapters import check_language_adapter
from tests.cli.test_maft import launched, words_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft reads it

RANK = ("--language_adapter_rank", 2, "--learning_rate", 1e-2)
WEIGHTS = "adapter_model.safetensors"


def test_each_language_has_its_own(model_folder, text_folder, tmp_path, capsys):
    out, alone = tmp_path / "adapters", tmp_path / "alone"
    more = (*RANK, "--eval_lines", 4, "--max_steps", 20, "--save_strategy", "no")
    assert main(words_of(model_folder, text_folder, out, *more)) == 0
    assert not (out / "model.safetensors").exists()
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    for language in ("swa", "yor"):
        assert check_language_adapter(out / language)
        name = f"eval_{language}_bits_per_byte"
        assert metrics["after"][name] != metrics["before"][name]
    assert not [name for name in metrics["after"] if "_swa_" not in name and "_yor_" not in name]
    assert set(metrics["train"]) == {"swa", "yor"}
    assert "adapters written to" in capsys.readouterr().out
    # One language alone gives the very same adapter: none sees what the others were trained on.
    assert main(words_of(model_folder, text_folder, alone, *more, "--languages", "yor")) == 0
    first, second = (load_file(folder / "yor" / WEIGHTS) for folder in (out, alone))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    model = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(model_folder), out / "swa")
    assert [name for name in model.state_dict() if "lora_A" in name]


def test_the_same_command_goes_on_with_the_languages_that_are_missing(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "adapters"
    words = words_of(model_folder, text_folder, out, *RANK, "--eval_lines", 0, "--max_steps", 4, "--save_steps", 2)
    assert main(words) == 0
    unbroken = {code: load_file(out / code / WEIGHTS) for code in ("swa", "yor")}
    halfway = tmp_path / "adapters.unfinished"
    shutil.move(out, halfway)
    (halfway / "metrics.json").unlink()
    shutil.rmtree(halfway / "yor" / "checkpoint-4")
    (halfway / "yor" / "metrics.json").unlink()
    (halfway / "yor" / WEIGHTS).unlink()
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "swa: made before" in printed
    assert f"going on from checkpoint-2 of {halfway / 'yor'}" in printed
    for code, weights in unbroken.items():
        resumed = load_file(out / code / WEIGHTS)
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in weights.items())


def test_the_batch_of_a_loss_that_is_not_finite_stays(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "adapters"
    more = ("--language_adapter_rank", 2, "--eval_lines", 0, "--max_steps", 6, "--save_strategy", "no")
    wild = ("--learning_rate", "1e38", "--max_grad_norm", 0, "--lr_scheduler_type", "constant")
    assert main(words_of(model_folder, text_folder, out, *more, *wild)) == 1
    assert "not_finite" in capsys.readouterr().err
    assert list((tmp_path / "adapters.unfinished" / "swa" / "not_finite").iterdir())


def test_two_processes_train_the_adapters_of_one(model_folder, text_folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    more = (*RANK, "--eval_lines", 4, "--max_steps", 3, "--save_strategy", "no")
    assert main(words_of(model_folder, text_folder, one, *more, "--gradient_accumulation_steps", 2)) == 0
    done = launched(words_of(model_folder, text_folder, two, *more))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("adapters written to") == 1
    for code in ("swa", "yor"):
        alone, shared = (load_file(folder / code / WEIGHTS) for folder in (one, two))
        assert all(torch.allclose(tensor, shared[name], atol=1e-6) for name, tensor in alone.items())
    assert json.loads((two / "metrics.json").read_text("utf-8"))["train"].keys() == {"swa", "yor"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--language_adapter_rank", 0), "--language_adapter_rank 0; expected at least 1"),
        (("--language_adapter_rank", 4, "--from_scratch"), "leave --from_scratch out"),
    ],
)
def test_mistakes(refused, model_folder, text_folder, tmp_path, more, message):
    assert message in refused(*words_of(model_folder, text_folder, tmp_path / "out", *more))
