"""Which lines hold something that reaches across a space."""

from __future__ import annotations

import json

import pytest

from hf_afro.vocabulary.words import CrossingLines, cuts_at_spaces


def state_of(tokenizer):
    return json.loads(tokenizer.backend_tokenizer.to_str())


def test_xlm_r_is_cut_at_spaces(tokenizer):
    assert cuts_at_spaces(state_of(tokenizer))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("pre_tokenizer", None),
        ("pre_tokenizer", {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}),
        ("pre_tokenizer", {"type": "ByteLevel"}),
        ("normalizer", {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Prepend"}]}),
    ],
)
def test_what_may_look_across_spaces_is_not(tokenizer, part, value):
    assert not cuts_at_spaces({**state_of(tokenizer), part: value})


@pytest.mark.parametrize(
    ("line", "crosses"),
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
        ("", False),
    ],
)
def test_lines_that_cross(tokenizer, line, crosses):
    lines = ["before", line, "after"]
    found = CrossingLines.of(state_of(tokenizer)).among(lines, f" {' '.join(lines)} ")
    # A line beside one that joins the space between them may be named too: that is safe.
    assert (1 in found) == crosses
    alone = CrossingLines.of(state_of(tokenizer)).among([line], f" {line} ")
    assert alone == ([0] if crosses else [])
