"""Texts to ids as the tokenizer itself makes them, whatever was set on it, and ready rows taken as they are."""

from __future__ import annotations

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from hf_afro.batching.tokenizing import boundary_ids, ready_rows, tokenize_corpus
from tests.texts import SENTENCES

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
    with pytest.raises(ValueError, match="row 1 of 'input_ids' has 4 tokens; ready samples must have 1 to 3"):
        ready_rows(Dataset.from_dict({"input_ids": [[0, 5, 2], [0, 6, 7, 2]]}), max_length=3)
    with pytest.raises(ValueError, match="row 0 of 'input_ids' has 0 tokens"):
        ready_rows([[], [4]], max_length=3)
