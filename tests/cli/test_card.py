"""`hf-afro card`: the card it writes, what its options tell, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from huggingface_hub import ModelCard

from hf_afro import count_tokens, select_tokens
from hf_afro.cards import CardFacts, metadata, render_card
from hf_afro.cli.main import main
from hf_afro.corpora.cleaning_report import CleaningReport
from hf_afro.reports import EvalReport
from hf_afro.steps.card import STEP, Config, _methods
from hf_afro.steps.records import Record
from tests.cards.test_card_facts import FACTS
from tests.reports.examples import report, score, three
from tests.texts import AFRICAN


@pytest.fixture
def reports(tmp_path) -> list[str]:
    return [str(one.save(tmp_path / "scores" / one.name).parent) for one in three()]


def test_the_card_is_that_of_the_library_and_its_facts_are_beside_it(reports, tmp_path, capsys):
    out = tmp_path / "card"
    facts = FACTS.save(tmp_path / "facts")
    assert main(["card", *reports, "--facts", str(facts), "--output_dir", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "card_facts.json", "hf_afro_run.json"]
    assert (out / "README.md").read_text("utf-8") == render_card(three(), FACTS)
    assert CardFacts.load(out) == FACTS
    assert capsys.readouterr().out == f"written to {out}\n"


def test_options_tell_what_the_report_does_not(reports, tmp_path):
    out = tmp_path / "card"
    told = ["--model_name", "me/mini", "--base_model", "a/b", "c/d", "--languages", "sw,pcm", "--licence", "mit"]
    assert main(["card", reports[2], *told, "--output_dir", str(out)]) == 0
    assert CardFacts.load(out) == CardFacts("me/mini", ("a/b", "c/d"), languages=("swa", "pcm"), licence="mit")
    assert ModelCard.load(out / "README.md").data.base_model == ["a/b", "c/d"]


def test_options_change_the_facts_of_a_file(reports, tmp_path):
    out = tmp_path / "card"
    FACTS.save(tmp_path)
    words = ["card", reports[2], "--facts", str(tmp_path), "--licence", "apache-2.0", "--output_dir", str(out)]
    assert main(words) == 0
    assert CardFacts.load(out).licence == "apache-2.0"
    assert CardFacts.load(out).model_name == FACTS.model_name


def test_facts_that_changed_make_a_card_out_of_date(reports, tmp_path):
    """Their file counts, wherever it is and whatever is beside it."""
    for folder in ("facts", "elsewhere"):
        FACTS.save(tmp_path / folder)

    def key(place):
        return Record.begun(STEP, Config(reports=reports, facts=str(place))).key

    before = key(tmp_path / "facts")
    assert key(tmp_path / "facts" / "card_facts.json") == key(tmp_path / "elsewhere") == before
    (tmp_path / "facts" / "README.md").write_text("beside it", "utf-8")
    assert key(tmp_path / "facts") == before
    dataclasses.replace(FACTS, tokens_seen={"amh": 123_457, "swa": 99_999}).save(tmp_path / "facts")
    assert key(tmp_path / "facts") != before


def test_facts_may_be_written_anew_into_their_folder(reports, tmp_path):
    out = tmp_path / "card"
    words = ["card", reports[2], "--output_dir", str(out)]
    assert main([*words, "--licence", "mit"]) == 0
    assert main([*words, "--facts", str(out), "--notice", "New.", "--overwrite"]) == 0
    assert (CardFacts.load(out).licence, CardFacts.load(out).notice) == ("mit", "New.")


def test_a_report_alone_is_enough(reports, tmp_path):
    out = tmp_path / "card"
    assert main(["card", reports[2], "--output_dir", str(out)]) == 0
    assert CardFacts.load(out) == CardFacts.of_report(report("student"))


def test_mistakes(refused, reports, tmp_path):
    out = tmp_path / "card"
    (tmp_path / "empty.json").write_text("{}", "utf-8")
    for words, message in (
        (["nowhere"], "nowhere does not exist"),
        ([reports[0], "--facts", "nowhere"], "--facts nowhere does not exist"),
        ([reports[0], "--facts", str(tmp_path / "empty.json")], "does not hold facts for a card"),
        ([reports[0], "--languages", "swaa"], "unknown language 'swaa'; did you mean swa"),
        ([reports[0], reports[0]], "several reports are named teacher (teacher)"),
    ):
        assert message in refused("card", *words, "--output_dir", out)
        assert not out.exists()


@pytest.fixture
def bases(tmp_path):
    """Folders of models whose cards state these licences."""

    def make(*licences: str | None) -> list[str]:
        names = []
        for number, licence in enumerate(licences):
            folder = tmp_path / f"base{number}"
            folder.mkdir()
            front = "" if licence is None else f"---\nlicense: {licence}\n---\n"
            (folder / "README.md").write_text(f"{front}# A model\n", "utf-8")
            names.append(str(folder))
        return names

    return make


def test_the_licence_is_that_of_the_base_models(reports, tmp_path, bases):
    out = tmp_path / "card"
    assert main(["card", reports[2], "--base_model", *bases("mit", "mit"), "--output_dir", str(out)]) == 0
    assert CardFacts.load(out).licence == ModelCard.load(out / "README.md").data.license == "mit"


@pytest.mark.parametrize(
    ("licences", "message"),
    [
        (("mit", "cc-by-nc-4.0"), "the licences of the base models differ: "),
        ((None,), "has no known licence (None); pass --licence"),
        (("other",), "has no known licence (other); pass --licence"),
    ],
)
def test_a_licence_that_is_unclear_is_refused(refused, reports, tmp_path, bases, licences, message):
    names = bases(*licences)
    assert message in refused("card", reports[2], "--base_model", *names, "--output_dir", tmp_path / "card")
    assert (
        main(["card", reports[2], "--base_model", *names, "--licence", "mit", "--output_dir", str(tmp_path / "card")])
        == 0
    )


def test_a_card_that_cannot_be_read_is_refused(refused, reports, tmp_path):
    message = refused("card", reports[2], "--base_model", "nobody/nothing", "--output_dir", tmp_path / "card")
    assert "the licence of nobody/nothing is unknown, since its card could not be read" in message


def test_what_each_language_kept_goes_on_the_card(refused, reports, tmp_path, tokenizer):
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), 300)
    keep.save(tmp_path / "vocabulary_map.json")
    out = tmp_path / "card"
    assert main(["card", reports[2], "--pruned", str(tmp_path), "--output_dir", str(out)]) == 0
    kept = CardFacts.load(out).vocabulary
    assert set(kept) == set(AFRICAN)
    figures = keep.provenance["coverage"]["swa"]
    assert 0 <= figures["coverage"] - kept["swa"]["share of them kept"] < 1e-4
    card = (out / "README.md").read_text("utf-8")
    assert "| language | running tokens counted | share of them kept | tokens kept for it alone |" in card
    assert f"| Swahili | {figures['running_tokens']:,} | {100 * kept['swa']['share of them kept']:g} % |" in card
    message = refused("card", reports[2], "--pruned", tmp_path / "none", "--output_dir", tmp_path / "other")
    assert f"--pruned {tmp_path}/none does not exist" in message


def test_what_was_exported_goes_on_the_card(refused, reports, tmp_path):
    report = {
        "torch": {"bytes": 75_400_000, "milliseconds": 12.25, "difference": None, "agreement": None, "score": 0.8125},
        "graphs": {
            "fp32": {"bytes": 75_500_000, "milliseconds": 9.5, "difference": 2.6e-6, "agreement": 1, "score": 0.8125},
            "int4": {
                "bytes": 14_900_000, "milliseconds": 9.75, "difference": 0.63, "agreement": 0.9987, "score": 0.8091
            },
        },
        "metric": "entity_f1",
        "tokens": 3966,
    }  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(report), "utf-8")
    out = tmp_path / "card"
    assert main(["card", reports[2], "--export", str(tmp_path), "--output_dir", str(out)]) == 0
    card = (out / "README.md").read_text("utf-8")
    (section,) = re.findall(r"^## Efficiency\n\n(.*?)\n\n## ", card, re.M | re.S)
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines())
    assert header == [
        "weights", "bytes", "milliseconds for a sentence", "entity F1", "lost", "largest difference from torch",
        "share of decisions alike", "tokens compared",
    ]  # fmt: skip
    assert rows == [
        ["torch", "75.4 MB", "12.25", "81.25", "0", "–", "–", "–"],
        ["onnx/model.onnx", "75.5 MB", "9.5", "81.25", "0", "2.6e-06", "100 %", "3,966"],
        ["onnx/model\\_q4.onnx", "14.9 MB", "9.75", "80.91", "0.34", "0.63", "99.87 %", "3,966"],
    ]
    again = tmp_path / "again"
    assert main(["card", reports[2], "--facts", str(out), "--output_dir", str(again)]) == 0
    assert (again / "README.md").read_text("utf-8") == card
    (tmp_path / "export.json").write_text("{}", "utf-8")
    other = tmp_path / "other"
    assert "is not a report of an export to ONNX" in refused(
        "card", reports[2], "--export", tmp_path, "--output_dir", other
    )
    (tmp_path / "export.json").unlink()
    message = refused("card", reports[2], "--export", tmp_path, "--output_dir", other)
    assert "export.json does not exist; --export takes what `hf-afro export --to onnx` wrote" in message


def test_two_reports_of_one_model_are_one_on_its_card(tmp_path):
    """One of entities, one of sentiment: no column is set against the other, and both are in the model index."""
    paths = []
    for task in ("ner", "sentiment"):
        own = EvalReport("student", {}, (score(task=task),), provenance={"encoder_fingerprint": "same"})
        paths.append(str(own.save(tmp_path / task).parent))
    assert main(["card", *paths, "--output_dir", str(tmp_path / "card")]) == 0
    card = ModelCard.load(tmp_path / "card" / "README.md")
    assert {result.task_name for result in card.data.eval_results} == {"Named entities", "Sentiment"}
    assert card.data.model_name == "student"
    assert "Beside it" not in card.text
    other = EvalReport("student", {}, (score(values=(0.1,)),), provenance={"encoder_fingerprint": "same"})
    paths.append(str(other.save(tmp_path / "again").parent))
    assert main(["card", *paths, "--output_dir", str(tmp_path / "both")]) == 0
    card = ModelCard.load(tmp_path / "both" / "README.md")
    assert card.data.model_name == "student (ner)"
    assert "Compared with student (again)." in card.text


def test_all_that_was_kept_is_a_hundred_per_cent(reports, tmp_path):
    facts = CardFacts("a", vocabulary={"swa": {"share of them kept": 1.0}, "yor": {"share of them kept": 0.99999}})
    facts.save(tmp_path)
    assert main(["card", reports[2], "--facts", str(tmp_path), "--output_dir", str(tmp_path / "card")]) == 0
    card = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert "| Swahili | 100 % |" in card
    assert "| Yoruba | 99.99 % |" in card


def test_a_card_names_what_a_student_was_taught():
    def made(**facts):
        return Record(step="distill", settings={}, inputs={}, key="k", facts={"objective": "minilmv2", **facts})

    assert _methods(made()) == ["minilmv2"]
    assert _methods(made(terms=["hidden", "pooled"])) == ["hidden_states", "sentence_vectors"]
    assert _methods(made(terms=["relation", "mlm", "pooled"])) == ["minilmv2", "sentence_vectors"]


def test_what_lies_beside_a_model_without_a_record_is_read(tmp_path):
    """As a script leaves it that trains with the library."""
    model = tmp_path / "adapted"
    dropped = {"swa": {"too few tokens": 321}}
    CleaningReport({"swa": 1_000}, dropped, settings={"evaluation_sentences": 55}).save(model / "cleaning.json")
    own = dataclasses.replace(report("student"), provenance={"model": str(model)})
    place = str(own.save(tmp_path / "scores").parent)
    assert main(["card", place, "--output_dir", str(tmp_path / "card")]) == 0
    facts = CardFacts.load(tmp_path / "card")
    assert (facts.removed, facts.searched) == ({"swa": {"read": 1_000, "too few tokens": 321}}, 55)
    assert "55 evaluation sentences were searched for" in (tmp_path / "card" / "README.md").read_text("utf-8")


def test_scores_on_benchmarks_are_beside_the_card(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "BENCHMARK_TASKS", {"masakhaner2/swa": "ner_swa"})
    own = EvalReport("student", {}, (score(dataset="masakhaner2/swa"),))
    place = str(own.save(tmp_path / "scores").parent)
    assert main(["card", place, "--output_dir", str(tmp_path / "card")]) == 0
    assert "value: 0.55" in (tmp_path / "card" / ".eval_results" / "masakhaner2.yaml").read_text("utf-8")
