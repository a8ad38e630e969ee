"""Lines are cut at spaces only for tokenizers and lines for which this is exact."""

from __future__ import annotations

import json

import pyarrow
import pytest
from tokenizers import AddedToken, Tokenizer

from hf_afro.vocabulary.tokenizers.word_cut import word_cut
from tests.vocabulary.kinds import EXAMPLES, state_of


def crosses(cut, line):
    return cut.crosses(pyarrow.array(["before", line, "after"])).to_pylist()[1]


def test_xlm_r_is_cut_at_spaces(tokenizer):
    cut = word_cut(state_of(tokenizer))
    assert cut is not None
    assert not cut.with_space


@pytest.mark.parametrize(
    ("name", "with_space"),
    [
        ("bert, cased", False),
        ("bert, lower", False),
        ("roberta", True),
        ("modernbert", True),
        ("gemma", True),
        ("unigram, bytes", False),
    ],
)
def test_every_kind_is_cut_at_spaces(name, with_space):
    cut = word_cut(state_of(EXAMPLES[name].make()))
    assert cut is not None
    assert cut.with_space == with_space


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("pre_tokenizer", None),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}),
        ("normalizer", {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Prepend"}]}),
    ],
)
def test_what_may_look_across_spaces_is_not(tokenizer, part, value):
    assert word_cut({**state_of(tokenizer), part: value}) is None


def test_a_normalizer_of_words_needs_white_space_to_be_dropped(normalizing_tokenizer):
    """XLM-R's makes spaces of other characters; a tokenizer that marks spaces would see them."""
    state = state_of(normalizing_tokenizer)
    assert word_cut(state) is not None
    marks = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    assert word_cut({**state, "pre_tokenizer": marks}) is None


def gemma_state():
    return state_of(EXAMPLES["gemma"].make())


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model["vocab"].pop("\u2581"),
        lambda model: model["merges"].append(["a", "\u2581k"]),
        lambda model: model.update(ignore_merges=True),
        lambda model: model.update(end_of_word_suffix="</w>"),
        lambda model: model.update(dropout=0.1),
    ],
)
def test_a_merge_across_spaces_forbids_to_cut(change):
    state = gemma_state()
    assert word_cut(state) is not None
    change(state["model"])
    assert word_cut(state) is None


def test_added_tokens_found_after_normalising_forbid_to_cut():
    """Of what is normalised otherwise than by NFC, or is no ASCII, the line does not tell whether it is in there."""

    def with_added(example, content):
        backend = Tokenizer.from_str(example.backend_tokenizer.to_str())
        backend.add_tokens([AddedToken(content, normalized=True)])
        return word_cut(json.loads(backend.to_str()))

    assert with_added(EXAMPLES["modernbert"].make(), "<url>") is not None
    assert with_added(EXAMPLES["modernbert"].make(), "é") is None
    assert with_added(EXAMPLES["bert, lower"].make(), "<url>") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mvua kubwa", False),
        ("wọ́n ka ìwé", False),  # marks inside a word join their own letter
        ("a \u0323b", True),
        ("\u0323b", True),
        ("b\u0323", False),
        ("a\u0600 b", True),
        ("a\u0600", True),
        ("\u0600a", True),  # a format character: it may join either way in another version of Unicode
        ("a \U0001f3fdb", True),
        ("a \U0001f600", False),
        ("a <mask> b", True),
        ("a<mask>b", True),
        ("a <masks b", False),
        ("a\n\u0323b", False),
        ("a  b ", False),
        ("", False),
    ],
)
def test_lines_that_cross(tokenizer, line, expected):
    assert crosses(word_cut(state_of(tokenizer)), line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mvua kubwa", False),
        ("a\tb", False),
        ("a  b", True),
        (" a", True),
        ("a ", True),
        ("a \tb", True),
        ("a\x1c b", True),
        ("a\u3000 b", True),
        ("a \u00a8", True),  # NFKC makes a space and a mark of it
        ("a \u2581b", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("name", ["roberta", "gemma", "unigram, bytes"])
def test_where_spaces_are_kept_they_must_stand_alone(name, line, expected):
    assert crosses(word_cut(state_of(EXAMPLES[name].make())), line) == expected


@pytest.mark.parametrize("sign", "\u212a\u037e\u1fef")
def test_what_nfc_makes_ascii_of_could_be_an_added_token(sign):
    assert crosses(word_cut(state_of(EXAMPLES["modernbert"].make())), f"a{sign}b")
