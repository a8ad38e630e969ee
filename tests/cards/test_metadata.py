"""The front matter: what the Hub reads of it, score by score, and that the unknown is left out."""

from __future__ import annotations

import pytest
import yaml

from hf_afro.cards import CardFacts
from hf_afro.cards.metadata import card_metadata, evaluation_result
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
