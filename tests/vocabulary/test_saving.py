"""A pruned tokenizer is saved whole, and nothing of the old vocabulary stays beside it."""

from __future__ import annotations

import json

import pytest
import transformers as hf

from hf_afro.vocabulary import VerificationError, pruning
from hf_afro.vocabulary.saving import save_tokenizer


def settings_in(folder):
    return json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))


def test_only_the_files_of_the_new_vocabulary_are_written(pruned, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    assert sorted(path.name for path in (tmp_path / "pruned").iterdir()) == [
        "config.json",
        "model.safetensors",
        "pruning_report.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary_map.json",
    ]


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


def test_a_generic_tokenizer_is_saved_under_the_name_old_versions_know(tokenizer, tmp_path):
    generic = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>")
    save_tokenizer(generic, tmp_path)
    assert settings_in(tmp_path)["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert len(hf.AutoTokenizer.from_pretrained(tmp_path)) == len(generic)


def test_an_earlier_result_is_replaced_whole(pruned, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    (tmp_path / "pruned" / "sentencepiece.bpe.model").write_bytes(b"stale")
    pruned.save_pretrained(tmp_path / "pruned")
    assert not (tmp_path / "pruned" / "sentencepiece.bpe.model").exists()


def test_a_folder_with_other_things_is_left_alone(pruned, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds no vocabulary_map\.json"):
        pruned.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_verification_leaves_nothing_behind(pruned, tmp_path, monkeypatch):
    pruned.save_pretrained(tmp_path / "earlier")
    before = {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()}

    def fail(*_):
        raise VerificationError("a row differs")

    monkeypatch.setattr(pruning, "verify", fail)
    for name in ("new", "earlier"):
        with pytest.raises(VerificationError, match="a row differs"):
            pruned.save_pretrained(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()} == before


def test_a_model_trained_since_is_not_taken_for_the_original_cut(pruned, tmp_path):
    pruned.model.lm_head.bias.data += 1
    with pytest.raises(VerificationError, match="lm_head.bias is not what the original has"):
        pruned.save_pretrained(tmp_path / "pruned")
    assert list(tmp_path.iterdir()) == []


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
