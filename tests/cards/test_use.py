"""What a model is offered for: a head that was never trained is not, and nothing is guessed."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import XLMRobertaForMaskedLM, XLMRobertaForQuestionAnswering

from hf_afro import build_student
from hf_afro.cards import CardFacts, render_card
from hf_afro.cards.facts import HEADS
from hf_afro.cards.use import use_of
from hf_afro.evaluation.facts import model_facts
from hf_afro.evaluation.heads import add_head
from hf_afro.export import export_sentence_transformer
from hf_afro.reports import EvalReport
from tests.conftest import tiny_config
from tests.reports.examples import score

STUDENT = {"teacher": "ama/large", "layers": [1, 3], "head_bias": "copied", "head_transform": "initialised"}
MASKED, ENCODER = {"architecture": "XLMRobertaForMaskedLM"}, {"architecture": "XLMRobertaModel"}


@pytest.mark.parametrize(
    ("model", "head", "pipeline"),
    [
        (MASKED, "", "fill-mask"),  # saved with its head by whoever trained it
        (MASKED, "not_trained_here", "fill-mask"),
        (MASKED | {"masked_lm_head": "drawn"}, "", "feature-extraction"),
        (MASKED | {"built_from": STUDENT}, "", "feature-extraction"),  # not known, so not offered
        (MASKED | {"built_from": STUDENT}, "not_trained_here", "feature-extraction"),
        (MASKED | {"built_from": STUDENT, "masked_lm_head": "untrained"}, "", "feature-extraction"),
        (MASKED | {"built_from": STUDENT, "masked_lm_head": "kept"}, "", "fill-mask"),
        (MASKED | {"built_from": STUDENT, "masked_lm_head": "fitted_after_distillation"}, "", "fill-mask"),
        (MASKED | {"masked_lm_head": "untrained"}, "", "feature-extraction"),
        (MASKED | {"masked_lm_head": "nonsense", "built_from": STUDENT}, "", "feature-extraction"),
        (ENCODER, "", "feature-extraction"),
        (ENCODER, "kept", "feature-extraction"),
        ({}, "", "feature-extraction"),
        ({}, "kept", "fill-mask"),
        ({"architecture": "AfroStudentForTokenClassification"}, "", "token-classification"),
        ({"architecture": "BertForSequenceClassification"}, "kept", "text-classification"),
        (ENCODER | {"library": "sentence-transformers"}, "", "sentence-similarity"),
        ({"architecture": "FlaubertWithLMHeadModel"}, "", "fill-mask"),
        ({"architecture": "BertForPreTraining"}, "", "fill-mask"),
        ({"architecture": "BertForPreTraining"}, "drawn", "feature-extraction"),
        ({"architecture": "ElectraForPreTraining"}, "", "feature-extraction"),
        ({"architecture": "XLMRobertaForQuestionAnswering"}, "", "question-answering"),
    ],
)
def test_what_is_offered_follows_from_what_is_known(model, head, pipeline):
    use = use_of(EvalReport("a", model, ()), CardFacts("a", head=head))
    assert use.pipeline == pipeline
    assert use.library == ("sentence-transformers" if pipeline == "sentence-similarity" else "transformers")


def test_what_is_known_of_a_students_teacher_is_on_the_card():
    built = {
        "seed": 7,
        **STUDENT,
        "teacher_model_type": "xlm-roberta",
        "embeddings": "projected",
        "embedding_energy": 0.916234,
    }
    card = render_card([EvalReport("a", MASKED | {"built_from": built}, (score(),))])
    assert "made with hf\\_afro from ama/large, its teacher." in card
    assert (
        "- It was built from a teacher, whose layers are counted from zero: teacher ama/large, teacher model type "
        "xlm-roberta, layers 1, 3, embeddings projected, embedding energy 0.9162, head bias copied, head transform "
        "initialised, seed 7.\n"
    ) in card
    assert "What limits ama/large has" in card
    assert "How it was made is not recorded" not in card
    assert "what it was made from is not recorded" not in card
    # Whether the name is one at the Hub is not known.
    assert ModelCard(card).data.base_model is None


@pytest.fixture
def saved(request, model, tokenizer, tmp_path, monkeypatch):
    """The name of a folder with a model, and its report."""
    monkeypatch.chdir(tmp_path)
    kind = request.param
    if kind == "sentence-similarity":
        pytest.importorskip("sentence_transformers")
        export_sentence_transformer(model, tokenizer, "saved")
        own, folder = model.base_model, "saved"
    else:
        teacher = XLMRobertaForMaskedLM(tiny_config(len(tokenizer)))
        own = {
            "fill-mask": lambda: model,
            "feature-extraction": lambda: build_student(
                teacher, num_hidden_layers=1, hidden_size=16, embedding_size=8, num_attention_heads=2
            ),
            "token-classification": lambda: add_head(model, "ner", ("O", "B-PER"), seed=1),
            "text-classification": lambda: add_head(model, "topic", ("a", "b"), seed=1),
            "question-answering": lambda: XLMRobertaForQuestionAnswering(tiny_config(len(tokenizer))),
        }[kind]()
        folder = None
        own.save_pretrained("saved")
        tokenizer.save_pretrained("saved")
    return kind, EvalReport("saved", model_facts(own, folder), (score(),))


@pytest.mark.parametrize(
    "saved",
    [
        "fill-mask",
        "feature-extraction",
        "token-classification",
        "text-classification",
        "question-answering",
        "sentence-similarity",
    ],
    indirect=True,
)
@pytest.mark.filterwarnings("ignore:Importing from 'sentence_transformers:DeprecationWarning")
def test_the_code_on_the_card_of_each_kind_runs(saved, capsys):
    kind, report = saved
    card = render_card([report])
    assert ModelCard(card).data.pipeline_tag == kind
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    names = {"__name__": "snippet"}
    exec(compile(code.replace('"... {', '"Mvua {').replace('"..."', '"Mvua kubwa"'), kind, "exec"), names)
    found = {
        "fill-mask": lambda: len(names["fill"](f"Mvua {names['fill'].tokenizer.mask_token}")) == 5,
        "feature-extraction": lambda: isinstance(names["model"], torch.nn.Module),
        "question-answering": lambda: isinstance(names["model"], XLMRobertaForQuestionAnswering),
        "sentence-similarity": lambda: names["vectors"].shape == (2, 32),
        "token-classification": lambda: callable(names["classify"]),
    }.get(kind, lambda: {"label", "score"} <= names["classify"]("Mvua")[0].keys())
    assert found()
    assert ("import hf_afro" in code) == (kind == "feature-extraction")


@pytest.mark.parametrize(
    ("model", "told", "head"),
    [
        (MASKED | {"masked_lm_head": "kept"}, "", "kept"),
        (MASKED | {"masked_lm_head": "kept"}, "drawn", "drawn"),
        (ENCODER, "", "untrained"),
        (ENCODER | {"masked_lm_head": "kept"}, "", "untrained"),  # it stayed behind
        (ENCODER, "kept", "kept"),
        ({"architecture": "FlaubertWithLMHeadModel"}, "", ""),
        ({"architecture": "BertForPreTraining"}, "", ""),
        ({"architecture": "BertForPreTraining", "masked_lm_head": "drawn"}, "", "drawn"),
        ({"architecture": "ElectraForPreTraining"}, "kept", ""),
        ({"architecture": "GPT2LMHeadModel"}, "", ""),
        ({"architecture": "BertForMultipleChoice"}, "", ""),
        ({"architecture": "XLMRobertaForQuestionAnswering"}, "kept", ""),
        ({"architecture": "XLMRobertaForTokenClassification", "masked_lm_head": "untrained"}, "", ""),
        (ENCODER | {"library": "sentence-transformers", "masked_lm_head": "untrained"}, "", ""),
    ],
)
def test_a_head_is_told_of_where_the_model_could_have_it(model, told, head):
    facts = CardFacts("a", head=told)
    assert use_of(EvalReport("a", model, ()), facts).head == head
    said = render_card([EvalReport("a", model, (score(),))], facts)
    assert [key for key, sentence in HEADS.items() if sentence in said] == ([head] if head else [])


def test_an_older_report_with_its_facts_says_what_they_say():
    facts = CardFacts("a", head="fitted_after_distillation")
    report = EvalReport("a", {"model_type": "afro-student"}, (score(),))
    assert ModelCard(render_card([report], facts)).data.pipeline_tag == "fill-mask"
    assert ModelCard(render_card([report], dataclasses.replace(facts, head=""))).data.pipeline_tag == (
        "feature-extraction"
    )
