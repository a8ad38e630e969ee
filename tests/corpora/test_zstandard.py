"""A file that was cut off at any byte is known from a whole one."""

from __future__ import annotations

import random

import pyarrow
import pytest

from hf_afro.corpora.zstandard import check_whole

RUNS = b"aaaaaaaa" * 40_000  # blocks of one repeated byte
NOISE = random.Random(0).randbytes(300_000)  # blocks that are stored as they are


def compressed(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


SKIPPABLE = bytes.fromhex("532a4d18") + (5).to_bytes(4, "little") + b"notes"
EVERY_KIND = compressed(RUNS) + SKIPPABLE + compressed(b"moja mbili tatu " * 30_000) + compressed(NOISE)


def test_whole_files_pass(tmp_path):
    path = tmp_path / "swa.txt.zst"
    streamed = tmp_path / "streamed.zst"
    with pyarrow.output_stream(str(streamed), compression="zstd") as stream:
        stream.write(NOISE[:1000] + RUNS)
    for data in (compressed(b""), compressed(b"moja"), EVERY_KIND, streamed.read_bytes()):
        path.write_bytes(data)
        check_whole(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "swa.txt.zst"
    data = compressed(RUNS + NOISE[:60]) + SKIPPABLE
    whole_frame = len(data) - len(SKIPPABLE)
    for end in range(1, len(data)):
        if end != whole_frame:
            path.write_bytes(data[:end])
            with pytest.raises(EOFError, match="ends within a frame"):
                check_whole(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "swa.txt.zst"
    path.write_bytes(compressed(b"moja") + b"mbili")
    with pytest.raises(OSError, match="no Zstandard frame begins at byte 1"):
        check_whole(path)
