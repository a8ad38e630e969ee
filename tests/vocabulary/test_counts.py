"""Counts add up, are saved and loaded, and refuse what does not fit."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import pickle

import numpy as np
import pytest
from transformers import XLMRobertaTokenizer

from hf_afro.model_folders import COUNTS_FILE
from hf_afro.vocabulary import TextSize, TokenCounts, count_tokens
from tests.texts import SENTENCES


def parts_of(tokenizer):
    first = {language: lines[:3] for language, lines in SENTENCES.items()}
    second = {language: lines[3:] for language, lines in SENTENCES.items() if language != "rus"}
    return count_tokens(first, tokenizer), count_tokens(second, tokenizer), {"rus": SENTENCES["rus"][3:]}


def test_parts_add_up_in_either_order(tokenizer):
    first, second, rest = parts_of(tokenizer)
    whole = count_tokens(SENTENCES, tokenizer)
    third = count_tokens(rest, tokenizer)
    for merged in (
        first.merge(second).merge(third),
        third.merge(first.merge(second)),
        second.merge(third).merge(first),
    ):
        assert merged.languages == whole.languages
        assert merged.sizes == whole.sizes
        assert merged.fingerprint == whole.fingerprint
        np.testing.assert_array_equal(merged.counts, whole.counts)


def test_the_fingerprint_follows_the_counts(tokenizer):
    first, second, _ = parts_of(tokenizer)
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == parts_of(tokenizer)[0].fingerprint


def test_counts_of_another_tokenizer_do_not_merge(tokenizer, counts):
    other = XLMRobertaTokenizer(vocab=[("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0)])
    with pytest.raises(ValueError, match="different tokenizers"):
        counts.merge(count_tokens({"swa": ["a"]}, other))


def test_one_score_makes_another_tokenizer(tokenizer, counts):
    vocab = [(piece, score) for piece, score in zip(counts.table.pieces, counts.table.scores, strict=True)]
    vocab[10] = (vocab[10][0], vocab[10][1] - 1e-5)  # SentencePiece keeps scores in single precision
    other = count_tokens({"swa": ["a"]}, XLMRobertaTokenizer(vocab=vocab))
    assert other.table.pieces == counts.table.pieces
    assert other.table.fingerprint != counts.table.fingerprint


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda tokenizer: pickle.loads(pickle.dumps(tokenizer))])
def test_a_copy_is_the_same_tokenizer(tokenizer, counts, copied):
    other = count_tokens({"swa": ["a"]}, copied(tokenizer))
    assert other.table.fingerprint == counts.table.fingerprint
    assert counts.merge(other).total["swa"] == counts.total["swa"] + other.total["swa"]


def test_saved_counts_read_back_equal(counts, tmp_path):
    counts.save(tmp_path / "counts.npz")
    read = TokenCounts.load(tmp_path / "counts.npz")
    assert read.languages == counts.languages
    assert read.sizes == counts.sizes
    assert read.provenance == counts.provenance
    assert read.fingerprint == counts.fingerprint
    assert [item for item in tmp_path.iterdir()] == [tmp_path / "counts.npz"]
    for field in dataclasses.fields(counts.table):
        np.testing.assert_array_equal(getattr(read.table, field.name), getattr(counts.table, field.name))


def test_the_folder_that_the_command_wrote_is_read_as_its_file_is(counts, tmp_path):
    counts.save(tmp_path / COUNTS_FILE)
    assert TokenCounts.load(tmp_path).fingerprint == counts.fingerprint


@pytest.mark.parametrize("path", [".", "counts.npz"])
def test_counts_that_are_not_there_are_missed_by_what_was_expected(tmp_path, path):
    with pytest.raises(
        FileNotFoundError, match=r"counts\.npz does not exist; expected the folder that `hf-afro count` wrote, or its"
    ):
        TokenCounts.load(tmp_path / path)


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="holds no token counts"):
        TokenCounts.load(tmp_path / "other.npz")


@pytest.mark.parametrize("place", [0.25, 0.5, 0.75])
def test_a_damaged_file_is_refused(counts, tmp_path, place):
    file = tmp_path / "counts.npz"
    counts.save(file)
    content = bytearray(file.read_bytes())
    start = int(place * len(content))
    content[start : start + 64] = bytes(byte ^ 0xFF for byte in content[start : start + 64])
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"counts\.npz is damaged \(.*\); copy it again, or count again"):
        TokenCounts.load(file)


def test_counts_cannot_be_changed(counts):
    with pytest.raises(ValueError, match="read-only"):
        counts.counts[0, 0] = 1


def test_a_language_not_counted_is_named(counts):
    with pytest.raises(ValueError, match="no counts of 'xho'; counted were amh"):
        counts.of("xho")


def test_wrong_shapes_are_refused(counts):
    with pytest.raises(ValueError, match="counts have shape"):
        dataclasses.replace(counts, counts=counts.counts[:, :-1])


def test_merged_counts_tell_of_both_texts_in_whichever_order(tokenizer):
    """Each language's text is named; what is the same in both is said once."""

    def counted(language, origin):
        counts = count_tokens({language: SENTENCES[language]}, tokenizer)
        return dataclasses.replace(counts, provenance={"format": 1, "corpora": {language: {"origin": origin}}})

    parts = [counted("swa", "a/swa.txt"), counted("swa", "b/swa.txt"), counted("yor", "b/yor.txt")]
    merged = [functools.reduce(TokenCounts.merge, order).provenance for order in itertools.permutations(parts)]
    assert merged[0] == {
        "format": 1,
        "corpora": {"swa": [{"origin": "a/swa.txt"}, {"origin": "b/swa.txt"}], "yor": {"origin": "b/yor.txt"}},
    }
    assert all(one == merged[0] for one in merged)


def test_pooled_shares_by_hand(counts):
    """A language of 4 tokens and one of 16: at 0.5 their weights are 2 and 4; a third, without text, has none."""
    table = dataclasses.replace(counts.table, pieces=counts.table.pieces[:3], scores=counts.table.scores[:3])
    sizes = dict.fromkeys(("amh", "swa", "yor"), TextSize())
    rows = np.array([[4, 0, 0], [4, 12, 0], [0, 0, 0]])
    three = TokenCounts(("amh", "swa", "yor"), rows, sizes, table)
    np.testing.assert_allclose(three.pooled(0.5), [1 / 3 + 2 / 3 * 0.25, 2 / 3 * 0.75, 0])
    np.testing.assert_allclose(three.pooled(1), [8 / 20, 12 / 20, 0])
    np.testing.assert_allclose(three.pooled(0), [(1 + 0.25) / 2, 0.75 / 2, 0])
    assert three.pooled().sum() == pytest.approx(1)
    assert not TokenCounts(("yor",), rows[2:], {"yor": TextSize()}, table).pooled().any()
