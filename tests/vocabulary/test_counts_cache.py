"""Counts found in the cache are those of counting anew; a stale or damaged file is never used."""

from __future__ import annotations

import copy
import logging
import shutil

import numpy as np
import pytest
from tokenizers import AddedToken

from hf_afro.corpora import TextSource
from hf_afro.vocabulary import count_tokens, count_with_cache, counts_cache
from hf_afro.vocabulary.counting import count_as_read
from tests.texts import SENTENCES


def sources(texts):
    return {language: TextSource(language, language, lambda own=own: iter(own)) for language, own in texts.items()}


@pytest.fixture
def calls(monkeypatch):
    """The languages that were counted, call by call."""
    counted = []

    def watched(texts, *args, **settings):
        counted.append(sorted(texts))
        return count_as_read(texts, *args, **settings)

    monkeypatch.setattr(counts_cache, "count_as_read", watched)
    return counted


def check(counts, texts, tokenizer):
    expected = count_tokens(texts, tokenizer)
    np.testing.assert_array_equal(counts.counts, expected.counts)
    assert (counts.languages, counts.sizes, counts.provenance) == (
        expected.languages,
        expected.sizes,
        expected.provenance,
    )
    assert counts.fingerprint == expected.fingerprint


def test_a_second_time_nothing_is_counted(tokenizer, tmp_path, calls):
    for _ in range(2):
        check(count_with_cache(sources(SENTENCES), tokenizer, tmp_path / "made"), SENTENCES, tokenizer)
    assert calls == [sorted(SENTENCES)]


def test_only_text_that_is_new_or_changed_is_counted(tokenizer, tmp_path, calls):
    texts = {"swa": SENTENCES["swa"], "yor": SENTENCES["yor"]}
    count_with_cache(sources(texts), tokenizer, tmp_path)
    texts = {"swa": SENTENCES["swa"], "yor": SENTENCES["yor"][:-1], "amh": SENTENCES["amh"]}
    check(count_with_cache(sources(texts), tokenizer, tmp_path), texts, tokenizer)
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
        check(count_with_cache(sources(texts), one, tmp_path), texts, one)
    assert len(calls) == 2


def test_another_version_finds_nothing(tokenizer, tmp_path, calls, monkeypatch):
    count_with_cache(sources(SENTENCES), tokenizer, tmp_path)
    monkeypatch.setattr(counts_cache, "_FORMAT", counts_cache._FORMAT + 1)
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
        check(count_with_cache(sources(texts), tokenizer, tmp_path), texts, tokenizer)
    assert calls == [["swa"]] * 2
    assert f"{file} is not used" in caplog.text


def test_counts_of_something_else_under_a_name_are_not_used(tokenizer, tmp_path, calls):
    count_with_cache(sources({"swa": SENTENCES["swa"]}), tokenizer, tmp_path / "a")
    count_with_cache(sources({"yor": SENTENCES["yor"]}), tokenizer, tmp_path / "b")
    (swahili,), (yoruba,) = ((tmp_path / name).iterdir() for name in "ab")
    shutil.copy(swahili, yoruba)
    texts = {"yor": SENTENCES["yor"]}
    check(count_with_cache(sources(texts), tokenizer, tmp_path / "b"), texts, tokenizer)
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
