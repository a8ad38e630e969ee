"""Words of pieces, for every kind of tokenizer and script, against words found in the text by the pieces' offsets."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.trained_tokenizers import FAMILIES
from hf_afro.batching.collators import MaskingCollator, mask_tokens
from hf_afro.batching.whole_words import WordsOfPieces
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.tokenizers.spelling import piece_bytes
from tests.texts import SENTENCES

LINES = [
    *(line for lines in SENTENCES.values() for line in lines),
    "ሰላም፡ለዓለም፡ሁሉ። አዲስ አበባ፣ኢትዮጵያ",
    "مرحبا، كيف حالك؟ العربيّةُ",
    "Ng'ombe wa (Mwalimu): 'ya'ya, guarda-chuva... ẹ̀kọ́ ọjọ́!",
    "ߒߞߏ ߸ ߞߊ߲߫",
    "ⵜⴰⵎⴰⵣⵉⵖⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ",
]


@pytest.fixture(scope="module", params=FAMILIES)
def any_tokenizer(request):
    return FAMILIES[request.param](LINES, 700)


def words_of_text(text: str) -> list[int]:
    """The word of every character, found by hand: spaces go with what follows, runs of signs are words."""
    words, word, before = [], -1, "letter"
    for character in text:
        if character.isspace():
            kind = "space"
        elif character in "()፡።፣،؟:,.!?߸«»":
            kind = "sign"
        else:
            kind = "letter"
        if not words or (before != "space" and kind != before):
            word += 1
        words.append(word)
        before = kind
    return words


@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_added_token_is_a_word_and_only_specials_are_none(family):
    tokenizer = FAMILIES[family](LINES, 700)
    tokenizer.add_tokens(["ɓiyɓe"])
    words_of = WordsOfPieces(piece_bytes(read_table(tokenizer), tokenizer.all_special_ids))
    ids = np.array(tokenizer("Habari ɓiyɓe yako", add_special_tokens=False)["input_ids"])
    (place,) = np.flatnonzero(ids == tokenizer.convert_tokens_to_ids("ɓiyɓe"))
    words = words_of(ids)
    assert words[0] < words[place] < words[place + 1]  # the space before it may be a piece, and belongs to it


def test_pieces_go_to_the_word_of_their_first_letter(any_tokenizer):
    words_of = WordsOfPieces(piece_bytes(read_table(any_tokenizer), any_tokenizer.all_special_ids))
    normalizer = any_tokenizer.backend_tokenizer.normalizer
    cuts_at_signs = type(any_tokenizer.backend_tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
    seen = 0
    for line in LINES:
        if normalizer is not None:
            line = normalizer.normalize_str(line).replace("\u2581", " ")
        encoding = any_tokenizer(line, add_special_tokens=False, return_offsets_mapping=True)
        ids = np.array(encoding["input_ids"])
        if any_tokenizer.unk_token_id in ids.tolist() or (cuts_at_signs and {"'", "-"} & set(line)):
            continue
        of_text = words_of_text(line)
        letters = [at for at, character in enumerate(line) if character != " "]
        # A piece belongs to the word of its first letter, the spaces before it left out.
        firsts = [
            min((at for at in letters if at >= start), default=letters[-1]) for start, _ in encoding["offset_mapping"]
        ]
        _, expected = np.unique([of_text[at] for at in firsts], return_inverse=True)
        assert words_of(ids).tolist() == expected.tolist(), line
        seen += 1
    assert seen > len(LINES) // 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ሰላም፡ለዓለም፡ሁሉ።", ["ሰላም", "፡", "ለዓለም", "፡", "ሁሉ", "።"]),
        ("مرحبا، كيف حالك؟", ["مرحبا", "،", "كيف", "حالك", "؟"]),
        ("ẹ̀kọ́ ọjọ́!", ["ẹ̀kọ́", "ọjọ́", "!"]),
        ("ߒߞߏ ߸ ߞߊ߲߫", ["ߒߞߏ", "߸", "ߞߊ߲߫"]),
        ("ⵜⴰⵎⴰⵣⵉⵖⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ", ["ⵜⴰⵎⴰⵣⵉⵖⵜ"] * 2),
    ],
)
def test_words_by_hand(line, expected):
    words = WordsOfPieces([character.encode() for character in line])(np.arange(len(line))).tolist()
    found = ["".join(one for one, word in zip(line, words, strict=True) if word == own).strip() for own in set(words)]
    assert found == expected


def test_apostrophes_and_hyphens_belong_to_the_word():
    words_of = WordsOfPieces([b" ng", b"'", b"ombe", b" guarda", b"-", b"chuva", b".", b" ", b"na"])
    assert words_of(np.arange(9)).tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3]


def test_a_row_that_begins_and_ends_within_a_character():
    letters = "ሰላም".encode()
    words_of = WordsOfPieces([letters[1:3], letters[3:5], letters[5:7], b" a", letters[:2]])
    assert words_of(np.arange(5)).tolist() == [0, 0, 0, 1, 1]


def test_han_is_a_word_a_character():
    words_of = WordsOfPieces([" 中".encode(), "国".encode(), "人a".encode(), b"b"])
    assert words_of(np.array([0, 1, 2, 3])).tolist() == [0, 1, 2, 3]


class TestMasks:
    WORDS = np.repeat(np.arange(500), np.tile([1, 2, 3, 4], 125))
    SETTINGS = {"special_ids": (0, 1, 2, 3), "mask_id": 4, "vocab_size": 1000}

    def masked(self, **changed):
        ids = np.random.default_rng(0).integers(5, 1000, len(self.WORDS))
        settings = {"seed": 1, "epoch": 0, "sample_id": 7, "words": self.WORDS, **self.SETTINGS, **changed}
        return ids, *mask_tokens(ids, **settings)

    def test_words_are_masked_whole_and_alike(self):
        ids, masked, labels = self.masked(probability=0.3)
        chosen = labels != -100
        hidden = masked == 4
        same = masked == ids
        for word in range(500):
            own = self.WORDS == word
            assert chosen[own].all() or not chosen[own].any()
            if chosen[own].any():
                # All the mask, all as they were, or all random (which is neither, chance aside).
                assert hidden[own].all() or same[own].all() or not hidden[own].any()
        assert chosen.mean() == pytest.approx(0.3, abs=0.05)
        assert hidden[chosen].mean() == pytest.approx(0.8, abs=0.1)
        assert same[chosen].mean() == pytest.approx(0.1, abs=0.08)

    def test_a_function_of_seed_pass_and_sample(self):
        first = self.masked()
        assert all(np.array_equal(one, same) for one, same in zip(first, self.masked(), strict=True))
        for changed in ({"seed": 2}, {"epoch": 1}, {"sample_id": 8}):
            assert not np.array_equal(first[2], self.masked(**changed)[2])

    def test_special_tokens_are_never_chosen(self):
        ids = np.array([0, 10, 11, 3, 12, 2])
        _, labels = mask_tokens(
            ids, seed=0, epoch=0, sample_id=0, words=np.array([0, 0, 0, 1, 1, 2]), probability=1.0, **self.SETTINGS
        )
        assert labels.tolist() == [-100, 10, 11, -100, 12, -100]

    def test_the_collator_masks_whole_words(self, tokenizer):
        words_of = WordsOfPieces(piece_bytes(read_table(tokenizer), tokenizer.all_special_ids))
        collate = MaskingCollator.from_tokenizer(tokenizer, probability=0.4, words_of=words_of)
        rows = [np.array(tokenizer(line)["input_ids"]) for line in SENTENCES["amh"] + SENTENCES["swa"]]
        batch = collate([{"input_ids": row, "pass_index": 0, "sample_id": index} for index, row in enumerate(rows)])
        whole = 0
        for row, labels in zip(rows, batch["labels"].numpy(), strict=True):
            chosen, words = labels[: len(row)] != -100, words_of(row)
            ordinary = ~np.isin(row, tokenizer.all_special_ids)
            for word in set(words.tolist()):
                own = chosen[(words == word) & ordinary]
                assert own.all() or not own.any()
                whole += own.sum() > 1
        assert whole > 5
