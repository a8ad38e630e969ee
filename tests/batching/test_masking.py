"""Masks: published shares, whole words for all kinds of tokenizers, and fixed words for bits per byte."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.trained_tokenizers import FAMILIES
from hf_afro.batching import masking
from hf_afro.batching.collators import MaskingCollator
from hf_afro.batching.masking import IGNORED, WordsOfPieces, choose_words, mask_sentences, mask_tokens
from hf_afro.vocabulary.tokenizers import read_table
from hf_afro.vocabulary.tokenizers.backend import piece_bytes
from tests.texts import SENTENCES

VOCAB_SIZE, MASK_ID, SPECIAL_IDS = 1000, 999, (0, 1, 2, 3, 500, 999)


def masked(ids, *, seed=1, epoch=0, sample_id=0, **settings):
    return mask_tokens(
        np.asarray(ids),
        seed=seed,
        epoch=epoch,
        sample_id=sample_id,
        special_ids=SPECIAL_IDS,
        mask_id=MASK_ID,
        vocab_size=VOCAB_SIZE,
        **settings,
    )


def within_five_sigma(count, trials, share):
    return abs(count - trials * share) < 5 * np.sqrt(trials * share * (1 - share))


def test_shares_are_those_of_the_method():
    old = np.random.default_rng(0).integers(4, 499, 200_000)
    new, labels = masked(old)
    chosen = labels != IGNORED
    n = int(chosen.sum())
    assert within_five_sigma(n, len(old), 0.15)
    assert np.array_equal(labels[chosen], old[chosen])
    assert np.array_equal(new[~chosen], old[~chosen])
    assert within_five_sigma(int((new[chosen] == MASK_ID).sum()), n, 0.8)
    # A random token equals the old one in 1 of 994 draws, which moves this count by far less than the bound.
    assert within_five_sigma(int((new[chosen] == old[chosen]).sum()), n, 0.1 + 0.1 / 994)


def test_random_tokens_are_all_ordinary_ids_and_evenly_spread():
    old = np.full(600_000, 7)
    new, labels = masked(old, probability=1.0)
    drawn = new[(new != 7) & (new != MASK_ID)]
    ordinary = np.setdiff1d(np.arange(VOCAB_SIZE), [*SPECIAL_IDS, 7])
    values, counts = np.unique(drawn, return_counts=True)
    assert np.array_equal(values, ordinary)
    mean = len(drawn) / len(ordinary)
    assert abs(counts - mean).max() < 6 * np.sqrt(mean)
    assert (labels == 7).all()


def test_special_tokens_are_never_chosen():
    ids = np.array([0, 10, 3, 500, 11, 2, 1, 1])
    new, labels = masked(ids, probability=1.0)
    special = np.isin(ids, SPECIAL_IDS)
    assert (labels[special] == IGNORED).all()
    assert np.array_equal(new[special], ids[special])
    assert (labels[~special] == ids[~special]).all()


def test_a_mask_depends_on_seed_epoch_and_sample():
    ids = np.arange(10, 210)
    first = masked(ids)
    assert np.array_equal(first, masked(ids.astype(np.int32)))
    for changed in ({"seed": 2}, {"epoch": 1}, {"sample_id": 1}):
        assert not np.array_equal(first[1], masked(ids, **changed)[1])
    assert np.array_equal(ids, np.arange(10, 210)), "the sample itself is not changed"


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
    """Return the word of every character: spaces belong to the next word, runs of punctuation are words."""
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
    assert words[0] < words[place] < words[place + 1]  # a space before it may be a token, which belongs to it


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
        # A token belongs to the word of its first character that is not a space.
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
                # All masked, all unchanged, or all random (neither, except by chance).
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


ALL = [sentence for sentences in SENTENCES.values() for sentence in sentences]


def mask_words(words, chosen, tokenizer, max_length):
    """Mask the words of one sentence that are chosen by index."""
    return next(masking._mask_batch([(words, set(chosen))], tokenizer, max_length))


def test_the_choice_is_pinned():
    """Bits per byte of two papers can be compared only if the same words are masked."""
    assert choose_words(ALL[0], seed=42, share=0.3) == PINNED


PINNED = [1, 4, 5, 6]


def test_the_choice_depends_on_seed_and_words_alone():
    sentence = "moja mbili tatu nne tano sita saba nane tisa kumi " * 20
    chosen = choose_words(sentence, seed=1)
    assert chosen == choose_words(f"  {sentence.replace(' ', '  ')}\r", seed=1)
    assert chosen != choose_words(sentence, seed=2)
    assert chosen != choose_words(sentence + "x", seed=1)
    assert set(chosen) < set(choose_words(sentence, seed=1, share=0.5)), "a larger share adds words, and drops none"
    assert choose_words(sentence, seed=1, share=0.0) == []
    assert choose_words(sentence, seed=1, share=1.0) == list(range(200))


def test_the_share_is_met():
    words = 10
    sentences = [f"a b c d e f g h i {number}" for number in range(5000)]
    counts = np.array([len(choose_words(sentence, seed=3)) for sentence in sentences])
    n = words * len(sentences)
    assert abs(counts.sum() - 0.15 * n) < 5 * np.sqrt(n * 0.15 * 0.85)
    # Words are independent, so a sentence of ten has none in 0.85^10 of the cases.
    none = 0.85**words
    assert abs((counts == 0).sum() - none * 5000) < 5 * np.sqrt(5000 * none * (1 - none))


def test_all_pieces_of_a_word_are_hidden_and_labelled(tokenizer):
    words = ALL[0].split()
    plain = mask_words(words, [], tokenizer, 64)
    assert plain.input_ids.tolist() == tokenizer(" ".join(words))["input_ids"]
    assert (plain.labels == IGNORED).all()
    sentence = mask_words(words, [1, 4], tokenizer, 64)
    owner = tokenizer(words, is_split_into_words=True).word_ids()
    for position, word in enumerate(owner):
        if word in (1, 4):
            assert sentence.input_ids[position] == tokenizer.mask_token_id
            assert sentence.labels[position] == plain.input_ids[position]
        else:
            assert sentence.input_ids[position] == plain.input_ids[position]
            assert sentence.labels[position] == IGNORED
    assert sentence.words == (1, 4)
    assert sentence.num_bytes == tuple(len(words[index].encode()) for index in (1, 4))
    assert sentence.unknown == (False, False)
    assert (sentence.scored_bytes, sentence.unknown_bytes) == (sum(sentence.num_bytes), 0)


def test_unknown_words_are_hidden_without_labels(tokenizer):
    words = ["Mvua", "☃☃", "\u00ad", "kubwa"]
    sentence = mask_words(words, [0, 1, 2], tokenizer, 64)
    assert sentence.unknown[:2] == (False, True)
    assert tokenizer.unk_token_id not in sentence.input_ids
    assert tokenizer.unk_token_id not in sentence.labels
    assert sentence.num_bytes == (4, 6, 2)
    assert sentence.unknown_bytes >= 6


def test_a_word_of_which_nothing_is_left_is_unknown(tokenizer):
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Replace("☃", ""), normalizers.NFKC()])
    sentence = mask_words(["Mvua", "☃"], [0, 1], PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL), 64)
    assert sentence.words == (0, 1)
    assert sentence.unknown == (False, True)
    assert (sentence.unknown_bytes, sentence.unknown_words) == (3, 1)


SPECIAL = {"unk_token": "<unk>", "mask_token": "<mask>", "pad_token": "<pad>"}


@pytest.mark.parametrize("max_length", [8, 12, 20])
def test_words_that_do_not_fit_whole_are_left_out(tokenizer, max_length):
    words = ALL[0].split()
    whole = mask_words(words, range(len(words)), tokenizer, 1000)
    assert (whole.words, whole.num_cut) == (tuple(range(len(words))), 0)
    short = mask_words(words, range(len(words)), tokenizer, max_length)
    assert len(short.input_ids) == len(short.labels) == max_length
    assert short.input_ids[-1] == tokenizer.eos_token_id
    assert short.words == tuple(range(len(short.words)))
    assert len(short.words) + short.num_cut == len(words)
    pieces = tokenizer(words[: len(short.words)], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert short.labels[short.labels != IGNORED].tolist() == pieces


def test_many_sentences_are_as_one_by_one(tokenizer):
    many = list(mask_sentences(ALL, tokenizer, max_length=32, seed=5, batch_size=3))
    chosen = [(sentence.split(), choose_words(sentence, seed=5)) for sentence in ALL]
    single = [mask_words(words, hidden, tokenizer, 32) for words, hidden in chosen if hidden]
    assert 0 < len(single) < len(ALL)
    for left, right in zip(many, single, strict=True):
        assert np.array_equal(left.input_ids, right.input_ids)
        assert np.array_equal(left.labels, right.labels)
        assert (left.words, left.num_bytes, left.num_cut) == (right.words, right.num_bytes, right.num_cut)


def byte_level():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<mask>"], initial_alphabet=alphabet)
    backend.train_from_iterator(ALL, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>")


def word_piece():
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(ALL, trainers.WordPieceTrainer(vocab_size=500, special_tokens=["[UNK]", "[MASK]"]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", unk_token="[UNK]")


def without_pre_tokenizer():
    """Like Gemma and mmBERT: spaces become a marker, and text is not split at them."""
    backend = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.train_from_iterator(ALL, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<mask>"]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>", unk_token="<unk>")


@pytest.mark.parametrize("make", [byte_level, word_piece, without_pre_tokenizer])
def test_pieces_are_those_of_the_running_sentence(make):
    """Encoding word by word must not change the tokens, for any kind of tokenizer."""
    tokenizer = make()
    for sentence in ALL:
        masked = mask_words(sentence.split(), [], tokenizer, 1000)
        assert masked.input_ids.tolist() == tokenizer(sentence, add_special_tokens=False)["input_ids"]


def test_what_cannot_be_masked_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"share is 1.5; expected a number from 0 to 1"):
        choose_words("a", seed=0, share=1.5)
    with pytest.raises(ValueError, match="seed is -1; expected an integer from 0 to 18446744073709551615"):
        choose_words("a", seed=-1)
    with pytest.raises(ValueError, match="max_length is 2, which leaves no room"):
        mask_words(["a"], [0], tokenizer, 2)
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask token"):
        mask_words(["a"], [0], tokenizer, 10)
