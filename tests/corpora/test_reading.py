"""Reading: the same lines from every kind of file and from the Hub, and errors that name the file and line."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import pickle
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset

from hf_afro.corpora.reading import TextSource, load_hub, read_corpora, read_lines, suffix_of
from tests.texts import SENTENCES

LINES = ["moja\u2028mbili", "", "tatu\x85nne \r tano", "sita\x1c"]
TEXT = "\n".join(LINES).encode()
JSON = "\n".join(json.dumps({"text": line}) for line in LINES).encode()


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(("kind", "data"), [(".txt", TEXT), (".jsonl", JSON)])
def test_lines_are_the_same_in_every_container(tmp_path, kind, data, suffix):
    path = tmp_path / f"swa{kind}{suffix}"
    if suffix == ".zst":
        with pyarrow.output_stream(str(path), compression="zstd") as stream:
            stream.write(data)
    else:
        path.write_bytes(gzip.compress(data) if suffix else data)
    assert list(read_lines(path)) == LINES


def test_zstandard_frames_are_read_one_after_another(tmp_path):
    path = tmp_path / "swa.txt.zst"
    skippable = bytes.fromhex("532a4d18") + (5).to_bytes(4, "little") + b"notes"
    frames = [pyarrow.compress(data, codec="zstd", asbytes=True) for data in (b"moja\nmb", b"ili\ntatu\n")]
    path.write_bytes(frames[0] + skippable + frames[1])
    assert list(read_lines(path)) == ["moja", "mbili", "tatu"]


def test_a_zstandard_file_that_ends_within_a_frame_is_refused(tmp_path):
    """A truncated file must not be read as a shorter one."""
    path = tmp_path / "swa.txt.zst"
    noise = random.Random(0).randbytes(60)
    data = pyarrow.compress(b"aaaaaaaa" * 40_000 + noise, codec="zstd", asbytes=True)  # blocks of both kinds
    for end in range(1, len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"swa.txt.zst cannot be read after line \d+: "):
            list(read_lines(path, "replace"))


def test_parquet(tmp_path):
    path = tmp_path / "swa.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["moja\nmbili", LINES[2]], "id": [1, 2]}), path)
    assert list(read_lines(path)) == ["moja", "mbili", LINES[2]]
    pyarrow.parquet.write_table(pyarrow.table({"body": ["moja"]}), path)
    with pytest.raises(ValueError, match=r"swa.parquet has the columns \['body'\]; expected one named 'text'"):
        list(read_lines(path))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["moja", None]}), path)
    with pytest.raises(ValueError, match=r"swa.parquet, row 2: no text; expected a string"):
        list(read_lines(path))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="is not a complete Parquet file"):
        list(read_lines(path))


def test_broken_bytes_in_parquet_are_treated_as_asked(tmp_path):
    path = tmp_path / "swa.parquet"
    broken = pyarrow.array([b"moja", b"mb\xffli", b"tatu"]).view(pyarrow.string())  # as some writers produce it
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), path)
    with pytest.raises(ValueError, match=r"swa.parquet, row 2: byte 2 of the text is not UTF-8"):
        list(read_lines(path))
    assert list(read_lines(path, "replace")) == ["moja", "mb\ufffdli", "tatu"]
    assert list(read_lines(path, "skip")) == ["moja", "tatu"]


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_strings_of_every_kind_in_parquet(tmp_path, kind):
    path = tmp_path / "swa.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array(["moja", "moja\nmbili"]).cast(kind)}), path)
    assert list(read_lines(path)) == ["moja", "moja", "mbili"]
    pyarrow.parquet.write_table(pyarrow.table({"text": [1, 2]}), path)
    with pytest.raises(ValueError, match=r"the column 'text' holds int64; expected strings"):
        list(read_lines(path))


def test_windows_and_byte_order_marks(tmp_path):
    path = tmp_path / "swa.txt"
    path.write_bytes("\ufeffmoja\r\n\ufeffmbili\r\r\nta\rtu\r".encode())
    assert list(read_lines(path)) == ["moja", "\ufeffmbili\r", "ta\rtu"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"swa.txt{suffix}"
    data = "".join(f"mstari wa {number * 7919}\n" for number in range(50_000)).encode()
    with pyarrow.output_stream(str(path), compression={".gz": "gzip", ".zst": "zstd"}[suffix]) as stream:
        stream.write(data)
    whole = path.read_bytes()
    assert len(list(read_lines(path))) == 50_000
    middle = len(whole) // 2
    for broken in (whole[:middle], whole[:-1], b"not compressed at all"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"swa.txt{suffix} cannot be read after line \d+: "):
            list(read_lines(path))


def test_a_damaged_middle_is_named(tmp_path):
    path = tmp_path / "swa.txt.gz"
    whole = gzip.compress("".join(f"mstari wa {number * 7919}\n" for number in range(50_000)).encode())
    for position in (0, len(whole) // 2, len(whole) - 6):  # the head, the text, the checksum
        path.write_bytes(whole[:position] + bytes(3) + whole[position + 3 :])
        with pytest.raises(ValueError, match=r"swa.txt.gz cannot be read after line \d+: "):
            list(read_lines(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "a"', "swa.jsonl, line 2: not JSON"),
        (b'["a"]', "swa.jsonl, line 2: expected an object with a string 'text', received '\\[\"a\"\\]'"),
        (b'{"body": "a"}', "line 2: expected an object with a string 'text'"),
        (b'{"text": null}', "line 2: expected an object with a string 'text'"),
        (b'{"text": "\xff"}', "line 2: byte 10 of the line is not UTF-8"),
        (b'{"text": "a\\ud83d"}', "line 2: an escape is half of a surrogate pair"),
    ],
)
def test_bad_json_lines_are_named(tmp_path, line, message):
    path = tmp_path / "swa.jsonl"
    path.write_bytes(b'{"text": "moja"}\n' + line)
    with pytest.raises(ValueError, match=message):
        list(read_lines(path))


def test_half_characters_are_treated_as_asked(tmp_path, caplog):
    path = tmp_path / "swa.jsonl"
    path.write_bytes(b'{"text": "a\\ud83d"}\n{"text": "\\ud83d\\ude00"}\n{"text": "\xff"}')
    assert list(read_lines(path, "replace")) == ["a\ufffd", "😀", "\ufffd"]
    with caplog.at_level(logging.WARNING):
        assert list(read_lines(path, "skip")) == ["😀"]
    assert "line 1: skipped; an escape is half of a surrogate pair" in caplog.text
    assert "skipped 1 lines that are not UTF-8" in caplog.text


def test_suffixes():
    assert suffix_of(Path("swa.TXT.gz")) == ".TXT.gz"
    assert suffix_of(Path("swa.md")) is None
    assert suffix_of(Path(".swa.txt")) is None


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
        ({"swahilli.txt": "a"}, None, "swahilli.txt: text files are named by their language"),
        (
            {"swa.txt": "a", "README.txt": "b"},
            None,
            "README.txt: text files are named by their language. .* move it out",
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
    assert "bem.csv, yor not read; expected text in files ending in .txt" in told


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a folder with files"):
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
