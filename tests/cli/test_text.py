"""The text that training commands prepare: cleaned, freed of evaluation sentences, a part held out."""

from __future__ import annotations

import unicodedata
from argparse import ArgumentParser

import pytest

from hf_afro.cli.text import add_text_arguments, datasets_of, prepare_text
from tests.texts import SENTENCES


def prepare(*words: object, seed: int = 42):
    parser = ArgumentParser()
    add_text_arguments(parser)
    return prepare_text(parser.parse_args([str(word) for word in words]), seed)


def test_cleaning_drops_as_in_the_paper_and_says_so(text_folder):
    path = text_folder / "swa.txt"
    path.write_text(path.read_text("utf-8") + "12 . 13 . 14 ! 15 (16)\nmaneno matatu tu\n", "utf-8")
    text = prepare("--text", text_folder, "--eval_lines", 0)
    assert text.report.dropped["swa"] == {"only numbers or punctuation": 1, "too few tokens": 1}
    assert len(text.train["swa"]) == 64
    assert text.evaluation == {}


def test_evaluation_text_is_not_trained_on(text_folder, tmp_path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    leaked = prepare("--text", text_folder, "--eval_lines", 0).train["swa"][:3]
    (evaluation / "swa.txt").write_text("\n".join(line.lower() for line in leaked), "utf-8")
    (evaluation / "hau.txt").write_text("\n".join(SENTENCES["hau"]), "utf-8")
    text = prepare("--text", text_folder, "--eval_text", evaluation)
    assert set(text.evaluation) == {"swa", "hau"}
    assert set(text.train) == {"swa", "yor"}
    assert not set(leaked) & set(text.train["swa"])
    assert text.report.dropped["swa"]["evaluation sentence"] == 3
    assert set(text.report.leaks["swa"]) == {"evaluation text/swa"}


def test_a_seed_chooses_the_lines_held_out(text_folder):
    first, again, other = (prepare("--text", text_folder, "--eval_lines", 3, seed=seed) for seed in (1, 1, 2))
    assert first.evaluation == again.evaluation != other.evaluation
    assert {language: len(lines) for language, lines in first.evaluation.items()} == {"swa": 3, "yor": 3}


def test_the_trainer_gets_a_dataset_a_language():
    datasets = datasets_of({"swa": ["a", "b"], "yor": ["c"]})
    assert {language: list(dataset["text"]) for language, dataset in datasets.items()} == {
        "swa": ["a", "b"],
        "yor": ["c"],
    }


@pytest.mark.parametrize("as_folder", [True, False])
def test_excluded_sentences_are_taken_out(text_folder, tmp_path, as_folder):
    leaked = prepare("--text", text_folder, "--eval_lines", 0).train["yor"][:2]
    folder = tmp_path / "test_sets" / "yor"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text("\n".join(leaked), "utf-8")
    exclude = folder.parent if as_folder else folder / "test.txt"
    text = prepare("--text", text_folder, "--exclude", exclude)
    assert text.report.dropped["yor"]["evaluation sentence"] == 2
    assert text.report.settings["evaluation_sentences"] == 2
    assert not set(leaked) & {*text.train["yor"], *text.evaluation["yor"]}


def test_tagged_tokens_are_refused_since_they_would_match_nothing(text_folder, tmp_path):
    tagged = tmp_path / "test.txt"
    tagged.write_text("Rais O\nMagufuli B-PER\n", "utf-8")
    with pytest.raises(ValueError, match="line 1 is a token with its tag; --exclude takes a sentence a line"):
        prepare("--text", text_folder, "--exclude", tagged)


def test_an_exclude_that_is_not_there_is_refused(text_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; --exclude takes"):
        prepare("--text", text_folder, "--exclude", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no text; --exclude looks for"):
        prepare("--text", text_folder, "--exclude", tmp_path / "empty")


def test_text_is_brought_to_normal_form_and_copies_are_dropped_where_asked(text_folder):
    line = "O\u0323jo\u0301 nlá rọ̀ ní alẹ́ àná, ó sì pọ̀ gidigidi ní ìlú náà"
    (text_folder / "yor.txt").write_text("\n".join([line, line, f"{line}!", f"{line} o"]), "utf-8")
    options = ("--text", text_folder, "--languages", "yor", "--eval_lines", 0)
    assert len(prepare(*options).train["yor"]) == 4
    text = prepare(*options, "--nfc", "--drop_duplicates", "--near_duplicates")
    assert text.train["yor"] == [unicodedata.normalize("NFC", line)]
    assert text.report.dropped["yor"] == {"duplicate": 1, "near-duplicate": 2}
    assert text.report.settings["near_duplicates"] == 0.8
    assert len(prepare(*options, "--near_duplicates", 1.0).train["yor"]) == 2


def test_a_language_of_which_nothing_is_left_is_refused(text_folder):
    (text_folder / "hau.txt").write_text("Ina kwana\n", "utf-8")
    with pytest.raises(ValueError, match=r"nothing is left of .*hau.txt after cleaning: .*too few tokens"):
        prepare("--text", text_folder)
