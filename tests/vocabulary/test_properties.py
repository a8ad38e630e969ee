"""Pruned folders keep the promises for random texts, tokenizers and selections."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast, XLMRobertaForMaskedLM

from hf_afro.vocabulary import count_tokens, measure_coverage, prune_vocabulary, report_on_text, select_tokens
from hf_afro.vocabulary.segmentation import compare_segmentation
from hf_afro.vocabulary.tokenizers.backend import kind_named, read_table
from tests.conftest import tiny_config, trained_tokenizer
from tests.vocabulary.conftest import NASTY
from tests.vocabulary.kinds import EXAMPLES, LINES, model_for
from tests.vocabulary.test_counting import by_lines

# Letters, marks and digits by script; those of Africa, some to be dropped, and some that no tokenizer here has seen.
ALPHABETS = {
    "Latin": "abcdefghijklmnopqrstuvwxyzẹọṣɓɗƙƴŋɛɔǃǁꞌʼńàéîüABCÀẸ",
    "Ethiopic": "ሀለሐመሠረሰሸቀበተቸኅነኘአከኸወዐዘዠየደጀገጠጨጰጸፀፈፐ።፡፩",
    "Arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهويڠپ٠١،؟ًُِ",
    "Nko": "ߊߋߌߍߎߏߐߓߔߕߖߗߘߙߚ߀߁߫",
    "Adlam": "𞤀𞤁𞤂𞤢𞤣𞤤𞥀𞥐",
    "Tifinagh": "ⴰⴱⴳⴷⴹⵯ",
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Han": "漢字中文人大學",
    "Hangul": "한국어말글가나다",
}
word = st.sampled_from(" ".join(LINES).split())
letters = st.sampled_from(sorted(ALPHABETS)).flatmap(lambda script: st.text(ALPHABETS[script], min_size=1, max_size=9))
piece_of_line = word | letters | st.sampled_from(NASTY) | st.text(max_size=4)
line = st.lists(piece_of_line, max_size=8).map(" ".join) | st.lists(piece_of_line, max_size=5).map("".join)
text = st.lists(line, max_size=5)


class Choice(NamedTuple):
    """What is asked of select_tokens; shares are of what can be had."""

    coverage: float
    smoothing: float
    scripts: tuple[str, ...] | None
    keep_characters: bool
    budget_share: float | None
    extra: tuple[int, ...]
    drop: tuple[int, ...]


choices = st.builds(
    Choice,
    coverage=st.sampled_from((0.0, 0.5, 0.9, 0.9995, 1.0)),
    smoothing=st.sampled_from((0.0, 0.3, 1.0)),
    scripts=st.none() | st.lists(st.sampled_from(sorted(ALPHABETS)), max_size=3, unique=True).map(tuple),
    keep_characters=st.booleans(),
    budget_share=st.none() | st.floats(0, 1),
    extra=st.lists(st.integers(0, 10_000), max_size=3).map(tuple),
    drop=st.just(()) | st.lists(st.integers(0, 10_000), min_size=1, max_size=3).map(tuple),
)
corpora = st.dictionaries(st.sampled_from(("swa", "amh", "yor", "xx-none")), text, min_size=1, max_size=3)


@functools.cache
def example(name: str):
    """Return a tokenizer, its table and a model for it."""
    if name == "xlm-roberta":
        tokenizer = trained_tokenizer()
        torch.manual_seed(0)
        model = XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    else:
        tokenizer = EXAMPLES[name].make()
        model = model_for(name, tokenizer)
    return tokenizer, read_table(tokenizer), model


def choose(counts, table, choice: Choice):
    """Select as asked, dropping only what may be dropped."""
    needs = kind_named(table.kind).needs(table)
    given = {
        "coverage": choice.coverage,
        "smoothing": choice.smoothing,
        "scripts": choice.scripts,
        "keep_characters": choice.keep_characters,
        "extra_tokens": [table.pieces[one % len(table)] for one in choice.extra],
    }
    must = set(select_tokens(counts, **{**given, "coverage": 0.0}).old_ids.tolist())
    free = [one for one in range(len(table)) if one not in must]
    drop = {free[one % len(free)] for one in choice.drop} if free else set()
    given["drop_tokens"] = [table.pieces[one] for one in drop]
    everything = select_tokens(counts, **{**given, "coverage": 1.0})
    budget = None
    if choice.budget_share is not None:
        budget = len(must) + round(choice.budget_share * (len(everything) - len(must)))
    keep = select_tokens(counts, budget, **given)

    kept = set(keep.old_ids.tolist())
    assert must <= kept <= set(everything.old_ids.tolist()) | must
    assert not drop & kept
    assert budget is None or len(keep) <= budget
    assert all(set(needs(one)) <= kept for one in kept)
    below = [
        code
        for code, one in measure_coverage(counts, keep.old_ids, floor=choice.coverage).items()
        if not one.reaches_floor
    ]
    assert keep.provenance["below_floor"] == below
    smallest = keep.provenance["smallest_budget"]
    if smallest is None:
        assert drop
    else:
        assert (len(keep) < smallest) == bool(below)
    return keep


def embedding_in(file: Path, model) -> torch.Tensor:
    """Return the input embedding out of a safetensors file, under whichever of its tied names it was saved."""
    embedding = model.get_input_embeddings().weight
    names = {name for name, one in model.named_parameters(remove_duplicate=False) if one is embedding}
    (rows,) = (tensor for name, tensor in load_file(file).items() if name in names)
    return rows


def holds(name: str, counted: dict[str, list[str]], choice: Choice, unseen: list[str]) -> None:
    """Count, select, prune, save, read back, and hold the result against the promises of the design."""
    tokenizer, table, model = example(name)
    counted = {code: [*lines, "na"] for code, lines in counted.items()}  # a language without tokens is refused
    counts = count_tokens(counted, tokenizer)
    np.testing.assert_array_equal(counts.counts, by_lines(counted, tokenizer))
    keep = choose(counts, table, choice)
    with tempfile.TemporaryDirectory() as folder:
        # Verifies rows, ties, pieces, settings, how text is split, hidden states and logits of what is on disk.
        report = prune_vocabulary(model, tokenizer, keep).save_pretrained(Path(folder) / "pruned")
        loaded = [
            loader.from_pretrained(Path(folder) / "pruned") for loader in (AutoTokenizer, PreTrainedTokenizerFast)
        ]
        rows = embedding_in(Path(folder) / "pruned" / "model.safetensors", model)
    old_ids = torch.from_numpy(keep.old_ids.copy())
    assert report.hidden_difference == 0.0
    assert report.logit_difference <= 1e-6
    assert torch.equal(rows, model.get_input_embeddings().weight[old_ids])
    lines = [one for own in counted.values() for one in own] + unseen
    for new in loaded:
        assert max(max(ids, default=0) for ids in new(lines)["input_ids"]) < len(keep) == len(new)
        assert compare_segmentation(lines, tokenizer, new, keep).first_difference is None
    if choice.keep_characters and not choice.drop:
        assert report_on_text({"any": lines}, tokenizer, loaded[0], keep)["any"].new_unknown_wanted == 0


names = st.sampled_from(["xlm-roberta", *sorted(EXAMPLES)])
anything = {"name": names, "counted": corpora, "choice": choices, "unseen": text}
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(unhurried, max_examples=25)
@given(**anything)
def test_the_promises_hold(name, counted, choice, unseen):
    holds(name, counted, choice, unseen)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@settings(unhurried, max_examples=2500, database=None)
@given(**anything)
def test_the_promises_hold_ten_thousand_times(part, name, counted, choice, unseen):
    """In parts, so that processes share them; each draws its own cases."""
    holds(name, counted, choice, unseen)
