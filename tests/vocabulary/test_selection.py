"""Every language stays covered, budgets nest, and required tokens are kept."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from hf_afro.vocabulary import TextSize, TokenCounts, count_tokens, measure_coverage, select_tokens
from hf_afro.vocabulary.selection import wanted_scripts
from hf_afro.vocabulary.tokenizers.table import TokenizerTable
from tests.texts import SENTENCES

# 4 specials, then 60 pieces of two letters (no single characters), <mask> last; the lowest score is at id 50.
PIECES = ("<s>", "<pad>", "</s>", "<unk>", *(f"{a}{b}" for a in "abcdef" for b in "klmnopqrst"), "<mask>")


def table(pieces=PIECES):
    scores = np.array([0.0 if piece.startswith("<") else -float(rank) for rank, piece in enumerate(pieces)])
    scores[50] = -1000.0
    return TokenizerTable("Unigram", pieces, scores, 3, (0, 1, 2, 3, len(pieces) - 1), False, "fingerprint")


def made_up(**rows):
    """Return counts with the given {id: count} by language."""
    languages = tuple(sorted(rows))
    counts = np.zeros((len(languages), len(PIECES)), dtype=np.int64)
    for row, language in zip(counts, languages, strict=True):
        for index, count in rows[language].items():
            row[index] = count
    return TokenCounts(languages, counts, {language: TextSize(1, 1, 1, 1) for language in languages}, table())


BIG = {index: 10_000 - 100 * index for index in range(10, 50)}
SMALL = {index: 60 - index for index in range(30, 60)}


def choose(counts, budget=None, **settings):
    return select_tokens(counts, budget, keep_characters=False, scripts=("Latin",), **settings)


def test_some_languages_of_the_counts():
    counts = made_up(big=BIG, small=SMALL)
    only = counts.only(["small"])
    assert only.languages == ("small",)
    assert only.total == {"small": counts.total["small"]}
    assert choose(only).old_ids.tolist() == choose(made_up(small=SMALL)).old_ids.tolist()
    with pytest.raises(ValueError, match="no counts of 'tiny'; counted were big, small"):
        counts.only(["small", "tiny"])


def test_texts_to_keep_need_their_tokenizer(tokenizer, normalizing_tokenizer):
    counts = count_tokens({"amh": SENTENCES["amh"]}, tokenizer)
    text = SENTENCES["swa"][0]
    wanted = {piece: tokenizer.get_vocab()[piece] for piece in tokenizer.tokenize(text)}
    keep = select_tokens(counts, keep_texts=[text], tokenizer=tokenizer)
    assert keep.keeps(list(wanted.values())).all()
    assert not select_tokens(counts).keeps(list(wanted.values())).all()
    assert keep.provenance["must_keep"]["texts"] == len(wanted)
    again = select_tokens(counts, keep_texts=(one for one in [text]), tokenizer=tokenizer)
    assert again.provenance["keep_texts"] == keep.provenance["keep_texts"]
    assert keep.provenance["keep_texts"]["texts"] == 1
    long = max(wanted, key=len)
    with pytest.raises(ValueError, match=r"drop_tokens would drop what must be kept \(texts\)"):
        select_tokens(counts, keep_texts=[text], tokenizer=tokenizer, drop_tokens=[long])
    with pytest.raises(ValueError, match="keep_texts needs the tokenizer that splits them"):
        select_tokens(counts, keep_texts=[text])
    with pytest.raises(ValueError, match="is not that of the counts"):
        select_tokens(counts, keep_texts=[text], tokenizer=normalizing_tokenizer)
    with pytest.raises(ValueError, match="keep_texts is one str, 'query: '; expected an iterable of texts"):
        select_tokens(counts, keep_texts="query: ")


def test_without_a_budget_each_language_just_reaches_the_floor():
    keep = choose(made_up(big=BIG, small=SMALL), coverage=0.9)
    report = keep.provenance["coverage"]
    assert report["big"]["coverage"] >= 0.9
    assert report["small"]["coverage"] >= 0.9
    assert keep.provenance["below_floor"] == []
    assert len(keep) == keep.provenance["smallest_budget"]


def test_the_smallest_budget_named_is_the_smallest():
    counts = made_up(big=BIG, small=SMALL)
    smallest = choose(counts, 30, coverage=0.95).provenance["smallest_budget"]
    assert choose(counts, smallest, coverage=0.95).provenance["below_floor"] == []
    assert choose(counts, smallest - 1, coverage=0.95).provenance["below_floor"]


def test_a_small_language_is_not_starved_by_a_big_one():
    counts = made_up(big=BIG, small=SMALL)
    keep = choose(counts, 26, coverage=0.95)
    coverage = {name: one["coverage"] for name, one in keep.provenance["coverage"].items()}
    # 20 of 59 pieces: both fare alike; by pooled frequency the small one would keep nothing of its own.
    assert abs(coverage["big"] - coverage["small"]) < 0.06
    pooled = np.sort(np.argsort(-counts.counts.sum(axis=0), kind="stable")[:20])
    assert measure_coverage(counts, pooled)["small"].coverage < coverage["small"] / 1.5


def test_below_the_floor_is_said_and_with_strict_refused(caplog):
    counts = made_up(big=BIG, small=SMALL)
    with caplog.at_level(logging.WARNING):
        keep = choose(counts, 20, coverage=0.95)
    assert "big, small below the coverage floor of 95.0000%" in caplog.text
    assert str(keep.provenance["smallest_budget"]) in caplog.text
    with pytest.raises(ValueError, match="the smallest budget that would do is"):
        choose(counts, 20, coverage=0.95, strict=True)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.integers(4, 62), st.integers(1, 1000), min_size=1), min_size=1, max_size=4),
    budgets=st.tuples(st.integers(6, 70), st.integers(6, 70)),
    coverage=st.floats(0, 1),
    smoothing=st.floats(0, 1),
)
def test_budgets_nest_and_hold(rows, budgets, coverage, smoothing):
    counts = made_up(**{f"language{number}": row for number, row in enumerate(rows)})
    small, large = sorted(budgets)
    settings = {"coverage": coverage, "smoothing": smoothing}
    first, second = choose(counts, small, **settings), choose(counts, large, **settings)
    assert len(first) <= small
    assert len(second) <= large
    assert set(first.old_ids) <= set(second.old_ids)
    assert {0, 1, 2, 3, 50, 64} <= set(first.old_ids)
    floor = choose(counts, **settings)
    assert all(one["coverage"] >= coverage - 1e-12 for one in floor.provenance["coverage"].values())
    assert (len(floor) <= large) == (second.provenance["below_floor"] == [])
    assert set(floor.old_ids) <= set(second.old_ids) or len(floor) > large


def test_the_rest_goes_by_smoothed_frequency():
    counts = made_up(big={10: 9000, 11: 600, 12: 400}, small={20: 90, 21: 6, 22: 4})
    taken = {alpha: set(choose(counts, 9, coverage=0.0, smoothing=alpha).old_ids) for alpha in (0.0, 1.0)}
    assert {10, 11, 12} <= taken[1.0]
    assert {10, 20} <= taken[0.0]


def test_specials_stay_in_their_places_and_the_order_is_the_old_one(counts):
    keep = select_tokens(counts, 300)
    assert keep.old_ids[:4].tolist() == [0, 1, 2, 3]
    assert keep.old_ids[-1] == len(counts.table) - 1
    assert counts.table.pieces[keep.old_ids[-1]] == "<mask>"
    assert np.all(np.diff(keep.old_ids) > 0)


def test_one_piece_of_the_lowest_score_stays():
    assert 50 in choose(made_up(big={10: 5})).old_ids
    counts = made_up(big={10: 5, 12: 3})
    scores = counts.table.scores.copy()
    scores[[11, 12]] = -1000.0  # three share the lowest; the one seen stays
    keep = choose(dataclasses.replace(counts, table=dataclasses.replace(counts.table, scores=scores)), coverage=0.0)
    assert keep.old_ids.tolist() == [0, 1, 2, 3, 12, 64]


def test_byte_pieces_stay_where_bytes_are_fallen_back_on():
    pieces = (*PIECES[:40], *(f"<0x{byte:02X}>" for byte in range(256)), "<mask>")
    bytes_table = dataclasses.replace(table(pieces), byte_fallback=True)
    counts = np.zeros((1, len(pieces)), dtype=np.int64)
    counts[0, 10] = 1
    keep = choose(TokenCounts(("a",), counts, {"a": TextSize()}, bytes_table))
    assert set(range(40, 296)) <= set(keep.old_ids)
    assert keep.provenance["must_keep"]["bytes"] == 256


def test_characters_of_the_languages_scripts_stay(counts):
    pieces = {counts.table.pieces[index] for index in select_tokens(counts).old_ids}
    assert select_tokens(counts).provenance["scripts"] == ["Arabic", "Ethiopic", "Latin"]
    dropped = [piece for piece in counts.table.pieces if piece not in pieces]
    cyrillic = {piece for piece in counts.table.pieces if "\u0400" <= piece[-1] <= "\u04ff"}
    assert cyrillic
    assert cyrillic <= set(dropped)
    assert all(len(piece.lstrip("\u2581")) > 1 or piece in cyrillic for piece in dropped)


def test_scripts_of_a_language_outside_the_table_come_from_the_standard(tokenizer):
    """Of Tigre that is its script though the text has none of it; of Fanti nothing is told, and the text decides."""
    latin, cyrillic = ["Habari ya asubuhi"], ["Привет мир"]
    counts = count_tokens({"tig": latin}, tokenizer)
    assert select_tokens(counts).provenance["scripts"] == ["Ethiopic"]
    counts = count_tokens({"fat": cyrillic}, tokenizer)
    assert "Ethiopic" not in select_tokens(counts).provenance["scripts"]
    assert select_tokens(counts).provenance["scripts"] == list(wanted_scripts(counts))


def test_scripts_may_be_spelt_as_people_do(counts):
    kept = {name: select_tokens(counts, scripts=[name]) for name in ("Ethiopic", "Ethi", "ge'ez")}
    assert [keep.provenance["scripts"] for keep in kept.values()] == [["Ethiopic"]] * 3
    assert len({len(keep) for keep in kept.values()}) == 1


def test_scripts_of_an_unknown_language_are_those_of_its_text(tokenizer):
    counts = count_tokens({"xx-made-up": SENTENCES["rus"], "swa": SENTENCES["swa"]}, tokenizer)
    assert "Cyrillic" in select_tokens(counts).provenance["scripts"]
    assert "Ethiopic" not in select_tokens(counts).provenance["scripts"]


def test_extra_tokens_are_kept_or_refused():
    counts = made_up(big={10: 5})
    assert 40 in choose(counts, extra_tokens=[PIECES[40]]).old_ids
    with pytest.raises(ValueError, match="not in the vocabulary: 'zz'"):
        choose(counts, extra_tokens=["zz"])
    with pytest.raises(ValueError, match="is one str"):
        choose(counts, extra_tokens="ak")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 5}, "does not hold the 6 tokens that must be kept"),
        ({"budget": 0}, "budget is a number of tokens"),
        ({"budget": 60.5}, "budget is a number of tokens"),
        ({"coverage": 99.95}, "share of running tokens"),
        ({"smoothing": -1}, "exponent from 0 to 1"),
    ],
)
def test_impossible_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        choose(made_up(big={10: 5}), **settings)


def test_a_script_that_does_not_exist_is_refused(counts):
    with pytest.raises(ValueError, match="'Klingon' is not a Unicode script"):
        select_tokens(counts, scripts=["Latin", "Klingon"])


def test_an_empty_language_is_refused():
    with pytest.raises(ValueError, match="no tokens were counted for small"):
        choose(made_up(big={10: 5}, small={}))


def test_a_language_of_unknown_tokens_only_is_reported_not_waited_for():
    report = choose(made_up(big={10: 5}, odd={3: 7})).provenance["coverage"]["odd"]
    assert report["unknown_rate"] == 1.0
    assert report["reaches_floor"]


def test_the_report_counts_right():
    counts = made_up(big={10: 80, 11: 15, 3: 5}, small={10: 1, 20: 3})
    report = choose(counts, 8, coverage=0.5).provenance["coverage"]
    assert report["big"]["running_tokens"] == 100
    assert report["big"]["unknown_rate"] == 0.05
    assert report["big"]["coverage"] == 80 / 100
    assert report["big"]["reaches_floor"]
    assert report["small"] | {"tokens_per_word": 4.0} == report["small"]
    assert report["small"]["coverage"] == 1.0
    assert report["small"]["kept_for_it_alone"] == 1
    assert report["big"]["kept_for_it_alone"] == 0


def test_the_curve_ends_at_the_choice_and_rises(counts):
    keep = select_tokens(counts)
    curve = keep.provenance["curve"]
    assert curve["budgets"][-1] == len(keep)
    for language, points in curve["coverage"].items():
        assert points == sorted(points)
        assert points[-1] == pytest.approx(keep.provenance["coverage"][language]["coverage"], abs=1e-6)


def test_dropped_tokens_are_not_kept_however_often_they_occur():
    counts = made_up(big=BIG, small=SMALL)
    keep = choose(counts, coverage=0.5, drop_tokens=[PIECES[10]])
    assert 10 not in keep.old_ids
    assert keep.provenance["coverage"]["big"]["coverage"] >= 0.5
    assert keep.provenance["dropped"] == 1
    assert 10 in choose(counts, coverage=0.5).old_ids


def test_a_floor_that_dropping_makes_unreachable_is_said_not_sought_for_ever():
    counts = made_up(big={10: 90, 11: 5, 12: 5}, small={20: 4, 21: 4})
    keep = choose(counts, coverage=0.5, drop_tokens=[PIECES[10]])
    assert keep.provenance["below_floor"] == ["big"]
    assert keep.provenance["smallest_budget"] is None
    assert {11, 12} <= set(keep.old_ids.tolist())
    assert keep.provenance["coverage"]["small"]["reaches_floor"]
    with pytest.raises(
        ValueError, match="big below the coverage floor of 50.0000%; no budget would do, because of drop_"
    ):
        choose(counts, coverage=0.5, drop_tokens=[PIECES[10]], strict=True)


def test_of_two_pieces_of_the_lowest_score_one_can_be_dropped():
    counts = made_up(big={50: 7, 51: 3})
    counts.table.scores[51] = counts.table.scores[50]
    assert 50 in choose(counts, coverage=0.0).old_ids  # seen more often
    keep = choose(counts, coverage=0.0, drop_tokens=[PIECES[50]])
    assert 51 in keep.old_ids
    assert 50 not in keep.old_ids
    with pytest.raises(ValueError, match="what must be kept \\(lowest_score\\)"):
        choose(counts, coverage=0.0, drop_tokens=[PIECES[50], PIECES[51]])


def test_single_characters_can_be_dropped(counts):
    plain = {counts.table.pieces[one] for one in select_tokens(counts).old_ids.tolist()}
    characters = sorted(piece for piece in plain if len(piece) == 1 and piece.isalpha())[:3]
    assert len(characters) == 3
    kept = {counts.table.pieces[one] for one in select_tokens(counts, drop_tokens=characters).old_ids.tolist()}
    assert not kept & set(characters)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop_tokens": ["zz"]}, "not in the vocabulary: 'zz'; drop_tokens are spelt"),
        ({"drop_tokens": "ak"}, "drop_tokens is one str"),
        ({"drop_tokens": ["<unk>"]}, "what must be kept \\(special\\): '<unk>'"),
        ({"drop_tokens": ["ak"], "extra_tokens": ["ak"]}, "what must be kept \\(extra\\): 'ak'"),
        ({"drop_tokens": [PIECES[50]]}, "what must be kept \\(lowest_score\\)"),
    ],
)
def test_what_cannot_be_dropped_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        choose(made_up(big={10: 5}), **settings)


def test_with_no_script_the_characters_of_all_scripts_stay(counts):
    kept = {counts.table.pieces[one] for one in select_tokens(counts, coverage=0.0, scripts=()).old_ids.tolist()}
    assert {"\u2581", "."} <= kept
    assert "a" not in kept
    without = select_tokens(counts, coverage=0.0, scripts=(), keep_characters=False)
    assert len(without) < len(kept)
