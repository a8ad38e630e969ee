"""Fine-tuning a model whose configuration disagrees with its tokenizer: corrected as it is saved, or refused."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from benchmarks.padding_table import BOS, PAD, difference, word_tokenizer
from hf_afro.evaluation.bits_per_byte import bits_per_byte_scores
from hf_afro.evaluation.data.task_data import make_task_data
from hf_afro.evaluation.encoding import TaskCollator, encode, longest, takes_token_types
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.models import save_finetuned
from hf_afro.evaluation.presets import FineTuningSettings
from tests.tiny_families import tiny

SETTINGS = FineTuningSettings(max_length=32, batch_size=8, epochs=2, learning_rate=1e-2)
CLASSES = {"topic": AutoModelForSequenceClassification, "ner": AutoModelForTokenClassification}


def words(count: int, seed: int) -> list[str]:
    drawn = torch.randint(5, 100, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return [f"w{number}" for number in drawn]


def task(kind: str):
    rows: dict[str, list] = {}
    for split, start in (("train", 0), ("dev", 100), ("test", 200)):
        texts = [words(3 + index % 5, start + index) for index in range(16)]
        if kind == "topic":
            rows[split] = [(" ".join(text), "ab"[index % 2]) for index, text in enumerate(texts)]
        elif kind == "nli":
            rows[split] = [((" ".join(text), "w7 w8"), "ab"[index % 2]) for index, text in enumerate(texts)]
        else:
            rows[split] = [(text, ["B-PER", *["O"] * (len(text) - 1)]) for text in texts]
    return make_task_data(kind, "swa", f"made/{kind}", rows)


@pytest.mark.parametrize("kind", ["topic", "ner"])
@pytest.mark.parametrize("name", ["bert", "electra", "mpnet"])
def test_what_is_fine_tuned_is_what_is_read_back(name, kind, tmp_path):
    model, tokenizer = tiny(name, pad_token_id=BOS), word_tokenizer()
    tuned = finetune(model, tokenizer, task(kind), SETTINGS, seed=1)
    assert (model.config.pad_token_id, tuned.model.config.pad_token_id) == (BOS, PAD)
    save_finetuned(tuned.model, tokenizer, tmp_path)
    loaded = CLASSES[kind].from_pretrained(tmp_path)
    assert loaded.config.pad_token_id == loaded.get_input_embeddings().padding_idx == PAD
    assert difference(tuned.model, loaded) == 0.0
    # The first token of every text was taken for padding and never trained.
    first = (weights.get_input_embeddings().weight[BOS] for weights in (model, tuned.model))
    assert not torch.equal(*first)


@pytest.mark.parametrize("pad", [None, 2])
def test_a_head_that_reads_the_last_token_finds_it(pad):
    """The head of GPT-2 reads the last token that is not the configuration's padding."""
    shape = {"vocab_size": 100, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    tuned = []
    for own in (pad, PAD):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(**shape, **rates, pad_token_id=own))
        tuned.append(finetune(model, word_tokenizer(), task("topic"), SETTINGS, seed=1).model.state_dict())
    assert all(torch.equal(tensor, tuned[1][name]) for name, tensor in tuned[0].items())


def test_a_model_that_counts_positions_from_another_id_is_refused():
    model, tokenizer = tiny("xlm-roberta", pad_token_id=BOS), word_tokenizer()
    message = "the xlm-roberta model counts positions from its padding id 0, .* with 1: .*tokenizer.pad_token = '<s>'"
    with pytest.raises(ValueError, match=message):
        finetune(model, tokenizer, task("topic"), SETTINGS, seed=1)
    with pytest.raises(ValueError, match=message):
        bits_per_byte_scores(model, tokenizer, {"swa": ["w5 w6 w7"]})


def test_a_decoder_is_refused():
    model = tiny("bert", is_decoder=True)
    with pytest.raises(ValueError, match="the bert model has is_decoder=True, .*is_decoder=False"):
        finetune(model, word_tokenizer(), task("topic"), SETTINGS, seed=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_fine_tuned_in_float32(dtype):
    half = tiny("bert").to(dtype)
    tuned = [
        finetune(model, word_tokenizer(), task("topic"), SETTINGS, seed=1).model.state_dict()
        for model in (half, tiny("bert").to(dtype).float())
    ]
    assert half.dtype == dtype
    assert {tensor.dtype for tensor in tuned[0].values()} == {torch.float32}
    assert all(torch.equal(tensor, tuned[1][name]) for name, tensor in tuned[0].items())


@pytest.mark.parametrize(("name", "types"), [("bert", 2), ("bert", 1), ("distilbert", None), ("modernbert", None)])
def test_the_types_of_a_pair_are_given_to_a_model_that_has_them(name, types):
    """The tokenizer gives types 0 and 1, whatever the model has: one with a single type ended in an index error."""
    model = tiny(name, **({"type_vocab_size": types} if types else {}))
    tokenizer, data = word_tokenizer(), task("nli")
    assert "token_type_ids" in encode("nli", data.splits["train"], tokenizer, 32)[0]
    assert takes_token_types(model) == (types == 2)
    tuned = finetune(model, tokenizer, data, SETTINGS.replace(epochs=1), seed=1)
    assert len(tuned.predict(data)) == 16
    rows = encode("nli", data.splits["train"], tokenizer, 32)
    batch = TaskCollator(PAD, takes_token_types(tuned.model))(rows)
    assert ("token_type_ids" in batch) == (types == 2)


def test_the_longest_text_is_what_the_positions_hold_and_the_configuration_says():
    assert longest(tiny("mpnet", pad_token_id=0), 512) == 64
    assert longest(tiny("bert"), 512) == 66
    shorter = tiny("bert")
    shorter.config.max_position_embeddings = 512
    assert longest(shorter, 512) == 66
