"""Byte-level BPE: the alphabet stays, and no merge is kept without its parts."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

from hf_afro.vocabulary import (
    VerificationError,
    VocabularyMap,
    count_tokens,
    prune_vocabulary,
    select_tokens,
    verify,
)
from hf_afro.vocabulary.tokenizers import byte_level, read_table, rewrite_tokenizer
from hf_afro.vocabulary.tokenizers.backend import table_of
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.kinds import model_for, roberta, state_of


@pytest.fixture(scope="module")
def tokenizer():
    return roberta()


def test_the_letters_are_those_of_the_library():
    assert set(byte_level.BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_level.BYTE_OF.values()) == list(range(256))
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str
    for text in (" ẹ̀kọ́\n", "ሀለ", "\x00\x7f\xad"):
        ((letters, _),) = split(text)
        assert byte_level.spell([letters]) == text


def test_pieces_are_read_as_the_text_of_their_bytes():
    (word, _), *_ = pre_tokenizers.ByteLevel(add_prefix_space=True).pre_tokenize_str("ሀለ")
    assert byte_level.bare_text(word) == "ሀለ"
    assert byte_level.bare_text("Ġ") == " "
    assert byte_level.bare_text(word[1:3]) == ""  # two of the three bytes of a character
    assert byte_level.bare_text("  ") == "  "  # an added token
    assert byte_level.spell([word, "<mask>", "Ġa", word[1:2]]) == " ሀለ<mask> a\ufffd"


def test_the_alphabet_and_all_that_pieces_are_merged_of_stay(tokenizer):
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.9)
    table = read_table(tokenizer)
    pieces = {table.pieces[one] for one in keep.old_ids}
    assert pieces >= set(pre_tokenizers.ByteLevel.alphabet())
    assert keep.provenance["must_keep"]["bytes"] == 256
    model = rewrite_tokenizer(state_of(tokenizer), keep.old_ids)["model"]
    merged = {a + b for a, b in model["merges"]}
    specials = {table.pieces[one] for one in table.special_ids}
    # Each piece longer than a letter can still be made, and every merge stands on kept pieces.
    assert {piece for piece in pieces if len(piece) > 1} - specials == merged
    assert {part for merge in model["merges"] for part in merge} <= pieces
    old_order = [tuple(merge) for merge in state_of(tokenizer)["model"]["merges"]]
    kept = [old_order.index(tuple(merge)) for merge in model["merges"]]
    assert kept == sorted(kept)


def test_any_text_can_still_be_written(tokenizer):
    keep = select_tokens(count_tokens({"swa": SENTENCES["swa"]}, tokenizer), coverage=0.5)
    pruned = prune_tokenizer(tokenizer, state_of(tokenizer), keep)
    for text in ("Учитель сказал", "漢字 ߒߞߏ \U0001f600", "\x00\u0378"):
        ids = pruned(text, add_special_tokens=False)["input_ids"]
        assert pruned.unk_token_id not in ids
        assert pruned.decode(ids) == text


def test_special_ids_move_in_class_and_template(tokenizer, tmp_path):
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    pruned = prune_vocabulary(model_for("roberta", tokenizer), tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    read = hf.RobertaTokenizerFast.from_pretrained(tmp_path / "pruned")
    assert state_of(read)["post_processor"]["sep"] == ["</s>", 2]
    assert read.mask_token_id == len(keep) - 1
    assert json.loads((tmp_path / "pruned" / "tokenizer_config.json").read_text())["add_prefix_space"] is False
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "pruned" / name).write_text("stale")
    pruned.save_pretrained(tmp_path / "pruned")
    assert not {"vocab.json", "merges.txt"} & {path.name for path in (tmp_path / "pruned").iterdir()}


def test_a_merge_that_got_lost_is_found(tokenizer, tmp_path):
    """Text that does not meet it is split as before, so that the texts tried alone need not show it."""
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    model = model_for("roberta", tokenizer)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    path = tmp_path / "pruned" / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state["model"]["merges"].pop()
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(VerificationError, match="the tokenizer's merges differ from the original"):
        verify(tmp_path / "pruned", model, tokenizer)


def test_sep_and_cls_of_roberta_s_template_are_renumbered(tokenizer):
    """With special tokens in the last places, where every cut moves them."""
    backend = Tokenizer.from_str(json.dumps(state_of(tokenizer)))
    backend.add_special_tokens(["[CLS]", "[SEP]"])
    state = json.loads(backend.to_str())
    last = len(tokenizer)
    state["post_processor"] |= {"cls": ["[CLS]", last], "sep": ["[SEP]", last + 1]}
    kept = np.array([0, 1, 2, 3, *range(4, 300), last - 1, last, last + 1])
    processor = rewrite_tokenizer(state, kept)["post_processor"]
    assert (processor["cls"], processor["sep"]) == (["[CLS]", 301], ["[SEP]", 302])


def test_a_map_that_keeps_a_piece_without_its_parts_is_refused(tokenizer):
    table = read_table(tokenizer)
    last = int(table.merges[-1, 0])
    whole = table.pieces.index("".join(table.pieces[one] for one in table.merges[-1]))
    assert len(table.pieces[last]) > 1
    old_ids = np.setdiff1d(np.arange(len(table)), [last])
    keep = VocabularyMap(old_ids, len(table), table.unknown_id, table.fingerprint)
    with pytest.raises(ValueError, match="from which it is merged"):
        prune_vocabulary(model_for("roberta", tokenizer), tokenizer, keep)
    assert whole in old_ids


def test_a_model_without_all_letters_is_refused(tokenizer):
    backend = Tokenizer(models.BPE({"a": 0, "b": 1, "<unk>": 2}, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    with pytest.raises(ValueError, match="lacks 254 of its 256 letters"):
        table_of(json.loads(backend.to_str()))


def test_a_tokenizer_that_names_no_unknown_token_needs_none(tokenizer):
    assert table_of(state_of(tokenizer)).unknown_id is None
    assert table_of(state_of(tokenizer), "<unk>").unknown_id == 3


def test_what_the_spaces_between_words_do_is_counted(tokenizer):
    """A space belongs to the word after it, so the words of a line cannot be counted one by one."""
    for shape in itertools.product(("", " ", "  "), ("a", "kitabu"), (" ", "  ", "\n")):
        text = "".join(shape) + "b"
        found = np.flatnonzero(count_tokens({"a": [text]}, tokenizer).counts[0])
        assert set(found) == set(tokenizer(text, add_special_tokens=False)["input_ids"])
