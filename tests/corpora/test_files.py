"""One text in every container that is read, and damaged containers."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hf_afro.corpora.files import read_lines, suffix_of

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
    with pytest.raises(ValueError, match="is no whole Parquet file"):
        list(read_lines(path))


def test_broken_bytes_in_parquet_are_treated_as_asked(tmp_path):
    path = tmp_path / "swa.parquet"
    broken = pyarrow.array([b"moja", b"mb\xffli", b"tatu"]).view(pyarrow.string())  # as some writers leave it
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
        (b'{"text": "a\\ud83d"}', "line 2: an escape stands for half a character"),
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
    assert "line 1: half a character" in caplog.text
    assert "1 lines that are not UTF-8 were skipped" in caplog.text


def test_suffixes():
    assert suffix_of(Path("swa.TXT.gz")) == ".TXT.gz"
    assert suffix_of(Path("swa.md")) is None
    assert suffix_of(Path(".swa.txt")) is None
