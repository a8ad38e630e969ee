"""Bitext retrieval: ranks known by hand, ties, the files that are read, and the report that is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_afro.evaluation import bitext_retrieval, evaluate_model, read_parallel
from hf_afro.evaluation.bitext import BitextRetrieval, nearest
from hf_afro.evaluation.data.parallel import ParallelText
from hf_afro.evaluation.predictions import read_predictions
from hf_afro.evaluation.presets import FineTuningSettings
from hf_afro.evaluation.significance import compare
from hf_afro.reports import EvalReport
from tests.texts import SENTENCES

SWA = list(dict.fromkeys(SENTENCES["swa"]))[:6]


def text_of(pairs) -> ParallelText:
    return ParallelText("swa", "eng", "made/swa-eng", list(pairs), list(range(len(pairs))))


def write(folder, name, lines):
    (folder / name.split("/")[0]).mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def test_four_pairs_by_hand():
    """Cosines of the first with all others .8 .6 .6 .8, of the second .6 .8 -.8 -.6, then -.8 -.6 -.6 -.8, and so on.

    Its own is as near as another for the first and the third, which counts against them.
    """
    one = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32)
    other = np.array([[0.8, 0.6], [0.6, 0.8], [0.6, -0.8], [0.8, -0.6]], dtype=np.float32)
    found = {"from_language": nearest(one, other), "into_language": nearest(other, one)}
    assert found["from_language"].tolist() == [3, 1, 1, 2]
    assert found["into_language"].tolist() == [0, 1, 3, 0]
    main, forward, backward = BitextRetrieval(text_of([("a", "b")] * 4), found).scores()
    assert (forward.mean, backward.mean, main.mean) == (1 / 4, 2 / 4, 3 / 8)
    assert [score.metric for score in (main, forward, backward)] == [
        "accuracy_at_1",
        "accuracy_at_1_from_language",
        "accuracy_at_1_into_language",
    ]
    assert (main.task, main.language, main.n, main.seeds) == ("bitext", "swa", 4, ())
    low, high = main.interval
    assert 0 <= low < 3 / 8 < high <= 1


def test_more_sentences_than_are_compared_at_a_time():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = np.roll(vectors, 1, axis=0)  # the nearest of each is one place on
    assert nearest(vectors, vectors).tolist() == list(range(2500))
    assert nearest(vectors, moved).tolist() == [*range(1, 2500), 0]


def test_a_model_that_tells_nothing_apart_finds_nothing():
    same = np.full((5, 4), 0.5, dtype=np.float32)
    assert not (nearest(same, same) == np.arange(5)).any()


def test_a_sentence_is_found_by_its_vector(model, tokenizer):
    same = bitext_retrieval(model, tokenizer, text_of(list(zip(SWA, SWA, strict=True))))
    assert [score.mean for score in same.scores()] == [1, 1, 1]
    assert same.scores()[0].interval == (1, 1)
    others = [*SWA[1:], SWA[0]]  # the translation of each is said to be the next
    moved = bitext_retrieval(model, tokenizer, text_of(list(zip(SWA, others, strict=True))), pooling="cls")
    assert [score.mean for score in moved.scores()] == [0, 0, 0]
    assert moved.nearest["from_language"].tolist() == [5, 0, 1, 2, 3, 4]
    assert moved.nearest["into_language"].tolist() == [1, 2, 3, 4, 5, 0]


def test_files_are_read_and_what_has_no_single_answer_is_left_out(tmp_path):
    folder = tmp_path / "mafand"
    write(folder, "sw/test.swa", ["Moja", "", "Mbili", "Tatu", "Moja", "Nne"])
    write(folder, "sw/test.en", ["One", "Nothing", "Two", " Three ", "Another one", "Two"])
    write(folder, "yor/test.yor", ["Ọ̀kan", "Èjì"])
    write(folder, "yor/test.en", ["One", "Two"])
    write(folder, "notes/test.md", ["-"])
    swa, yor = read_parallel(folder)
    assert (swa.language, swa.other, swa.dataset, swa.key) == ("swa", "eng", "mafand/swa-eng", "bitext/swa")
    assert list(swa.pairs) == [("Moja", "One"), ("Mbili", "Two"), ("Tatu", "Three")]
    assert list(swa.numbers) == [0, 2, 3]
    assert swa.left_out == {"lines without a sentence or its translation": 1, "sentences that occurred before": 2}
    assert swa.files == {"eng": "sw/test.en", "swa": "sw/test.swa"}
    assert (yor.left_out, list(yor.numbers)) == ({}, [0, 1])
    assert [text.language for text in read_parallel(folder, ["yo"])] == ["yor"]
    few = swa.limited(2)
    assert len(few.pairs) == 2
    assert [swa.pairs[list(swa.numbers).index(number)] for number in few.numbers] == list(few.pairs)
    assert few.fingerprint != swa.fingerprint
    assert swa.limited(None) is swa.limited(9) is swa


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"swa/test.swa": ["a", "b"], "swa/test.en": ["a"]}, "has 2 lines and .*test.en 1; expected as many"),
        ({"swa/test.swa": ["a", "b"]}, "has the files test.swa for swa; expected two, test.swa and that of"),
        ({"swa/test.fr": ["a", "b"], "swa/test.en": ["a", "b"]}, "expected two, test.swa and that of"),
        ({"swa/test.swa": ["a", "a"], "swa/test.en": ["b", "c"]}, "has 1 pairs with a translation; expected at least"),
        ({"swa/dev.swa": ["a"], "swa/dev.en": ["b"]}, "no parallel text for any language; its languages are: none"),
        ({"yor/test.yor": ["a", "b"], "yor/test.en": ["c", "d"]}, "no parallel text for swa; its languages are: yor"),
    ],
)
def test_other_files_are_refused(tmp_path, files, message):
    for name, lines in files.items():
        write(tmp_path, name, lines)
    with pytest.raises(ValueError, match=message):
        read_parallel(tmp_path, ["swa"] if "yor" in message else None)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_parallel(tmp_path / "none")


def test_a_report_holds_scores_settings_and_what_was_found(model, tokenizer, tmp_path):
    others = [*SWA[:4], SWA[5], SWA[4]]  # the last two are mixed up
    text = text_of(list(zip(SWA, others, strict=True)))
    report = evaluate_model(model, tokenizer, [], name="tiny", output_dir=tmp_path, parallel=[text])
    assert EvalReport.load(tmp_path) == report
    assert report.mean("bitext", "accuracy_at_1") == pytest.approx(4 / 6)
    assert report.settings == {
        "bitext/swa": {"max_length": 64, "max_test": None, "eval_batch_size": 64, "pooling": "mean", "prompt": ""}
    }
    assert report.provenance["data"]["bitext/swa"]["sizes"] == {"test": 6}
    file = tmp_path / report.predictions["bitext/swa"]
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert lines[0] == {"index": 0, "gold": 0, "predicted": {"from_language": 0, "into_language": 0}}
    assert lines[4] == {"index": 4, "gold": 4, "predicted": {"from_language": 5, "into_language": 5}}
    better = tmp_path / "better"
    same = text_of(list(zip(SWA, SWA, strict=True)))
    found = evaluate_model(
        model,
        tokenizer,
        [],
        name="better",
        output_dir=better,
        parallel=[same],
        settings=FineTuningSettings(pooling="cls", prompt="w: ", max_length=16, max_test=6),
    )
    assert found.settings["bitext/swa"]["prompt"] == "w: "
    difference = compare(read_predictions(better / found.predictions["bitext/swa"]), read_predictions(file), "bitext")
    assert difference.difference == pytest.approx(2 / 6)
