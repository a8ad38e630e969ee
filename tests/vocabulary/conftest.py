"""Counts, a selection of tokens and a pruned model for the tests' sentences, and text that is hard to count."""

from __future__ import annotations

import io

import pytest
import sentencepiece
from hypothesis import strategies
from sentencepiece import sentencepiece_model_pb2
from transformers import XLMRobertaTokenizer

from hf_afro.vocabulary import count_tokens, prune_vocabulary, select_tokens
from tests.texts import AFRICAN, SENTENCES

# Characters at which splitting, normalising or joining words could go wrong.
NASTY = [
    *" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0",  # white space to Python, to Unicode, or to one of them
    "\r\n",
    *"\u1680\u2002\u2028\u2029\u202f\u205f\u3000",
    *"\u200b\u200c\u200d\ufeff\u00ad\u2060",  # no width
    *"\u0323\u0301\u0300\u0308\u0903\u0e33\u064b\u20e3\ufe0f\u1dc4",  # marks that join what stands before
    *"\u0600\u06dd\u070f\U000110bd",  # prepended signs, which join what stands after
    *"\u00a8\u00b4\u037a\ufdfa\u2026\uff0c\u00bd\u2474\ufb01\u210c\u03d2",  # NFKC makes several of one, or spaces
    *"\u1100\u1161\u11a8\uac00\uac01",  # Hangul, in parts and whole
    *"\U0001f468\U0001f3fd\U0001f1f3\U0001f1ec\u2764\u00a9",  # emoji, skin tone, flags
    *"\u2581\x00\x01\x7f\x8f\x9f\ufffd\ufffe\U000e0001\U0010ffff\u0378",
    "<s>", "</s>", "<mask>", "<unk>", "<pad>", "<",
    *"aeiouksmAEẹọṣ.,1",
    *"ሀመን።", *"ابسم", "kitabu", "ńlá",
]  # fmt: skip
nasty_lines = strategies.lists(strategies.sampled_from(NASTY), max_size=14).map("".join)
any_lines = strategies.text(max_size=20) | nasty_lines


@pytest.fixture(scope="session")
def normalizing_tokenizer():
    """A tokenizer of XLM-R's class with XLM-R's normaliser, nmt_nfkc, whose rules SentencePiece carries with it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for lines in SENTENCES.values() for line in lines]),
        model_writer=model,
        vocab_size=400,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    pieces = [(piece.piece, piece.score) for piece in proto.pieces[3:]]  # SentencePiece's own specials come first
    specials = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer = XLMRobertaTokenizer(
        vocab=[*specials, *pieces, ("<mask>", 0.0)],
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
    )
    assert tokenizer.backend_tokenizer.normalizer.normalize_str("½\x0b\u00a0a") == "1⁄2 a"
    return tokenizer


@pytest.fixture
def counts(tokenizer):
    return count_tokens(AFRICAN, tokenizer)


@pytest.fixture
def keep(counts):
    return select_tokens(counts)


@pytest.fixture
def pruned(model, tokenizer, keep):
    return prune_vocabulary(model, tokenizer, keep)
