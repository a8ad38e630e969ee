"""Cards: parsed by the Hub, complete, equal to the committed ones, and without unexplained numbers."""

from __future__ import annotations

import ast
import dataclasses
import re

import pytest
from huggingface_hub import ModelCard

from hf_afro.cards import CardFacts, render as module, render_card
from hf_afro.cards.card_facts import HEADS
from hf_afro.cards.render import numbers_in, unexplained_numbers
from hf_afro.reports import EvalReport
from hf_afro.tasks import metrics_of
from tests.cards.golden import FOLDERS, card_file, read
from tests.cards.test_card_facts import FACTS
from tests.reports.examples import crossed, report, score, three


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_committed_card_equals_a_fresh_one(folder):
    fresh = render_card(*read(folder))
    assert card_file(folder).read_text("utf-8") == fresh, "write it again: python -m tests.cards.golden"


def test_the_committed_cards_are_those_of_runs_and_one_that_says_it_is_an_illustration():
    assert [folder.name for folder in FOLDERS] == ["afro_mini_ner", "layout_example", "quickstart", "real_small"]
    assert "only illustrates the layout" in card_file(FOLDERS[1]).read_text("utf-8")


def test_how_much_was_trained_on_is_no_column_where_it_was_not_recorded():
    assert "tokens trained on" in render_card(three(), dataclasses.replace(FACTS, tokens_seen={"swa": 1000}))
    assert "tokens trained on" not in render_card(three(), dataclasses.replace(FACTS, tokens_seen={}))


def test_the_hub_reads_it():
    card = ModelCard(render_card(three(), FACTS))
    assert card.data.license == "mit"
    assert card.data.language == ["am", "ha", "sw", "yo"]
    assert len(card.data.eval_results) == len(report("teacher").scores)
    assert card.text.lstrip().startswith("# someone/afro-mini")


@pytest.mark.parametrize("facts", [FACTS, CardFacts("a"), dataclasses.replace(FACTS, head="untrained")])
def test_nothing_is_left_to_be_filled_in(facts):
    card = render_card(three(), facts)
    said = re.sub(r"^```bibtex.*?^```$", "", card, flags=re.M | re.S)
    assert not re.search(r"\{\{|\{%|More Information Needed|TODO|TBD|XXX|<[a-z_ ]+>|\bNone\b|\bnan\b", said)
    assert not re.search(r"\n{3,}| +$|\|\n\n\|", card, re.M)


def test_a_card_shows_which_translations_were_found():
    """The name of the metric has a number in it."""
    scores = tuple(
        score(task="bitext", metric=metric, values=(value,), seeds=(), n=1_000, dataset="mafand/swa-eng")
        for metric, value in zip(metrics_of("bitext"), (0.875, 0.9, 0.85), strict=True)
    )
    settings = {"bitext/swa": {"max_length": 512, "max_test": None, "pooling": "mean", "prompt": ""}}
    card = render_card([EvalReport("a", {"library": "sentence-transformers"}, scores, settings)])
    assert "### Bitext retrieval, accuracy at 1" in card
    assert "| Swahili (swa) | 1,000 | 87.5 |" in card
    assert r"- bitext (swa): max\_length 512, pooling mean" in card.splitlines()
    assert "A Few Thousand Translations" in card
    assert ModelCard(card).data.pipeline_tag == "sentence-similarity"


def test_lines_in_another_language_are_shown_by_the_language_found():
    facts = CardFacts("m", removed={"swa": {"read": 50, "another language": 41}}, found={"swa": {"eng": 38, "hau": 3}})
    card = render_card(three(), facts)
    assert "Lines in another language than that of their file, by the language found: swa (eng 38, hau 3).\n" in card
    assert not unexplained_numbers(card, three(), facts)


def test_the_sections_and_what_they_say():
    card = render_card([report("student"), report("teacher")], FACTS)
    sections = re.findall(r"^## (.+)$", card, re.M)
    assert sections == [
        "How to use it",
        "Languages",
        "How it was made",
        "Training text",
        "Evaluation",
        "Limits and bias",
        "Licence",
        "Provenance",
        "Citation",
    ]
    for part in (
        "> **Take care.**",
        "for 4 languages, made with hf\\_afro from Davlan/afro-xlmr-large. The tables call it student.",
        "| Amharic | amh | Ethiopic | 123,456 | named entities, bits per byte |",
        "Settings of maft: learning\\_rate 5e-05, epochs 3.",
        "- [News](https://example.org/news), licence: cc-by-4.0",
        "| Swahili (swa) | 1,000 | 17 |",
        "| Hausa (hau) | 605 | 87.0 ± 1.0 | **91.5 ± 0.5** |",
        "- ner: learning\\_rate 5e-05, epochs 20",
        HEADS["fitted_after_distillation"],
        "- commit: abc123",
        "@inproceedings{wang-etal-2021-minilmv2,",
    ):
        assert part in card


def test_what_is_not_known_is_said_to_be_unknown():
    card = render_card([report("student")], CardFacts("student"))
    for part in ("its base model is not recorded", "## How it was made\n\nNot recorded.", "Not stated."):
        assert part in card
    assert "## Languages" not in card
    assert "The tables call" not in card


def test_a_model_from_scratch_is_said_to_be_one():
    card = render_card([report("student")], CardFacts("student", from_scratch=True))
    assert "made with hf\\_afro from a model trained from scratch." in card
    assert "base model is not recorded" not in card


def test_sets_that_were_evaluated_on_are_cited():
    own = report("student")
    named = dataclasses.replace(own, scores=(dataclasses.replace(own.scores[0], dataset="masakhaner1/amh"),))
    assert "10.1162/tacl_a_00416" in render_card([named])
    assert "## Citation" not in render_card([own])


def test_settings_that_differ_between_models_are_admitted():
    other = dataclasses.replace(report("teacher"), settings={"ner": {"epochs": 5}})
    assert "Evaluated with different settings: teacher." in render_card([report("student"), other])
    assert "different settings" not in render_card([report("student"), report("teacher")])


def test_settings_that_are_alike_are_said_once_and_what_was_not_set_is_not_said():
    settings = {"ner/hau": {"epochs": 5, "max_train": None}, "ner/swa": {"epochs": 5, "max_train": None}}
    card = render_card([dataclasses.replace(report("student"), settings=settings)])
    assert "- ner (hau, swa): epochs 5\n" in card


@pytest.mark.parametrize("model_type", ["afro-student", "xlm-roberta"])
@pytest.mark.parametrize("head", ["kept", "untrained"])
def test_the_code_to_load_it_is_code_and_imports_hf_afro_where_needed(model_type, head):
    own = dataclasses.replace(report("student"), model={"model_type": model_type})
    card = render_card([own], CardFacts('a "quoted" name', head=head))
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    ast.parse(code)
    assert ("import hf_afro" in code) == (model_type == "afro-student")
    assert ("fill-mask" in code) == (head == "kept")


def test_what_is_handed_in_cannot_break_out_of_its_place():
    evil = "a | b\n\n# Heading <script> [x](y)"
    facts = CardFacts("m", provenance={evil: evil}, notice=evil, limits=(evil,), removed={"swa": {evil: 1}})
    own = dataclasses.replace(
        report("student"), scores=tuple(dataclasses.replace(one, note=evil) for one in report("student").scores)
    )
    card = render_card([own], facts)
    assert "\n# Heading" not in card
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[x", card.split("---", 2)[2])
    assert ModelCard(card).data.model_name == "m"


def test_a_number_that_slips_into_the_template_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "limits_of", lambda *_: ["It is 31337 times as fast."])
    with pytest.raises(RuntimeError, match=r"numbers that nothing explains: \['31337'\]"):
        render_card([report("student")])


def test_reports_without_names_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"received \[\]"):
        render_card([])
    with pytest.raises(ValueError, match=r"received \['a', 'a'\]"):
        render_card([EvalReport("a", {}, ()), EvalReport("a", {}, ())])


def test_the_same_facts_give_the_same_card():
    assert render_card(three(), FACTS) == render_card(three(), FACTS)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_code_of_a_committed_card_runs(folder, tmp_path, monkeypatch, tokenizer, model):
    """Runs on a small model in a folder with the card's name."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", card_file(folder).read_text("utf-8"), re.S)
    name = CardFacts.load(folder).model_name
    for part in (model, tokenizer):
        part.save_pretrained(name)
    names = {"__name__": "snippet"}
    exec(compile(code.replace('"... {', '"Mvua {'), folder.name, "exec"), names)
    assert {"fill", "model", "classify"} & set(names)


REPORTS = [report("student"), report("teacher")]


def test_numbers_are_seen_in_every_form_and_names_are_none():
    text = "F1 of 87.4 ± 0.5 over 1,113.2 MB, 5e-05, -3; base-70k, ISO 639-3, v1.2.3 [2] 20, and 7."
    assert numbers_in(text) == ["87.4", "0.5", "1,113.2", "5e-05", "-3", "20", "7"]


def test_blocks_of_code_are_left_out():
    assert numbers_in("1\n```python\n2\n```\n3\n") == ["1", "3"]
    assert numbers_in(r"4.2 \[7\] 5 [8]") == ["4.2", "5"]


@pytest.mark.parametrize("facts", [FACTS, CardFacts("a")])
def test_an_honest_card_has_no_unexplained_number(facts):
    card = render_card(three(), facts)
    assert len(numbers_in(card)) > 50
    assert unexplained_numbers(card, three(), facts) == []


def test_the_mean_without_a_collapsed_run_is_explained():
    student = report("student")
    scores = [dataclasses.replace(score, collapsed=(1,)) if score.note else score for score in student.scores]
    reports = [dataclasses.replace(student, scores=tuple(scores)), report("teacher")]
    card = render_card(reports, FACTS)
    assert "seed 1 collapsed; 85.5 without" in card
    assert unexplained_numbers(card, reports, FACTS) == []


def test_every_number_that_is_changed_is_found():
    card = render_card(REPORTS, FACTS)
    body = re.sub(r"^```.*?^```$", "", card, flags=re.M | re.S)
    for number in dict.fromkeys(numbers_in(body)):
        at = re.search(rf"(?<![\w.,-]){re.escape(number)}(?![\w-]|[.,]\d)", card)
        changed = card[: at.start()] + "31337" + card[at.end() :]
        assert unexplained_numbers(changed, REPORTS, FACTS) == ["31337"], number


@pytest.mark.parametrize("claim", ["It reaches 99.9 F1.", "Trained on 2,000,000 tokens.", "13 % better", "0.9312"])
def test_a_claim_that_was_added_is_found(claim):
    card = render_card(REPORTS, FACTS)
    assert unexplained_numbers(f"{card}\n{claim}\n", REPORTS, FACTS) == numbers_in(claim)


def test_figures_of_another_model_do_not_explain_those_of_this_one():
    card = render_card(REPORTS, FACTS)
    assert unexplained_numbers(card, REPORTS[:1], FACTS)


def test_transfer_is_on_the_card_in_a_table_of_its_own():
    card = render_card([crossed()])
    assert "### teacher: transfer, named entities, entity F1" in card
    assert "| Amharic (amh) |" in card.split("transfer, named entities, entity F1")[1]
    assert "transfer" not in render_card([report("teacher")])
