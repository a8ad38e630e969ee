"""The front matter: read by the Hub, without what is unknown, and no pipeline without evidence."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries
from transformers import XLMRobertaForMaskedLM, XLMRobertaForQuestionAnswering

from hf_afro import build_student
from hf_afro.cards import CardFacts, TextSource, metadata, render_card
from hf_afro.cards.card_facts import HEADS
from hf_afro.cards.metadata import benchmark_results, card_metadata, evaluation_result, use_of
from hf_afro.evaluation.models import add_head, model_facts
from hf_afro.export import export_sentence_transformer
from hf_afro.reports import EvalReport
from hf_afro.tasks import KINDS, TASKS, metrics_of
from tests.cards.test_card_facts import FACTS
from tests.conftest import tiny_config
from tests.reports.examples import report, score


def front_matter(facts: CardFacts) -> dict:
    return yaml.safe_load(card_metadata(report("student"), facts).to_yaml())


def test_everything_known_is_there():
    matter = front_matter(FACTS)
    index = matter.pop("model-index")
    assert matter == {
        "base_model": ["Davlan/afro-xlmr-large"],
        "datasets": ["someone/news"],
        "language": ["am", "ha", "sw", "yo"],
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "fill-mask",
        "tags": ["hf_afro", "pruning", "maft", "minilmv2"],
    }
    assert index[0]["name"] == "someone/afro-mini"


def test_the_unknown_is_left_out():
    assert set(front_matter(CardFacts("a"))) == {"library_name", "pipeline_tag", "tags", "model-index"}


def test_a_language_without_two_letters_keeps_three():
    assert front_matter(CardFacts("a", languages=("pcm", "swa")))["language"] == ["pcm", "sw"]
    assert front_matter(CardFacts("a", languages=("bem", "kik")))["language"] == ["bem", "ki"]


def index_of(*scores, **facts) -> tuple[dict, list[dict]]:
    """Return the front matter of a card with these scores, and the entries of its model index."""
    matter = yaml.safe_load(card_metadata(EvalReport("a", {}, scores), CardFacts("a", **facts)).to_yaml())
    return matter, matter["model-index"][0]["results"]


def test_topics_and_sentiment_of_one_set_are_two_entries():
    scores = [
        score(values=(value,), task=task, metric=metric, dataset="sample/swa")
        for task, value in (("topic", 0.5), ("sentiment", 0.25))
        for metric in ("weighted_f1", "accuracy")
    ]
    _, entries = index_of(*scores)
    assert [(entry["task"]["name"], [metric["value"] for metric in entry["metrics"]]) for entry in entries] == [
        ("News topics", [0.5, 0.5]),
        ("Sentiment", [0.25, 0.25]),
    ]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_type_of_the_hubs(task):
    tagged = KINDS[task].tagged
    _, (entry,) = index_of(score(task=task))
    assert entry["task"]["type"] == ("token-classification" if tagged else "text-classification")


def test_what_is_measured_without_training_has_one_too():
    _, entries = index_of(
        score(task="bits_per_byte", metric="bits_per_byte", seeds=(), values=(1.5,)),
        *(score(task="bitext", metric=metric, seeds=(), values=(0.75,)) for metric in metrics_of("bitext")),
    )
    assert [(entry["task"]["type"], entry["task"]["name"]) for entry in entries] == [
        ("fill-mask", "Bits per byte"),
        ("sentence-similarity", "Bitext retrieval"),
    ]
    assert [(metric["type"], metric["name"]) for metric in entries[1]["metrics"]] == [
        ("accuracy", "accuracy at 1"),
        ("accuracy", "accuracy at 1, from the language"),
        ("accuracy", "accuracy at 1, into the language"),
    ]


def test_sets_are_called_what_they_are_called_and_named_where_the_hub_has_them():
    text = (TextSource("News", hub_id="someone/news"), TextSource("More"))
    scores = [score("swa", dataset=f"{name}/swa") for name in ("masakhaner2", "antc", "council", "masakhaner2")]
    matter, entries = index_of(*scores, text=text)
    assert matter["datasets"] == ["someone/news", "masakhane/masakhaner2"]
    assert [(entry["dataset"]["name"], entry["dataset"]["type"]) for entry in entries] == [
        ("MasakhaNER 2.0, Swahili (swa)", "masakhane/masakhaner2"),
        ("ANTC, Swahili (swa)", "antc/swa"),
        ("council, Swahili (swa)", "council/swa"),
    ]


def test_a_model_without_a_head_fills_no_masks():
    assert front_matter(CardFacts("a", head="untrained"))["pipeline_tag"] == "feature-extraction"


def test_every_score_is_in_the_index_and_no_other():
    (model,) = front_matter(FACTS)["model-index"]
    listed = {
        (result["task"]["name"], result["dataset"]["config"], metric["name"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    assert listed == pytest.approx(
        {
            ("Named entities", "amh", "entity F1"): 0.6133,
            ("Named entities", "hau", "entity F1"): 0.8703,
            ("Named entities", "swa", "entity F1"): 0.57,
            ("Bits per byte", "amh", "bits per byte"): 2.2,
            ("Bits per byte", "hau", "bits per byte"): 1.71,
            ("News topics", "hau", "macro F1"): 0.625,
            ("News topics", "hau", "weighted F1"): 0.625,
        }
    )


def test_scores_on_benchmarks_of_the_hub_are_written_for_their_leaderboards(monkeypatch):
    scores = [
        score("swa", dataset="masakhaner2/swa"),
        score("swa", dataset="masakhaner2/swa", metric="entity_recall"),
        score("yor", dataset="masakhaner2/yor", values=(0.25,)),
        score("hau", dataset="masakhaner2/hau"),
        score("swa", dataset="mine/swa"),
    ]
    own = EvalReport("a", {}, tuple(scores))
    assert benchmark_results(own) == {}  # none of the sets is accepted
    monkeypatch.setattr(metadata, "BENCHMARK_TASKS", {"masakhaner2/swa": "ner_swa", "masakhaner2/yor": "ner_yor"})
    ((name, content),) = benchmark_results(own).items()
    assert name == "masakhaner2.yaml"
    assert parse_eval_result_entries(yaml.safe_load(content)) == [
        EvalResultEntry(
            dataset_id="masakhane/masakhaner2",
            task_id=task,
            value=value,
            notes=f"entity F1, fine-tuned, mean over {of}",
        )
        for task, value, of in (("ner_swa", 0.55, "2 seeds"), ("ner_yor", 0.25, "1 seed"))
    ]


def test_an_embedder_shows_its_prompts():
    embedder = ENCODER | {"library": "sentence-transformers", "prompts": {"query": "query: ", "s2s": "find 1: "}}
    card = render_card([EvalReport("a", embedder, (score(),))])
    assert ModelCard(card).data.library_name == "sentence-transformers"
    shown = 'Prompts, which are put before a text: query ("query: "), s2s ("find 1: ").'
    assert f"{shown} `encode` puts none by default, and the one that `prompt_name` names.\n" in card
    card = render_card([EvalReport("a", embedder | {"default_prompt": "query: "}, (score(),))])
    assert '`encode` puts "query: " by default' in card
    assert "Prompts" not in render_card([EvalReport("a", ENCODER, (score(),))])


def test_a_classifier_is_for_one_task():
    model = {"architecture": "XLMRobertaForTokenClassification"}
    card = render_card([EvalReport("a", model, (score(),))], CardFacts("a", languages=("swa",)))
    assert "\nA token classifier for 1 language, made" in card
    assert "Tasks not measured" not in card
    assert "Tasks not measured" in render_card([EvalReport("a", ENCODER, (score(),))])


def test_a_score_says_its_seeds_its_spread_and_over_how_many_examples():
    result = evaluation_result(score(values=(0.5, 0.6)))
    assert result.metric_args == {"n": 605, "seeds": [1, 2], "standard_deviation": 0.0707}
    assert (result.task_type, result.metric_type, result.dataset_split) == ("token-classification", "f1", "test")
    assert evaluation_result(score(values=(0.5,), seeds=())).metric_args == {"n": 605}


STUDENT = {"teacher": "ama/large", "layers": [1, 3], "head_bias": "copied", "head_transform": "initialised"}
MASKED, ENCODER = {"architecture": "XLMRobertaForMaskedLM"}, {"architecture": "XLMRobertaModel"}


@pytest.mark.parametrize(
    ("model", "head", "pipeline"),
    [
        (MASKED, "", "fill-mask"),  # saved with its head after training
        (MASKED, "not_trained_here", "fill-mask"),
        (MASKED | {"masked_lm_head": "drawn"}, "", "feature-extraction"),
        (MASKED | {"built_from": STUDENT}, "", "feature-extraction"),  # unknown, so not offered
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
    assert "made with hf\\_afro from the teacher ama/large." in card
    assert (
        "- Built from a teacher (layers counted from one): teacher ama/large, teacher model type "
        "xlm-roberta, layers 2, 4, embeddings projected, embedding energy 0.9162, head bias copied, head transform "
        "initialised, seed 7.\n"
    ) in card
    assert "The limits and biases of ama/large" in card
    assert "\nNot recorded.\n\n## Training text" not in card
    assert "base model is not recorded" not in card
    # It is unknown whether the name is one on the Hub.
    assert ModelCard(card).data.base_model is None


@pytest.fixture
def saved(request, model, tokenizer, tmp_path, monkeypatch):
    """Return the kind of a model that is saved in a folder, and its report."""
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
        (ENCODER | {"masked_lm_head": "kept"}, "", "untrained"),  # the encoder was saved without it
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
