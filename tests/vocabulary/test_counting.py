"""Counting distinct words gives the counts of encoding every line, also from the cache."""

from __future__ import annotations

import copy
import logging
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_afro.corpora import TextSource
from hf_afro.vocabulary import count_tokens, count_with_cache, counting
from hf_afro.vocabulary.counting import ReadTokenizer, count_as_read, cut_lines, merge, weighted_texts
from hf_afro.vocabulary.tokenizers.word_cut import WordCut, word_cut
from tests.texts import SENTENCES
from tests.vocabulary.conftest import NASTY, any_lines
from tests.vocabulary.kinds import EXAMPLES, state_of


def by_lines(texts, tokenizer):
    """Count by definition: encode each line, without special tokens and truncation."""
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
    monkeypatch.setattr(counting, "_WORDS_A_TEXT", 2)
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
    """Compare 20 MB of distinct words with 5 MB, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURE_MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) < 8


SHORT_LINES = ["a b a", "b", "c  b", "", "a x"]
APART = WordCut("x", with_space=False)
WITH_SPACE = WordCut("x|  |^$", with_space=True)


def counted(words):
    assert len(set(words["word"].to_pylist())) == len(words)
    return dict(zip(words["word"].to_pylist(), words["count"].to_pylist(), strict=True))


def test_words_are_counted_and_crossing_lines_left_whole():
    words, whole, size = cut_lines(pyarrow.array(SHORT_LINES), APART)
    assert counted(words) == {"a": 2, "b": 3, "c": 1}
    assert whole == ["a x"]
    assert (size.lines, size.words, size.characters, size.utf8_bytes) == (5, 8, 13, 13)


def test_a_word_with_its_space_is_another_than_the_first_of_a_line():
    words, whole, size = cut_lines(pyarrow.array(SHORT_LINES), WITH_SPACE)
    assert counted(words) == {"a": 1, "b": 1, " b": 1, " a": 1}
    assert whole == ["c  b", "", "a x"]
    assert size.words == 8


def test_without_a_cut_all_lines_are_whole():
    words, whole, size = cut_lines(pyarrow.array(SHORT_LINES), None)
    assert len(words) == 0
    assert whole == SHORT_LINES
    assert size.words == 8


@pytest.mark.parametrize("cut", [APART, WITH_SPACE])
def test_merged_parts_are_the_whole(cut):
    parts = [
        cut_lines(pyarrow.array(part, pyarrow.string()), cut).words for part in (SHORT_LINES[:2], SHORT_LINES[2:], [])
    ]
    assert counted(merge(parts)) == counted(cut_lines(pyarrow.array(SHORT_LINES), cut).words)
    assert len(merge([])) == 0


@pytest.mark.parametrize("words_a_text", [1, 2, 256])
def test_texts_hold_every_word_with_its_count(monkeypatch, words_a_text):
    monkeypatch.setattr(counting, "_WORDS_A_TEXT", words_a_text)
    lines = pyarrow.array([line for lines in SENTENCES.values() for line in lines])
    words = cut_lines(lines, APART).words
    texts = list(weighted_texts(words, with_space=False))
    assert max(len(text.split(" ")) for text, _ in texts) <= words_a_text
    assert Counter({word: count for text, count in texts for word in text.split(" ")}) == counted(words)


def test_texts_keep_the_space_of_a_word_and_the_first_of_lines_apart():
    words = cut_lines(pyarrow.array(["a b c", "d"]), WITH_SPACE).words
    assert sorted(weighted_texts(words, with_space=True)) == [(" b c", 1), ("a", 1), ("d", 1)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_plain_sentences_are_all_cut(name):
    """Otherwise the tests of exactness would compare whole lines with whole lines."""
    lines = [line for language, lines in SENTENCES.items() for line in lines if line.isalpha() or " " in line]
    _, whole, _ = cut_lines(pyarrow.array(lines), word_cut(state_of(EXAMPLES[name].make())))
    assert len(whole) < len(lines) / 20


def sources(texts):
    return {language: TextSource(language, language, lambda own=own: iter(own)) for language, own in texts.items()}


@pytest.fixture
def calls(monkeypatch):
    """The languages that were counted, call by call."""
    counted = []

    def watched(texts, *args, **settings):
        counted.append(sorted(texts))
        return count_as_read(texts, *args, **settings)

    monkeypatch.setattr(counting, "count_as_read", watched)
    return counted


def check_equal(counts, texts, tokenizer):
    expected = count_as_read(texts, ReadTokenizer.read(tokenizer))
    np.testing.assert_array_equal(counts.counts, expected.counts)
    assert (counts.languages, counts.sizes, counts.provenance) == (
        expected.languages,
        expected.sizes,
        expected.provenance,
    )
    assert counts.fingerprint == expected.fingerprint


def test_a_second_time_nothing_is_counted(tokenizer, tmp_path, calls):
    for _ in range(2):
        check_equal(count_with_cache(sources(SENTENCES), tokenizer, tmp_path / "made"), SENTENCES, tokenizer)
    assert calls == [sorted(SENTENCES)]


def test_only_text_that_is_new_or_changed_is_counted(tokenizer, tmp_path, calls):
    texts = {"swa": SENTENCES["swa"], "yor": SENTENCES["yor"]}
    count_with_cache(sources(texts), tokenizer, tmp_path)
    texts = {"swa": SENTENCES["swa"], "yor": SENTENCES["yor"][:-1], "amh": SENTENCES["amh"]}
    check_equal(count_with_cache(sources(texts), tokenizer, tmp_path), texts, tokenizer)
    assert calls[1:] == [["amh", "yor"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.add_tokens(["ku"]),
        lambda one: setattr(one, "split_special_tokens", True),
        lambda one: one.backend_tokenizer.add_tokens([AddedToken("<mask>", normalized=False)]),  # lstrip no more
    ],
)
def test_another_tokenizer_finds_nothing(tokenizer, tmp_path, calls, change):
    other = copy.deepcopy(tokenizer)
    change(other)
    texts = {"swa": ["wa ku <mask> ku"]}
    for one in (tokenizer, other):
        check_equal(count_with_cache(sources(texts), one, tmp_path), texts, one)
    assert len(calls) == 2


def test_another_version_finds_nothing(tokenizer, tmp_path, calls, monkeypatch):
    count_with_cache(sources(SENTENCES), tokenizer, tmp_path)
    monkeypatch.setattr(counting, "_FORMAT", counting._FORMAT + 1)
    count_with_cache(sources(SENTENCES), tokenizer, tmp_path)
    assert len(calls) == 2


def overwritten(place, content):
    middle = int(place * len(content))
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 32]) + content[middle + 32 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no archive",
        lambda content: content[:-30],
        *(lambda content, place=place: overwritten(place, content) for place in (0, 0.25, 0.5, 0.75)),
    ],
)
def test_a_damaged_file_is_counted_anew_and_mended(tokenizer, tmp_path, calls, caplog, damage):
    texts = {"swa": SENTENCES["swa"]}
    count_with_cache(sources(texts), tokenizer, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        check_equal(count_with_cache(sources(texts), tokenizer, tmp_path), texts, tokenizer)
    assert calls == [["swa"]] * 2
    assert f"{file} is not used" in caplog.text


def test_counts_of_something_else_under_a_name_are_not_used(tokenizer, tmp_path, calls):
    count_with_cache(sources({"swa": SENTENCES["swa"]}), tokenizer, tmp_path / "a")
    count_with_cache(sources({"yor": SENTENCES["yor"]}), tokenizer, tmp_path / "b")
    (swahili,), (yoruba,) = ((tmp_path / name).iterdir() for name in "ab")
    shutil.copy(swahili, yoruba)
    texts = {"yor": SENTENCES["yor"]}
    check_equal(count_with_cache(sources(texts), tokenizer, tmp_path / "b"), texts, tokenizer)
    assert len(calls) == 3


def test_text_that_changes_while_it_is_counted_is_not_cached(tokenizer, tmp_path, caplog):
    lines = ["habari ya leo"]
    source = TextSource("swa", "swa", lambda: iter(list(lines)))
    assert source.fingerprint
    lines.append("wa ku")
    counts = count_with_cache({"swa": source}, tokenizer, tmp_path)
    assert counts.sizes["swa"].lines == 2
    assert "the text of swa changed while it was counted" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_log_says_how_many_were_found(tokenizer, tmp_path, caplog):
    texts = {"swa": SENTENCES["swa"], "yor": SENTENCES["yor"]}
    with caplog.at_level(logging.INFO):
        count_with_cache(sources({"swa": texts["swa"]}), tokenizer, tmp_path)
        count_with_cache(sources(texts), tokenizer, tmp_path)
    assert "1 of 2 languages are in the cache" in caplog.text


def test_no_text_is_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="at least one language"):
        count_with_cache({}, tokenizer, tmp_path)
