"""Words and tokens: the first token carries the tag, no word drops out, and short rows are padded."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import BertTokenizer

from hf_afro.evaluation.encoding import NO_TOKEN, TaskCollator, encode, encode_pairs, encode_words, longest, words_of

# The second is white space once it is normalised, so that nothing is left.
WORDS = ["Wakulima", "\u00a0", "wanauza", "mahindi"]


def test_the_first_piece_of_a_word_carries_its_tag(tokenizer):
    (row,) = encode_words([WORDS], [[1, 2, 3, 4]], tokenizer, 64)
    pieces = [tokenizer.tokenize(word) for word in WORDS]
    assert row["input_ids"].tolist() == tokenizer("Wakulima wanauza mahindi")["input_ids"]
    expected, place = [], 1
    for own in pieces:
        expected.append(place if own else NO_TOKEN)
        place += len(own)
    assert row["positions"].tolist() == expected
    assert expected[1] == NO_TOKEN
    labels = row["labels"]
    assert labels[row["positions"][[0, 2, 3]]].tolist() == [1, 3, 4]
    assert (labels != -100).sum() == 3


def test_words_without_a_piece_and_words_cut_away_are_o(tokenizer):
    (whole,) = encode_words([WORDS], [[1, 2, 3, 4]], tokenizer, 64)
    (cut,) = encode_words([WORDS], [[1, 2, 3, 4]], tokenizer, int(whole["positions"][3]) + 1)
    assert cut["positions"].tolist() == [*whole["positions"][:3], NO_TOKEN]
    predicted = np.full(len(cut["input_ids"]), 9)
    assert words_of(cut, predicted) == [9, 0, 9, 0]
    assert cut["input_ids"][-1] == tokenizer.eos_token_id


def test_texts_are_what_the_tokenizer_makes_of_them(tokenizer, topic):
    rows = encode("topic", topic.splits["test"], tokenizer, 8)
    texts = list(topic.splits["test"]["text"])
    wanted = tokenizer(texts, truncation=True, max_length=8)["input_ids"]
    assert [row["input_ids"].tolist() for row in rows] == wanted
    assert [row["labels"] for row in rows] == topic.gold()


def test_a_batch_is_filled_to_its_longest_row(tokenizer):
    rows = encode_words([["Wakulima"], WORDS], [[1], [1, 2, 3, 4]], tokenizer, 64)
    batch = TaskCollator(tokenizer.pad_token_id)(rows)
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    short = len(rows[0]["input_ids"])
    assert (batch["input_ids"][0, short:] == tokenizer.pad_token_id).all()
    assert (batch["labels"][0, short:] == -100).all()
    assert batch["attention_mask"].sum(1).tolist() == [short, len(rows[1]["input_ids"])]


def test_words_and_tags_must_be_as_many(tokenizer):
    with pytest.raises(ValueError, match="4 words and 1 tags"):
        encode_words([WORDS], [[1]], tokenizer, 64)


def test_no_sequence_is_longer_than_the_model_has_positions(model):
    assert longest(model, 512) == 64  # 66 rows, two of them before the first token's
    assert longest(model, 20) == 20


PAIRS = [
    ("Wakulima wanauza mahindi", "Mvua kubwa ilinyesha jana usiku"),
    ("Mvua kubwa ilinyesha jana usiku sana", "muziki"),
    ("a", "b"),
    ("Mvua kubwa ilinyesha jana", "Mvua kubwa ilinyesha jana"),
]


@pytest.mark.parametrize("max_length", [7, 8, 9, 12, 64])
def test_pairs_are_what_the_tokenizer_makes_of_them(tokenizer, max_length):
    first, second = zip(*PAIRS, strict=True)
    rows = encode_pairs(first, second, range(len(PAIRS)), tokenizer, max_length)
    wanted = tokenizer(list(first), list(second), truncation="longest_first", max_length=max_length)["input_ids"]
    assert [row["input_ids"].tolist() for row in rows] == wanted
    assert [row["labels"] for row in rows] == [0, 1, 2, 3]
    assert "token_type_ids" not in rows[0]


def test_pairs_of_a_tokenizer_that_has_types(tmp_path):
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"mvua kubwa ilinyesha jana usiku".split()]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab), "utf-8")
    bert = BertTokenizer(str(tmp_path / "vocab.txt"))
    first, second = ["mvua kubwa ilinyesha", "jana"], ["jana usiku", "mvua kubwa ilinyesha jana usiku"]
    for max_length in (6, 7, 64):
        wanted = bert(first, second, truncation="longest_first", max_length=max_length)
        rows = encode_pairs(first, second, [0, 1], bert, max_length)
        assert [row["input_ids"].tolist() for row in rows] == wanted["input_ids"]
        assert [row["token_type_ids"].tolist() for row in rows] == wanted["token_type_ids"]
    batch = TaskCollator(bert.pad_token_id)(rows)
    assert batch["token_type_ids"].shape == batch["input_ids"].shape
    assert batch["token_type_ids"].sum().item() == 3 + 6


def test_a_pair_needs_room(tokenizer):
    with pytest.raises(ValueError, match="max_length=5 leaves 1 tokens for a pair"):
        encode_pairs(["a"], ["b"], [0], tokenizer, 5)
