"""New heads on encoders of all kinds, and saved models that answer with the names of the labels."""

from __future__ import annotations

import copy
import json

import peft
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, BertConfig, BertForMaskedLM, BertForPreTraining, pipeline

from hf_afro.cli import evaluate
from hf_afro.evaluation.encoding import encode_words
from hf_afro.evaluation.facts import model_fingerprint
from hf_afro.evaluation.finetuning import finetune
from hf_afro.evaluation.heads import add_head, load_encoder, save_finetuned
from hf_afro.recipes import load_recipe
from hf_afro.recipes.progress import Progress
from hf_afro.recipes.stages.context import StageContext
from hf_afro.recipes.stages.evaluation import open_encoder
from hf_afro.recipes.stages.models import BASE_FILE
from hf_afro.students import AfroStudentForMaskedLM
from tests.conftest import tiny_config
from tests.students.conftest import student_config

LABELS = ("O", "B-PER", "I-PER")


def encoders(size: int):
    yield AutoModelForMaskedLM.from_config(tiny_config(size))
    yield AutoModel.from_config(tiny_config(size))
    yield AfroStudentForMaskedLM(student_config(size))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    yield BertForMaskedLM(BertConfig(vocab_size=size, **sizes))


@pytest.mark.parametrize("task", ["ner", "topic"])
def test_the_encoder_is_a_copy_and_the_head_is_new(task):
    for model in encoders(120):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        classifier = add_head(model, task, LABELS, seed=1)
        assert classifier.config.id2label == dict(enumerate(LABELS))
        own, given = classifier.base_model.state_dict(), model.base_model.state_dict()
        shared = [name for name in own if name in given]
        assert len(shared) >= len(own) - 2
        assert all(torch.equal(own[name], given[name]) for name in shared)
        assert all(own[name].data_ptr() != given[name].data_ptr() for name in shared)
        assert model.config.id2label != classifier.config.id2label
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.fixture
def bert(tokenizer, tmp_path) -> BertForPreTraining:
    """In `tmp_path`, as mBERT is published: with a pooler, and named for the masked-LM head alone."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertForPreTraining(BertConfig(vocab_size=len(tokenizer), pad_token_id=1, **sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    named(tmp_path, "BertForMaskedLM")
    return model


def named(folder, architecture: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": [architecture]}))


def by_name(folder):
    return load_encoder(folder, None)[0]


def by_command(folder):
    return evaluate.load(str(folder))


def by_recipe(folder):
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / BASE_FILE).write_text(json.dumps({"revision": None}))
    (folder / "one.yaml").write_text(f"name: one\nbase:\n  model: {folder}\n", encoding="utf-8")
    recipe = load_recipe(folder / "one.yaml")
    return open_encoder(StageContext(recipe, recipe.stages[0], folder, folder, Progress(1, "", show=False)), "base")


@pytest.mark.parametrize("load", [by_name, by_command, by_recipe])
def test_a_pooler_that_was_pretrained_is_used(bert, tmp_path, load):
    encoder = load(tmp_path)
    assert type(encoder) is BertForMaskedLM
    classifier = add_head(encoder, "topic", LABELS, seed=1)
    assert torch.equal(classifier.bert.pooler.dense.weight, bert.bert.pooler.dense.weight)
    assert add_head(encoder, "ner", LABELS, seed=1).bert.pooler is None


# A recipe takes masked language models only.
@pytest.mark.parametrize(
    ("load", "architecture"),
    [
        (by_name, "BertForMaskedLM"),
        (by_command, "BertForMaskedLM"),
        (by_recipe, "BertForMaskedLM"),
        (by_name, "BertModel"),
        (by_command, "BertModel"),
    ],
)
def test_a_pooler_that_was_not_saved_is_of_the_head(bert, tmp_path, load, architecture):
    BertForMaskedLM(bert.config).save_pretrained(tmp_path)
    named(tmp_path, architecture)
    first, again = load(tmp_path), load(tmp_path)
    assert model_fingerprint(first) == model_fingerprint(again)
    heads = [add_head(one, "topic", LABELS, seed=1).bert.pooler.dense.weight for one in (first, again)]
    assert torch.equal(*heads)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
def test_an_adapter_beside_a_model_is_refused(model, tokenizer, tmp_path):
    """Left alone, transformers puts it on, onto a model that it may have been merged into."""
    peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=2, target_modules=["query"])).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a PEFT adapter and no model"):
        load_encoder(tmp_path, tokenizer)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for folder in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match="holds a model and a PEFT adapter beside it"):
            load_encoder(folder, None)


def test_the_head_is_a_function_of_the_seed():
    model = next(encoders(120))
    first, again, other = (add_head(model, "ner", LABELS, seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_half_precision_weights_are_trained_in_full():
    model = next(encoders(120)).half()
    classifier = add_head(model, "ner", LABELS, seed=1)
    assert {tensor.dtype for tensor in classifier.parameters()} == {torch.float32}


def test_an_encoder_with_weights_of_its_own_is_refused():
    model = next(encoders(120))
    model.base_model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"differ in extra.weight, extra.bias; where the model has adapters"):
        add_head(model, "ner", LABELS, seed=1)


@pytest.mark.parametrize("embedding_size", [8, None], ids=["factorised", "plain"])
def test_a_fine_tuned_student_works_in_a_pipeline(tokenizer, ner, quick, tmp_path, embedding_size):
    torch.manual_seed(0)
    student = AfroStudentForMaskedLM(student_config(len(tokenizer), embedding_size=embedding_size))
    tuned = finetune(student, tokenizer, ner, quick, seed=1)
    folder = save_finetuned(tuned.model, tuned.tokenizer, tmp_path / "tagger")
    tagger = pipeline("token-classification", str(folder))
    words = "Amina aliondoka Kano jana".split()
    (row,) = encode_words([words], [[0] * len(words)], tokenizer, 32)
    found = {piece["index"]: piece["entity"] for piece in tagger(" ".join(words))}
    assert [found.get(place, "O") for place in row["positions"].tolist()] == ["B-PER", "O", "B-LOC", "O"]
