"""Text that was prepared: what is excluded, evaluated on or limited later still holds, and nothing is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_afro.steps import prepare
from hf_afro.steps.records import fingerprint
from hf_afro.steps.running import run_step
from hf_afro.steps.text import TextConfig, evaluation_sentences, held_out_text, prepare_text, read_text

LINES = [" ".join(f"neno{number}{letter}" for letter in "abcdefghij") for number in range(60)]
LEAKED = LINES[20:30]


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts").mkdir()
    for code in ("swa", "yor"):
        (tmp_path / "texts" / f"{code}.txt").write_text("\n".join(f"{code} {line}" for line in LINES), "utf-8")
    return tmp_path


def prepared(texts, **settings):
    config = prepare.Config(text=str(texts / "texts"), eval_lines=5, **settings)
    run_step(prepare.STEP, config, texts / "text")
    return str(texts / "text")


def exclude(texts):
    path = texts / "excluded.txt"
    path.write_text("\n".join(f"swa {line}" for line in LEAKED), "utf-8")
    return str(path)


def test_sentences_excluded_later_are_removed_from_prepared_text(texts):
    text = prepared(texts)
    before = prepare_text(TextConfig(text=text), seed=0).train["swa"]
    after = prepare_text(TextConfig(text=text, exclude=[exclude(texts)]), seed=0)
    leaked = {f"swa {line}" for line in LEAKED}
    assert leaked & set(before)
    assert set(after.train["swa"]) == set(before) - leaked
    assert after.report.leaked["swa"] == len(leaked & set(before))


def test_what_was_excluded_then_is_not_searched_for_again(texts, monkeypatch):
    path = exclude(texts)
    text = prepared(texts, exclude=[path])
    monkeypatch.setattr("hf_afro.steps.text.prepare_corpora", None)
    assert not {f"swa {line}" for line in LEAKED} & set(
        prepare_text(TextConfig(text=text, exclude=[path]), 0).train["swa"]
    )


def test_only_what_is_excluded_is_compared_with_what_was(texts, monkeypatch):
    """Reading all other inputs again, such as a model, takes as long as they are large."""
    path = exclude(texts)
    text = prepared(texts, exclude=[path])
    read = []
    monkeypatch.setattr("hf_afro.steps.text.fingerprint", lambda place: read.append(place) or fingerprint(place))
    prepare_text(TextConfig(text=text, exclude=[path]), 0)
    prepare_text(TextConfig(text=text), 0)
    assert read == [Path(path)]


def test_lines_of_other_evaluation_text_are_removed(texts):
    text = prepared(texts)
    (texts / "eval").mkdir()
    chosen = prepare_text(TextConfig(text=text), seed=0).train["swa"][:3]
    (texts / "eval" / "swa.txt").write_text("\n".join(chosen), "utf-8")
    after = prepare_text(TextConfig(text=text, eval_text=str(texts / "eval")), seed=0)
    assert after.evaluation == {"swa": chosen}
    assert not set(chosen) & set(after.train["swa"])


def test_fewer_lines_may_be_asked_for_and_cleaning_belongs_to_prepare(texts):
    text = prepared(texts)
    assert len(prepare_text(TextConfig(text=text, max_lines=7), seed=0).train["yor"]) == 7
    with pytest.raises(ValueError, match="is prepared already; give --min_tokens, --nfc to `hf-afro prepare`"):
        prepare_text(TextConfig(text=text, min_tokens=2, nfc=True), seed=0)


def test_a_language_identifier_is_a_file_or_a_known_name(texts, monkeypatch):
    """Its content decides whether the text is up to date, its name is reported, and what it finds is printed."""
    config = {"text": str(texts / "texts"), "eval_lines": 0}
    with pytest.raises(FileNotFoundError, match=r"--language_id .*gone.bin does not exist"):
        run_step(prepare.STEP, prepare.Config(**config, language_id=str(texts / "gone.bin")), texts / "text")
    (texts / "model.bin").write_bytes(b"a model")
    monkeypatch.setattr(
        "hf_afro.steps.text.identifier_named",
        lambda name: lambda lines: [("eng" if "neno7a" in line else line[:3], 0.6) for line in lines],
    )
    for name in (str(texts / "model.bin"), "datatrove:glotlid"):
        settings = prepare.Config(**config, language_id=name)
        done = run_step(prepare.STEP, settings, texts / "text", overwrite=True)
        recorded = fingerprint(Path(name)) if name.endswith("model.bin") else name
        assert done.record.inputs["language_id"] == {name: recorded}
        assert done.text.splitlines()[-3:] == [
            "language  another language  language uncertain  found",
            "swa                      1                   0  eng 1",
            "yor                      1                   0  eng 1",
        ]
    with pytest.raises(ValueError, match=r"nothing is left of .*swa.txt after cleaning: .*'language uncertain': 60"):
        prepare_text(TextConfig(**config, language_id=str(texts / "model.bin"), language_id_threshold=0.7), seed=0)
    with pytest.raises(ValueError, match="language_id_threshold has no effect without language_id"):
        TextConfig(**config, language_id_threshold=0.7)
    with pytest.raises(ValueError, match="is prepared already; give --language_id to `hf-afro prepare`"):
        prepare_text(TextConfig(text=str(texts / "text"), language_id=str(texts / "model.bin")), seed=0)


def test_held_out_lines_are_found_by_any_code(texts):
    text = prepared(texts)
    asked = [TextConfig(text=text, languages=[code]).languages for code in ("sw", "swh_Latn", "swa")]
    assert [len(held_out_text(text, codes)["swa"]) for codes in asked] == [5, 5, 5]
    assert set(read_text(text)) == {"swa", "yor"}
    assert len(evaluation_sentences(())) == 0
