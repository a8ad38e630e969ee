"""The full circle: trained, pushed by the real client, and loaded from the Hub with a fresh cache."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import hf_hub_download
from peft import LoraConfig, get_peft_model

import hf_afro
from hf_afro.export import add_remote_code
from tests.hub.folders import held, here
from tests.hub.sequences import speaking_to_loopback
from tests.hub.server import Hub
from tests.texts import SENTENCES
from tests.training.tiny_trainers import maft_trainer, settings, student_of, text_datasets

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft still reads it

ROOT = Path(__file__).resolve().parents[2]
IDS = [[0, 9, 8, 7, 6, 5, 2]]

LOADED = """
import json, sys
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

names, out = json.loads(sys.argv[1]), {}
for name in names:
    if name == "ama/adapter":
        from peft import PeftModel
        model = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained("ama/pruned"), name)
    else:
        model = AutoModelForMaskedLM.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained("ama/pruned" if name == "ama/adapter" else name)
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor(json.loads(sys.argv[2]))).logits
    out[name] = [type(model).__module__.partition(".")[0], len(tokenizer), logits.flatten()[:50].tolist()]
print(json.dumps(out))
"""

# What users do who have read the code and ask for it; the package itself never does (tests/test_security.py).
ASKED_FOR = """
from transformers import AutoModelForTokenClassification

for name in json.loads(sys.argv[3]):
    try:
        AutoModelForMaskedLM.from_pretrained(name, trust_remote_code=False)
        raise SystemExit("the code of a repository was run, or not needed")
    except ValueError as error:
        assert "trust_remote_code" in str(error) or "afro-student" in str(error), error
    model = AutoModelForMaskedLM.from_pretrained(name, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=True)
    with torch.inference_mode():
        logits = model.eval()(input_ids=torch.tensor(json.loads(sys.argv[2]))).logits
    out[name] = [type(model).__module__.partition(".")[0], len(tokenizer), logits.flatten()[:50].tolist()]
    AutoModelForTokenClassification.from_pretrained(name, trust_remote_code=True)
assert "hf_afro" not in sys.modules
print(json.dumps(out))
"""

# As if the package was not installed.
WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_afro":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("circle")


@pytest.fixture(scope="module")
def hub():
    with speaking_to_loopback(), pytest.MonkeyPatch.context() as patch, Hub() as one:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", one.url)
        patch.setenv("HF_TOKEN", one.token)
        yield one


def logits_of(model, tokenizer) -> tuple[int, list[float]]:
    with torch.inference_mode():
        return len(tokenizer), model.eval()(input_ids=torch.tensor(IDS)).logits.flatten()[:50].tolist()


@pytest.fixture(scope="module")
def sent(hub, work, _tokenizer):
    """Train and push one model of each kind; return the output of each for the same tokens, by name."""
    torch.manual_seed(0)
    from transformers import XLMRobertaForMaskedLM

    from tests.conftest import tiny_config

    tokenizer = copy.deepcopy(_tokenizer)
    sent = {}
    trainer = maft_trainer(
        XLMRobertaForMaskedLM(tiny_config(len(tokenizer))),
        tokenizer,
        work / "adapted",
        max_steps=2,
        hub_model_id="ama/adapted",
        hub_token=hub.token,
        push_to_hub=True,
        hub_strategy="end",
        save_strategy="steps",
        save_steps=1,
    )
    trainer.train()
    adapted = trainer.model
    trainer.push_to_hub()
    sent["ama/adapted"] = logits_of(adapted, tokenizer)

    counts = hf_afro.count_tokens(SENTENCES, tokenizer)
    (work / "counts").mkdir()
    counts.save(work / "counts" / "counts.npz")
    hf_afro.push(work / "counts", "ama/counts", kind="dataset")
    sent["counts"] = [counts.fingerprint, counts.total]

    pruned = hf_afro.prune_vocabulary(adapted, tokenizer, hf_afro.select_tokens(counts, budget=450))
    pruned.save_pretrained(work / "pruned")
    hf_afro.push(work / "pruned", "ama/pruned")
    sent["ama/pruned"] = logits_of(pruned.model, pruned.tokenizer)

    sizes = {"num_hidden_layers": 1, "hidden_size": 16, "embedding_size": 8}
    student = hf_afro.build_student(pruned.model, tokenizer=pruned.tokenizer, **sizes)
    distilled = hf_afro.RelationDistillTrainer(
        model=student,
        teacher_model=pruned.model,
        args=hf_afro.RelationDistillTrainingArguments(
            **settings(work / "student", max_steps=2), hub_model_id="ama/student", hub_private_repo=True
        ),
        train_dataset=text_datasets(),
        processing_class=pruned.tokenizer,
    )
    distilled.train()
    distilled.push_to_hub(token=hub.token)
    sent["ama/student"] = logits_of(student, pruned.tokenizer)

    student.save_pretrained(work / "coded")
    pruned.tokenizer.save_pretrained(work / "coded")
    add_remote_code(work / "coded")
    hf_afro.push(work / "coded", "ama/coded")
    sent["ama/coded"] = logits_of(student, pruned.tokenizer)

    plain = student_of(tokenizer)
    plain.save_pretrained(work / "plain")
    tokenizer.save_pretrained(work / "plain")
    hf_afro.push(work / "plain", "ama/plain")
    sent["ama/plain"] = logits_of(plain, tokenizer)

    base = XLMRobertaForMaskedLM.from_pretrained(work / "pruned")
    adapter = get_peft_model(base, LoraConfig(target_modules=["query"], init_lora_weights=False))
    adapter.save_pretrained(work / "adapter")
    hf_afro.push(work / "adapter", "ama/adapter", base_model="ama/pruned")
    sent["ama/adapter"] = logits_of(adapter, pruned.tokenizer)
    return sent


def elsewhere(hub, cache: Path, code: str, *arguments: str):
    """Run code in a process that only has the URL of the Hub and a token."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cache),
        "HF_HOME": str(cache / "hf"),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env=environment,
        cwd=cache,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(loaded, sent):
    for name, (_, tokens, logits) in loaded.items():
        assert tokens == sent[name][0], name
        assert logits == pytest.approx(sent[name][1], rel=1e-5, abs=1e-6), name


def test_with_hf_afro_every_kind_comes_back_as_it_was(hub, sent, tmp_path, monkeypatch, capsys):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
    names = ["ama/adapted", "ama/pruned", "ama/student", "ama/adapter"]
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps(names), json.dumps(IDS)])
    exec(compile(LOADED, "loaded", "exec"), {})
    loaded = json.loads(capsys.readouterr().out.splitlines()[-1])
    check(loaded, sent)
    assert set(loaded) == set(names)
    assert loaded["ama/student"][0] == "hf_afro"
    counts = hf_afro.TokenCounts.load(hf_hub_download("ama/counts", "counts.npz", repo_type="dataset"))
    assert [counts.fingerprint, counts.total] == sent["counts"]
    assert {path.name for path in tmp_path.glob("models--*")} == {
        f"models--{name.replace('/', '--')}" for name in names
    }


def test_without_hf_afro_plain_models_load_and_a_student_by_its_code_where_that_is_asked_for(hub, sent, tmp_path):
    plain, coded = ["ama/plain", "ama/adapted", "ama/pruned"], ["ama/coded"]
    loaded = elsewhere(hub, tmp_path, WITHOUT + LOADED + ASKED_FOR, *map(json.dumps, (plain, IDS, coded)))
    check(loaded, sent)
    assert {kind for kind, _, _ in (loaded[name] for name in plain)} == {"transformers"}
    assert loaded["ama/coded"][0] == "transformers_modules"
    assert {"configuration_afro_student.py", "modeling_afro_student.py"} <= set(held(hub, "ama/coded"))


def test_each_was_one_commit_and_the_trainers_made_no_other(hub, sent):
    for (kind, name), repository in hub.store.repositories.items():
        assert len(repository.history("main")) == 2, (kind, name)
        assert repository.private == (name == "ama/student")
    assert not any(fault for fault in hub.faults.struck)


def test_nothing_of_this_machine_was_published(hub, sent, work):
    """No tokens and no local paths, in any file on the Hub."""
    everything = {**hub.store.small, **hub.store.large}
    assert len(everything) > 20
    places = [str(work), str(ROOT), str(Path.home()) + "/", hub.token, hub.other_token]
    found = [place for content in everything.values() for place in places if place.encode() in content]
    assert found == []
    names = {path for name in ("ama/adapted", "ama/student") for path in held(hub, name)}
    assert not any(path.endswith((".bin", ".pt", ".pth")) or "checkpoint" in path for path in names)
    assert "training_args.bin" in here(work / "adapted"), "there was something not to publish"
    assert any(path.startswith("checkpoint-") for path in here(work / "adapted"))


def test_publishing_while_training_is_refused(hub, model, tokenizer, tmp_path):
    before = len(hub.requests)
    with pytest.raises(
        ValueError, match="hub_strategy=every_save sends checkpoints and the pickled arguments while tr"
    ):
        maft_trainer(model, tokenizer, tmp_path, push_to_hub=True, hub_model_id="ama/model")
    trainer = maft_trainer(model, tokenizer, tmp_path)
    with pytest.raises(ValueError, match="blocking=False is not supported"):
        trainer.push_to_hub(blocking=False)
    assert len(hub.requests) == before
