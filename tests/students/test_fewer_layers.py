"""Students of other families than XLM-R's: their teacher's class, with some of its layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForTokenClassification,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
)

from hf_afro import RelationDistillTrainer, RelationDistillTrainingArguments, build_student, prune_vocabulary
from hf_afro.families import encoder_of, family_of, layers_of
from hf_afro.students.building import LIKE_XLMR, empty_model, keep_layers, student_config
from hf_afro.vocabulary import count_tokens, select_tokens
from tests.students.test_building import word_tokenizer
from tests.texts import SENTENCES
from tests.tiny_families import TINY, VOCABULARY, tiny
from tests.training.tiny_trainers import maft_trainer, settings, text_datasets
from tests.vocabulary.kinds import EXAMPLES, model_for

OTHERS = [name for name in TINY if TINY[name]().config.model_type not in LIKE_XLMR and not name.startswith("albert")]
GLOBAL, LOCAL = "full_attention", "sliding_attention"

of_every_family = pytest.mark.parametrize("name", OTHERS)


def batch() -> dict[str, torch.Tensor]:
    """Two rows longer than the local attention of the tiny ModernBERT, the second padded."""
    ids = torch.randint(5, 100, (2, 20), generator=torch.Generator().manual_seed(0))
    ids[1, 14:] = 1
    return {"input_ids": ids, "attention_mask": (ids != 1).long()}


@torch.no_grad()
def outputs(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Return hidden states and logits at tokens."""
    held = batch()["attention_mask"].bool()
    return encoder_of(model)(**batch()).last_hidden_state[held], model(**batch()).logits[held]


def same(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    return all(map(torch.equal, outputs(one), outputs(other)))


def without_layers(model: PreTrainedModel, kept: list[int]) -> PreTrainedModel:
    """Return a copy of a model whose list of layers is cut in place, which is how layers are left out by hand."""
    model = copy.deepcopy(model)
    owner, _, attribute = family_of(model).layers.rpartition(".")
    setattr(encoder_of(model).get_submodule(owner), attribute, nn.ModuleList(layers_of(model)[one] for one in kept))
    model.config.num_hidden_layers = len(kept)
    return model


def test_the_families_are_all_there():
    others = {TINY[name]().config.model_type for name in OTHERS}
    assert others == {"xlm-roberta-xl", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert", "eurobert"}


@of_every_family
def test_a_student_with_every_layer_is_the_teacher(name):
    teacher = tiny(name)
    student = build_student(teacher, num_hidden_layers=4)
    assert type(student) is type(teacher)
    assert not student.training
    assert same(student, teacher)
    assert student.config.built_from["layers"] == [0, 1, 2, 3]


@of_every_family
@pytest.mark.parametrize("layers", ["uniform", "last", (0, 1, 3)])
def test_a_student_computes_what_the_teacher_does_without_the_other_layers(name, layers):
    teacher = tiny(name)
    count = 2 if isinstance(layers, str) else 3
    student = build_student(teacher, num_hidden_layers=count, layers=layers)
    sources = {"uniform": [1, 3], "last": [2, 3], (0, 1, 3): [0, 1, 3]}[layers]
    if name == "modernbert":
        sources[0] = 0
    assert student.config.built_from["layers"] == sources
    assert len(layers_of(student)) == student.config.num_hidden_layers == count
    assert same(student, without_layers(teacher, sources))
    for layer, source in zip(layers_of(student), sources, strict=True):
        expected = layers_of(teacher)[source].state_dict()
        assert layer.state_dict().keys() == expected.keys()
        assert all(torch.equal(weight, expected[part]) for part, weight in layer.state_dict().items())


@of_every_family
def test_it_is_saved_and_loaded_as_it_is_and_its_configuration_is_the_teachers(name, tmp_path):
    teacher = tiny(name)
    teacher.config._name_or_path, teacher.config.masked_lm_head = "/home/someone/models/large", "kept"
    student = build_student(teacher, num_hidden_layers=2)
    student.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert type(loaded) is type(teacher)
    assert same(loaded, student)
    assert loaded.config.built_from == student.config.built_from
    assert loaded.config.built_from["teacher"] == "large"
    assert "someone" not in (tmp_path / "config.json").read_text("utf-8")
    expected, found = teacher.config.to_dict(), loaded.config.to_dict()
    depth = "n_layers" if name == "distilbert" else "num_hidden_layers"
    own = {depth, "layer_types", "built_from", "masked_lm_head", "_name_or_path", "architectures", "dtype"}
    assert {key: value for key, value in found.items() if key not in own} == {
        key: value for key, value in expected.items() if key not in own
    }
    assert found[depth] == 2
    assert "masked_lm_head" not in found


@of_every_family
def test_the_teacher_is_never_changed_and_shares_nothing(name):
    teacher = tiny(name)
    before, config = copy.deepcopy(teacher.state_dict()), teacher.config.to_dict()
    student = build_student(teacher, num_hidden_layers=2)
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1.0)
    assert all(torch.equal(weight, before[part]) for part, weight in teacher.state_dict().items())
    assert teacher.config.to_dict() == config


@of_every_family
def test_the_configuration_needs_no_weights(name):
    teacher = tiny(name)
    student = build_student(teacher, num_hidden_layers=3)
    planned = student_config(teacher.config, num_hidden_layers=3)
    assert type(planned) is type(student.config)
    assert planned.to_dict() == {key: one for key, one in student.config.to_dict().items() if key != "built_from"}
    assert empty_model(planned).num_parameters() == student.num_parameters()


@of_every_family
def test_an_encoder_without_a_head_gives_a_student_with_a_new_one(name):
    teacher = encoder_of(tiny(name))
    torch.manual_seed(5)
    student = build_student(teacher, num_hidden_layers=4, seed=1)
    torch.manual_seed(6)
    again = build_student(teacher, num_hidden_layers=4, seed=1)
    assert type(student) is type(tiny(name))
    assert student.config.built_from["head_transform"] == student.config.built_from["head_bias"] == "initialised"
    assert same(student, again)
    with torch.no_grad():
        assert torch.equal(encoder_of(student)(**batch())[0], teacher(**batch())[0])


@of_every_family
def test_a_teacher_in_half_precision_gives_a_student_in_single(name):
    student = build_student(tiny(name).bfloat16(), num_hidden_layers=2)
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}


@of_every_family
@pytest.mark.parametrize(
    "size", [{"hidden_size": 16}, {"embedding_size": 8}, {"num_attention_heads": 2}, {"unpad": True}]
)
def test_other_sizes_than_the_teachers_are_refused(name, size):
    (setting,) = (f"{key}={value}" for key, value in size.items())
    with pytest.raises(ValueError, match=f"was given {setting}; leave that out, so that .* full width, 32"):
        build_student(tiny(name), num_hidden_layers=2, **size)


@of_every_family
def test_the_teachers_own_sizes_may_be_named(name):
    teacher = tiny(name)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "unpad": False}
    assert same(build_student(teacher, num_hidden_layers=2, **sizes), build_student(teacher, num_hidden_layers=2))


def test_the_convolution_of_deberta_is_carried():
    teacher = tiny("deberta-v2", conv_kernel_size=3, conv_act="gelu")
    assert teacher.deberta.encoder.conv is not None
    student = build_student(teacher, num_hidden_layers=2)
    assert same(student, without_layers(teacher, [1, 3]))


def test_shared_layers_are_refused():
    for name in ("albert", "albert, two groups of two"):
        with pytest.raises(ValueError, match="cannot be built from albert, whose passes share their layers"):
            build_student(tiny(name), num_hidden_layers=2)


@pytest.mark.parametrize(
    ("layers", "count", "sources", "kinds"),
    [
        ("uniform", 7, [0, 1, 2, 3, 4, 5, 6], [GLOBAL, LOCAL, LOCAL, GLOBAL, LOCAL, LOCAL, GLOBAL]),
        ("uniform", 4, [0, 2, 4, 6], [GLOBAL, LOCAL, LOCAL, GLOBAL]),
        ("uniform", 3, [0, 3, 6], [GLOBAL, GLOBAL, GLOBAL]),
        ("uniform", 1, [0], [GLOBAL]),
        ("last", 3, [0, 5, 6], [GLOBAL, LOCAL, GLOBAL]),
        ([0, 2, 2, 5], 4, [0, 2, 2, 5], [GLOBAL, LOCAL, LOCAL, LOCAL]),
    ],
)
def test_a_layer_of_modernbert_stays_global_or_local(layers, count, sources, kinds):
    teacher = tiny("modernbert", num_hidden_layers=7)
    student = build_student(teacher, num_hidden_layers=count, layers=layers)
    assert student.config.built_from["layers"] == sources
    assert student.config.layer_types == kinds
    assert [layer.attention_type for layer in student.model.layers] == kinds
    assert same(student, without_layers(teacher, sources))


def test_the_pattern_of_modernbert_as_one_number_is_left_out(tmp_path):
    """Configurations of transformers 4 have it, and transformers 5 keeps it beside the kinds of the layers."""
    torch.manual_seed(0)
    like = tiny("modernbert").config.to_dict()
    teacher = ModernBertForMaskedLM(
        ModernBertConfig(**like | {"layer_types": None, "num_hidden_layers": 4, "global_attn_every_n_layers": 2})
    ).eval()
    assert teacher.config.layer_types == [GLOBAL, LOCAL, GLOBAL, LOCAL]
    build_student(teacher, num_hidden_layers=3, layers=(0, 1, 3)).save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert loaded.config.layer_types == [GLOBAL, LOCAL, LOCAL]
    assert "global_attn_every_n_layers" not in loaded.config.to_dict()
    assert same(loaded, without_layers(teacher, [0, 1, 3]))


@pytest.mark.parametrize("layers", [[1, 3], [1, 0], [0, 0]])
def test_the_first_layer_of_modernbert_can_only_be_first(layers):
    with pytest.raises(
        ValueError, match="lacks a norm that the others have.* expected 0 at the beginning and nowhere"
    ):
        build_student(tiny("modernbert"), num_hidden_layers=2, layers=layers)


def test_a_head_of_its_own_stays_its_own_whatever_the_configuration_says(tmp_path):
    teacher = tiny("modernbert")
    teacher.decoder.weight = nn.Parameter(torch.randn(100, 32, generator=torch.Generator().manual_seed(1)))
    assert teacher.config.tie_word_embeddings
    student = build_student(teacher, num_hidden_layers=4)
    assert same(student, teacher)
    student.save_pretrained(tmp_path)
    assert same(AutoModelForMaskedLM.from_pretrained(tmp_path), teacher)


def test_special_ids_are_the_tokenizers():
    words = word_tokenizer("<s>", "<pad>", "[UNK]", "</s>", bos_token="<s>", pad_token="<pad>", eos_token="</s>")
    teacher = tiny("modernbert", pad_token_id=0)
    config = build_student(teacher, tokenizer=words, num_hidden_layers=2).config
    assert (config.bos_token_id, config.pad_token_id, config.eos_token_id) == (0, 1, 3)
    assert student_config(teacher.config, num_hidden_layers=2, pad_token_id=1).pad_token_id == 1
    assert build_student(teacher, num_hidden_layers=2).config.pad_token_id == 0
    pads_with_0 = word_tokenizer("<pad>", "[UNK]", pad_token="<pad>")
    for name in ("mpnet", "xlm-roberta-xl"):
        with pytest.raises(ValueError, match="counts positions from its padding id 1, but the tokenizer pads with 0"):
            build_student(tiny(name), tokenizer=pads_with_0, num_hidden_layers=2)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft still reads it
def test_a_student_of_modernbert_is_pruned_distilled_and_adapted(tmp_path):
    tokenizer = EXAMPLES["gemma"].make()
    teacher = model_for("gemma", tokenizer)
    keep = select_tokens(count_tokens({code: SENTENCES[code] for code in ("swa", "yor")}, tokenizer), 700)
    pruned = prune_vocabulary(build_student(teacher, tokenizer=tokenizer, num_hidden_layers=1), tokenizer, keep)
    assert len(pruned.tokenizer) == pruned.model.config.vocab_size < len(tokenizer)
    args = RelationDistillTrainingArguments(**settings(tmp_path / "student"))
    trainer = RelationDistillTrainer(
        pruned.model, teacher, args, text_datasets(), processing_class=pruned.tokenizer, vocabulary_map=keep
    )
    trainer.train()
    adapting = maft_trainer(trainer.model, pruned.tokenizer, tmp_path / "adapted")
    adapting.train()
    adapting.save_model()
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "adapted")
    assert type(loaded) is ModernBertForMaskedLM
    assert all(torch.equal(one, adapting.model.state_dict()[part]) for part, one in loaded.state_dict().items())


@pytest.mark.parametrize("name", [name for name in TINY if not name.startswith(("albert", "xlm-roberta-xl"))])
def test_a_classifier_keeps_its_head_and_some_layers(name):
    torch.manual_seed(0)
    config = tiny(name).config
    config.id2label, config.label2id = {0: "O", 1: "B-PER", 2: "I-PER"}, {"O": 0, "B-PER": 1, "I-PER": 2}
    model = AutoModelForTokenClassification.from_config(config).eval()
    inputs = {"input_ids": torch.randint(5, VOCABULARY, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    whole, half = keep_layers(model, 4), keep_layers(model, 2)
    assert type(whole) is type(half) is type(model)
    assert (half.config.num_hidden_layers, model.config.num_hidden_layers) == (2, 4)
    assert half.config.id2label == model.config.id2label
    with torch.no_grad():
        assert torch.equal(whole(**inputs).logits, model(**inputs).logits)
        assert not torch.equal(half(**inputs).logits, model(**inputs).logits)
    first = 0 if name == "modernbert" else 1
    for kept, source in zip(layers_of(half), (layers_of(model)[first], layers_of(model)[3]), strict=True):
        assert all(torch.equal(tensor, source.state_dict()[key]) for key, tensor in kept.state_dict().items())
