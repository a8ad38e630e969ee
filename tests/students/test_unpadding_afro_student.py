"""The forward pass without padding computes what XLM-R does, for every head, padding side and implementation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import XLMRobertaForMaskedLM, pipeline
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hf_afro import students
from hf_afro.students.unpadding_afro_student import Packing
from hf_afro.training.capture import StudentCapture, TeacherCapture
from tests.conftest import tiny_config
from tests.students.conftest import student_config
from tests.students.test_modeling_afro_student import HEADS, make

SIDES = ("left", "right")


def ragged(lengths, side="right", width=None, seed=0):
    """A batch of random ids whose rows hold this many tokens."""
    width = width or max(lengths)
    ids = torch.randint(4, 120, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    place = torch.arange(width) if side == "right" else torch.arange(width).flip(0)
    mask = (place[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


def unpadding(head="Model", **settings):
    return make(head, student_config(unpad=True, **settings))


def states(model, batch, **settings):
    """The states of all positions, padding's as zeros."""
    state = model(**batch, **settings).last_hidden_state
    mask = batch.get("attention_mask")
    return state if mask is None else state * mask[..., None]


def shapes_inside(model):
    """Shapes of the inputs to the first feed-forward part, one per run of the model."""
    seen = []
    layer = model.base_model.encoder.layer[0]
    layer.intermediate.dense.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    return seen


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("lengths", [(9, 4, 4, 1, 7), (5,), (1,), (6, 6, 6), (0, 7, 0, 3), (3, 0)])
@pytest.mark.parametrize("embedding_size", [8, None])
def test_states_of_tokens_are_those_of_the_padded_form(lengths, side, embedding_size):
    model = make("Model", student_config(unpad=True, embedding_size=embedding_size))
    model = students.AfroStudentForTokenClassification(model.config).eval().base_model  # has no pooler
    batch = ragged(lengths, side, width=9)
    seen = shapes_inside(model)
    with torch.no_grad():
        found, expected = states(model, batch), states(model, batch, unpad=False)
    assert seen == [(1, sum(lengths), 32), (len(lengths), 9, 32)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not model(**batch).last_hidden_state[batch["attention_mask"] == 0].any()


def test_random_ragged_batches():
    model = unpadding("ForTokenClassification").base_model
    generator = torch.Generator().manual_seed(0)
    for seed in range(60):
        rows, width = (int(torch.randint(1, most, (), generator=generator)) for most in (7, 24))
        lengths = torch.randint(0, width + 1, (rows,), generator=generator).tolist()
        batch = ragged(lengths, SIDES[seed % 2], width, seed)
        with torch.no_grad():
            found, expected = states(model, batch), states(model, batch, unpad=False)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_mask_with_holes_and_of_any_type():
    model = unpadding("ForTokenClassification").base_model
    batch = ragged((8, 8))
    batch["attention_mask"] = torch.tensor([[1, 1, 0, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1, 0, 0]])
    for dtype in (torch.bool, torch.float, torch.int32):
        batch["attention_mask"] = batch["attention_mask"].to(dtype)
        with torch.no_grad():
            torch.testing.assert_close(states(model, batch), states(model, batch, unpad=False), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "given", ["position_ids", "shared position_ids", "token_type_ids", "inputs_embeds", "no mask"]
)
def test_other_inputs_are_taken_at_the_tokens(given):
    model = unpadding("ForTokenClassification", type_vocab_size=2).base_model
    batch = ragged((9, 4, 6), "left")
    if given == "no mask":
        del batch["attention_mask"]
    elif given == "inputs_embeds":
        batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids"))
    elif given == "token_type_ids":
        batch[given] = torch.randint(0, 2, (3, 9))
    else:
        batch["position_ids"] = torch.randint(2, 60, (1 if "shared" in given else 3, 9))
    with torch.no_grad():
        torch.testing.assert_close(states(model, batch), states(model, batch, unpad=False), rtol=0, atol=1e-6)


def answer(model, batch, **settings):
    """Every output of a head that is a tensor, those of tokens with zeros at padding."""
    mask = batch["attention_mask"]
    outputs = {}
    for name, value in model(**batch, **settings).items():
        by_token = value.shape[:2] == mask.shape and value.ndim > 1
        outputs[name] = value * mask.view(*mask.shape, *[1] * (value.ndim - 2)) if by_token else value
    return outputs


def labels_for(head, batch):
    rows, width = batch["input_ids"].shape[-2:]
    if head in ("ForMaskedLM", "ForTokenClassification"):
        labels = torch.arange(rows * width).view(rows, width) % 2
        return {"labels": labels.masked_fill(batch["attention_mask"] == 0, -100)}
    if head == "ForQuestionAnswering":
        return {"start_positions": torch.zeros(rows, dtype=torch.long), "end_positions": torch.ones(rows).long()}
    return {"labels": torch.arange(1 if head == "ForMultipleChoice" else rows) % 2} if head != "Model" else {}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_every_gradient(head, side):
    model = unpadding(head)
    batch = ragged((9, 3, 5), side, width=9 if side == "right" else 10)
    labels = labels_for(head, batch)
    if head == "ForMultipleChoice":
        batch = {name: value[None] for name, value in batch.items()}
    gradients = []
    for settings in ({}, {"unpad": False}):
        model.zero_grad()
        outputs = answer(model, batch, **labels, **settings)
        state = outputs.get("last_hidden_state")
        (outputs["loss"] if state is None else (state * torch.arange(32)).mean()).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
        gradients.append(outputs)
    for name, expected in {**gradients[2], **gradients[3]}.items():
        found = gradients[0].get(name, gradients[1].get(name))
        assert (found is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert any(gradient is not None and gradient.any() for gradient in gradients[0].values())


def test_a_head_on_the_first_position_sees_what_it_sees_in_xlm_roberta():
    model = unpadding("ForSequenceClassification")
    seen = shapes_inside(model)
    with torch.no_grad():
        model(**ragged((4, 2), "right"))
        model(**ragged((4, 2), "left"))  # the first position of the second row is padding
    assert seen == [(1, 6, 32), (2, 4, 32)]


# The name that every version of transformers 5 knows; 5.23 calls it activation_checkpointing_enable.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_activation_checkpointing_gives_the_same_gradients():
    model = unpadding("ForMaskedLM").train()
    batch = ragged((9, 3, 5))
    labels = labels_for("ForMaskedLM", batch)
    model(**batch, **labels).loss.backward()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch, **labels).loss.backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], rtol=1e-5, atol=1e-7)


def test_eager_attention_gives_the_same():
    model = unpadding("ForTokenClassification").base_model
    batch = ragged((9, 3, 3, 5))
    with torch.no_grad():
        expected = states(model, batch)
        model.set_attn_implementation("eager")
        torch.testing.assert_close(states(model, batch), expected, rtol=0, atol=1e-6)


def test_flash_attention_is_told_where_rows_start(monkeypatch):
    """A stand-in that takes flash attention's arguments, since the real one needs a GPU."""

    def varlen(module, query, key, value, attention_mask, dropout, scaling, **kwargs):
        assert attention_mask is None
        assert kwargs["max_length_q"] == kwargs["max_length_k"] == 9
        ends = kwargs["cu_seq_lens_q"]
        assert ends.dtype == torch.int32
        assert torch.equal(ends, kwargs["cu_seq_lens_k"])
        rows = []
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            own = [vector[:, :, start:end] for vector in (query, key, value)]
            rows.append(nn.functional.scaled_dot_product_attention(*own, scale=scaling))
        return torch.cat(rows, dim=2).transpose(1, 2), None

    model = unpadding("ForTokenClassification").base_model
    batch = ragged((9, 3, 0, 5))
    with torch.no_grad():
        expected = states(model, batch)
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", varlen)
        model.config._attn_implementation_internal = "flash_attention_2"
        assert torch.allclose(states(model, batch), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("asked", ["output_hidden_states", "output_attentions", "unpad", "mask"])
def test_what_is_shaped_by_the_padded_batch_is_run_padded(asked):
    model = make("Model", student_config(unpad=True, attn_implementation="eager"))
    batch, seen = ragged((9, 3)), shapes_inside(model)
    settings = {} if asked == "mask" else {asked: asked != "unpad"}
    if asked == "mask":
        batch["attention_mask"] = batch["attention_mask"][:, None, None].bool().expand(2, 1, 9, 9)
    outputs = model(**batch, **settings)
    assert seen == [(2, 9, 32)]
    if asked == "output_hidden_states":
        assert outputs.hidden_states[1].shape == (2, 9, 32)
    if asked == "output_attentions":
        assert outputs.attentions[0].shape == (2, 4, 9, 9)


def test_tuples_and_wrong_inputs():
    model = unpadding()
    batch = ragged((4, 2))
    state, pooled = model(**batch, return_dict=False)
    assert (state.shape, pooled.shape) == ((2, 4, 32), (2, 32))
    with pytest.raises(ValueError, match="exactly one"):
        model(**batch, inputs_embeds=model.get_input_embeddings()(batch["input_ids"]))
    with pytest.raises(ValueError, match="exactly one"):
        model(attention_mask=batch["attention_mask"])


def test_bfloat16_saved_loaded_and_copied(tmp_path):
    model = unpadding("ForMaskedLM").bfloat16()
    model.save_pretrained(tmp_path)
    loaded = students.AfroStudentForMaskedLM.from_pretrained(tmp_path)
    assert (loaded.dtype, loaded.config.unpad) == (torch.bfloat16, True)
    batch = ragged((9, 3))
    with torch.no_grad():
        expected = model(**batch).logits
        assert torch.equal(loaded(**batch).logits, expected)
        assert torch.equal(copy.deepcopy(model)(**batch).logits, expected)


def test_captured_vectors_keep_the_shape_of_the_batch():
    student, batch = unpadding("ForMaskedLM"), ragged((9, 3))
    learnt = StudentCapture(student, [2])(student, **batch)["vectors"][2]
    assert {vectors.shape for vectors in learnt.values()} == {(2, 9, 32)}
    taught = TeacherCapture(student, [1], [1, 2])(**batch)
    assert [vectors.shape for of in taught.values() for vectors in of.values()] == [(2, 9, 32)] * 5
    assert {vectors.shape for vectors in TeacherCapture(student, [1])(**batch)[1].values()} == {(2, 9, 32)}


def test_compiled_it_is_padded_and_equal():
    model = unpadding("ForTokenClassification").base_model
    batch, seen = ragged((9, 3)), shapes_inside(model)
    with torch.no_grad():
        expected = states(model, batch)
        seen.clear()
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        found = compiled(**batch).last_hidden_state * batch["attention_mask"][..., None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


class OfTwo(nn.Module):
    """A model as a function of ids and mask, since torch.export wants a shape for everything a forward may take."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask).logits


@pytest.mark.parametrize("head", ["ForMaskedLM", "ForSequenceClassification"])
def test_exported_it_is_padded_and_takes_any_batch(head):
    model = unpadding(head)
    batch = ragged((9, 3))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    program = torch.export.export(OfTwo(model), tuple(batch.values()), dynamic_shapes=(free, free)).module()
    for other in (batch, ragged((5, 2, 7, 1), seed=3)):
        with torch.no_grad():
            expected, found = model(**other).logits, program(*other.values())
        kept = other["attention_mask"].bool() if found.shape[:2] == other["input_ids"].shape else slice(None)
        torch.testing.assert_close(found[kept], expected[kept], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("fill-mask", "ForMaskedLM"),
        ("token-classification", "ForTokenClassification"),
        ("text-classification", "ForSequenceClassification"),
    ],
)
def test_pipelines_give_what_they_give_padded(task, head, tokenizer):
    model = make(head, student_config(len(tokenizer), unpad=True))
    text = ["Mvua kubwa <mask>", "Mvua <mask>"] if task == "fill-mask" else ["Mvua kubwa", "Mvua"]
    worker = pipeline(task, model=model, tokenizer=tokenizer, batch_size=2)
    seen = shapes_inside(model)
    unpadded = worker(text)
    model.config.unpad = False
    padded = worker(text)
    assert [shape[0] for shape in seen] == [1, 2]
    for found, expected in zip(unpadded, padded, strict=True):
        for one, other in zip(*(x if isinstance(x, list) else [x] for x in (found, expected)), strict=True):
            assert one.keys() == other.keys()
            assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_a_packing_records_the_tokens_it_keeps():
    batch = ragged((3, 0, 2), width=4)
    packing = Packing.of("sdpa", batch["input_ids"], batch["attention_mask"])
    assert packing.lengths == [3, 2]
    assert packing.kept.tolist() == [0, 1, 2, 8, 9]
    packed = packing.pack(batch["input_ids"])
    assert packed.shape == (1, 5)
    assert torch.equal(packing.unpack(packed), batch["input_ids"] * batch["attention_mask"])
    assert Packing.of("sdpa", batch["input_ids"], None).kept is None


def test_equal_to_xlm_roberta_with_the_same_weights():
    student = make("ForMaskedLM", student_config(unpad=True, embedding_size=None))
    plain = XLMRobertaForMaskedLM(tiny_config(120)).eval()
    plain.load_state_dict(student.state_dict())
    batch = ragged((9, 3, 6))
    kept = batch["attention_mask"].bool()
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits[kept], plain(**batch).logits[kept], rtol=0, atol=1e-6)
