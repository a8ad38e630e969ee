"""Backends are read by id, and every id in them is renumbered."""

from __future__ import annotations

import copy
import json
import time

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, processors

from hf_afro.vocabulary.tokenizers.backend import (
    backend_state,
    build_backend,
    correct_padding,
    plain_backend,
    read_table,
    rewrite_tokenizer,
    table_of,
)


def late_specials():
    """A Unigram backend whose special tokens come last, so that all of their ids move."""
    vocab = [(piece, -float(rank)) for rank, piece in enumerate("abcdefgh")]
    backend = Tokenizer(models.Unigram([*vocab, ("<unk>", 0.0), ("</s>", 0.0), ("<s>", 0.0)], unk_id=8))
    backend.add_special_tokens(["<unk>", "</s>", "<s>"])
    backend.add_tokens([AddedToken("[new]", normalized=False)])
    backend.enable_padding(pad_id=9, pad_token="</s>", length=6)
    return backend


KEPT = np.array([1, 3, 8, 9, 10, 11])


@pytest.mark.parametrize(
    "processor",
    [
        processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 10), ("</s>", 9)]),
        processors.RobertaProcessing(("</s>", 9), ("<s>", 10)),
        processors.BertProcessing(("</s>", 9), ("<s>", 10)),
        processors.Sequence([processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 10), ("</s>", 9)])]),
    ],
)
def test_every_id_is_renumbered(processor):
    backend = late_specials()
    backend.post_processor = processor
    state = json.loads(backend.to_str())
    before = copy.deepcopy(state)
    pruned = Tokenizer.from_str(json.dumps(rewrite_tokenizer(state, KEPT)))
    assert state == before
    for text in ("bd", "b[new]d", "bzd", ""):
        old, new = backend.encode(text), pruned.encode(text)
        assert new.tokens == old.tokens
        assert [int(KEPT[one]) for one in new.ids] == old.ids
    assert [pruned.id_to_token(one) for one in range(6)] == ["b", "d", "<unk>", "</s>", "<s>", "[new]"]
    assert pruned.padding["pad_id"] == 3


def test_the_table_is_by_id_and_holds_added_tokens(tokenizer):
    table = table_of(json.loads(late_specials().to_str()))
    assert table.pieces == (*"abcdefgh", "<unk>", "</s>", "<s>", "[new]")
    assert table.special_ids == (8, 9, 10, 11)
    assert table.unknown_id == 8
    assert np.isnan(table.scores[11])
    real = read_table(tokenizer)
    assert real.pieces == tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))


def test_the_fingerprint_forgets_padding_and_truncation(tokenizer):
    before = read_table(tokenizer).fingerprint
    tokenizer.backend_tokenizer.enable_truncation(5)
    tokenizer.backend_tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    assert read_table(tokenizer).fingerprint == before
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert read_table(tokenizer).fingerprint != before


def test_no_score_moves(tokenizer):
    """Scores like these change in the last place when the tokenizers library reads them from JSON."""
    state = backend_state(tokenizer)
    generator = np.random.default_rng(0)
    scores = -20 * generator.random(len(tokenizer))
    for entry, score in zip(state["model"]["vocab"], scores.tolist(), strict=True):
        entry[1] = score
    read = json.loads(Tokenizer.from_str(json.dumps(state)).to_str())
    assert read["model"] != state["model"]
    assert json.loads(build_backend(state).to_str()) == state
    tokenizer.backend_tokenizer.model = build_backend(state).model
    plain = json.loads(plain_backend(tokenizer).to_str())
    assert plain["model"] == state["model"]
    assert plain["added_tokens"] == state["added_tokens"]


def test_a_plain_backend_is_a_copy_without_limits(tokenizer):
    tokenizer.backend_tokenizer.enable_truncation(2)
    plain = plain_backend(tokenizer)
    assert len(plain.encode("Mwalimu aliwaambia wanafunzi").ids) > 2
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 2


def test_two_ids_of_one_piece_are_refused():
    state = json.loads(late_specials().to_str())
    state["model"]["vocab"][2] = ["a", -9.0]
    with pytest.raises(ValueError, match="the token 'a' has two ids"):
        table_of(state)


def test_a_tokenizer_without_unknown_token_is_refused():
    state = json.loads(late_specials().to_str())
    state["model"]["unk_id"] = None
    with pytest.raises(ValueError, match="no unknown token"):
        table_of(state)


def test_bytes_without_unknown_token_are_no_fallback_of_unigram():
    """The tokenizers library raises for a character without a piece where a Unigram model names no unknown piece."""
    vocab = [("a", -1.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    backend = Tokenizer(models.Unigram(vocab, unk_id=None, byte_fallback=True))
    with pytest.raises(Exception, match="`unk_id` is missing"):
        backend.encode("b")
    with pytest.raises(ValueError, match="no unknown token and does not spell all text in bytes"):
        table_of(json.loads(backend.to_str()), "a")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1401)]), 10),
        (processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 9)]), 10),
        (processors.RobertaProcessing(("</s>", 10), ("<s>", 10)), 9),
        (processors.BertProcessing(("</s>", 9), ("<s>", 1401)), 10),
        (processors.Sequence([processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 3)])]), 10),
        (processors.TemplateProcessing("<x> $A", special_tokens=[("<x>", 3)]), 8),
    ],
)
def test_ids_of_another_vocabulary_around_texts_are_refused(processor, expected):
    backend = late_specials()
    backend.post_processor = processor
    with pytest.raises(ValueError, match=f"around texts for .*, expected {expected}: it holds ids of another"):
        table_of(json.loads(backend.to_str()))


def test_a_token_that_is_not_there_may_be_the_unknown_one():
    """NLLB puts the language in front of texts, and the unknown token where its vocabulary has no such language."""
    backend = late_specials()
    backend.post_processor = processors.TemplateProcessing("swh_Latn $A", special_tokens=[("swh_Latn", 8)])
    assert len(table_of(json.loads(backend.to_str()))) == 12


def test_the_padding_gets_the_id_of_its_token(caplog):
    state = json.loads(late_specials().to_str())
    assert correct_padding(state) is state
    state["padding"]["pad_id"] = 1403
    corrected = correct_padding(state)
    assert corrected["padding"] == {**state["padding"], "pad_id": 9}
    assert "gives '</s>' the id 1403, which is another vocabulary's; its id 9 is used" in caplog.text
    assert Tokenizer.from_str(json.dumps(rewrite_tokenizer(corrected, KEPT))).padding["pad_id"] == 3
    state["padding"]["pad_token"] = "<pad>"
    with pytest.raises(ValueError, match="names '<pad>', which is not in its vocabulary"):
        correct_padding(state)


def test_gaps_between_added_tokens_are_refused():
    state = json.loads(late_specials().to_str())
    state["added_tokens"][-1]["id"] = 20
    with pytest.raises(ValueError, match="expected .* without gaps"):
        table_of(state)


def test_something_that_is_no_fast_tokenizer_is_refused():
    with pytest.raises(TypeError, match="received str"):
        backend_state("xlm-roberta-base")


def test_time_grows_with_the_vocabulary_and_not_with_its_square():
    seconds = {}
    for size in (2_000, 32_000):
        vocab = {"[UNK]": 0, **{f"p{index}": index for index in range(1, size)}}
        state = json.loads(Tokenizer(models.WordPiece(vocab, unk_token="[UNK]")).to_str())
        old_ids = np.arange(0, size, 2)
        taken = []
        for _ in range(5):
            start = time.process_time()
            rewrite_tokenizer(state, old_ids)
            taken.append(time.process_time() - start)
        seconds[size] = min(taken)
    assert seconds[32_000] < 100 * seconds[2_000]  # 16 by nature; 256 for a list that is searched
