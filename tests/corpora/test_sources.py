"""Folders and datasets give the same values, line by line, and bad ones are named."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle

import pytest
from datasets import Dataset

from hf_afro.corpora.sources import TextSource, load_hub, read_corpora
from tests.texts import SENTENCES


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_folder_is_read_by_language(tmp_path):
    write(tmp_path / "sw.txt", "Habari\n")
    write(tmp_path / "yor_Latn.txt", "Ẹ káàárọ̀")
    write(tmp_path / "README.md", "not text")
    write(tmp_path / ".hau.txt.swp", "not text")
    (tmp_path / "amh.txt").mkdir()
    corpora = read_corpora(tmp_path)
    assert {language: list(source) for language, source in corpora.items()} == {"swa": ["Habari"], "yor": ["Ẹ káàárọ̀"]}
    assert list(read_corpora(tmp_path, ["swh"])) == ["swa"]
    assert corpora["swa"].language == "swa"
    assert corpora["swa"].origin == str(tmp_path / "sw.txt")


def test_folders_of_parts_are_read_where_no_file_is_text(tmp_path):
    for folder in ("sw", "yor", "run"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "sw" / "part-2.txt", "mbili\n")
    write(tmp_path / "sw" / "part-1.txt", "moja")
    write(tmp_path / "sw" / "README.md", "not text")
    write(tmp_path / "yor" / "a.txt.gz", gzip.compress("Ẹ káàárọ̀\n".encode()))
    write(tmp_path / "run" / "config.json", "{}")  # no text of Rundi
    corpora = read_corpora(tmp_path)
    assert {language: list(source) for language, source in corpora.items()} == {
        "swa": ["moja", "mbili"],
        "yor": ["Ẹ káàárọ̀"],
    }
    assert corpora["swa"].origin == str(tmp_path / "sw")
    assert (corpora["swa"].plain_bytes, corpora["yor"].plain_bytes) == (10, None)
    assert list(pickle.loads(pickle.dumps(corpora["swa"]))) == ["moja", "mbili"]
    write(tmp_path / "hau.txt", "ɗaya\n")
    assert list(read_corpora(tmp_path)) == ["hau"]


def test_a_source_is_gone_through_as_often_as_wanted(tmp_path):
    write(tmp_path / "swa.txt", "moja\nmbili\n")
    source = read_corpora(tmp_path)["swa"]
    first, second = iter(source), iter(source)
    assert [next(first), next(second), next(first)] == ["moja", "moja", "mbili"]
    assert list(source) == list(pickle.loads(pickle.dumps(source))) == ["moja", "mbili"]


def test_the_fingerprint_is_that_of_the_text(tmp_path):
    write(tmp_path / "swa.txt", "\ufeffmoja\r\nmbili")
    write(tmp_path / "yor.txt.gz", gzip.compress(b"moja\nmbili\n"))
    write(tmp_path / "hau.txt", "moja mbili")
    corpora = read_corpora(tmp_path)
    assert corpora["swa"].fingerprint == hashlib.sha256(b"moja\nmbili\n").hexdigest()
    assert corpora["yor"].fingerprint == corpora["swa"].fingerprint != corpora["hau"].fingerprint


def dataset_repository(folder):
    for language in ("swa", "yor"):
        (folder / language).mkdir(parents=True)
        Dataset.from_dict({"text": SENTENCES[language]}).to_parquet(folder / language / "train.parquet")
    lines = "\n".join(
        f"- config_name: {name}\n  data_files: {language}/train.parquet" for name, language in CONFIGURATIONS.items()
    )
    write(folder / "README.md", f"---\nconfigs:\n{lines}\n---\n")
    return folder


CONFIGURATIONS = {"sw": "swa", "yoruba-news": "yor"}


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hub_gives_the_same_values(tmp_path, monkeypatch, streaming):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    repository = str(dataset_repository(tmp_path / "repository"))
    corpora = load_hub(repository, {"sw": "sw", "yor": "yoruba-news"}, streaming=streaming)
    for language in ("swa", "yor"):
        assert isinstance(corpora[language], TextSource)
        assert list(corpora[language]) == list(corpora[language]) == SENTENCES[language]
    write(tmp_path / "swa.txt", "\n".join(SENTENCES["swa"]))
    assert corpora["swa"].fingerprint == read_corpora(tmp_path)["swa"].fingerprint
    assert corpora["yor"].origin == f"{repository}/yoruba-news:train"
    assert list(load_hub(repository, ["sw"], streaming=streaming)) == ["swa"]
    with pytest.raises(ValueError, match=r"columns \['text'\]; expected one named 'body'"):
        load_hub(repository, ["sw"], column="body", streaming=streaming)
    with pytest.raises(ValueError, match="'sw' and 'swa' are one language, Swahili"):
        load_hub(repository, {"sw": "sw", "swa": "sw"}, streaming=streaming)


@pytest.mark.parametrize(
    ("files", "languages", "message"),
    [
        ({}, None, "has no text for any language; it holds no file named"),
        ({"swa.txt": "a"}, ["yor", "swa", "hau"], "has no text for hau, yor; it holds swa"),
        ({"swa.txt": "\n  \n\r\n"}, None, "swa.txt has no text for 'swa'"),
        ({"swa.txt": ""}, None, "swa.txt has no text for 'swa'"),
        ({"swa.txt": "a", "sw.jsonl": "{}"}, None, "both hold 'swa'"),
        ({"swahilli.txt": "a"}, None, "swahilli.txt: a text file is named by its language"),
        (
            {"swa.txt": "a", "README.txt": "b"},
            None,
            "README.txt: a text file is named by its language. .* move it out",
        ),
        ({"swa.txt": "a"}, ["swz"], "swz"),
        ({"swa.txt": "a"}, ["sw", "swa"], "'sw' and 'swa' are one language"),
    ],
)
def test_bad_folders_are_named(tmp_path, files, languages, message):
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        read_corpora(tmp_path, languages)


def test_languages_beyond_the_table_are_read(tmp_path):
    for name in ("bem.txt", "ki.txt", "knc_Arab.txt"):
        write(tmp_path / name, "a\n")
    assert list(read_corpora(tmp_path)) == ["bem", "kik", "knc"]
    assert list(read_corpora(tmp_path, ["kik"])) == ["kik"]


def test_what_is_named_by_a_language_and_not_read_is_told(tmp_path, caplog):
    for name in ("swa.txt", "bem.csv", "README.md"):
        write(tmp_path / name, "a\n")
    (tmp_path / "yor").mkdir()
    assert list(read_corpora(tmp_path)) == ["swa"]
    (told,) = (record.getMessage() for record in caplog.records)
    assert "bem.csv, yor not read; text is in files that end in .txt" in told


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; expected one that holds files such as swa.txt"):
        read_corpora(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="errors is 'ignore'; expected one of fail, replace, skip"):
        read_corpora(tmp_path, errors="ignore")


def test_broken_bytes_are_treated_as_asked(tmp_path):
    write(tmp_path / "swa.txt", b"moja\nmb\xffli\ntatu\n")
    with pytest.raises(ValueError, match=r"swa.txt, line 2: byte 2 of the line is not UTF-8"):
        list(read_corpora(tmp_path)["swa"])
    assert list(read_corpora(tmp_path, errors="replace")["swa"]) == ["moja", "mb\ufffdli", "tatu"]
    assert list(read_corpora(tmp_path, errors="skip")["swa"]) == ["moja", "tatu"]


def test_json_lines(tmp_path):
    records = [{"text": "moja\nmbili", "id": 1}, {"text": "tatu\u2028"}]
    write(tmp_path / "swa.jsonl", "\n\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    assert list(read_corpora(tmp_path)["swa"]) == ["moja", "mbili", "tatu\u2028"]


def test_every_line_of_real_text_is_read(shared_data):
    corpora = read_corpora(shared_data / "corpora")
    assert len(corpora) == 23
    for language, source in corpora.items():
        data = (shared_data / "corpora" / f"{language}.txt").read_bytes()
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        assert sum(1 for _ in source) == lines, language
