"""New words and new scripts in every kind of tokenizer: what they change, and that nothing else is split otherwise."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import regex
import torch
from hypothesis import given, settings, strategies
from tokenizers import AddedToken, Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from hf_afro.vocabulary import extend_vocabulary
from hf_afro.vocabulary.new_tokens import OldTokenizer, _beginning, _learn_merges, _learnt, _winning_score
from hf_afro.vocabulary.tokenizers import TokenizerTable
from tests.texts import SENTENCES
from tests.vocabulary.conftest import NASTY
from tests.vocabulary.kinds import EXAMPLES, model_for
from tests.vocabulary.test_extending import NKO, TIFINAGH, lines_of

LINES = [line for lines in SENTENCES.values() for line in lines]
VAI = [chr(code) for code in range(0xA500, 0xA530)]
ADLAM = [chr(code) for code in range(0x1E922, 0x1E944)]
LETTERS = {"Nko": NKO, "Tifinagh": TIFINAGH, "Vai": VAI, "Adlam": ADLAM}
KINDS = ["bert, lower", "roberta", "modernbert", "gemma", "unigram, bytes"]
BPE = ["roberta", "modernbert", "gemma"]


@pytest.fixture(scope="module")
def made():
    return {name: EXAMPLES[name].make() for name in KINDS}


def extended(name, tokenizer, script, **settings):
    """The tokenizer with new words of the sentences, or with a script."""
    model = model_for(name, tokenizer)
    if script is None:
        return extend_vocabulary(model, tokenizer, LINES * 2, 120)
    lines = lines_of(LETTERS[script])
    return extend_vocabulary(model, tokenizer, lines, 160, scripts=[script], shared_bytes=True, **settings)


@pytest.fixture(scope="module")
def with_new(made):
    """Every kind with new words (script None) and with each script."""
    return {(name, script): extended(name, made[name], script) for name in KINDS for script in (None, *LETTERS)}


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def texts_with(words):
    """Words and their parts, joined, spaced and among characters that are hard for tokenizers."""
    parts = [*words, *(word[: len(word) // 2] for word in words), *NASTY, *" " * 20, "<0x0A>", "(", "'s", "12"]
    return strategies.lists(strategies.sampled_from(parts), max_size=14).map("".join) | strategies.text(max_size=20)


@pytest.mark.parametrize("script", [None, *LETTERS])
@pytest.mark.parametrize("name", BPE)
def test_a_bpe_tokenizer_joins_tokens_of_the_old_split_and_changes_nothing_else(made, with_new, name, script):
    old, new = made[name], with_new[name, script].tokenizer
    parts_of = OldTokenizer.of(old).spelt_by()
    replaced = {len(old) + at: parts_of(piece) for at, piece in enumerate(with_new[name, script].pieces)}
    assert all(len(parts) >= 2 for parts in replaced.values())
    words = [word for line in (LINES if script is None else lines_of(LETTERS[script], 5)) for word in line.split()]

    @settings(max_examples=150, deadline=None)
    @given(texts_with(words))
    def check(text):
        found = [part for one in ids_of(new, text) for part in replaced.get(one, [one])]
        assert found == ids_of(old, text)

    check()


@pytest.mark.parametrize("script", [None, *LETTERS])
@pytest.mark.parametrize("name", ["bert, lower", "unigram, bytes"])
def test_other_text_is_split_as_before(made, with_new, name, script):
    old, new, pieces = made[name], with_new[name, script].tokenizer, with_new[name, script].pieces
    bare = [piece.removeprefix("##").removeprefix("\u2581") for piece in pieces]
    letters = set(LETTERS.get(script, ()))
    split = 0

    @settings(max_examples=150, deadline=None)
    @given(texts_with([word for line in LINES for word in line.split()]))
    def check(text):
        nonlocal split
        shown = new.backend_tokenizer.normalizer
        shown = text if shown is None else shown.normalize_str(text)
        if script is None and any(word in shown for word in bare):
            return
        if not letters & set(shown):
            split += 1
            assert ids_of(new, text) == ids_of(old, text)

    check()
    assert split > 20


@pytest.mark.parametrize("name", KINDS)
def test_every_new_word_is_one_token_and_longer_words_are_as_documented(made, with_new, name):
    old, new, pieces = made[name], with_new[name, None].tokenizer, with_new[name, None].pieces
    for at, piece in enumerate(pieces):
        text = new.decode([len(old) + at])
        assert ids_of(new, text)[-1:] == [len(old) + at], piece
        assert len(ids_of(old, text)) >= 2
    words = {new.decode([len(old) + at]).strip() for at in range(len(pieces))}
    first = {ids_of(new, f"a {word}")[-1] for word in words}  # behind a space, where most words stand
    for word in sorted(words):
        inside = f"a x{word} x{word}s"
        assert ids_of(new, inside) == ids_of(old, inside), "a new word inside or at the end of a longer word"
        if name in BPE:
            longer = f"a {word}qx ({word}qx"
            assert ids_of(new, longer) == ids_of(old, longer)
    if name == "bert, lower":
        word = next(one for one in sorted(words) if one.isascii())
        assert ids_of(new, f"{word}mu")[0] in first


def test_the_words_that_save_most_come_first(made):
    """A word that occurs n times and had k tokens saves n (k - 1)."""
    tokenizer = made["roberta"]
    counts = {" kitabukipya": 3, " nyumbayangu": 9, " maji": 2, " kesho": 1}
    saved = {word: (len(ids_of(tokenizer, word)) - 1) * n for word, n in counts.items() if n > 1}
    lines = ["." + word for word, n in counts.items() for _ in range(n)]
    found = extend_vocabulary(model_for("roberta", tokenizer), tokenizer, lines, 2)
    best = sorted((word for word in saved if saved[word]), key=lambda word: (-saved[word], word))[:2]
    assert [found.tokenizer.decode([len(tokenizer) + at]) for at in range(2)] == best
    tokens = sum(len(ids_of(tokenizer, line)) for line in lines)
    assert found.old_tokens_per_word == tokens / (2 * len(lines))
    assert found.new_tokens_per_word == (tokens - sum(saved[word] for word in best)) / (2 * len(lines))


@pytest.mark.parametrize("script", [None, *LETTERS])
@pytest.mark.parametrize("name", KINDS)
def test_rows_specials_and_the_reloaded_folder(made, with_new, name, script, tmp_path):
    old, new = made[name], with_new[name, script]
    assert new.new_tokens_per_word < new.old_tokens_per_word or (
        name == "bert, lower" and script
    )  # <unk> is one per word
    assert new.tokenizer.special_tokens_map == old.special_tokens_map
    assert new.tokenizer.all_special_ids == old.all_special_ids
    assert new.tokenizer.model_input_names == old.model_input_names
    assert new.tokenizer.convert_ids_to_tokens(range(len(old))) == old.convert_ids_to_tokens(range(len(old)))
    assert new.tokenizer.convert_ids_to_tokens(range(len(old), len(new.tokenizer))) == list(new.pieces)
    before = model_for(name, old).get_input_embeddings().weight.shape[0]
    table = new.model.get_input_embeddings().weight
    assert len(table) == new.model.config.vocab_size == max(before, len(new.tokenizer))
    parts_of = OldTokenizer.of(old).spelt_by()
    spelt = [at for at, piece in enumerate(new.pieces) if parts_of(piece)]
    assert len(spelt) == new.from_pieces
    assert len(spelt) == (len(new.pieces) if script is None or name in BPE else 0) or name == "unigram, bytes"
    for at in spelt[:40]:
        torch.testing.assert_close(table[len(old) + at], table[parts_of(new.pieces[at])].mean(0))
    new.save_pretrained(tmp_path / "new")
    loaded, model = (
        AutoTokenizer.from_pretrained(tmp_path / "new"),
        AutoModelForMaskedLM.from_pretrained(tmp_path / "new"),
    )
    mask = old.mask_token
    for text in [*LINES[:8], *lines_of(LETTERS.get(script, NKO), 3), f"kitabu {mask} kipya.", f"a{mask}b"]:
        batch = loaded([text, "maji"], padding=True, return_tensors="pt")
        expected = new.tokenizer([text, "maji"], padding=True)
        assert batch["input_ids"].tolist() == expected["input_ids"]
        assert batch.keys() == expected.keys()
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch).logits, new.model.eval()(**batch).logits)


def test_a_piece_inside_a_word_is_spelt_by_the_pieces_inside(made):
    tokenizer = made["bert, lower"]
    parts_of = OldTokenizer.of(tokenizer).spelt_by()
    assert tokenizer.convert_ids_to_tokens(parts_of("##bz")) == ["##b", "##z"]
    assert tokenizer.convert_ids_to_tokens(parts_of("bz")) == ["b", "##z"]
    assert parts_of("##\u07ca") == []


def test_a_wordpiece_vocabulary_in_which_a_word_could_become_unknown_is_refused(made):
    state = json.loads(made["bert, lower"].backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    assert "##z" in vocab
    vocab["##zz"] = vocab.pop("##z")
    broken = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="[UNK]")
    with pytest.raises(ValueError, match="the vocabulary lacks ##z"):
        extend_vocabulary(model_for("bert, lower", broken), broken, LINES * 2, 10)


def test_bytes_of_a_letter_that_other_characters_share_are_joined_on_request_only(made):
    tokenizer = made["roberta"]
    model = model_for("roberta", tokenizer)
    for script, message in (
        ("Adlam", "begin with the bytes F0 9E, as do .* from U.1E000 to U.1EEF1"),
        ("Tifinagh", "begin with the bytes E2 B4, as do 40 other characters from U.2D00 to U.2D2D"),
    ):
        with pytest.raises(ValueError, match=message):
            extend_vocabulary(model, tokenizer, lines_of(LETTERS[script]), 160, scripts=[script])
    for script in ("Vai", "Nko"):  # these fill their blocks
        extend_vocabulary(model, tokenizer, lines_of(LETTERS[script]), 160, scripts=[script])


@pytest.mark.parametrize(("script", "shared"), [("Nko", ()), ("Vai", ()), ("Adlam", range(0x1E000, 0x1F000))])
@pytest.mark.parametrize("name", ["roberta", "modernbert"])
def test_no_other_character_is_split_otherwise(made, with_new, name, script, shared):
    """Over all characters of the first two planes, each behind a space and behind a letter."""
    old, new = made[name], with_new[name, script].tokenizer
    letters = {*LETTERS[script], *shared_letters(script)}
    others = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000 and code not in shared]
    others = [one for one in others if one not in letters]
    for start in range(0, len(others), 500):
        text = "".join(f" {one}a{one}" for one in others[start : start + 500])
        assert ids_of(new, text) == ids_of(old, text)


def shared_letters(script):
    """The characters of the script's blocks, which its text may hold."""
    blocks = {"Nko": range(0x7C0, 0x800), "Vai": range(0xA500, 0xA640), "Adlam": range(0x1E900, 0x1E960)}
    return map(chr, blocks[script])


def test_characters_that_begin_with_bytes():
    assert _beginning(b"\xe2\xb5") == [chr(code) for code in [*range(0x2D40, 0x2D68), 0x2D6F, 0x2D70, 0x2D7F]]
    found = _beginning(b"\xf0\x9e\xa4")
    assert found == [chr(code) for code in range(0x1E900, 0x1E940)]


def test_a_frequent_word_without_longer_forms_is_learnt():
    """Only what different characters follow is a candidate, which the ends of lines alone do not give."""
    words = Counter({"▁አዲስ": 50, "▁ማታ": 31, "▁ከትምህርት": 20, "▁ላይ": 1})
    learnt = {piece for piece, _ in _learnt(words, 50, regex.compile(r"\p{Script=Ethiopic}"))}
    assert {"▁አዲስ", "▁ማታ", "▁ከትምህርት"} <= learnt
    assert "▁ላይ" not in learnt


def test_merges_are_learnt_by_frequency():
    """The pair (a, b) occurs 5 + 2 times; then (ab, c) 5 times and (c, d) 4 times; x may not be joined."""
    words = [(list("abc"), 5), (list("cd"), 4), (list("abx"), 2)]
    assert _learn_merges(words, 2, 2, lambda *pair: "x" not in pair) == [("a", "b"), ("ab", "c")]
    assert words[0][0] == ["abc"]
    words = [(list("abc"), 5), (list("cd"), 4), (list("abx"), 2), (list("ef"), 1)]
    every = _learn_merges(words, None, 2, lambda *_: True)
    assert every == [("a", "b"), ("ab", "c"), ("c", "d"), ("ab", "x")]
    overlapping = [(list("aaaaa"), 2)]
    assert _learn_merges(overlapping, 1, 2, lambda *_: True) == [("a", "a")]
    assert overlapping[0][0] == ["aa", "aa", "a"]


def test_a_new_word_wins_by_its_score_and_the_lowest_score_stays():
    table = TokenizerTable(
        "Unigram", ("<unk>", "\u2581a", "b", "c", "<0x41>"), np.array([0.0, -1.0, -2.0, -4.0, 0.0]), 0, (0,), True, "f"
    )
    assert _winning_score(table, [1, 2]) == pytest.approx(-3.0 + 2e-4, abs=1e-12)
    assert _winning_score(table, [2, 3]) == -4.0
    assert _winning_score(table, [1, 4]) == -4.0


def test_nothing_to_add_and_tokens_that_would_be_looked_up_are_refused(made):
    tokenizer = made["roberta"]
    model = model_for("roberta", tokenizer)
    with pytest.raises(ValueError, match="no word that occurs twice in the texts is split"):
        extend_vocabulary(model, tokenizer, ["kitabu"], 5)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"]["\u0120qzqzq"] = len(state["model"]["vocab"])
    hidden = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), pad_token="<pad>")
    with pytest.raises(ValueError, match="1 tokens that its merges do not give, such as \u0120qzqzq"):
        extend_vocabulary(model, hidden, LINES * 2, 5)
    alone = EXAMPLES["bert, lower"].make()
    alone.add_tokens([AddedToken("kitabu", single_word=True)])
    with pytest.raises(ValueError, match=r"'kitabu' are matched as whole words only \(single_word\)"):
        extend_vocabulary(model_for("bert, lower", alone), alone, LINES * 2, 5)
