"""Tokenizers of every kind keep the promises of pruning, whichever tokens are kept."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings, strategies as st

from hf_afro.vocabulary import VocabularyMap, count_tokens, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.segmentation import compare_segmentation, probe_texts
from hf_afro.vocabulary.tensors import named_tensors
from hf_afro.vocabulary.tokenizers.backend import backend_state, kind_named, read_table
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.conftest import any_lines
from tests.vocabulary.kinds import EXAMPLES, LINES, model_for
from tests.vocabulary.test_counting import by_lines

SCRIPTS = ("Latin", "Ethiopic", "Arabic")
some_text = any_lines | st.lists(st.sampled_from(" ".join(LINES).split()), max_size=8).map(" ".join)


@functools.cache
def trained(name):
    """Return a tokenizer, its table, and its counts of the tests' sentences."""
    tokenizer = EXAMPLES[name].make()
    return tokenizer, read_table(tokenizer), count_tokens(SENTENCES, tokenizer)


@functools.cache
def random_keep(name, seed, share, scripts):
    """Return a tokenizer, the same cut to what must stay and a random share of the rest, and the map."""
    tokenizer, table, counts = trained(name)
    drawn = np.flatnonzero(np.random.default_rng(seed).random(len(table)) < share)
    extra = [table.pieces[index] for index in drawn]
    keep = select_tokens(counts, coverage=0.0, scripts=scripts, extra_tokens=extra)
    return tokenizer, prune_tokenizer(tokenizer, backend_state(tokenizer), keep), keep


keeps = st.tuples(
    st.sampled_from(sorted(EXAMPLES)),
    st.integers(0, 3),
    st.sampled_from((0.0, 0.1, 0.5, 0.9)),
    st.sampled_from((SCRIPTS, ("Latin",), ("Ethiopic",))),
)


@pytest.fixture(scope="module", params=EXAMPLES)
def name(request):
    return request.param


def test_the_kind_is_told_from_the_backend(name):
    tokenizer, table, _ = trained(name)
    assert table.kind == EXAMPLES[name].kind
    assert table.pieces == tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    assert table.unknown_id == tokenizer.unk_token_id


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(some_text, max_size=6), name=st.sampled_from(sorted(EXAMPLES)))
def test_any_text_is_counted_exactly(lines, name):
    tokenizer, *_ = trained(name)
    texts = {"a": lines, "swa": SENTENCES["swa"]}
    np.testing.assert_array_equal(count_tokens(texts, tokenizer).counts, by_lines(texts, tokenizer))


@settings(max_examples=40, deadline=None)
@given(which=keeps)
def test_ids_are_dense_and_each_is_the_piece_it_was(which):
    old, new, keep = random_keep(*which)
    assert sorted(new.get_vocab().values()) == list(range(len(keep)))
    assert new.convert_ids_to_tokens(range(len(keep))) == old.convert_ids_to_tokens(keep.old_ids.tolist())
    for token in ("pad", "unk", "mask", "cls", "sep", "bos", "eos"):
        before = getattr(old, f"{token}_token_id")
        assert getattr(new, f"{token}_token_id") == (None if before is None else keep.to_new([before])[0])


@settings(max_examples=300, deadline=None)
@given(which=keeps, text=some_text, other=some_text)
def test_text_whose_pieces_are_kept_is_split_and_read_back_alike(which, text, other):
    old, new, keep = random_keep(*which)
    assert compare_segmentation([text, other], old, new, keep).first_difference is None
    before = old(text, other)["input_ids"]
    if keep.keeps(before).all():
        after = new(text, other)["input_ids"]
        assert keep.to_old(after) == before
        assert new.decode(after) == old.decode(before)


@settings(max_examples=60, deadline=None)
@given(which=keeps, seed=st.integers(0, 99))
def test_text_spelt_in_kept_pieces_is_split_alike(which, seed):
    old, new, keep = random_keep(*which)
    table = trained(which[0])[1]
    assert compare_segmentation(probe_texts(table, keep.old_ids, seed), old, new, keep).first_difference is None
    spell = kind_named(table.kind).spell
    alone = [spell([table.pieces[one]]) for one in keep.old_ids.tolist()]
    result = compare_segmentation(alone, old, new, keep)
    assert result.first_difference is None
    assert result.kept > 0.5 * len(keep)


@settings(max_examples=200, deadline=None)
@given(which=keeps, text=some_text)
def test_no_wanted_character_becomes_unknown(which, text):
    old, new, keep = random_keep(*which)
    report = report_on_text({"any": [text]}, old, new, keep)["any"]
    assert report.new_unknown_wanted == 0


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(EXAMPLES)), budgets=st.tuples(st.integers(0, 400), st.integers(0, 400)))
def test_budgets_nest_and_every_choice_can_be_cut(name, budgets):
    tokenizer, table, counts = trained(name)
    needs = kind_named(table.kind).needs(table)
    least = len(select_tokens(counts, coverage=0.0, scripts=["Latin"]))
    small, large = (select_tokens(counts, least + one, scripts=["Latin"]) for one in sorted(budgets))
    assert set(small.old_ids) <= set(large.old_ids)
    assert len(small) <= least + min(budgets)
    for keep in (small, large):
        assert all(keep.keeps(list(needs(one))).all() for one in keep.old_ids.tolist() if needs(one))


def test_a_folder_read_back_is_the_original_cut(name, tmp_path):
    tokenizer, table, counts = trained(name)
    model = model_for(name, tokenizer)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    pruned = prune_vocabulary(model, tokenizer, keep)
    report = pruned.save_pretrained(tmp_path / "pruned")
    assert len(keep) < len(table)
    assert report.hidden_difference == 0.0
    assert report.logit_difference <= 1e-6
    assert report.texts_kept > 20
    assert report.tokenizer_classes[0] == EXAMPLES[name].loads_as
    old, new = named_tensors(model), named_tensors(pruned.model)
    for tensor in pruned.report.tensors:
        assert torch.equal(new[tensor], old[tensor][torch.from_numpy(keep.old_ids.copy())]), tensor
    assert {path.name for path in (tmp_path / "pruned").iterdir()} == {
        "config.json",
        "model.safetensors",
        "pruning_report.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary_map.json",
    }


def test_every_loader_gives_what_the_original_gives(name, tmp_path):
    tokenizer, *_ = trained(name)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    model = model_for(name, tokenizer)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    reloaded = hf.AutoModelForMaskedLM.from_pretrained(tmp_path / "pruned").eval()
    kept = torch.from_numpy(keep.old_ids.copy())
    for loader in (hf.AutoTokenizer, hf.PreTrainedTokenizerFast):
        new = loader.from_pretrained(tmp_path / "pruned")
        assert len(new) == len(keep)
        for line in [line for lines in AFRICAN.values() for line in lines]:
            before, after = (one(line, line, return_tensors="pt")["input_ids"] for one in (tokenizer, new))
            assert torch.equal(keep.to_old(after), before)
            assert new.decode(after[0], skip_special_tokens=True) == tokenizer.decode(
                before[0], skip_special_tokens=True
            )
        with torch.inference_mode():
            hidden, expected = reloaded.base_model(after)[0], model.base_model(before)[0]
            logits, full = reloaded(after).logits, model(before).logits
        assert torch.equal(hidden, expected)
        assert (logits - full[..., kept]).abs().max() <= 1e-6 * full.abs().max()


def test_keeping_everything_changes_nothing(name):
    tokenizer, table, _ = trained(name)
    everything = VocabularyMap(np.arange(len(table)), len(table), table.unknown_id, table.fingerprint)
    pruned = prune_tokenizer(tokenizer, backend_state(tokenizer), everything)
    assert pruned.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert vars(pruned).keys() == vars(tokenizer).keys()
    for attribute in ("_vocab", "_merges"):
        assert vars(pruned).get(attribute) == vars(tokenizer).get(attribute)


def test_counts_keep_all_that_selection_asks_for(name, tmp_path):
    _, _, counts = trained(name)
    counts.save(tmp_path / "counts.npz")
    read = type(counts).load(tmp_path / "counts.npz")
    assert select_tokens(read) == select_tokens(counts)
    np.testing.assert_array_equal(read.table.merges, counts.table.merges)
