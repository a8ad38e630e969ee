"""Files written block by block equal those of the safetensors library, and damaged ones are refused."""

from __future__ import annotations

import json
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_afro.pretrained.weights import read_header
from hf_afro.vocabulary import safetensors_rows
from hf_afro.vocabulary.safetensors_rows import RowsKept, first_difference, write_with_rows

ROWS = np.array([0, 1, 2, 5, 17, 18, 30])


def some_tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "wide": torch.randn(31, 200, generator=generator),
        "half": torch.randn(31, 3, generator=generator).to(torch.bfloat16),
        "eighth": torch.randn(31, 5, generator=generator).to(torch.float8_e4m3fn),
        "bias": torch.randn(31, generator=generator, dtype=torch.float64),
        "across": torch.randn(1, 31, generator=generator),
        "é": torch.randn(7, 11, generator=generator),
        "scalar": torch.tensor(3),
        "flags": torch.tensor([True, False, True]),
        "nothing": torch.zeros(0, 4),
    }


CUT = {name: 1 if name == "across" else 0 for name in ("wide", "half", "eighth", "bias", "across")}
KEPT = {name: RowsKept(axis, ROWS) for name, axis in CUT.items()}


@pytest.mark.parametrize("piece", [7, 64, 900, 1 << 18])  # a row of "wide" has 800 bytes
@pytest.mark.parametrize("metadata", [{"format": "pt"}, None])
def test_the_file_is_that_of_the_library(tmp_path, monkeypatch, piece, metadata):
    monkeypatch.setattr(safetensors_rows, "_PIECE", piece)
    tensors = some_tensors()
    expected = {
        name: one.index_select(CUT[name], torch.from_numpy(ROWS)) if name in CUT and name != "eighth" else one
        for name, one in tensors.items()
    }
    expected["eighth"] = tensors["eighth"].view(torch.uint8)[torch.from_numpy(ROWS)].view(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    save_file(expected, tmp_path / "expected.safetensors", metadata)
    source = read_header(tmp_path / "old.safetensors")
    written = write_with_rows(source, tmp_path / "new.safetensors", KEPT)
    assert written.path.read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    assert first_difference(source, written, KEPT) is None
    assert set(load_file(written.path)) == set(tensors)


@pytest.mark.parametrize("rows", [np.arange(31), np.array([30]), np.array([0, 30])])
def test_all_rows_or_few(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(safetensors_rows, "_PIECE", 1000)
    tensors = {"wide": some_tensors()["wide"]}
    save_file(tensors, tmp_path / "old.safetensors")
    kept = {"wide": RowsKept(0, rows)}
    write_with_rows(read_header(tmp_path / "old.safetensors"), tmp_path / "new.safetensors", kept)
    assert torch.equal(load_file(tmp_path / "new.safetensors")["wide"], tensors["wide"][torch.from_numpy(rows)])


def test_memory_does_not_grow_with_the_tensors(tmp_path):
    save_file({"rows": torch.ones(20_000, 256), "other": torch.ones(5_000_000)}, tmp_path / "old.safetensors")
    source = read_header(tmp_path / "old.safetensors")
    kept = {"rows": RowsKept(0, np.arange(0, 20_000, 3))}
    tracemalloc.start()
    try:
        written = write_with_rows(source, tmp_path / "new.safetensors", kept)
        assert first_difference(source, written, kept) is None
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # of 40 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["wide", "bias", "é", "scalar"])
def test_one_changed_bit_is_found(tmp_path, name):
    save_file(some_tensors(), tmp_path / "old.safetensors")
    source = read_header(tmp_path / "old.safetensors")
    written = write_with_rows(source, tmp_path / "new.safetensors", KEPT)
    content = bytearray(written.path.read_bytes())
    place = written.tensors[name]
    content[place.start + place.size - 1] ^= 1
    written.path.write_bytes(content)
    assert first_difference(source, written, KEPT) == name


def test_a_tensor_that_was_lost_is_found(tmp_path):
    save_file(some_tensors(), tmp_path / "old.safetensors")
    save_file({"wide": some_tensors()["wide"]}, tmp_path / "new.safetensors")
    files = (read_header(tmp_path / f"{name}.safetensors") for name in ("old", "new"))
    assert first_difference(*files, {}) == "the names of tensors, or the metadata"


def file_of(header, content=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a safetensors file, or is truncated"),
        (b"PK\x03\x04 a pickle in a zip file", "is not a safetensors file, or is truncated"),
        (file_of({"a": entry()}), "has .* bytes, its header says .* it is truncated"),
        (file_of({"a": entry()}, b"12345678910"), "it is truncated"),
        (file_of(b"{nonsense"), "a header that cannot be read"),
        (file_of([1]), "a header that cannot be read"),
        (file_of({"a": {"dtype": "F32"}}), "a header that cannot be read"),
        (file_of({"a": entry("F4")}, bytes(8)), "tensors of type F4 are not supported; expected one of BOOL"),
        (file_of({"a": entry(shape=(3,))}, bytes(8)), r"8 bytes for a tensor \[3\] of type F32"),
        (file_of({"a": entry(offsets=(4, 12))}, bytes(12)), "holds a at byte .*, expected"),
        (file_of({"a": entry(), "b": entry()}, bytes(8)), "holds b at byte .*, expected"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_header(tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(error.value)


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    save_file(some_tensors(), tmp_path / "old.safetensors")
    source = read_header(tmp_path / "old.safetensors")
    with source.path.open("rb+") as file:
        file.truncate(3000)
    with pytest.raises(ValueError, match=r"old.safetensors ended at byte 3000 while it was read"):
        write_with_rows(source, tmp_path / "new.safetensors", KEPT)
