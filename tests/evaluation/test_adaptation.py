"""What is trained: nothing else changes, and a plain classifier comes out."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForTokenClassification

from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.heads import save_finetuned
from hf_afro.evaluation.presets import FineTuningSettings, adapted
from hf_afro.families import encoder_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)  # peft reads it


def changed(model, classifier) -> set[str]:
    before = encoder_of(model).state_dict()
    after = encoder_of(classifier).state_dict()
    assert before.keys() == after.keys()
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("adaptation", ["lora", "frozen"])
def test_only_what_is_said_is_trained(adaptation, model, tokenizer, ner, quick, tmp_path):
    settings = adapted(quick, adaptation).replace(epochs=6, lora_rank=4)
    tuned = finetune(model, tokenizer, ner, settings, 1)
    names = changed(model, tuned.model)
    if adaptation == "frozen":
        assert not names
    else:
        assert {name.split(".")[-2] for name in names} == {"query", "value"}
    assert max(tuned.dev_scores) > tuned.dev_scores[0] or tuned.dev_scores[0] > 0.5
    assert type(tuned.model).__name__.endswith("ForTokenClassification")
    assert all(tensor.requires_grad for tensor in tuned.model.parameters())
    loaded = AutoModelForTokenClassification.from_pretrained(save_finetuned(tuned.model, tokenizer, tmp_path))
    ids = torch.arange(5, 25).unsqueeze(0)
    with torch.inference_mode():
        assert torch.allclose(loaded.eval()(ids).logits, tuned.model(ids).logits, atol=1e-5)


def test_a_run_of_lora_can_be_made_again(model, tokenizer, topic, quick):
    settings = adapted(quick, "lora").replace(epochs=2)
    first, second = (finetune(model, tokenizer, topic, settings, 1) for _ in range(2))
    assert first.dev_scores == second.dev_scores
    assert first.predict(topic) == second.predict(topic)


def test_settings_of_an_adaptation():
    settings = FineTuningSettings(learning_rate=1e-4)
    assert adapted(settings, "full") == settings
    assert adapted(settings, "lora").learning_rate == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="adaptation='half'; expected one of full, lora, frozen"):
        adapted(settings, "half")
    with pytest.raises(ValueError, match="lora_rank=0"):
        FineTuningSettings(lora_rank=0)
