"""Tokenizers are pruned in memory and from a folder without building them whole, and saved for every loader."""

from __future__ import annotations

import io
import json
import logging

import numpy as np
import pytest
import sentencepiece
import transformers as hf
from hypothesis import HealthCheck, given, settings, strategies as st

from hf_afro.vocabulary import (
    count_tokens,
    prune_checkpoint,
    prune_vocabulary,
    pruning,
    select_tokens,
)
from hf_afro.vocabulary.segmentation import compare_segmentation, ids_found_in, probe_texts
from hf_afro.vocabulary.tokenizers.backend import backend_state, plain_backend, read_table
from hf_afro.vocabulary.tokenizers.cutting import prune_tokenizer, read_tokenizer, save_tokenizer
from tests.conftest import tiny_config, trained_tokenizer
from tests.texts import AFRICAN
from tests.vocabulary.conftest import any_lines
from tests.vocabulary.kinds import EXAMPLES, LINES, model_for

NAMES = ["xlm-roberta", *EXAMPLES]


def made(name):
    return trained_tokenizer() if name == "xlm-roberta" else EXAMPLES[name].make()


def pruned_of(source, keep, folder):
    """Save the pruned tokenizer and load it."""
    (folder / "pruned").mkdir()
    source.save_pruned(keep, folder / "pruned")
    return hf.AutoTokenizer.from_pretrained(folder / "pruned")


def without_whole(monkeypatch, folder):
    """Refuse to load the tokenizer of a folder."""
    load = hf.AutoTokenizer.from_pretrained

    def load_others(name, *args, **kwargs):
        assert str(name) != str(folder), "the tokenizer was built whole"
        return load(name, *args, **kwargs)

    monkeypatch.setattr(hf.AutoTokenizer, "from_pretrained", load_others)


@pytest.fixture(params=NAMES, scope="module")
def saved(request, tmp_path_factory):
    """A tokenizer of each kind as it is loaded from a folder, the folder, and a map that drops much of it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made(request.param).save_pretrained(folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"]}, tokenizer), coverage=0.8)
    return tokenizer, folder, keep


@pytest.fixture(scope="module")
def source(saved):
    _, folder, keep = saved
    return read_tokenizer(folder, keep)


def test_the_table_is_that_of_the_whole_tokenizer(saved, monkeypatch):
    tokenizer, folder, keep = saved
    expected = read_table(tokenizer)
    without_whole(monkeypatch, folder)
    source = read_tokenizer(folder, keep)
    assert not source.is_whole
    assert source.table.fingerprint == expected.fingerprint
    assert source.table.pieces == expected.pieces
    assert np.array_equal(source.table.scores, expected.scores, equal_nan=True)
    assert (source.table.unknown_id, source.table.special_ids) == (expected.unknown_id, expected.special_ids)
    assert np.array_equal(source.table.merges, expected.merges)
    assert len(source.part) < len(tokenizer)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(any_lines | st.sampled_from(LINES), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_the_pieces_found_in_texts_are_all_that_decides(saved, source, texts, seed):
    tokenizer, _, keep = saved
    table = read_table(tokenizer)
    texts = [
        *texts,
        *probe_texts(table, keep.old_ids, seed)[:2],
        f"{texts[0]}{table.pieces[table.special_ids[-1]]} {texts[-1]}",
    ]
    part, old_ids = source.with_at_least(ids_found_in(texts, source.part, source.table))
    assert len(part) == len(old_ids)
    whole, few = plain_backend(tokenizer), plain_backend(part)
    for text in texts:
        expected = whole.encode(text, add_special_tokens=False).ids
        assert old_ids[few.encode(text, add_special_tokens=False).ids].tolist() == expected, text


def test_the_pieces_found_are_few(saved):
    tokenizer, folder, keep = saved
    found = ids_found_in(["Habari"], tokenizer, read_table(tokenizer))
    bytes_too = 256 if read_table(tokenizer).byte_fallback else 0
    assert len(found) < bytes_too + len(tokenizer) // 4


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_pruned_without_it(name, tmp_path, monkeypatch):
    tokenizer = made(name)
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"]}, tokenizer), coverage=0.8)
    model = model_for(next(iter(EXAMPLES)) if name == "xlm-roberta" else name, tokenizer)
    for saved in (model, tokenizer):
        saved.save_pretrained(tmp_path / "source")
    whole = hf.AutoTokenizer.from_pretrained(tmp_path / "source")
    without_whole(monkeypatch, tmp_path / "source")
    verified = prune_checkpoint(tmp_path / "source", keep, tmp_path / "out").verification
    probes = probe_texts(read_table(whole), keep.old_ids, seed=0)
    expected = compare_segmentation(probes, whole, hf.AutoTokenizer.from_pretrained(tmp_path / "out"), keep)
    assert (verified.texts_kept, verified.texts_other) == (expected.kept, expected.other)
    assert min(expected.kept, expected.other) > 0


def rewrite(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def test_merges_written_as_one_str_are_read(tmp_path, monkeypatch):
    tokenizer = EXAMPLES["roberta"].make()
    tokenizer.save_pretrained(tmp_path)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))

    def join(content):
        content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]

    rewrite(tmp_path / "tokenizer.json", join)
    without_whole(monkeypatch, tmp_path)
    source = read_tokenizer(tmp_path, keep)
    assert source.table.fingerprint == keep.tokenizer_fingerprint


def test_tokens_that_are_added_when_it_is_loaded_are_among_its_own(tmp_path, monkeypatch):
    trained_tokenizer().save_pretrained(tmp_path)
    rewrite(tmp_path / "tokenizer_config.json", lambda content: content.update(extra_special_tokens=["<swa>"]))
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids("<swa>") == len(tokenizer) - 1
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.8)
    without_whole(monkeypatch, tmp_path)
    source = read_tokenizer(tmp_path, keep)
    assert source.table.pieces == read_table(tokenizer).pieces
    assert pruned_of(source, keep, tmp_path).convert_tokens_to_ids("<swa>") == len(keep) - 1


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.pop("type"),  # as in files of old versions
        lambda model: model["vocab"].__setitem__(100, ["\u2581other", -3.0]),
    ],
)
def test_it_is_built_whole_where_the_file_says_something_else(tmp_path, caplog, change):
    tokenizer = trained_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    rewrite(tmp_path / "tokenizer.json", lambda content: change(content["model"]))
    loaded = hf.AutoTokenizer.from_pretrained(tmp_path)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    with caplog.at_level(logging.INFO, logger="hf_afro"):
        if read_table(loaded).fingerprint == keep.tokenizer_fingerprint:
            source = read_tokenizer(tmp_path, keep)
            assert source.is_whole
            assert len(pruned_of(source, keep, tmp_path)) == len(keep)
        else:
            with pytest.raises(ValueError, match="the map was made for another tokenizer"):
                read_tokenizer(tmp_path, keep)
    assert "is built whole" in caplog.text


def test_a_sentencepiece_model_is_read_by_its_class(tmp_path, monkeypatch):
    """As in the first checkpoints of XLM-R, which have no tokenizer.json."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=content, vocab_size=400, minloglevel=2
    )
    source = tmp_path / "source"
    source.mkdir()
    (source / "sentencepiece.bpe.model").write_bytes(content.getvalue())
    settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 64}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    keep = select_tokens(count_tokens({"swa": AFRICAN["swa"]}, tokenizer), coverage=0.8)
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer))).eval()
    model.save_pretrained(source)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "in_memory")
    without_whole(monkeypatch, source)
    prune_checkpoint(source, keep, tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        out, in_memory = (json.loads((tmp_path / one / name).read_text("utf-8")) for one in ("out", "in_memory"))
        assert out == in_memory, name
    weights = "model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "in_memory" / weights).read_bytes()


def test_it_is_built_whole_from_the_files_of_old_versions(tmp_path):
    """There is no tokenizer.json that could be cut."""
    tokenizer = EXAMPLES["bert, cased"].make()
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    loaded = hf.AutoTokenizer.from_pretrained(tmp_path)
    keep = select_tokens(count_tokens(AFRICAN, loaded))
    source = read_tokenizer(tmp_path, keep)
    assert source.is_whole
    assert len(pruned_of(source, keep, tmp_path)) == len(keep)


def test_ids_of_another_vocabulary_are_refused_by_name(tmp_path):
    tokenizer = EXAMPLES["modernbert"].make()
    tokenizer.save_pretrained(tmp_path)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.8)
    path = tmp_path / "tokenizer.json"
    state = json.loads(path.read_text("utf-8"))
    state["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [1401]
    path.write_text(json.dumps(state), "utf-8")
    expected = tokenizer.cls_token_id
    with pytest.raises(ValueError, match=rf"puts the id 1401 around texts for '\[CLS\]', expected {expected}"):
        read_tokenizer(tmp_path, keep)


def test_a_padding_of_another_vocabulary_is_corrected(tmp_path):
    tokenizer = EXAMPLES["modernbert"].make()
    tokenizer.save_pretrained(tmp_path)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.8)
    path = tmp_path / "tokenizer.json"
    state = json.loads(path.read_text("utf-8"))
    sides = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_type_id": 0}
    state["padding"] = {**sides, "pad_id": 1403, "pad_token": "[PAD]"}
    path.write_text(json.dumps(state), "utf-8")
    source = read_tokenizer(tmp_path, keep)
    assert not source.is_whole
    pruned = pruned_of(source, keep, tmp_path)
    assert pruned.backend_tokenizer.padding["pad_id"] == pruned.pad_token_id
    read = hf.AutoTokenizer.from_pretrained(tmp_path)
    assert prune_tokenizer(read, backend_state(read), keep).backend_tokenizer.padding["pad_id"] == pruned.pad_token_id


def settings_in(folder):
    return json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))


def test_a_generic_tokenizer_is_saved_under_the_name_old_versions_know(tokenizer, tmp_path):
    generic = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    save_tokenizer(generic, tmp_path)
    assert settings_in(tmp_path)["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert len(hf.AutoTokenizer.from_pretrained(tmp_path)) == len(generic)


@pytest.mark.parametrize("name", ["Nllb", "Camembert"])
def test_tokens_that_a_class_adds_do_not_come_back(name, tmp_path):
    """NLLB's 202 languages and CamemBERT's NOTUSED, of a folder whose settings name none."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "▁"]
    vocab = {piece: rank for rank, piece in enumerate([*specials, "a", "▁a"])}
    if name == "Nllb":
        made = hf.NllbTokenizer(vocab=vocab, merges=[("▁", "a")], extra_special_tokens=[])
    else:
        made = hf.CamembertTokenizer(
            vocab=[(one, -float(rank)) for one, rank in vocab.items()], extra_special_tokens=[]
        )
    save_tokenizer(made, tmp_path)
    read = hf.AutoTokenizer.from_pretrained(tmp_path)
    assert read.get_vocab() == made.get_vocab()
    assert read.added_tokens_encoder == made.added_tokens_encoder
    settings = settings_in(tmp_path)
    assert settings.pop("extra_special_tokens") == []
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert hf.AutoTokenizer.from_pretrained(tmp_path).added_tokens_encoder != made.added_tokens_encoder


@pytest.mark.parametrize("name", ["MBart", "T5"])
def test_no_empty_list_is_written_where_it_changes_nothing(name, tmp_path):
    """Transformers 4 reads no tokenizer with one."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "▁"] if name == "MBart" else ["<pad>", "</s>", "<unk>", "▁"]
    vocab = [(one, -float(rank)) for rank, one in enumerate([*specials, "a", "▁a"])]
    made = getattr(hf, f"{name}Tokenizer")(vocab=vocab)
    save_tokenizer(made, tmp_path)
    assert settings_in(tmp_path).get("extra_special_tokens") != []
    assert hf.AutoTokenizer.from_pretrained(tmp_path).get_vocab() == made.get_vocab()


def test_the_whole_configuration_is_kept(tokenizer, model, keep, tmp_path):
    tokenizer.padding_side = "left"
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.init_kwargs |= {"vocab_file": "/old/sentencepiece.bpe.model", "my_setting": 3}
    tokenizer.init_kwargs["added_tokens_decoder"] = {len(tokenizer) - 1: hf.AddedToken("<mask>", special=True)}
    pruning.prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    settings = settings_in(tmp_path / "pruned")
    assert settings["model_max_length"] == 64
    assert settings["padding_side"] == "left"
    assert settings["my_setting"] == 3
    assert settings["tokenizer_class"] == "XLMRobertaTokenizer"
    assert not {"added_tokens_decoder", "vocab_file", "is_local", "unk_id", "extra_special_tokens"} & set(settings)
    read = hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")
    assert read.chat_template == "{{ messages }}"
    assert read.padding_side == "left"


def test_padding_and_template_carry_new_ids(tokenizer, model, keep, tmp_path):
    tokenizer.backend_tokenizer.enable_padding(pad_id=1, pad_token="<pad>", length=12)
    pruned = pruning.prune_vocabulary(model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    for read in (
        hf.AutoTokenizer.from_pretrained(tmp_path / "pruned"),
        hf.PreTrainedTokenizerFast.from_pretrained(tmp_path / "pruned"),
    ):
        assert len(read) == len(keep)
        pair = read("kitabu", "kipya")["input_ids"]
        assert keep.to_old(pair) == tokenizer("kitabu", "kipya")["input_ids"]
        assert read.mask_token_id == len(keep) - 1
        assert read.decode(read("Mwalimu aliwaambia")["input_ids"], skip_special_tokens=True) == "Mwalimu aliwaambia"
