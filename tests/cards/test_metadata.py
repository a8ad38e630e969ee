"""The front matter: what the Hub reads of it, score by score, and that the unknown is left out."""

from __future__ import annotations

import pytest
import yaml

from hf_afro.cards import CardFacts, TextSource
from hf_afro.cards.metadata import card_metadata, evaluation_result
from hf_afro.evaluation.data.kinds import KINDS, TASKS
from hf_afro.reports import EvalReport
from tests.cards.test_facts import FACTS
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
    """The front matter of a card with these scores, and the entries of its model index."""
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
            ("Bits a byte", "amh", "bits a byte"): 2.2,
            ("Bits a byte", "hau", "bits a byte"): 1.71,
            ("News topics", "hau", "macro F1"): 0.625,
            ("News topics", "hau", "weighted F1"): 0.625,
        }
    )


def test_a_score_says_its_seeds_its_spread_and_over_how_many_examples():
    result = evaluation_result(score(values=(0.5, 0.6)))
    assert result.metric_args == {"n": 605, "seeds": [1, 2], "standard_deviation": 0.0707}
    assert (result.task_type, result.metric_type, result.dataset_split) == ("token-classification", "f1", "test")
    assert evaluation_result(score(values=(0.5,), seeds=())).metric_args == {"n": 605}
