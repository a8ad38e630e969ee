"""A LoRA stack: the language's adapter frozen under the task's, exchanged in another language."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForTokenClassification, XLMRobertaForMaskedLM

from hf_afro.evaluation.evaluation import evaluate_model
from hf_afro.evaluation.facts import model_fingerprint
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.heads import add_head
from hf_afro.evaluation.language_adapters import LanguageStack, check_language_adapter, write_base
from hf_afro.evaluation.presets import adapted
from hf_afro.reports.tables import comparison_table
from hf_afro.reports.transfer import transfer_table
from hf_afro.training.adapters import with_adapter
from tests.conftest import tiny_config
from tests.evaluation.conftest import make

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft reads it


def save_adapter(model, folder, seed: int, **settings) -> str:
    """An adapter as after training: its second matrix, which begins as zeros, is not."""
    wrapped = with_adapter(model, LoraConfig(**{"r": 4, "lora_alpha": 8, **settings}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    wrapped.save_pretrained(folder)
    wrapped.unload()
    return str(folder)


@pytest.fixture
def adapters(model, tmp_path) -> dict[str, str]:
    return {code: save_adapter(model, tmp_path / code, seed) for seed, code in enumerate(("swa", "yor"))}


@pytest.fixture
def lora(quick):
    return adapted(quick, "lora").replace(epochs=3, lora_rank=2)


def delta(folder: str, name: str) -> torch.Tensor:
    """What an adapter adds to a weight, by hand: alpha over rank times B A."""
    weights = load_file(f"{folder}/adapter_model.safetensors")
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    return 2 * weights[f"{stem}.lora_B.weight"] @ weights[f"{stem}.lora_A.weight"]


def test_the_language_stays_and_the_task_learns(model, tokenizer, ner, lora, adapters, tmp_path):
    tuned = finetune(model, tokenizer, ner, lora, 1, language_adapters=adapters)
    stack = tuned.stack.speak("swa")
    state = {name.replace(".swa", ""): tensor for name, tensor in stack.state_dict().items() if ".swa." in name}
    saved = load_file(f"{adapters['swa']}/adapter_model.safetensors")
    assert state.keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in state.items())
    learned = {
        name for name, tensor in stack.named_parameters() if "lora_B.default" in name and tensor.abs().sum() > 0
    }
    assert len(learned) == 2 * model.config.num_hidden_layers
    assert not [name for name, tensor in stack.named_parameters() if ".swa." in name and tensor.requires_grad]
    fresh = add_head(model, "ner", ner.labels, 1)
    assert (tuned.model.classifier.weight - fresh.classifier.weight).abs().max() > 1e-3  # the head has learned
    # The plain classifier is the old weights with both additions.
    name = "roberta.encoder.layer.0.attention.self.query.weight"
    task = dict(stack.named_parameters())
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    own = 2 * task[f"{stem}.lora_B.default.weight"] @ task[f"{stem}.lora_A.default.weight"]
    expected = model.get_parameter(name) + delta(adapters["swa"], name) + own
    assert torch.allclose(tuned.model.get_parameter(name), expected, atol=1e-6)
    ids = torch.arange(5, 25).unsqueeze(0)
    with torch.inference_mode():
        assert torch.allclose(stack.eval()(ids).logits, tuned.model(ids).logits, atol=1e-5)


def test_in_another_language_its_adapter_takes_the_place(model, tokenizer, ner, lora, adapters):
    tuned = finetune(model, tokenizer, ner, lora, 1, language_adapters=adapters)
    name = "roberta.encoder.layer.1.attention.self.value.weight"
    exchanged = tuned.model.get_parameter(name) - delta(adapters["swa"], name) + delta(adapters["yor"], name)
    merged = LanguageStack(tuned.stack.trained, adapters, "yor").plain()
    assert torch.allclose(merged.get_parameter(name), exchanged, atol=1e-5)
    ids = torch.arange(5, 25).unsqueeze(0)
    with torch.inference_mode():
        first, second = (tuned.stack.speak(code).eval()(ids).logits for code in ("swa", "yor"))
        assert torch.allclose(tuned.stack.speak("swa")(ids).logits, first)
    assert (first - second).abs().max() > 1e-3
    assert tuned.predict(ner) == tuned.predict(ner)
    with pytest.raises(ValueError, match="no adapter of hau; there are some of swa, yor"):
        tuned.predict(make("ner", "hau"))


def test_a_matrix_under_adapters(model, tokenizer, lora, adapters, tmp_path):
    data = [make("ner", code) for code in ("swa", "yor")]
    common = {"name": "tiny", "settings": lora, "seeds": (1,), "transfer": ["swa"], "language_adapters": adapters}
    report = evaluate_model(model, tokenizer, data, output_dir=tmp_path / "one", save_models=True, **common)
    assert {(score.source, score.language) for score in report.transfer} == {("swa", "yor")}
    assert "tiny: over adapters of languages, the task's on top of them." in comparison_table([report], "ner").notes
    assert "tiny: over adapters" in " ".join(transfer_table(report, "ner", "entity_f1").notes)
    assert report.provenance["language_adapters"]["swa"] == check_language_adapter(adapters["swa"])
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path / "one" / "models" / "ner-swa-1")
    assert not [name for name, _ in loaded.named_parameters() if "lora" in name]
    again = evaluate_model(
        model, tokenizer, data, output_dir=tmp_path / "two", **{**common, "transfer": None, "processes": 2}
    )
    assert again.select(language="swa") == report.select(language="swa")


def test_a_changed_adapter_is_another_run(model, tokenizer, lora, adapters, tmp_path, monkeypatch):
    from hf_afro.evaluation import evaluation

    monkeypatch.setattr(evaluation, "forget_runs", lambda folder: None)
    made = []
    common = {"name": "tiny", "settings": lora.replace(epochs=1), "seeds": (1,), "language_adapters": adapters}
    for _ in range(2):
        evaluate_model(
            model, tokenizer, [make("ner")], output_dir=tmp_path / "out",
            on_run=lambda what, done, total: made.append("before" in what), **common
        )  # fmt: skip
    weights = f"{adapters['swa']}/adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(weights).items()}, weights)
    evaluate_model(
        model, tokenizer, [make("ner")], output_dir=tmp_path / "out",
        on_run=lambda what, done, total: made.append("before" in what), **common
    )  # fmt: skip
    assert made == [False, True, False]


def test_the_part_of_a_masked_lm_head_is_left_out(model, tokenizer, ner, lora, tmp_path):
    folder = save_adapter(model, tmp_path / "swa", 0, target_modules=["query", "lm_head.dense"])
    tuned = finetune(model, tokenizer, ner, lora.replace(epochs=1), 1, language_adapters={"swa": folder})
    assert [name for name, _ in tuned.stack.trained.named_parameters() if "query.lora_A.swa" in name]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use_dora": True}, "is DoRA; expected LoRA"),
        ({"trainable_token_indices": {"word_embeddings": [5, 6]}}, "has trainable_token_indices"),
        ({"bias": "lora_only"}, "has bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa', which changes the model"),
    ],
)
def test_what_cannot_lie_under_another_is_refused(model, tmp_path, settings, says):
    folder = save_adapter(model, tmp_path / "swa", 0, **settings)
    with pytest.raises(ValueError, match=says):
        check_language_adapter(folder)


def test_what_is_read_or_chosen_takes_nothing_from_the_head(model, tokenizer, ner, lora, adapters, monkeypatch):
    """PEFT before 0.21 freezes all but the adapter when one is read."""
    read = PeftModel.load_adapter

    def read_and_freeze(self, *args, **more):
        result = read(self, *args, **more)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return result

    monkeypatch.setattr(PeftModel, "load_adapter", read_and_freeze)
    tuned = finetune(model, tokenizer, ner, lora, 1, language_adapters=adapters)
    fresh = add_head(model, "ner", ner.labels, 1)
    assert (tuned.model.classifier.weight - fresh.classifier.weight).abs().max() > 1e-3


def test_the_language_drops_nothing_and_the_mode_stays(model, tokenizer, ner, lora, tmp_path):
    folder = save_adapter(model, tmp_path / "swa", 0, lora_dropout=0.5)
    stack = finetune(model, tokenizer, ner, lora.replace(epochs=1), 1, language_adapters={"swa": folder}).stack
    ids = torch.arange(5, 25).unsqueeze(0)
    stack.trained.train()
    with torch.inference_mode():
        first, second = (stack.speak("swa")(ids).logits for _ in range(2))
    assert stack.trained.training
    assert torch.equal(first, second)


def test_an_adapter_of_another_model_is_refused(model, tokenizer, lora, adapters, tmp_path):
    write_base(adapters["swa"], model_fingerprint(model, pooler=False))
    common = {"name": "a", "settings": lora.replace(epochs=1), "seeds": (1,), "language_adapters": adapters}
    evaluate_model(model, tokenizer, [make("ner")], output_dir=tmp_path / "own", **common)
    other = XLMRobertaForMaskedLM(model.config)
    with pytest.raises(ValueError, match="was trained beside another model"):
        evaluate_model(other, tokenizer, [make("ner")], output_dir=tmp_path / "other", **common)


def test_folders_that_are_no_adapter_or_of_another_model(model, tokenizer, ner, lora, adapters, tmp_path):
    with pytest.raises(ValueError, match=r"adapter_config.json is not there"):
        check_language_adapter(tmp_path)
    other = XLMRobertaForMaskedLM(tiny_config(len(tokenizer), hidden_size=64))
    folder = save_adapter(other, tmp_path / "wide", 0)
    with pytest.raises(ValueError, match="does not fit the model"):
        finetune(model, tokenizer, ner, lora, 1, language_adapters={"swa": folder})
    shallow = tmp_path / "shallow"
    shutil.copytree(adapters["swa"], shallow)
    config = json.loads((shallow / "adapter_config.json").read_text("utf-8"))
    config["target_modules"] = ["q_lin"]
    (shallow / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ValueError, match="does not fit the model|is not of this model"):
        finetune(model, tokenizer, ner, lora, 1, language_adapters={"swa": str(shallow)})


def test_a_deeper_model_s_adapter_is_refused(model, tokenizer, ner, lora, tmp_path):
    deep = XLMRobertaForMaskedLM(tiny_config(len(tokenizer), num_hidden_layers=4))
    folder = save_adapter(deep, tmp_path / "deep", 0)
    with pytest.raises(ValueError, match="is not of this model's encoder: .*layer"):
        finetune(model, tokenizer, ner, lora, 1, language_adapters={"swa": folder})


def test_a_task_adapter_has_to_lie_on_top(model, tokenizer, ner, quick, adapters, tmp_path):
    with pytest.raises(ValueError, match="adapters of languages lie under one of the task"):
        finetune(model, tokenizer, ner, quick, 1, language_adapters=adapters)
    data = [make("ner"), make("ner", "hau")]
    common = {"name": "a", "output_dir": tmp_path / "out", "language_adapters": adapters}
    with pytest.raises(ValueError, match="no adapter of hau; every language"):
        evaluate_model(model, tokenizer, data, settings=adapted(quick, "lora"), **common)
    with pytest.raises(ValueError, match="adaptation is full, expected lora"):
        evaluate_model(model, tokenizer, data[:1], settings=quick, **common)
    assert add_head(model, "ner", ner.labels, 1)  # the model is as it was
