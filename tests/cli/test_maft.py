"""`hf-afro maft`: the folder it leaves, going on after an interruption, several processes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, Trainer

from hf_afro.cli.main import main
from hf_afro.steps.records import Record

SETTINGS = ("--use_cpu", "--per_device_train_batch_size", 4, "--max_length", 32, "--disable_tqdm", "True")


def words_of(model, text, out, *more) -> list[str]:
    fixed = ["--model", model, "--text", text, "--output_dir", out, *SETTINGS]
    return ["maft", *[str(word) for word in (*fixed, *more)]]


def test_the_folder_holds_model_tokenizer_metrics_and_report(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "adapted"
    more = ("--eval_lines", 4, "--max_steps", 30, "--learning_rate", 1e-2, "--save_strategy", "no")
    assert main(words_of(model_folder, text_folder, out, *more)) == 0
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    history = json.loads((out / "history.json").read_text("utf-8"))
    assert history[-1]["step"] == 30
    record = Record.load(out)
    assert record.is_whole(out)
    assert (record.facts["steps"], record.facts["figure"]) == (30, "bits_per_byte")
    assert record.facts["after"] < record.facts["before"]
    for language in ("swa", "yor"):
        name = f"eval_{language}_bits_per_byte"
        assert metrics["after"][name] < metrics["before"][name]
    assert json.loads((out / "cleaning.json").read_text("utf-8"))["read"] == {"swa": 64, "yor": 64}
    old, new = (AutoModelForMaskedLM.from_pretrained(folder) for folder in (model_folder, out))
    assert not torch.equal(old.get_input_embeddings().weight, new.get_input_embeddings().weight)
    assert AutoTokenizer.from_pretrained(out).get_vocab() == AutoTokenizer.from_pretrained(model_folder).get_vocab()
    header, swa, *_, last = capsys.readouterr().out.splitlines()[-4:]
    assert header.split()[:2] == ["language", "lines"]
    assert swa.split()[:3] == ["swa", "64", "60"]
    assert last == f"written to {out}"


ENDS = """
import os, signal, sys
from transformers import Trainer
step = Trainer.training_step
def ending(self, *arguments, **settings):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.Signals[sys.argv.pop()])
    return step(self, *arguments, **settings)
Trainer.training_step = ending
from hf_afro.cli.main import main
sys.exit(main(sys.argv[1:-1]))
"""


def test_the_same_command_resumes_after_any_end(model_folder, text_folder, tmp_path, capsys):
    out = tmp_path / "adapted"
    words = words_of(model_folder, text_folder, out, "--eval_lines", 0, "--max_steps", 5, "--save_steps", 2)
    words.append("--no_checkpoints")
    assert main(words) == 0
    assert not list(out.glob("checkpoint-*"))
    unbroken = load_file(out / "model.safetensors")
    shutil.rmtree(out)
    for signal, code, checkpoint in (("SIGKILL", -9, 2), ("SIGTERM", 143, 4)):
        done = subprocess.run([sys.executable, "-c", ENDS, *words, signal], capture_output=True, check=False)
        assert done.returncode == code, done.stderr
        assert not out.exists()
        assert (tmp_path / "adapted.unfinished" / f"checkpoint-{checkpoint}").is_dir()
    capsys.readouterr()
    assert main(words) == 0
    assert "resuming from checkpoint-4 of" in capsys.readouterr().out
    resumed = load_file(out / "model.safetensors")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in unbroken.items())
    assert not list(out.glob("checkpoint-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapted", "text"]


@pytest.fixture
def headless_folder(model_folder, _tokenizer, tmp_path) -> str:
    """An encoder without a masked-LM head, as most of the sentence encoders are saved."""
    folder = tmp_path / "encoder"
    AutoModelForMaskedLM.from_pretrained(model_folder).base_model.save_pretrained(folder)
    _tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_new_head_comes_from_the_seed(headless_folder, text_folder, tmp_path):
    found = []
    for index, seed in enumerate((1, 1, 2)):
        torch.manual_seed(100 + index)  # whatever was drawn before
        out = tmp_path / f"adapted-{index}"
        more = ("--eval_lines", 2, "--max_steps", 1, "--save_strategy", "no", "--seed", seed)
        assert main(words_of(headless_folder, text_folder, out, *more)) == 0
        before = json.loads((out / "metrics.json").read_text("utf-8"))["before"]["eval_loss"]
        found.append((load_file(out / "model.safetensors"), before))
    first, again, other = found
    assert first[1] == again[1] != other[1]
    assert all(torch.equal(tensor, again[0][name]) for name, tensor in first[0].items())
    assert not torch.equal(first[0]["lm_head.dense.weight"], other[0]["lm_head.dense.weight"])


def test_a_resumed_run_keeps_the_first_figures_before_training(headless_folder, text_folder, tmp_path, monkeypatch):
    out = tmp_path / "adapted"
    words = words_of(headless_folder, text_folder, out, "--eval_lines", 2, "--max_steps", 4, "--save_steps", 2)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save_model", killed_at_step(4))
        assert main(words) == 130
    kept = tmp_path / "adapted.unfinished" / "before.json"
    first = json.loads(kept.read_text("utf-8"))
    kept.write_text(json.dumps({**first, "eval_loss": 7.5}), "utf-8")  # by which it is known
    assert main(words) == 0
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["before"] == {**first, "eval_loss": 7.5}
    assert metrics["after"]["eval_loss"] < 7.5
    assert not (out / "before.json").exists()


def killed_at_step(step):
    """A `save_model` that is interrupted at a step's checkpoint."""
    whole = Trainer.save_model

    def save_model(self, *arguments, **settings):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return whole(self, *arguments, **settings)

    return save_model


def test_an_architecture_from_scratch(model_folder, text_folder, tmp_path):
    out = tmp_path / "small"
    # The new model counts positions from the tokenizer's padding id, whatever the configuration says.
    changes = "num_hidden_layers=1,hidden_size=16,pad_token_id=0"
    more = ("--from_scratch", "--config_overrides", changes, "--max_steps", 1)
    assert main(words_of(model_folder, text_folder, out, "--eval_lines", 0, *more)) == 0
    config = AutoModelForMaskedLM.from_pretrained(out).config
    assert (config.num_hidden_layers, config.hidden_size, config.pad_token_id) == (1, 16, 1)


def test_an_architecture_is_taken_from_scratch_as_it_is_and_what_was_made_of_its_weights_is_not(
    model_folder, text_folder, tmp_path, caplog
):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(model_folder, source)
    path = source / "config.json"
    config = json.loads(path.read_text("utf-8"))
    said = {"dtype": "float16", "masked_lm_head": "untrained", "built_from": {"teacher": "large", "layers": [1, 3]}}
    path.write_text(json.dumps(config | said), "utf-8")
    more = ("--from_scratch", "--max_steps", 1, "--eval_lines", 0, "--save_strategy", "no")
    assert main(words_of(source, text_folder, out, *more)) == 0
    new = json.loads((out / "config.json").read_text("utf-8"))
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings")
    assert [new[name] for name in sizes] == [config[name] for name in sizes]
    assert "built_from" not in new
    assert (new["masked_lm_head"], new["dtype"]) == ("kept", "float32")
    assert "The weights to train were" not in caplog.text  # they were drawn in single precision
    old, trained = (load_file(folder / "model.safetensors") for folder in (source, out))
    words = "roberta.embeddings.word_embeddings.weight"
    assert not torch.allclose(old[words], trained[words], atol=0.01)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--lerning_rate", "1e-3"), "did you mean 'learning_rate'"),
        (("--mlm_probability", "1.5"), "mlm_probability=1.5 is outside (0, 1)"),
        (("--config_overrides", "hidden_size=16"), "it needs --from_scratch"),
        (("--from_scratch", "--config_overrides", "width=16"), "--config_overrides width=16:"),
        (("--from_scratch", "--config_overrides", "hiden_size=16"), "no 'hiden_size'; did you mean 'hidden_size'"),
        (("--languages", "zul"), "has no text for zul"),
        (("--near_duplicates",), "--near_duplicates: expected one argument"),
        (("--near_duplicates", "1.5"), "near_duplicates is 1.5; expected at most 1 and more than 0"),
        (("--language_adapter_rank", "8"), "unknown setting --language_adapter_rank of maft"),
        (("--exclude", "nowhere.txt"), "nowhere.txt does not exist"),
    ],
)
def test_mistakes_leave_nothing(refused, model_folder, text_folder, tmp_path, more, message):
    assert message in refused(*words_of(model_folder, text_folder, tmp_path / "out", *more))
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def launched(words) -> subprocess.CompletedProcess[str]:
    """A command in two processes, as `accelerate launch` starts them."""
    launch = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no".split()
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *launch, "--module", "hf_afro.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_two_processes_leave_one_folder(model_folder, text_folder, tmp_path):
    out = tmp_path / "adapted"
    done = launched(words_of(model_folder, text_folder, out, "--eval_lines", 4, "--max_steps", 2))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("written to") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapted", "text"]
    assert AutoModelForMaskedLM.from_pretrained(out).config.num_hidden_layers == 2
    # One random state a process is what shows that there were two.
    assert len(list((out / "checkpoint-2").glob("rng_state_*.pth"))) == 2
