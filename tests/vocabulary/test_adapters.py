"""PEFT adapters are pruned with their model, saved beside it and loaded, or refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as hf
from peft import (
    AutoPeftModelForSequenceClassification,
    IA3Config,
    LoraConfig,
    PeftModel,
    PromptTuningConfig,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file

from hf_afro.vocabulary import VerificationError, prune_vocabulary, verify
from tests.conftest import tiny_config
from tests.vocabulary.models import make
from tests.vocabulary.test_models import fingerprint

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
EMBEDDING = "base_model.model.roberta.embeddings.word_embeddings"


def xlmr(size, **settings):
    torch.manual_seed(0)
    return hf.XLMRobertaForMaskedLM(tiny_config(size, **settings)).eval()


def trained(model):
    """Return a model whose adapters have been changed at random, as by training."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def kept(keep):
    """Old ids that are kept and are no special tokens, whose new ids differ; not in their order."""
    return [int(one) for one in keep.old_ids[[200, 100, 150]]]


def everyday(size, kept):
    return get_peft_model(xlmr(size), LoraConfig(target_modules=["query", "value"]))


def some_tokens(size, kept):
    config = LoraConfig(target_modules=["query"], trainable_token_indices={"word_embeddings": kept})
    return get_peft_model(xlmr(size), config)


def some_tokens_untied(size, kept):
    config = LoraConfig(target_modules=["query"], trainable_token_indices=kept)
    return get_peft_model(xlmr(size, tie_word_embeddings=False), config)


def tokens_alone(size, kept):
    return get_peft_model(xlmr(size), TrainableTokensConfig(target_modules=["word_embeddings"], token_indices=kept))


def on_the_embedding(size, kept):
    return get_peft_model(xlmr(size), LoraConfig(target_modules=["word_embeddings", "query"], r=4))


def on_the_head(size, kept):
    config = LoraConfig(target_modules=["lm_head"], r=4, lora_bias=False)
    return get_peft_model(make("llama", size), config)


def dora_on_the_head(size, kept):
    return get_peft_model(make("llama", size), LoraConfig(target_modules=["lm_head"], r=4, use_dora=True))


def saved_embedding(size, kept):
    config = LoraConfig(target_modules=["query"], modules_to_save=["word_embeddings"])
    return get_peft_model(xlmr(size, tie_word_embeddings=False), config)


def saved_embedding_tied(size, kept):
    config = LoraConfig(target_modules=["query"], modules_to_save=["word_embeddings"])
    return get_peft_model(xlmr(size), config)


def saved_head(size, kept):
    config = LoraConfig(target_modules=["query"], modules_to_save=["lm_head"])
    return get_peft_model(xlmr(size, tie_word_embeddings=False), config)


def two_adapters(size, kept):
    model = some_tokens(size, kept[:1])
    second = LoraConfig(target_modules=["key"], trainable_token_indices={"word_embeddings": kept[1:]})
    model.add_adapter("second", second)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    trained(model)
    model.set_adapter("second")
    return model


def rescaled(size, kept):
    return get_peft_model(xlmr(size), IA3Config(target_modules=["key", "value"], feedforward_modules=[]))


def encoder_decoder(size, kept):
    config = LoraConfig(target_modules=["q", "v"], trainable_token_indices={"shared": kept}, task_type="SEQ_2_SEQ_LM")
    return get_peft_model(make("t5", size), config)


def causal(size, kept):
    config = LoraConfig(target_modules=["q_proj"], trainable_token_indices=kept, task_type="CAUSAL_LM")
    return get_peft_model(make("llama, tied", size), config)


def classifier(size, kept):
    model = hf.XLMRobertaForSequenceClassification(tiny_config(size))
    return get_peft_model(model, LoraConfig(target_modules=["query"], task_type="SEQ_CLS"))


KINDS = {
    one.__name__: one
    for one in (
        everyday,
        some_tokens,
        some_tokens_untied,
        tokens_alone,
        on_the_embedding,
        on_the_head,
        dora_on_the_head,
        saved_embedding,
        saved_embedding_tied,
        saved_head,
        two_adapters,
        rescaled,
        encoder_decoder,
        causal,
        classifier,
    )
}


@pytest.mark.parametrize("name", ["everyday", "some_tokens", "saved_embedding", "two_adapters"])
def test_adapters_that_are_disabled_stay_so(name, tokenizer, keep, kept, tmp_path):
    model = trained(KINDS[name](len(tokenizer), kept))
    model.base_model.disable_adapter_layers()
    before = fingerprint(model, tokenizer)
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert fingerprint(model, tokenizer) == before
    ids = torch.arange(60)[None]
    old_ids = torch.from_numpy(keep.old_ids.copy())
    disabled = model(keep.to_old(ids)).logits[..., old_ids]
    torch.testing.assert_close(pruned.model(ids).logits, disabled)
    flags = {key: one.requires_grad for key, one in model.named_parameters()}
    assert {key: one.requires_grad for key, one in pruned.model.named_parameters()} == flags
    pruned.save_pretrained(tmp_path / "pruned")
    for one in (model, pruned.model):
        one.base_model.enable_adapter_layers()
    enabled = model(keep.to_old(ids)).logits[..., old_ids]
    torch.testing.assert_close(pruned.model(ids).logits, enabled)
    assert not torch.allclose(enabled, disabled)


def tensors_of(model):
    return {name: get_peft_model_state_dict(model, adapter_name=name) for name in model.peft_config}


@pytest.mark.parametrize("name", KINDS)
def test_an_adapter_is_pruned_saved_and_read_beside_its_model(name, tokenizer, keep, kept, tmp_path):
    model = trained(KINDS[name](len(tokenizer), kept))
    before = fingerprint(model, tokenizer)
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert type(pruned.model) is type(model)
    assert pruned.report.adapters == tuple(model.peft_config)
    report = pruned.save_pretrained(tmp_path / "pruned")
    assert fingerprint(model, tokenizer) == before
    assert report.hidden_difference == 0.0

    base = type(model.get_base_model()).from_pretrained(tmp_path / "pruned")
    assert not any("lora" in tensor for tensor, _ in base.named_parameters())
    first = next(iter(model.peft_config))
    read = PeftModel.from_pretrained(base, tmp_path / "pruned" / "adapter", adapter_name=first).eval()
    for other in list(model.peft_config)[1:]:
        read.load_adapter(tmp_path / "pruned" / "adapter" / other, adapter_name=other)
        read.set_adapter(other)
    new_ids = torch.arange(5, 45).view(2, 20)
    inputs = {"decoder_input_ids": new_ids} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        expected = model(
            input_ids=keep.to_old(new_ids), **{key: keep.to_old(value) for key, value in inputs.items()}
        ).logits
        found, in_memory = (one(input_ids=new_ids, **inputs).logits for one in (read, pruned.model))
    if expected.shape[-1] == len(tokenizer):
        expected = expected[..., torch.from_numpy(keep.old_ids.copy())]
    for logits in (found, in_memory):
        assert (logits - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("name", KINDS)
def test_flags_types_and_adapters_in_use_stay(name, tokenizer, keep, kept):
    model = trained(KINDS[name](len(tokenizer), kept))
    pruned = prune_vocabulary(model, tokenizer, keep).model
    old, new = (dict(one.named_parameters(remove_duplicate=False)) for one in (model, pruned))
    assert list(old) == list(new)
    assert [(one.requires_grad, one.dtype) for one in old.values()] == [
        (one.requires_grad, one.dtype) for one in new.values()
    ]
    assert pruned.active_adapters == model.active_adapters
    assert not pruned.training


def test_trained_tokens_keep_their_vectors(tokenizer, keep, kept, tmp_path):
    model = trained(some_tokens(len(tokenizer), kept))
    pruned = prune_vocabulary(model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    config = json.loads((tmp_path / "pruned" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["trainable_token_indices"] == {"word_embeddings": [200, 100, 150]}
    assert config["base_model_name_or_path"] == str(tmp_path / "pruned")
    assert model.peft_config["default"].trainable_token_indices == {"word_embeddings": kept}
    with torch.inference_mode():
        new = pruned.model.get_input_embeddings()(torch.tensor([200, 100, 150, 7]))
        old = model.get_input_embeddings()(torch.tensor([*kept, int(keep.old_ids[7])]))
    assert torch.equal(old, new)


@pytest.mark.parametrize("name", ["on_the_embedding", "on_the_head", "saved_embedding", "saved_head"])
def test_rows_of_an_adapter_are_those_of_its_tokens(name, tokenizer, keep, kept, tmp_path):
    model = trained(KINDS[name](len(tokenizer), kept))
    pruned = prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64)
    pruned.save_pretrained(tmp_path / "pruned")
    saved = load_file(tmp_path / "pruned" / "adapter" / "adapter_model.safetensors")
    rows = pruned.model.config.vocab_size
    cut = 0
    for key, old in tensors_of(model)["default"].items():
        if key not in saved:
            continue
        if len(tokenizer) in old.shape:
            axis = tuple(old.shape).index(len(tokenizer))
            assert saved[key].shape[axis] == rows
            chosen = old.index_select(axis, torch.from_numpy(keep.old_ids.copy()))
            assert torch.equal(saved[key].movedim(axis, 0)[: len(keep)], chosen.movedim(axis, 0)), key
            cut += 1
        else:
            assert torch.equal(saved[key], old), key
    assert cut >= 1
    ids = torch.arange(5, 45).view(2, 20)
    with torch.inference_mode():
        logits = pruned.model(input_ids=ids).logits
    assert logits.isfinite().all()


def test_an_adapter_finds_its_model_by_itself(tokenizer, keep, kept, tmp_path):
    model = trained(classifier(len(tokenizer), kept))
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "pruned" / "adapter").eval()
    ids = torch.arange(5, 45).view(2, 20)
    with torch.inference_mode():
        assert torch.equal(read(input_ids=ids).logits, model(input_ids=keep.to_old(ids)).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adapters_in_fp32_on_half_a_model_stay_so(dtype, tokenizer, keep, kept, tmp_path):
    model = trained(get_peft_model(xlmr(len(tokenizer)).to(dtype), LoraConfig(target_modules=["query"])))
    assert {one.dtype for one in model.parameters()} == {dtype, torch.float32}
    pruned = prune_vocabulary(model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    saved = load_file(tmp_path / "pruned" / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(tensor, saved[key]) for key, tensor in tensors_of(model)["default"].items())


def test_an_adapter_changed_on_disk_is_found(tokenizer, keep, kept, tmp_path):
    model = trained(on_the_embedding(len(tokenizer), kept))
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    path = tmp_path / "pruned" / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[f"{EMBEDDING}.lora_embedding_A"][:, [10, 11]] = tensors[f"{EMBEDDING}.lora_embedding_A"][:, [11, 10]]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(VerificationError, match="lora_embedding_A of the adapter default is not"):
        verify(tmp_path / "pruned", model, tokenizer)


def test_a_base_that_was_changed_for_its_adapter_is_not_changed_again(tokenizer, keep, tmp_path):
    model = get_peft_model(xlmr(len(tokenizer)), LoraConfig(target_modules=["query"], init_lora_weights="pissa"))
    pruned = prune_vocabulary(model.eval(), tokenizer, keep)
    assert pruned.save_pretrained(tmp_path / "pruned").hidden_difference == 0.0


def test_a_trained_token_that_is_not_kept_is_refused(tokenizer, keep):
    dropped = int(np.setdiff1d(np.arange(len(tokenizer)), keep.old_ids)[0])
    model = some_tokens(len(tokenizer), [dropped, 5])
    with pytest.raises(ValueError, match=rf"trainable_token_indices\['word_embeddings'\] .* holds {dropped}, tokens"):
        prune_vocabulary(model, tokenizer, keep)


def test_merged_adapters_are_refused(tokenizer, keep, kept):
    model = trained(everyday(len(tokenizer), kept))
    model.merge_adapter()
    with pytest.raises(ValueError, match="the adapters are merged into the weights"):
        prune_vocabulary(model, tokenizer, keep)
    model.unmerge_adapter()
    prune_vocabulary(model, tokenizer, keep)


def test_adapters_that_peft_cannot_save_are_refused(tokenizer, keep, kept):
    model = everyday(len(tokenizer), kept)
    model.add_adapter("tokens", LoraConfig(target_modules=["key"], trainable_token_indices={"word_embeddings": kept}))
    with pytest.raises(ValueError, match="PEFT cannot save the adapter 'default' of this model"):
        prune_vocabulary(model, tokenizer, keep)


def test_prompts_are_refused(tokenizer, keep):
    model = get_peft_model(
        make("gpt2", len(tokenizer)), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    )
    with pytest.raises(ValueError, match="PROMPT_TUNING.* adapters cannot be pruned"):
        prune_vocabulary(model, tokenizer, keep)


def test_what_depends_on_the_whole_vocabulary_is_refused(tokenizer, keep):
    model = get_peft_model(xlmr(len(tokenizer)), LoraConfig(target_modules=["word_embeddings"], use_dora=True))
    with pytest.raises(ValueError, match="is DoRA's on roberta.embeddings.word_embeddings"):
        prune_vocabulary(model, tokenizer, keep)
    model = dora_on_the_head(len(tokenizer), ())
    with pytest.raises(ValueError, match="is DoRA's on lm_head, which divides by a norm"):
        prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64)


def test_a_tensor_that_nobody_knows_is_refused(tokenizer, keep):
    model = get_peft_model(
        make("llama", len(tokenizer)), IA3Config(target_modules=["lm_head"], feedforward_modules=[])
    )
    with pytest.raises(ValueError, match=r"lm_head\.ia3_l \(518, 1\) is as large as the vocabulary"):
        prune_vocabulary(model, tokenizer, keep)
