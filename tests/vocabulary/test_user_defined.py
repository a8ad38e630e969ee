"""User-defined SentencePiece pieces, such as mT5's sentinels, are kept although they are no added tokens."""

from __future__ import annotations

import functools
import io
import json

import pytest
import sentencepiece
import torch
import transformers as hf

from hf_afro.vocabulary import count_tokens, prune_checkpoint, prune_vocabulary, select_tokens
from hf_afro.vocabulary.tokenizers.backend import backend_state, read_table
from hf_afro.vocabulary.tokenizers.unigram import BYTE_PIECES
from tests.texts import AFRICAN
from tests.vocabulary.kinds import LINES, unigram_with_bytes

USER_DEFINED = ["▁<extra_id_0>", "▁<extra_id_1>", "<extra_id_2>", "[entity]", "\n\n", "▁▁▁"]
CONTROL = ["<2swa>", "<2yor>"]
FILES = {"T5Tokenizer": "spiece.model", "NllbTokenizer": "sentencepiece.bpe.model"}


@functools.cache
def trained(kind):
    """Return a SentencePiece model; the letters of the pieces defined have pieces of their own, as in mC4's."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*LINES, *[" ".join("<>_[]0123456789ABCDEFx")] * 20]),
        model_writer=written,
        vocab_size=700,
        model_type=kind,
        byte_fallback=True,
        user_defined_symbols=USER_DEFINED,
        control_symbols=CONTROL,
        **{"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": 3, "num_threads": 1, "minloglevel": 2},
    )
    return written.getvalue()


def write_model(folder, name, kind, extra):
    """Write a folder as it is published: the model and settings, which may say that there are no extra tokens."""
    folder.mkdir()
    (folder / FILES.get(name, "tokenizer.model")).write_bytes(trained(kind))
    settings = {"tokenizer_class": name, "extra_ids": 0, "unk_token": "<unk>", "pad_token": "<pad>", **extra}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def added(tokenizer):
    return {token["content"] for token in backend_state(tokenizer)["added_tokens"]}


@pytest.mark.parametrize("extra", [{"additional_special_tokens": None}, {}], ids=["none added", "added"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("T5Tokenizer", "unigram"),
        ("PreTrainedTokenizerFast", "unigram"),
        ("NllbTokenizer", "bpe"),
        ("GemmaTokenizer", "bpe"),
        ("LlamaTokenizer", "bpe"),
        ("PreTrainedTokenizerFast", "bpe"),
    ],
)
def test_defined_pieces_stay_in_any_spelling(name, kind, extra, tmp_path):
    read = hf.AutoTokenizer.from_pretrained(write_model(tmp_path / "model", name, kind, extra))
    read.save_pretrained(tmp_path / "json")
    (tmp_path / "json" / FILES.get(name, "tokenizer.model")).unlink(missing_ok=True)
    for tokenizer in (read, hf.AutoTokenizer.from_pretrained(tmp_path / "json")):
        keep = select_tokens(count_tokens(AFRICAN, tokenizer), scripts=["Latin"], coverage=0.5)
        kept = set(tokenizer.convert_ids_to_tokens(keep.old_ids.tolist()))
        assert set(USER_DEFINED) | set(CONTROL) <= kept
        defined = keep.provenance["must_keep"].get("user_defined", 0)
        assert (defined > 0) == bool(set(USER_DEFINED) - added(tokenizer))
        assert defined <= len(USER_DEFINED) + len(CONTROL) + 2  # <s> and </s> are control pieces too


@pytest.mark.parametrize("low_memory", [False, True])
def test_a_pruned_model_has_its_sentinels(low_memory, tmp_path):
    settings = {"additional_special_tokens": None, "eos_token": "</s>"}
    folder = write_model(tmp_path / "mt5", "T5Tokenizer", "unigram", settings)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    assert not set(USER_DEFINED) & added(tokenizer)
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    model = hf.MT5ForConditionalGeneration(hf.MT5Config(vocab_size=len(tokenizer) + 12, **sizes, **ids))
    model.save_pretrained(folder)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), scripts=["Latin"], coverage=0.5)
    if low_memory:
        prune_checkpoint(folder, keep, tmp_path / "pruned")
    else:
        prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    pruned = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    pieces = pruned.tokenize("a <extra_id_0> a <extra_id_1>")
    assert [piece for piece in pieces if "extra" in piece] == ["▁<extra_id_0>", "▁<extra_id_1>"]


def test_pieces_of_bytes_that_nothing_falls_back_on_are_not_defined(tmp_path):
    folder = write_model(tmp_path / "mt5", "T5Tokenizer", "unigram", {"additional_special_tokens": None})
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    assert not read_table(tokenizer).byte_fallback  # the class has none
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), scripts=["Latin"], coverage=0.5)
    assert not BYTE_PIECES & set(tokenizer.convert_ids_to_tokens(keep.old_ids.tolist()))


def test_a_defined_piece_is_dropped_where_that_is_asked_for(tmp_path):
    folder = write_model(tmp_path / "mt5", "T5Tokenizer", "unigram", {"additional_special_tokens": None})
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    counts = count_tokens(AFRICAN, tokenizer)
    keep = select_tokens(counts, scripts=["Latin"], coverage=0.5, drop_tokens=["▁<extra_id_1>"])
    kept = set(tokenizer.convert_ids_to_tokens(keep.old_ids.tolist()))
    assert "▁<extra_id_1>" not in kept
    assert "▁<extra_id_0>" in kept


def test_scores_that_are_all_zero_mark_nothing():
    tokenizer = unigram_with_bytes()
    state = backend_state(tokenizer)
    state["model"]["vocab"] = [[piece, 0.0] for piece, _ in state["model"]["vocab"]]
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.5)
    assert "user_defined" not in keep.provenance["must_keep"]
