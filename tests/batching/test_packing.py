"""Tokenizing, packing and cutting: no token is lost, the order is kept, and no row is too long."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from hf_afro.batching.packing import TokenRows, boundary_ids, cut, pack, ready_rows, tokenize_corpus
from tests.texts import SENTENCES

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
    with pytest.raises(IndexError, match="row 3 is out of range; there are 3 rows"):
        rows[3]


@pytest.mark.parametrize("make", [pack, cut])
def test_a_length_without_room_is_refused(make):
    with pytest.raises(ValueError, match="max_length is 2, with 2 special tokens"):
        make(TokenRows.from_rows([[5]]), 2, BOS, EOS)


TEXTS = [*SENTENCES["swa"], "", *SENTENCES["amh"], " ".join(SENTENCES["yor"] * 5)]


@pytest.fixture
def expected(tokenizer):
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


def as_dataset():
    return Dataset.from_dict({"text": TEXTS, "id": list(range(len(TEXTS)))})


@pytest.mark.parametrize(
    "source",
    [lambda: TEXTS, lambda: iter(TEXTS), as_dataset, lambda: as_dataset().to_iterable_dataset()],
    ids=["list", "iterator", "dataset", "streamed"],
)
def test_texts_are_tokenised_as_by_the_tokenizer(tokenizer, expected, source):
    rows = tokenize_corpus(source(), tokenizer, batch_size=4)
    assert [rows[index].tolist() for index in range(len(rows))] == expected


def test_the_tokenizer_is_left_as_it_was(tokenizer, expected, caplog, recwarn):
    tokenizer(TEXTS, truncation=True, max_length=8, padding=True)  # sets both on the backend
    before = tokenizer.backend_tokenizer.to_str()
    rows = tokenize_corpus(TEXTS, tokenizer)
    assert [rows[index].tolist() for index in range(len(rows))] == expected
    assert tokenizer.backend_tokenizer.to_str() == before
    with pytest.raises(TypeError):
        tokenize_corpus([*TEXTS, None], tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before
    assert max(rows.lengths) > tokenizer.model_max_length
    assert not caplog.records
    assert not recwarn.list


def test_no_text_gives_no_rows(tokenizer):
    assert len(tokenize_corpus([], tokenizer)) == 0


def test_boundary_ids(tokenizer):
    assert boundary_ids(tokenizer) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


@pytest.mark.parametrize(
    ("template", "expected"),
    [("$A </s>", (None, 1)), ("<s> $A", (0, None)), ("$A", (None, None)), ("<s> $A </s>", (0, 1))],
)
def test_boundary_ids_of_other_templates(template, expected):
    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "<unk>": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 0), ("</s>", 1)])
    assert boundary_ids(PreTrainedTokenizerFast(tokenizer_object=backend)) == expected


def test_bad_input_is_named(tokenizer):
    with pytest.raises(TypeError, match="of type int: 3; expected str"):
        tokenize_corpus(["Habari", 3], tokenizer)
    with pytest.raises(ValueError, match=r"columns \['text', 'id'\]; expected one named 'body'"):
        tokenize_corpus(as_dataset(), tokenizer, column="body")
    with pytest.raises(TypeError, match="ByT5Tokenizer is not backed by the tokenizers library"):
        tokenize_corpus(TEXTS, ByT5Tokenizer())


def test_ready_rows_are_taken_as_they_are():
    rows = ready_rows(Dataset.from_dict({"input_ids": [[0, 5, 2], [0, 6, 7, 2]]}), max_length=4, batch_size=1)
    assert [rows[index].tolist() for index in range(len(rows))] == [[0, 5, 2], [0, 6, 7, 2]]
    with pytest.raises(ValueError, match="row 1 of 'input_ids' has 4 tokens; expected 1 to 3"):
        ready_rows(Dataset.from_dict({"input_ids": [[0, 5, 2], [0, 6, 7, 2]]}), max_length=3)
    with pytest.raises(ValueError, match="row 0 of 'input_ids' has 0 tokens"):
        ready_rows([[], [4]], max_length=3)


def test_ready_rows_of_several_sequences_are_refused_where_each_has_to_be_one():
    assert len(ready_rows([[0, 5, 2], [5], [0, 6, 7]], max_length=4, end=2)) == 3
    for rows in ([[0, 5, 2], [0, 5, 2, 6], [2, 2]], [[0, 5, 2], [2, 2]]):
        with pytest.raises(ValueError, match="row 1 of 'input_ids' holds 2, the end of a sequence, before its last"):
            ready_rows(rows, max_length=4, end=2)
        assert len(ready_rows(rows, max_length=4)) == len(rows)
