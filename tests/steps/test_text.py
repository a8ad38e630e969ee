"""Text that training steps prepare: cleaned, without evaluation sentences, a part held out."""

from __future__ import annotations

import unicodedata

import pytest

from hf_afro.steps.text import (
    TextConfig,
    datasets_of,
    evaluation_sentences,
    held_out_text,
    prepare_text,
    read_text,
    write_prepared,
)
from tests.texts import SENTENCES


@pytest.fixture
def text_folder(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    for language in ("swa", "yor"):
        lines = [f"{first} {second}" for first in SENTENCES[language] for second in SENTENCES[language]]
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def prepare(text, *, seed: int = 42, **settings):
    return prepare_text(TextConfig(text=str(text), **settings), seed)


def test_cleaning_drops_as_in_the_paper_and_says_so(text_folder):
    path = text_folder / "swa.txt"
    path.write_text(path.read_text("utf-8") + "12 . 13 . 14 ! 15 (16)\nmaneno matatu tu\n", "utf-8")
    text = prepare(text_folder, eval_lines=0)
    assert text.report.dropped["swa"] == {"only numbers or punctuation": 1, "too few tokens": 1}
    assert len(text.train["swa"]) == 64
    assert text.evaluation == {}


def test_evaluation_text_is_not_trained_on(text_folder, tmp_path):
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    leaked = prepare(text_folder, eval_lines=0).train["swa"][:3]
    (evaluation / "swa.txt").write_text("\n".join(line.lower() for line in leaked), "utf-8")
    (evaluation / "hau.txt").write_text("\n".join(SENTENCES["hau"]), "utf-8")
    text = prepare(text_folder, eval_text=str(evaluation))
    assert set(text.evaluation) == {"swa", "hau"}
    assert set(text.train) == {"swa", "yor"}
    assert not set(leaked) & set(text.train["swa"])
    assert text.report.dropped["swa"]["evaluation sentence"] == 3
    assert set(text.report.leaks["swa"]) == {"evaluation text/swa"}


def test_a_seed_chooses_the_lines_held_out(text_folder):
    first, again, other = (prepare(text_folder, eval_lines=3, seed=seed) for seed in (1, 1, 2))
    assert first.evaluation == again.evaluation != other.evaluation
    assert {language: len(lines) for language, lines in first.evaluation.items()} == {"swa": 3, "yor": 3}


def test_the_trainer_gets_one_dataset_per_language():
    datasets = datasets_of({"swa": ["a", "b"], "yor": ["c"]})
    assert {language: list(dataset["text"]) for language, dataset in datasets.items()} == {
        "swa": ["a", "b"],
        "yor": ["c"],
    }


@pytest.mark.parametrize("as_folder", [True, False])
def test_excluded_sentences_are_taken_out(text_folder, tmp_path, as_folder):
    leaked = prepare(text_folder, eval_lines=0).train["yor"][:2]
    folder = tmp_path / "test_sets" / "yor"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text("\n".join(leaked), "utf-8")
    exclude = folder.parent if as_folder else folder / "test.txt"
    text = prepare(text_folder, exclude=[str(exclude)])
    assert text.report.dropped["yor"]["evaluation sentence"] == 2
    assert text.report.settings["evaluation_sentences"] == 2
    assert not set(leaked) & {*text.train["yor"], *text.evaluation["yor"]}


def test_tagged_tokens_are_refused_since_they_would_match_nothing(text_folder, tmp_path):
    tagged = tmp_path / "test.txt"
    tagged.write_text("Rais O\nMagufuli B-PER\n", "utf-8")
    with pytest.raises(ValueError, match="line 1 is a token with its tag; expected one sentence per line"):
        prepare(text_folder, exclude=[str(tagged)])


def test_an_exclude_that_is_not_there_is_refused(text_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist; expected a file or folder of sentences to exclude"):
        prepare(text_folder, exclude=[str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no sentences to exclude; expected files that end in"):
        prepare(text_folder, exclude=[str(tmp_path / "empty")])


def test_text_is_brought_to_normal_form_and_copies_are_dropped_where_asked(text_folder):
    line = "O\u0323jo\u0301 nlá rọ̀ ní alẹ́ àná, ó sì pọ̀ gidigidi ní ìlú náà"
    (text_folder / "yor.txt").write_text("\n".join([line, line, f"{line}!", f"{line} o"]), "utf-8")
    only = {"languages": ["yor"], "eval_lines": 0}
    assert len(prepare(text_folder, **only).train["yor"]) == 4
    text = prepare(text_folder, **only, nfc=True, drop_duplicates=True, near_duplicates=0.8)
    assert text.train["yor"] == [unicodedata.normalize("NFC", line)]
    assert text.report.dropped["yor"] == {"duplicate": 1, "near-duplicate": 2}
    assert text.report.settings["near_duplicates"] == 0.8
    assert len(prepare(text_folder, **only, near_duplicates=1.0).train["yor"]) == 2
    assert len(prepare(text_folder, **only, max_lines=3).train["yor"]) == 3


def test_a_language_of_which_nothing_is_left_is_refused(text_folder):
    (text_folder / "hau.txt").write_text("Ina kwana\n", "utf-8")
    with pytest.raises(ValueError, match=r"nothing is left of .*hau.txt after cleaning: .*too few tokens"):
        prepare(text_folder)


def test_prepared_text_is_taken_as_it_is(text_folder, tmp_path):
    text = prepare(text_folder, eval_lines=3)
    (tmp_path / "prepared").mkdir()
    write_prepared(text, tmp_path / "prepared")
    again = prepare(tmp_path / "prepared")
    assert (again.train, again.evaluation) == (text.train, text.evaluation)
    assert again.report.read == text.report.read
    assert {code: list(lines) for code, lines in read_text(str(tmp_path / "prepared")).items()} == text.train
    assert held_out_text(str(tmp_path / "prepared"), ["swa", "hau"]) == {"swa": text.evaluation["swa"]}
    only = prepare(tmp_path / "prepared", languages=["yor"])
    # What a model forgets of other languages is measured too.
    assert (set(only.train), set(only.evaluation)) == ({"yor"}, {"swa", "yor"})


def test_the_sample_is_text_like_any_other():
    text = prepare("sample", languages=["swa"], eval_lines=2)
    assert len(text.train["swa"]) > 10
    assert len(text.evaluation["swa"]) == 2


def test_evaluation_text_may_be_the_sample_or_prepared(text_folder, tmp_path):
    sample = {code: list(lines) for code, lines in read_text("sample").items()}
    assert prepare(text_folder, eval_text="sample").evaluation["hau"] == sample["hau"]
    (tmp_path / "prepared").mkdir()
    prepared = prepare(text_folder, eval_lines=3)
    write_prepared(prepared, tmp_path / "prepared")
    assert prepare(text_folder, eval_text=str(tmp_path / "prepared")).evaluation == prepared.evaluation


def test_the_sentences_of_parallel_text_are_taken_out_in_both_languages(tmp_path):
    for ending, lines in (("sw", ["Mvua kubwa leo", "Jua kali"]), ("en", ["Heavy rain today", "Hot sun"])):
        (tmp_path / "swa").mkdir(exist_ok=True)
        (tmp_path / "swa" / f"test.{ending}").write_text("\n".join(lines) + "\n", "utf-8")
    (tmp_path / "swa" / "dev.sw").write_text("Upepo mkali\n", "utf-8")
    (tmp_path / "swa" / "train.sw").write_text("Mvua ndogo\n", "utf-8")
    (tmp_path / "more.txt").write_text("Theluji nyeupe\n", "utf-8")
    found = evaluation_sentences([str(tmp_path), str(tmp_path / "more.txt")])
    assert all(line in found for line in ("Mvua kubwa leo!", "heavy rain today", "Hot sun.", "upepo mkali"))
    assert "theluji nyeupe" in found
    assert "Mvua ndogo" not in found
