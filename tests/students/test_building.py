"""Students built from teachers of each family: weights copied, projected and initialised."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaModel,
)

from hf_afro import AfroStudentForMaskedLM, build_student
from hf_afro.families import positions_of
from hf_afro.students.building import empty_model, student_config as config_of_student
from tests.conftest import tiny_config
from tests.students.conftest import student_config

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 66}
OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SAME = {"num_hidden_layers": 4, "hidden_size": 32}


def randomise(model: PreTrainedModel) -> PreTrainedModel:
    """Give every parameter random values, norms and biases included; padding rows stay zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
        for module in model.modules():
            if getattr(module, "padding_idx", None) is not None and hasattr(module, "weight"):
                module.weight[module.padding_idx] = 0.0
    return model.eval()


def make_teacher(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if family == "bert":
        return randomise(BertForMaskedLM(BertConfig(vocab_size=120, num_hidden_layers=4, **SIZES, **OFF)))
    if family == "roberta":
        config = RobertaConfig(vocab_size=120, num_hidden_layers=4, type_vocab_size=1, **SIZES, **OFF)
        return randomise(RobertaForMaskedLM(config))
    if family == "afro-student":
        return randomise(AfroStudentForMaskedLM(student_config(num_hidden_layers=4)))
    return randomise(XLMRobertaForMaskedLM(tiny_config(120, num_hidden_layers=4)))


def word_tokenizer(*words: str, **special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of words, their ids in order."""
    backend = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **special)


def build(teacher: PreTrainedModel, **settings) -> PreTrainedModel:
    """Build a student, with the tokenizer of a BERT teacher, which pads with 0."""
    if teacher.config.model_type == "bert":
        settings = {"tokenizer": word_tokenizer("[PAD]", "[UNK]", pad_token="[PAD]"), **settings}
    return build_student(teacher, **settings)


FAMILIES = ("xlm-roberta", "roberta", "bert", "afro-student")


@pytest.fixture(params=FAMILIES)
def teacher(request) -> PreTrainedModel:
    """A masked language model of four layers and width 32."""
    return make_teacher(request.param)


@pytest.fixture
def xlm_roberta() -> PreTrainedModel:
    """The same, XLM-R only."""
    return make_teacher("xlm-roberta")


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_a_student_of_the_teachers_shape_is_the_teacher(teacher, batch):
    batch["input_ids"][batch["attention_mask"] == 0] = teacher.config.pad_token_id
    batch["input_ids"][batch["attention_mask"] == 1] = batch["input_ids"][batch["attention_mask"] == 1].clamp(min=4)
    same = {**SAME, "embedding_size": getattr(teacher.config, "embedding_size", None), "unpad": False}
    student = build(teacher, **same)
    real = batch["attention_mask"].bool()
    assert torch.equal(logits(student, batch)[real], logits(teacher, batch)[real])


def test_the_teacher_is_never_changed(teacher):
    before = copy.deepcopy(teacher.state_dict())
    config = teacher.config.to_dict()
    build(teacher, num_hidden_layers=2, hidden_size=16, embedding_size=8)
    student = build(teacher, **SAME, embedding_size=getattr(teacher.config, "embedding_size", None))
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1.0)
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    assert teacher.config.to_dict() == config


def test_the_student_is_plain_xlm_roberta_unless_factorised(teacher, batch):
    plain = build(teacher, num_hidden_layers=2, hidden_size=16)
    assert type(plain) is XLMRobertaForMaskedLM
    assert plain.config.model_type == "xlm-roberta"
    assert type(build(teacher, num_hidden_layers=2, hidden_size=16, embedding_size=16)) is type(plain)
    assert type(build(teacher, num_hidden_layers=2, hidden_size=16, unpad=False)) is type(plain)
    factorised = build(teacher, num_hidden_layers=2, hidden_size=16, embedding_size=4)
    assert type(factorised) is AfroStudentForMaskedLM
    assert not factorised.training
    assert torch.isfinite(logits(factorised, batch)).all()


def test_who_asks_for_it_gets_a_student_that_leaves_padding_out(teacher):
    sizes = {"num_hidden_layers": 2, "hidden_size": 16}
    plain = build(teacher, **sizes)
    student = build(teacher, **sizes, unpad=True)
    assert (type(student), student.config.unpad, student.config.is_factorised) == (AfroStudentForMaskedLM, True, False)
    assert list(plain.state_dict()) == list(student.state_dict())
    assert torch.equal(student.get_input_embeddings().weight, plain.get_input_embeddings().weight)
    assert build(teacher, **sizes, embedding_size=4).config.unpad
    assert not build(teacher, **sizes, embedding_size=4, unpad=False).config.unpad


def test_vocabulary_positions_and_arithmetic_are_the_teachers(teacher):
    config = build(teacher, num_hidden_layers=2, hidden_size=16).config
    old = teacher.config
    assert config.vocab_size == old.vocab_size
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "type_vocab_size", "layer_norm_eps", "hidden_act"):
        assert getattr(config, name) == getattr(old, name), name
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.0
    positions = 66 if old.model_type == "bert" else 64
    assert config.max_position_embeddings - config.pad_token_id - 1 == positions


def effective(model: PreTrainedModel) -> torch.Tensor:
    embeddings = model.base_model.embeddings
    table = embeddings.word_embeddings.weight.detach().double()
    projection = getattr(embeddings, "projection", None)
    return table if projection is None else table @ projection.weight.detach().double().T


def truncated(table: torch.Tensor, rank: int) -> torch.Tensor:
    left, singular, right = torch.linalg.svd(table, full_matrices=False)
    return (left[:, :rank] * singular[:rank]) @ right[:rank]


@pytest.mark.parametrize("family", ["xlm-roberta", "bert"])
def test_products_between_rows_are_those_of_the_best_approximation(family):
    teacher = make_teacher(family)
    student = build(teacher, num_hidden_layers=2, hidden_size=16)
    best = truncated(effective(teacher), 16)
    rows = effective(student)
    torch.testing.assert_close(rows @ rows.T, 0.5 * best @ best.T, rtol=0, atol=1e-6)  # 16 / 32 is the scale squared
    energy = (best**2).sum() / (effective(teacher) ** 2).sum()
    assert student.config.built_from["embedding_energy"] == pytest.approx(float(energy), abs=1e-6)
    # An entry keeps its mean square, less the energy that was cut.
    assert (rows**2).mean() == pytest.approx(float((effective(teacher) ** 2).mean() * energy), rel=1e-6)


@pytest.mark.parametrize("hidden_size", [32, 16])
@pytest.mark.parametrize("family", ["xlm-roberta", "roberta", "bert"])
def test_the_factorised_product_is_the_best_approximation_of_the_table_it_replaces(family, hidden_size):
    teacher = make_teacher(family)
    whole = build(teacher, num_hidden_layers=2, hidden_size=hidden_size)
    factorised = build(teacher, num_hidden_layers=2, hidden_size=hidden_size, embedding_size=8)
    torch.testing.assert_close(effective(factorised), truncated(effective(whole), 8), rtol=0, atol=1e-6)
    narrow = factorised.get_input_embeddings().weight.detach().double()
    best = truncated(effective(teacher), 8)
    torch.testing.assert_close(narrow @ narrow.T, 8 / 32 * best @ best.T, rtol=0, atol=1e-6)


def test_positions_and_types_take_the_axes_of_the_words(xlm_roberta):
    student = build(xlm_roberta, num_hidden_layers=2, hidden_size=16)
    old, new = xlm_roberta.base_model.embeddings, student.base_model.embeddings
    axes = torch.linalg.lstsq(old.word_embeddings.weight.double(), effective(student)).solution  # [32, 16]
    for name in ("position_embeddings", "token_type_embeddings"):
        expected = getattr(old, name).weight.double() @ axes
        torch.testing.assert_close(getattr(new, name).weight.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [{"hidden_size": 32}, {"hidden_size": 16}, {"hidden_size": 16, "embedding_size": 4}])
def test_the_padding_row_stays_zero(teacher, sizes):
    student = build(teacher, num_hidden_layers=2, **sizes)
    pad = teacher.config.pad_token_id
    assert not student.get_input_embeddings().weight[pad].any()
    assert not student.base_model.embeddings.position_embeddings.weight[pad].any()


@pytest.mark.parametrize(
    ("layers", "count", "sources"),
    [
        ("uniform", 4, [0, 1, 2, 3]),
        ("uniform", 2, [1, 3]),
        ("uniform", 3, [0, 1, 3]),
        ("uniform", 1, [3]),
        ("last", 2, [2, 3]),
        ((3, 0, 0, 1, 2), 5, [3, 0, 0, 1, 2]),
    ],
)
def test_layers_are_copied_bit_by_bit(teacher, layers, count, sources):
    student = build(teacher, num_hidden_layers=count, hidden_size=32, layers=layers)
    assert student.config.built_from["layers"] == sources
    for layer, source in zip(student.base_model.encoder.layer, sources, strict=True):
        copied = teacher.base_model.encoder.layer[source].state_dict()
        assert set(copied) == set(layer.state_dict())
        assert all(torch.equal(weight, copied[name]) for name, weight in layer.state_dict().items())


def test_the_bias_of_each_token_is_copied_and_the_rest_of_the_head_where_it_fits(teacher):
    bias = teacher.get_output_embeddings().bias
    student = build(teacher, num_hidden_layers=2, hidden_size=16)
    assert torch.equal(student.lm_head.bias, bias)
    assert student.lm_head.decoder.bias is student.lm_head.bias
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert student.config.built_from["head_transform"] == "initialised"


def bert_with(activation: str) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 120, "num_hidden_layers": 4, "hidden_act": activation, **SIZES, **OFF}
    return randomise(BertForMaskedLM(BertConfig(**sizes)))


def untied(family: str) -> PreTrainedModel:
    like = make_teacher(family)
    torch.manual_seed(1)
    model = type(like)(type(like.config)(**{**like.config.to_dict(), "tie_word_embeddings": False}))
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    return randomise(model)


def untied_and_equal() -> PreTrainedModel:
    model = untied("xlm-roberta")
    model.lm_head.decoder.weight.data.copy_(model.get_input_embeddings().weight)
    return model


@pytest.mark.parametrize(
    ("make", "differs"),
    [
        (lambda: bert_with("gelu"), None),
        (lambda: bert_with("relu"), "activation"),
        (lambda: bert_with("gelu_new"), "activation"),
        (lambda: untied("xlm-roberta"), "output embedding"),
        (lambda: untied("roberta"), "output embedding"),
        (lambda: untied("bert"), "output embedding"),
        (untied_and_equal, None),
    ],
)
def test_a_head_that_computes_something_else_than_the_teachers_is_said_to(make, differs, batch, caplog):
    teacher = make()
    batch["input_ids"].clamp_(min=4)
    batch["attention_mask"].fill_(1)
    student = build(teacher, **SAME)
    with torch.no_grad():
        assert torch.equal(student.base_model(**batch)[0], teacher.base_model(**batch)[0])
    built_from = student.config.built_from
    assert (built_from["head_bias"], built_from["head_transform"]) == ("copied", "copied")
    assert built_from.get("head_differs") == differs
    assert torch.equal(logits(student, batch), logits(teacher, batch)) == (differs is None)
    said = [one.getMessage() for one in caplog.records if "head was copied and differs" in one.getMessage()]
    assert len(said) == (differs is not None)
    assert not said or f"from the teacher's in its {differs}: " in said[0]


def test_a_head_that_is_new_differs_in_nothing(caplog):
    built_from = build(bert_with("relu"), num_hidden_layers=2, hidden_size=16).config.built_from
    assert (built_from["head_transform"], built_from.get("head_differs")) == ("initialised", None)
    assert "head was copied" not in caplog.text


def test_a_teacher_without_a_head(batch):
    torch.manual_seed(0)
    encoder = randomise(XLMRobertaModel(tiny_config(120, num_hidden_layers=4)))
    student = build(encoder, **SAME)
    assert student.config.built_from["head_bias"] == "initialised"
    assert not student.lm_head.bias.any()
    with torch.no_grad():
        assert torch.equal(student.base_model(**batch)[0], encoder(**batch)[0])


def test_the_seed_alone_decides(xlm_roberta):
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    small = {"num_hidden_layers": 2, "hidden_size": 16, "embedding_size": 4}
    one = build(xlm_roberta, **small, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(12)
    two = build(xlm_roberta, **small, seed=5)
    other = build(xlm_roberta, **small, seed=6)
    assert all(torch.equal(weight, two.state_dict()[name]) for name, weight in one.state_dict().items())
    name = "roberta.encoder.layer.1.output.dense.weight"
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("embedding_size", [4, None])
def test_where_it_came_from_is_logged_saved_and_loaded(xlm_roberta, tmp_path, caplog, batch, embedding_size):
    xlm_roberta.config._name_or_path = "/home/someone/checkpoints/large"
    with caplog.at_level(logging.INFO, logger="hf_afro.students.building"):
        student = build(xlm_roberta, num_hidden_layers=2, hidden_size=16, embedding_size=embedding_size, seed=7)
    built_from = student.config.built_from
    assert "layers of width 16: the layers are initialised; the embeddings are projected" in caplog.text
    assert built_from["teacher"] == "large"  # no path of somebody's machine in a file made to be published
    assert (built_from["seed"], built_from["embeddings"], built_from["layers"]) == (7, "projected", "initialised")
    student.save_pretrained(tmp_path)
    loaded = type(student).from_pretrained(tmp_path)
    assert loaded.config.built_from == built_from
    assert torch.equal(logits(loaded, batch), logits(student, batch))


def test_the_layers_that_were_copied_are_logged_as_counted_from_1(xlm_roberta, caplog):
    with caplog.at_level(logging.INFO, logger="hf_afro.students.building"):
        student = build(xlm_roberta, num_hidden_layers=2, layers=[0, 3])
    assert student.config.built_from["layers"] == [0, 3]
    assert "the layers are 1, 4 of the teacher, counted from 1; the embeddings are copied" in caplog.text


def test_a_teacher_in_half_precision_gives_a_student_in_single(xlm_roberta):
    student = build(xlm_roberta.bfloat16(), num_hidden_layers=2, hidden_size=16)
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("sizes", "heads", "intermediate"),
    [
        ({"hidden_size": 32}, 4, 64),
        ({"hidden_size": 16}, 4, 64),
        ({"hidden_size": 15, "num_attention_heads": 3}, 3, 60),
        ({"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20}, 2, 20),
    ],
)
def test_sizes_left_out(xlm_roberta, sizes, heads, intermediate):
    config = build(xlm_roberta, num_hidden_layers=1, **sizes).config
    assert (config.num_attention_heads, config.intermediate_size) == (heads, intermediate)


def test_one_head_for_each_64_columns():
    teacher = XLMRobertaForMaskedLM(tiny_config(50, hidden_size=192, num_attention_heads=4))
    assert build(teacher, num_hidden_layers=1, hidden_size=128).config.num_attention_heads == 2


@pytest.mark.parametrize(
    "sizes", [SAME, {"hidden_size": 16}, {"hidden_size": 16, "embedding_size": 4, "unpad": False}]
)
def test_the_configuration_needs_no_weights(teacher, sizes):
    sizes = {"num_hidden_layers": 2, **sizes}
    student = build(teacher, **sizes)
    planned = config_of_student(teacher.config, **sizes, pad_token_id=teacher.config.pad_token_id)
    assert type(planned) is type(student.config)
    assert planned.to_dict() == {k: v for k, v in student.config.to_dict().items() if k != "built_from"}
    assert empty_model(planned).num_parameters() == student.num_parameters()


def test_the_default_heads_are_the_teachers_where_64_columns_give_as_many():
    teacher_config = tiny_config(50, hidden_size=1024, num_attention_heads=8)
    assert config_of_student(teacher_config, num_hidden_layers=2, hidden_size=512).num_attention_heads == 8


def test_the_parameters_of_xlm_roberta_base_are_counted():
    model = empty_model(XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1))
    assert (model.num_parameters(), positions_of(model), model.device.type) == (278_295_186, 512, "meta")


def test_a_configuration_with_an_unknown_padding_id_is_refused():
    with pytest.raises(ValueError, match="counts positions from its padding id 1, but pad_token_id is 0; leave it"):
        config_of_student(tiny_config(50), num_hidden_layers=1, hidden_size=32, pad_token_id=0)
    with pytest.raises(ValueError, match="bert teacher requires its tokenizer"):
        config_of_student(BertConfig(), num_hidden_layers=1, hidden_size=64)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers is 2.0; expected"),
        ({"num_hidden_layers": None}, "num_hidden_layers is None; expected"),
        ({"hidden_size": "16"}, "hidden_size is '16'; expected"),
        ({"hidden_size": 64}, "is wider than the teacher's 32"),
        ({"hidden_size": 15}, r"pass num_attention_heads, one of \[1, 3, 5, 15\]"),
        ({"hidden_size": 16, "num_attention_heads": 3}, r"does not divide hidden_size 16; choose one of \[1, 2, 4"),
        ({"hidden_size": 16, "embedding_size": 17}, "embedding_size 17 exceeds hidden_size 16"),
        ({"embedding_size": -1}, "embedding_size is -1; expected"),
        ({"num_hidden_layers": 5}, "5 layers cannot be copied from a teacher with 4"),
        ({"layers": "first"}, "layers is 'first'; expected"),
        ({"layers": [0]}, "expected 2 indices"),
        ({"layers": [0, 4]}, "each from 0 to 3"),
        ({"layers": [0, -1]}, "each from 0 to 3"),
        ({"layers": [0, 1], "hidden_size": 16}, "leave layers out, or give the student the teacher's sizes"),
    ],
)
def test_what_cannot_be_built_is_refused(xlm_roberta, wrong, message):
    with pytest.raises(ValueError, match=message):
        build(xlm_roberta, **{"num_hidden_layers": 2, "hidden_size": 32, **wrong})


def test_a_teacher_that_cannot_teach_is_refused(xlm_roberta):
    xlm_roberta.config.model_type = "gpt2"
    with pytest.raises(ValueError, match="'gpt2' is not in the table of families"):
        build(xlm_roberta, **SAME)
    xlm_roberta.config.model_type = "albert"
    with pytest.raises(ValueError, match="a student cannot be built from albert"):
        build(xlm_roberta, **SAME)


def test_a_teacher_that_counts_from_no_padding_id_is_refused():
    teacher = XLMRobertaForMaskedLM(tiny_config(120, pad_token_id=None))
    with pytest.raises(ValueError, match=r"built with pad_token_id=None.*load it again with .*pad_token_id=\.\.\."):
        build_student(teacher, num_hidden_layers=2, hidden_size=32)


def test_a_causal_teacher_is_refused(teacher):
    teacher.config.is_decoder = True
    with pytest.raises(ValueError, match="is_decoder=True, so its attention is causal"):
        build(teacher, **SAME)


# As XLM-R's: `<s>` is 0 and begins every text, and the padding is 1.
LIKE_XLMR = word_tokenizer(
    "<s>", "<pad>", "</s>", "[UNK]", bos_token="<s>", cls_token="<s>", eos_token="</s>", pad_token="<pad>"
)


@pytest.mark.parametrize("sizes", [{}, {"hidden_size": 16}, {"hidden_size": 16, "embedding_size": 4}])
def test_a_student_of_bert_counts_from_the_padding_id_of_the_tokenizer(sizes, caplog):
    """multilingual-e5-small says 0, and its tokenizer pads with 1: `<s>` counted as padding moved every position."""
    teacher = make_teacher("bert")
    student = build_student(teacher, tokenizer=LIKE_XLMR, **{**SAME, **sizes})
    config = student.config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (1, 0, 2)
    assert config.max_position_embeddings == teacher.config.max_position_embeddings + 2
    told = "pad_token_id=0 and its tokenizer pads with 1; the student takes the tokenizer's. No result changes"
    assert told in caplog.text
    ids = torch.full((2, 66), 9)  # the teacher's full length
    ids[:, 0], ids[1, 40:] = 0, 1
    batch = {"input_ids": ids, "attention_mask": (ids != 1).long()}
    real = batch["attention_mask"].bool()
    assert torch.isfinite(logits(student, batch)).all()
    if not sizes:
        assert torch.equal(logits(student, batch)[real], logits(teacher, batch)[real])
        assert torch.equal(student.get_input_embeddings().weight, teacher.get_input_embeddings().weight)


@pytest.mark.parametrize("pad", [0, 1, 7])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_of_the_teachers_shape_is_the_teacher_whatever_the_padding_id(family, pad, batch):
    sizes = {"embedding_size": 8, "unpad": False} if family == "afro-student" else {}
    like = make_teacher(family)
    teacher = randomise(type(like)(type(like.config)(**{**like.config.to_dict(), "pad_token_id": pad})))
    words = word_tokenizer(*map(str, range(9)), "[UNK]", pad_token=str(pad))
    student = build_student(teacher, tokenizer=words, **SAME, **sizes)
    assert student.config.pad_token_id == pad
    real = batch["attention_mask"].bool()
    ids = batch["input_ids"].clamp(min=9)
    ids[~real] = pad
    batch["input_ids"] = ids
    assert torch.equal(logits(student, batch)[real], logits(teacher, batch)[real])


def test_bert_without_its_tokenizer_is_refused():
    with pytest.raises(ValueError, match="pass tokenizer=.*pad_token_id=0 may be wrong"):
        build_student(make_teacher("bert"), **SAME)


@pytest.mark.parametrize("family", ["xlm-roberta", "roberta", "afro-student"])
def test_a_tokenizer_that_pads_with_another_id_than_the_teacher_counts_from_is_refused(family):
    pads_with_0 = word_tokenizer("<s>", "<pad>", "</s>", "[UNK]", pad_token="<s>")
    with pytest.raises(
        ValueError, match="from its padding id 1, .* pads with 0; .* set tokenizer.pad_token = '<pad>'"
    ):
        build_student(make_teacher(family), tokenizer=pads_with_0, **SAME)


def test_the_teachers_modules_decide_and_not_what_its_configuration_says_since(xlm_roberta, batch):
    xlm_roberta.config.pad_token_id = 0
    for tokenizer in (None, LIKE_XLMR):
        student = build_student(xlm_roberta, tokenizer=tokenizer, **SAME)
        assert student.config.pad_token_id == 1
        assert torch.equal(logits(student, batch), logits(xlm_roberta, batch))


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (word_tokenizer(*map(str, range(121)), pad_token="0"), "has 12[12] tokens and the teacher 120 rows"),
        (word_tokenizer("a", "[UNK]"), "has no pad_token; set tokenizer.pad_token first"),
    ],
)
def test_a_tokenizer_of_another_model_is_refused(teacher, tokenizer, message):
    with pytest.raises(ValueError, match=message):
        build_student(teacher, tokenizer=tokenizer, **SAME)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft still reads it
def test_a_teacher_with_adapters_is_refused(xlm_roberta):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(xlm_roberta, LoraConfig(target_modules=["query"]))
    with pytest.raises(ValueError, match="merge them first"):
        build(adapted, **SAME)


FREQUENCIES = torch.arange(120.0) ** 3  # rows of higher ids occur more often


@pytest.mark.parametrize("sizes", [{"hidden_size": 16}, {"hidden_size": 32, "embedding_size": 8}])
@pytest.mark.parametrize("family", ["xlm-roberta", "bert"])
def test_with_counts_the_table_is_the_best_approximation_for_running_tokens(family, sizes):
    teacher = make_teacher(family)
    rank = min(sizes.values())
    table = effective(teacher)
    weights = 0.99 * FREQUENCIES.double() / FREQUENCIES.double().sum() + 0.01 / 120
    left, singular, right = torch.linalg.svd(table * weights.sqrt()[:, None], full_matrices=False)
    best = table @ right[:rank].T @ right[:rank]
    student = build(teacher, num_hidden_layers=2, **sizes, counts=FREQUENCIES)
    # With embedding_size the product is as wide as the layers and has its scale; otherwise it is scaled by the width.
    rows, scale = effective(student), sizes["hidden_size"] / 32
    torch.testing.assert_close(rows @ rows.T, scale * best @ best.T, rtol=0, atol=1e-6)
    built_from = student.config.built_from
    running = (singular[:rank] ** 2).sum() / (singular**2).sum()
    assert built_from["embedding_energy_of_running_tokens"] == pytest.approx(float(running), abs=1e-6)
    assert built_from["embedding_energy"] == pytest.approx(float((best**2).sum() / (table**2).sum()), abs=1e-6)
    plain = build(teacher, num_hidden_layers=2, **sizes).config.built_from
    assert plain["embedding_energy"] > built_from["embedding_energy"]
    assert "embedding_energy_of_running_tokens" not in plain
    assert not rows[teacher.config.pad_token_id].any()


def test_counts_change_nothing_at_full_width(teacher):
    sizes = {**SAME, "embedding_size": getattr(teacher.config, "embedding_size", None)}
    one, other = build(teacher, **sizes), build(teacher, **sizes, counts=FREQUENCIES)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())
    assert one.config.built_from == other.config.built_from


def test_counts_of_another_vocabulary_are_refused(teacher):
    with pytest.raises(ValueError, match=r"counts have shape \[119\]; expected one number per token"):
        build(teacher, num_hidden_layers=2, hidden_size=16, counts=FREQUENCIES[:-1])


def test_the_width_left_out_is_the_teachers(teacher):
    factorised = {"embedding_size": getattr(teacher.config, "embedding_size", None)}
    student = build(teacher, num_hidden_layers=2, **factorised)
    assert student.config.hidden_size == 32
    named = build(teacher, num_hidden_layers=2, hidden_size=32, **factorised)
    assert all(torch.equal(weight, named.state_dict()[name]) for name, weight in student.state_dict().items())
