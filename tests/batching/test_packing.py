"""Packing and cutting lose no token, keep the order and never exceed the length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from hf_afro.batching.packing import TokenRows, cut, pack

BOS, EOS = 0, 2
DOCUMENTS = st.lists(st.lists(st.integers(4, 250_001), max_size=30), max_size=12)


@given(DOCUMENTS, st.integers(3, 12))
def test_packing_loses_nothing(documents, max_length):
    chunks = pack(TokenRows.from_rows(documents), max_length, BOS, EOS)
    stream = []
    for index in range(len(chunks)):
        row = chunks[index].tolist()
        assert (row[0], row[-1]) == (BOS, EOS)
        assert 2 < len(row) <= max_length
        assert index == len(chunks) - 1 or len(row) == max_length
        stream.extend(row[1:-1])
    expected = []
    for document in filter(None, documents):
        expected.extend([*document, EOS])
    assert stream == expected[:-1]


@given(DOCUMENTS, st.integers(3, 12))
def test_cutting_keeps_documents_apart_and_whole(documents, max_length):
    rows = cut(TokenRows.from_rows(documents), max_length, BOS, EOS)
    bodies = iter(rows[index].tolist() for index in range(len(rows)))
    for document in filter(None, documents):
        pieces = []
        while len(pieces) < len(document):
            row = next(bodies)
            assert (row[0], row[-1]) == (BOS, EOS)
            assert len(row) <= max_length
            pieces.extend(row[1:-1])
            assert len(row) == max_length or len(pieces) == len(document)
        assert pieces == document
    assert next(bodies, None) is None


def test_packing_by_hand():
    documents = TokenRows.from_rows([[5, 6, 7], [], [8], np.array([9, 10, 11])])
    assert lists(pack(documents, 5, BOS, EOS)) == [[0, 5, 6, 7, 2], [0, 2, 8, 2, 2], [0, 9, 10, 11, 2]]
    assert lists(pack(documents, 5, None, EOS)) == [[5, 6, 7, 2, 2], [8, 2, 9, 10, 2], [11, 2]]
    assert lists(pack(documents, 4, None, None)) == [[5, 6, 7, 8], [9, 10, 11]]
    assert lists(cut(documents, 4, BOS, EOS)) == [[0, 5, 6, 2], [0, 7, 2], [0, 8, 2], [0, 9, 10, 2], [0, 11, 2]]
    assert lists(pack(TokenRows.from_rows([]), 5, BOS, EOS)) == []
    assert lists(cut(TokenRows.from_rows([[]]), 5, BOS, EOS)) == []


def lists(rows):
    assert rows.tokens.dtype == np.int32
    return [rows[index].tolist() for index in range(len(rows))]


def test_rows():
    rows = TokenRows.from_rows([[5, 6], [], [7]])
    assert rows.lengths.tolist() == [2, 0, 1]
    assert lists(rows) == [[5, 6], [], [7]]
    with pytest.raises(IndexError, match="row 3 asked for; there are 3 rows"):
        rows[3]


@pytest.mark.parametrize("make", [pack, cut])
def test_a_length_without_room_is_refused(make):
    with pytest.raises(ValueError, match="max_length is 2, of which 2 are special tokens"):
        make(TokenRows.from_rows([[5]]), 2, BOS, EOS)
