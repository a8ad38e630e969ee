"""Hidden words: chosen from the text alone, hidden whole, unknown ones told apart."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from hf_afro.batching.collators import IGNORED
from hf_afro.batching.word_masks import choose_words, mask_sentences, mask_words
from tests.texts import SENTENCES

ALL = [sentence for sentences in SENTENCES.values() for sentence in sentences]


def test_the_choice_is_pinned():
    """Bits a byte of two papers compare only if they hide the same words."""
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
    """As Gemma and mmBERT have it: spaces become a mark, and nothing is split at them."""
    backend = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.train_from_iterator(ALL, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>", "<mask>"]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="<mask>", unk_token="<unk>")


@pytest.mark.parametrize("make", [byte_level, word_piece, without_pre_tokenizer])
def test_pieces_are_those_of_the_running_sentence(make):
    """Hiding word by word must not change how the text is split, in any family of tokenizers."""
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
