"""Counting by distinct words equals encoding every whole line, whatever the text."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_afro.vocabulary import count_tokens, counting, distinct_words
from hf_afro.vocabulary.words import word_cut
from tests.texts import SENTENCES
from tests.vocabulary.conftest import NASTY, any_lines
from tests.vocabulary.kinds import EXAMPLES, state_of


def by_lines(texts, tokenizer):
    """Count as the definition says: encode each line, no special tokens, nothing cut off."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    rows = []
    for language in sorted(texts):
        encodings = backend.encode_batch(list(texts[language]), add_special_tokens=False)
        ids = [token for encoding in encodings for token in encoding.ids]
        rows.append(np.bincount(ids, minlength=len(tokenizer)))
    return np.stack(rows)


def test_counts_equal_those_of_whole_lines(tokenizer):
    counts = count_tokens(SENTENCES, tokenizer)
    assert counts.languages == tuple(sorted(SENTENCES))
    np.testing.assert_array_equal(counts.counts, by_lines(SENTENCES, tokenizer))
    assert counts.total == {language: int(counts.of(language).sum()) for language in SENTENCES}


def test_the_text_is_measured(tokenizer):
    size = count_tokens({"swa": ["ab  cd", "", " é "]}, tokenizer).sizes["swa"]
    assert (size.lines, size.words, size.characters, size.utf8_bytes) == (3, 3, 9, 10)


ADDED = ["wa", "ku", "a ku", "k", ";", "`", "  ", "\u2581", "ya.", "é"]
"""Contents of added tokens that occur in words, across them, after normalising or as marks of spaces."""


def with_added(tokenizer, added):
    """Return a tokenizer of the same backend with more added tokens."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.add_tokens(added)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=tokenizer.unk_token, pad_token=tokenizer.pad_token
    )


@pytest.fixture(scope="module", params=["_tokenizer", "normalizing_tokenizer", *EXAMPLES])
def one_tokenizer(request):
    return EXAMPLES[request.param].make() if request.param in EXAMPLES else request.getfixturevalue(request.param)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(any_lines, max_size=8))
def test_any_text_is_counted_exactly(one_tokenizer, lines):
    assert word_cut(state_of(one_tokenizer)) is not None
    texts = {"a": lines}
    np.testing.assert_array_equal(count_tokens(texts, one_tokenizer).counts, by_lines(texts, one_tokenizer))


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(any_lines | st.lists(st.sampled_from([*ADDED, " ", "a", "ha"])).map("".join), max_size=8),
    added=st.lists(
        st.builds(
            AddedToken,
            st.sampled_from(ADDED),
            single_word=st.booleans(),
            lstrip=st.booleans(),
            rstrip=st.booleans(),
            normalized=st.booleans(),
            special=st.booleans(),
        ),
        max_size=2,
    ),
)
def test_any_text_with_any_added_token_is_counted_exactly(one_tokenizer, lines, added):
    texts = {"a": lines}
    odd = with_added(one_tokenizer, added)
    np.testing.assert_array_equal(count_tokens(texts, odd).counts, by_lines(texts, odd))


def test_every_pair_of_nasty_characters_is_counted_exactly(one_tokenizer):
    """Between letters, at the ends of words and across spaces."""
    shapes = ("a{}{}b", "a {}{} b", "a{} {}b", "{}{}", " {} {} ")
    texts = {repr(one): [shape.format(one, two) for two in NASTY for shape in shapes] for one in NASTY}
    np.testing.assert_array_equal(count_tokens(texts, one_tokenizer).counts, by_lines(texts, one_tokenizer))


@pytest.mark.parametrize(("block", "words"), [(1, 1), (7, 3), (50, 2)])
def test_blocks_and_flushes_do_not_change_a_count(tokenizer, monkeypatch, block, words):
    texts = {**SENTENCES, "odd": ["a \u0323b <mask> c", "x\u0600 y", "\u0301 z"] * 5}
    expected = by_lines(texts, tokenizer)
    monkeypatch.setattr(counting, "_BLOCK_CHARACTERS", block)
    monkeypatch.setattr(counting, "_HELD_BYTES", words)
    monkeypatch.setattr(distinct_words, "_WORDS_A_TEXT", 2)
    monkeypatch.setattr(counting, "_TEXTS_A_BATCH", 2)
    np.testing.assert_array_equal(count_tokens(texts, tokenizer).counts, expected)


def test_a_line_that_arrow_cannot_hold_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(counting, "_LONGEST_LINE", 5)
    with pytest.raises(ValueError, match="line 2 of 'swa' has 6 characters; expected 5 at most"):
        count_tokens({"swa": ["a", "habari"]}, tokenizer)


def test_a_generator_is_read_once(tokenizer):
    counts = count_tokens({"swa": (line for line in SENTENCES["swa"])}, tokenizer)
    np.testing.assert_array_equal(counts.counts, by_lines({"swa": SENTENCES["swa"]}, tokenizer))


def test_truncation_and_padding_neither_matter_nor_change(tokenizer):
    expected = count_tokens(SENTENCES, tokenizer).counts
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50, pad_id=1, pad_token="<pad>")
    before = tokenizer.backend_tokenizer.to_str()
    np.testing.assert_array_equal(count_tokens(SENTENCES, tokenizer).counts, expected)
    assert tokenizer.backend_tokenizer.to_str() == before


def with_backend(tokenizer, change):
    """Return a generic tokenizer whose backend was changed."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    change(backend)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")


def metaspace(scheme, split=True):
    return pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=split)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: setattr(b, "pre_tokenizer", metaspace("always", split=False)),
        lambda b: setattr(
            b, "pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("first")])
        ),
        lambda b: setattr(b, "normalizer", normalizers.Replace("i k", "u")),
        lambda b: setattr(b, "normalizer", normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("a")])),
        lambda b: b.add_tokens([AddedToken("a na", normalized=True)]),
        lambda b: b.add_tokens([AddedToken("wa wa", normalized=False)]),
        lambda b: b.add_tokens([AddedToken("ku", normalized=False, single_word=True)]),
        lambda b: b.add_tokens([AddedToken("ya", normalized=False, lstrip=True, rstrip=True)]),
        lambda b: setattr(b, "normalizer", normalizers.NFC()),
        lambda b: setattr(b, "normalizer", None),
    ],
)
def test_a_tokenizer_that_looks_across_spaces_is_counted_exactly(tokenizer, change):
    odd = with_backend(tokenizer, change)
    texts = {**SENTENCES, "odd": ["wa wa ku ya ", " ya ku", "a naa na ku,ku"]}
    np.testing.assert_array_equal(count_tokens(texts, odd).counts, by_lines(texts, odd))


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({}, ValueError, "at least one language"),
        ({"swa": "habari"}, TypeError, "expected an iterable of lines"),
        ({"swa": ["habari", b"ya"]}, TypeError, "line 2 of 'swa' is a bytes"),
    ],
)
def test_what_is_no_text_is_refused(tokenizer, texts, error, message):
    with pytest.raises(error, match=message):
        count_tokens(texts, tokenizer)


def test_a_lone_surrogate_is_refused_by_name(tokenizer):
    with pytest.raises(ValueError, match=r"'swa' holds the lone surrogate '\\ud800'"):
        count_tokens({"swa": ["a \ud800 b"]}, tokenizer)


def test_an_error_while_tokenising_reaches_the_caller(tokenizer, monkeypatch):
    def fail(*_):
        raise OSError("no more memory")

    monkeypatch.setattr(counting._Counter, "_tokenise", fail)
    with pytest.raises(OSError, match="no more memory"):
        count_tokens({"swa": ["habari"], "yor": ["bawo"]}, tokenizer)


def test_no_bar_unless_asked(tokenizer, capfd):
    count_tokens({"swa": ["habari"]}, tokenizer)
    assert capfd.readouterr().err == ""
    count_tokens({"swa": ["habari"]}, tokenizer, show_progress=True)
    shown = capfd.readouterr().err
    assert "7.00B" in shown
    assert "B/s, swa]" in shown
    count_tokens({"swa": ["habari"]}, tokenizer, show_progress=True, text_bytes={"swa": 7, "yor": 5})
    assert "7.00/7.00" in capfd.readouterr().err


@pytest.fixture(scope="module")
def real_tokenizer(shared_data):
    return AutoTokenizer.from_pretrained(shared_data / "xlm-roberta-base")


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(lines=st.lists(any_lines, min_size=30, max_size=120))
def test_any_text_is_counted_exactly_by_the_real_tokenizer(real_tokenizer, lines):
    texts = {"a": lines}
    np.testing.assert_array_equal(count_tokens(texts, real_tokenizer).counts, by_lines(texts, real_tokenizer))


@pytest.mark.slow
def test_real_text_is_counted_exactly(real_tokenizer, shared_data):
    texts = {}
    for language in ("afr", "wol", "ara", "rus", "zho"):
        text = (shared_data / "corpora" / f"{language}.txt").read_text(encoding="utf-8")
        texts[language] = text.split("\n")
    for path in (shared_data / "udhr").glob("*.txt"):
        texts[f"udhr {path.stem}"] = path.read_text(encoding="utf-8").split("\n")
    np.testing.assert_array_equal(count_tokens(texts, real_tokenizer).counts, by_lines(texts, real_tokenizer))


MEASURE_MEMORY = """
import itertools, resource
from hf_afro.vocabulary import count_tokens, counting
from tests.vocabulary.kinds import EXAMPLES

counting._BLOCK_CHARACTERS, counting._HELD_BYTES = 100_000, 200_000
tokenizer = EXAMPLES["bert, cased"].make()

def peak_after(lines):
    words = (f"{number:x}" * 12 for number in itertools.count(10**4))  # ever new ones, and long
    text = (" ".join(itertools.islice(words, 10)) for _ in range(lines))
    assert count_tokens({"swa": text}, tokenizer).sizes["swa"].words == 10 * lines
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB

little = peak_after(8_000)
print((peak_after(32_000) - little) / 1024)
"""


def test_memory_does_not_grow_with_the_text():
    """Twenty MB of words that all differ beside five, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 8
