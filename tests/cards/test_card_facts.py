"""CardFacts: checks, saving and loading."""

from __future__ import annotations

import json

import pytest

from hf_afro.cards import CardFacts, TextSource
from hf_afro.cards.card_facts import FACTS_FILE
from hf_afro.reports import EvalReport
from tests.reports.examples import report, score

FACTS = CardFacts(
    "someone/afro-mini",
    base_model=("Davlan/afro-xlmr-large",),
    languages=("amh", "hau", "swa", "yor"),
    licence="mit",
    text=(TextSource("News", "cc-by-4.0", "https://example.org/news", "someone/news"), TextSource("More")),
    methods=("pruning", "maft", "minilmv2"),
    head="fitted_after_distillation",
    settings={"maft": {"learning_rate": 5e-5, "epochs": 3}},
    removed={"swa": {"read": 1_000, "evaluation sentence": 17}},
    tokens_seen={"amh": 123_456, "swa": 99_999},
    limits=("Made in a hurry.",),
    notice="Take care.",
    provenance={"commit": "abc123"},
)


def test_facts_survive_their_file(tmp_path):
    file = FACTS.save(tmp_path / "deep")
    assert CardFacts.load(file) == CardFacts.load(file.parent) == FACTS
    assert [path.name for path in file.parent.iterdir()] == [FACTS_FILE]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ("distilling",)}, r"unknown methods \['distilling'\]; expected any of pruning, maft"),
        ({"head": "gone"}, "unknown head 'gone'; expected one of kept"),
        ({"languages": ("swh",)}, r"languages has \['swh'\]; expected ISO 639-3 codes"),
        ({"tokens_seen": {"sw": 1}}, r"tokens_seen has \['sw'\]"),
        ({"languages": ("swaa",)}, "unknown language 'swaa'; did you mean swa"),
    ],
)
def test_what_a_card_could_not_say_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        CardFacts("a", **wrong)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no facts for a card: "),
        ("[]", 'expected an object with "format": 1'),
        ({"model_name": "a"}, 'expected an object with "format": 1'),
        ({"format": 1}, "has no model_name"),
        ({"format": 1, "model_name": "a", "license": "mit"}, r"has \['license'\]; expected model_name and any of"),
        ({"format": 1, "model_name": "a", "text": [{"title": "b"}]}, "text: "),
        ({"format": 1, "model_name": 3}, "model_name is 3; expected text"),
        ({"format": 1, "model_name": "a", "base_model": "me/b"}, 'base_model is "me/b"; expected a list of strings'),
        ({"format": 1, "model_name": "a", "languages": None}, "languages is null; expected a list of strings"),
        ({"format": 1, "model_name": "a", "licence": 7}, "licence is 7; expected text or null"),
        (
            {"format": 1, "model_name": "a", "removed": [1]},
            r"removed is \[1\]; expected an object that maps languages",
        ),
        (
            {"format": 1, "model_name": "a", "tokens_seen": {"swa": "many"}},
            "expected an object that maps languages to integers",
        ),
        ({"format": 1, "model_name": "a", "searched": True}, "searched is true; expected a whole number or null"),
        ({"format": 1, "model_name": "a", "methods": ["maff"]}, r"unknown methods \['maff'\]"),
    ],
)
def test_a_file_that_holds_no_facts_is_refused_by_name(tmp_path, content, message):
    file = tmp_path / FACTS_FILE
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        CardFacts.load(file)
    assert str(file) in str(caught.value)


def test_a_report_alone_tells_its_languages_and_its_base():
    told = CardFacts.of_report(EvalReport("a", {}, (), provenance={"languages": ["swh_Latn"], "base_model": "b"}))
    assert told == CardFacts("a", base_model=("b",), languages=("swa",))
    assert CardFacts.of_report(EvalReport("a", {}, (score("yor"), score("swa")))).languages == ("yor", "swa")
    assert CardFacts.of_report(report("student")).licence is None
