"""The record in a folder: what it was made from, whether it is whole, and which folders stand behind it."""

from __future__ import annotations

import json
import shutil

import pytest

from hf_afro.steps.records import RECORD_FILE, Record, fingerprint, history
from hf_afro.version import __version__
from tests.steps.small import Config, make, names, step_of


def begun(**settings) -> Record:
    return Record.begun(step_of(), Config(**settings))


def test_a_finished_record_is_whole_and_an_edited_one_is_not(tmp_path):
    out = tmp_path / "out"
    make(out)
    record = Record.load(out)
    assert record.is_whole(out)
    assert record.edited(out) == []
    assert record.versions["hf_afro"] == __version__
    assert (record.seconds >= 0, record.files) == (True, {"result": 7})
    (out / ".hidden").write_text("of a file manager")
    (out / "note").write_text("of mine")
    assert record.is_whole(out)
    assert record.edited(out) == ["note"]
    (out / "result").write_text("longer than it was")
    assert not record.is_whole(out)
    assert record.edited(out) == ["note", "result"]
    assert not begun().is_whole(out)  # which is not finished


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"command": "count"}'])
def test_what_is_no_record_is_none(tmp_path, content):
    (tmp_path / RECORD_FILE).write_text(content)
    assert Record.load(tmp_path) is None
    assert Record.load(tmp_path / "nowhere") is None


def test_a_record_is_written_whole_or_not_at_all(tmp_path):
    begun().save(tmp_path)
    before = (tmp_path / RECORD_FILE).read_bytes()
    with pytest.raises(UnicodeEncodeError):
        Record("small", {"text": "\udc80"}, {}, "").save(tmp_path)  # a name that is not UTF-8
    assert (tmp_path / RECORD_FILE).read_bytes() == before
    assert names(tmp_path) == [RECORD_FILE]


def test_the_key_follows_the_content_and_not_the_place(tmp_path):
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "swa.txt").write_text(text)
    a, b, c = (begun(text=str(tmp_path / name)).key for name in "abc")
    assert a == b != c
    parts = [str(tmp_path / name) for name in "ab"]
    assert begun(parts=parts).key == begun(parts=parts[::-1]).key
    assert begun(parts=[f"x={parts[0]}"]).key != begun(parts=[f"y={parts[0]}"]).key
    assert begun(steps=3).key != begun(steps=4).key
    assert begun(processes=1).key == begun(processes=2).key
    assert begun(arguments={"seed": 1, "report_to": "trackio"}).key == begun(arguments={"seed": 1}).key
    assert begun(arguments={"seed": 1}).key != begun(arguments={"seed": 2}).key
    showing = step_of(shows_names=True)
    shown = [Record.begun(showing, Config(text=str(tmp_path / name))).key for name in "ab"]
    assert shown[0] != shown[1]
    assert begun(model="owner/name").key == begun(model="owner/name").key != begun(model="owner/other").key


def test_below_the_folder_of_a_model_only_its_own_files_count(tmp_path):
    (tmp_path / "m" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    before = begun(model=str(tmp_path / "m")).key, begun(text=str(tmp_path / "m")).key
    (tmp_path / "m" / "checkpoint-2" / "optimizer.pt").write_text("large")
    after = begun(model=str(tmp_path / "m")).key, begun(text=str(tmp_path / "m")).key
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_links_are_followed_and_circles_are_left(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "swa.txt").write_text("one")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "swa.txt").symlink_to(tmp_path / "real" / "swa.txt")
    assert fingerprint(tmp_path / "real") == fingerprint(tmp_path / "linked")
    (tmp_path / "linked" / "circle").symlink_to(tmp_path / "linked")
    assert fingerprint(tmp_path / "real") == fingerprint(tmp_path / "linked")
    with pytest.raises(FileNotFoundError, match="does not exist; expected a file or a folder"):
        fingerprint(tmp_path / "nowhere")


def test_the_result_of_a_step_is_known_by_its_key_until_it_is_edited(tmp_path):
    make(tmp_path / "a")
    assert fingerprint(tmp_path / "a") == Record.load(tmp_path / "a").key
    (tmp_path / "a" / "note").write_text("of mine")
    assert fingerprint(tmp_path / "a") != Record.load(tmp_path / "a").key


def test_what_was_read_is_noted_as_it_was_at_the_start(tmp_path):
    (tmp_path / "text").mkdir()
    place = str(tmp_path / "text")
    before = begun(text=place).inputs

    def run(config, folder):
        (tmp_path / "text" / "swa.txt").write_text("added")
        return step_of().run(config, folder)

    make(tmp_path / "out", run, text=place)
    assert Record.load(tmp_path / "out").inputs == before == {"text": {place: before["text"][place]}}


def test_differences_name_both_values(tmp_path):
    former = Record("small", {"steps": 20, "arguments": {"learning_rate": 1e-3}}, {}, "k")
    now = Record("small", {"steps": 40, "text": "t", "arguments": {"learning_rate": 1e-3}}, {}, "l")
    assert former.differences(now) == ["steps (then 20, now 40)", "text (then not given, now t)"]
    assert json.loads(json.dumps(former.settings)) == former.settings


def test_history_is_in_order_and_follows_folders_that_were_moved_together(tmp_path):
    home = tmp_path / "home"
    make(home / "a", steps=1)
    make(home / "b", steps=2, model=str(home / "a"))
    make(home / "c", steps=3, model=str(home / "b"), text=str(home / "a"))

    def found(folder):
        return [(path.parent.name, path.name, record.settings["steps"]) for path, record in history(folder)]

    assert found(home / "c") == [("home", "a", 1), ("home", "b", 2), ("home", "c", 3)]
    shutil.move(home, tmp_path / "moved")
    assert found(tmp_path / "moved" / "c") == [("moved", "a", 1), ("moved", "b", 2), ("moved", "c", 3)]
    shutil.rmtree(tmp_path / "moved" / "a")
    make(tmp_path / "moved" / "a", steps=9)  # another's work of the same name
    assert found(tmp_path / "moved" / "c") == [("moved", "b", 2), ("moved", "c", 3)]
    assert history(tmp_path) == []
