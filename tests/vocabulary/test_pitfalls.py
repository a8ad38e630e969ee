"""Where other vocabulary pruners went wrong, one test a way; what is tested more deeply elsewhere says where.

The number of each test is that of its pitfall in the list they are taken from.
"""

from __future__ import annotations

import ast
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models

import hf_afro.vocabulary
from hf_afro.vocabulary import VerificationError, count_tokens, prune_vocabulary, report_on_text, select_tokens, verify
from hf_afro.vocabulary.segmentation import compare_segmentation
from hf_afro.vocabulary.tensors import named_tensors, row_axis
from hf_afro.vocabulary.tokenizers.backend import read_table, rewrite_tokenizer
from tests.conftest import tiny_config
from tests.texts import AFRICAN
from tests.vocabulary.kinds import EXAMPLES, bert, bert_model, model_for, modernbert, state_of
from tests.vocabulary.models import make

PACKAGE = Path(hf_afro.vocabulary.__file__).parent


def rows_by_text(model, tokenizer, new_model, new_tokenizer):
    """Say whether every vocabulary row is that of the token with the same text."""
    old_vocab, new_vocab = tokenizer.get_vocab(), new_tokenizer.get_vocab()
    old_ids, new_ids = torch.tensor([old_vocab[token] for token in new_vocab]), torch.tensor(list(new_vocab.values()))
    old, new = model.get_input_embeddings().weight, new_model.get_input_embeddings().weight
    return torch.equal(old[old_ids], new[new_ids])


def reread(folder, model):
    return type(model).from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)


def json_in(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_01_the_order_of_the_vocabulary_s_dictionary_says_nothing(model, tokenizer, keep, tmp_path, monkeypatch):
    ordered = type(tokenizer).get_vocab

    def shuffled(self):
        entries = list(ordered(self).items())
        random.shuffle(entries)
        return dict(entries)

    monkeypatch.setattr(type(tokenizer), "get_vocab", shuffled)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert rows_by_text(model, tokenizer, *reread(tmp_path / "pruned", model))


def test_02_no_id_of_any_file_is_an_old_one(tmp_path):
    # Each place by itself: tokenizers/test_backend.py, test_models.py::test_ids_of_all_configurations_move,
    # test_classes.py::test_ids_of_languages_move.
    tokenizer = modernbert()
    model = model_for("modernbert", tokenizer)
    tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token="[PAD]")
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    state = json_in(tmp_path / "pruned", "tokenizer.json")
    vocab = {**state["model"]["vocab"], **{token["content"]: token["id"] for token in state["added_tokens"]}}
    assert sorted(vocab.values()) == list(range(len(keep)))
    assert state["padding"]["pad_id"] == vocab["[PAD]"]
    for token, special in state["post_processor"]["special_tokens"].items():
        assert special["ids"] == [vocab[token]]
    config = json_in(tmp_path / "pruned", "config.json")
    for name, token in (("pad", "[PAD]"), ("bos", "[CLS]"), ("eos", "[SEP]"), ("cls", "[CLS]"), ("sep", "[SEP]")):
        assert config[f"{name}_token_id"] == vocab[token]
    read, _ = reread(tmp_path / "pruned", model)
    assert read.get_input_embeddings().padding_idx == vocab["[PAD]"]


def test_03_settings_of_old_ids_register_nothing_again(model, tokenizer, keep, tmp_path):
    tokenizer.init_kwargs["added_tokens_decoder"] = {
        str(len(tokenizer) - 1): {"content": "<mask>", "special": True, "lstrip": True},
        "900": {"content": "<gone>", "special": True},
    }
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read_model, read = reread(tmp_path / "pruned", model)
    rows = read_model.get_input_embeddings().weight.shape[0]
    assert len(read) == rows == len(keep)
    assert max(read.get_vocab().values()) < rows
    assert max(read.added_tokens_decoder) < rows


@pytest.mark.parametrize("name", EXAMPLES)
def test_04_one_list_of_ids_drives_rows_and_tokens(name, tmp_path):
    tokenizer = EXAMPLES[name].make()  # with pieces of all types: bytes, specials, unused ones
    model = model_for(name, tokenizer)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert rows_by_text(model, tokenizer, *reread(tmp_path / "pruned", model))


def test_05_merges_written_as_lines_are_pruned_as_those_written_as_pairs(tmp_path):
    # What is kept with a merge: tokenizers/test_bpe.py and test_byte_level.py.
    tokenizer = modernbert()
    state = state_of(tokenizer)
    assert isinstance(state["model"]["merges"][0], list)
    state["model"]["merges"] = [" ".join(pair) for pair in state["model"]["merges"]]
    tokenizer.save_pretrained(tmp_path / "lines")
    (tmp_path / "lines" / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    lines = hf.AutoTokenizer.from_pretrained(tmp_path / "lines")
    keep = select_tokens(count_tokens(AFRICAN, lines))
    assert keep == select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(model_for("modernbert", lines), lines, keep).save_pretrained(tmp_path / "pruned")
    merges = json_in(tmp_path / "pruned", "tokenizer.json")["model"]["merges"]
    vocab = json_in(tmp_path / "pruned", "tokenizer.json")["model"]["vocab"]
    assert len(merges) > 100
    assert all(a in vocab and b in vocab and a + b in vocab for a, b in merges)


def test_06_no_file_of_the_old_vocabulary_is_left(model, tokenizer, keep, tmp_path):
    stale = ["sentencepiece.bpe.model", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json"]
    pruned = prune_vocabulary(model, tokenizer, keep)
    pruned.save_pretrained(tmp_path / "pruned")
    for name in stale:
        (tmp_path / "pruned" / name).write_text("old", encoding="utf-8")
    pruned.save_pretrained(tmp_path / "pruned")
    assert not {path.name for path in (tmp_path / "pruned").iterdir()} & set(stale)


def test_07_settings_of_the_tokenizer_survive(tmp_path):
    # All of them: test_saving.py::test_the_whole_configuration_is_kept.
    tokenizer = bert(lower=True)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer))
    prune_vocabulary(bert_model(tokenizer).eval(), tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert json_in(tmp_path / "pruned", "tokenizer_config.json")["do_lower_case"] is True
    _, read = reread(tmp_path / "pruned", bert_model(tokenizer))
    assert read.tokenize("MWALIMU KITABU") == read.tokenize("mwalimu kitabu")
    assert read.unk_token not in read.tokenize("MWALIMU KITABU")


def test_08_byte_fallback_stays_on_and_keeps_its_bytes(tmp_path):
    tokenizer = EXAMPLES["unigram, bytes"].make()
    model = model_for("unigram, bytes", tokenizer)
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), keep_characters=False)
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    assert json_in(tmp_path / "pruned", "tokenizer.json")["model"]["byte_fallback"] is True
    _, read = reread(tmp_path / "pruned", model)
    ids = read("漢字 ж", add_special_tokens=False)["input_ids"]
    assert read.unk_token_id not in ids
    assert read.decode(ids) == "漢字 ж"


def test_09_the_price_of_an_unknown_character_does_not_move(tokenizer, model):
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.8, keep_characters=False)
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert np.nanmin(read_table(pruned.tokenizer).scores) == np.nanmin(read_table(tokenizer).scores)
    pieces = [piece for piece in pruned.tokenizer.convert_ids_to_tokens(range(4, len(keep) - 1)) if len(piece) > 1]
    texts = [f"{first}漢{second}" for first in pieces[:40] for second in pieces[-40:]]
    alike = compare_segmentation(texts, tokenizer, pruned.tokenizer, keep)
    assert alike.kept > 0
    assert alike.first_difference is None


@pytest.mark.parametrize("name", EXAMPLES)
def test_10_unseen_words_of_the_scripts_kept_become_no_unknowns(name):
    tokenizer = EXAMPLES[name].make()
    keep = select_tokens(count_tokens({code: lines[:2] for code, lines in AFRICAN.items()}, tokenizer))
    pruned = prune_vocabulary(model_for(name, tokenizer), tokenizer, keep)
    unseen = {code: lines[2:] for code, lines in AFRICAN.items()}
    for report in report_on_text(unseen, tokenizer, pruned.tokenizer, keep).values():
        assert report.new_unknown_wanted == 0


def test_11_a_small_language_does_not_starve(tokenizer):
    # Of budgets, floors and reports: test_selection.py.
    texts = {code: lines * (1 if code == "amh" else 500) for code, lines in AFRICAN.items()}
    counts = count_tokens(texts, tokenizer)
    least = select_tokens(counts, coverage=0.8, keep_characters=False).provenance["smallest_budget"]
    keep = select_tokens(counts, least, coverage=0.8, keep_characters=False)
    assert all(one["coverage"] >= 0.8 for one in keep.provenance["coverage"].values())
    pooled = np.argsort(-counts.counts.sum(0), kind="stable")[:least]
    amharic = counts.counts[counts.languages.index("amh")]
    assert amharic[pooled].sum() < 0.6 * amharic.sum()


def test_12_time_grows_with_the_vocabulary_and_not_with_its_square():
    seconds = {}
    for size in (2_000, 32_000):
        vocab = {"[UNK]": 0, **{f"p{index}": index for index in range(1, size)}}
        state = json.loads(Tokenizer(models.WordPiece(vocab, unk_token="[UNK]")).to_str())
        old_ids = np.arange(0, size, 2)
        taken = []
        for _ in range(5):
            start = time.process_time()
            rewrite_tokenizer(state, old_ids)
            taken.append(time.process_time() - start)
        seconds[size] = min(taken)
    assert seconds[32_000] < 100 * seconds[2_000]  # 16 by nature; 256 for a list that is searched


def test_13_spare_rows_are_never_gathered(tokenizer, keep, tmp_path):
    model = hf.XLMRobertaForMaskedLM(tiny_config(len(tokenizer) + 35)).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[len(tokenizer) :] = torch.nan
        model.lm_head.bias[len(tokenizer) :] = torch.nan
    pruned = prune_vocabulary(model, tokenizer, keep)
    assert pruned.report.spare_rows == 35
    assert all(tensor.isfinite().all() for tensor in pruned.model.parameters())
    assert pruned.model.get_input_embeddings().weight.shape[0] == len(keep)


def test_14_special_tokens_move_where_they_do_not_come_first():
    # <mask> at XLM-R's end: test_saving.py::test_padding_and_template_carry_new_ids.
    tokenizer = bert(lower=False)  # unused pieces before [PAD] and [UNK], as in mBERT
    model = bert_model(tokenizer)
    assert tokenizer.pad_token_id > 0
    keep = select_tokens(count_tokens(AFRICAN, tokenizer), coverage=0.9)
    pruned = prune_vocabulary(model, tokenizer, keep)
    for token in ("pad", "unk", "cls", "sep", "mask"):
        old, new = getattr(tokenizer, f"{token}_token_id"), getattr(pruned.tokenizer, f"{token}_token_id")
        assert keep.old_ids[new] == old
        rows = (one.get_input_embeddings().weight for one in (model, pruned.model))
        assert torch.equal(next(rows)[old], next(rows)[new])


def test_15_biases_stay_one_parameter_and_buffers_are_cut(model, tokenizer, keep, tmp_path):
    # Heads untied against their flag: test_models.py::test_an_untied_head_is_read_from_the_weights.
    prune_vocabulary(model, tokenizer, keep).save_pretrained(tmp_path / "pruned")
    read, _ = reread(tmp_path / "pruned", model)
    assert read.lm_head.decoder.bias is read.lm_head.bias
    assert read.lm_head.decoder.weight is read.get_input_embeddings().weight
    bart = make("bart", len(tokenizer))
    prune_vocabulary(bart, tokenizer, keep).save_pretrained(tmp_path / "bart")
    read, _ = reread(tmp_path / "bart", bart)
    kept = torch.from_numpy(keep.old_ids.copy())
    assert torch.equal(read.final_logits_bias, bart.final_logits_bias[:, kept])


def test_16_rows_of_padding_are_zeros_counted_and_never_predicted(model, tokenizer, keep, tmp_path):
    # For all classes of models: test_models.py::test_rows_of_padding_are_never_predicted.
    prune_vocabulary(model, tokenizer, keep, pad_to_multiple_of=64).save_pretrained(tmp_path / "pruned")
    read, read_tokenizer = reread(tmp_path / "pruned", model)
    weight = read.get_input_embeddings().weight
    assert read.config.vocab_size == len(weight) > len(read_tokenizer)
    assert len(weight) % 64 == 0
    assert (weight[len(keep) :] == 0).all()
    with torch.inference_mode():
        assert read(torch.arange(4, 44).view(2, 20)).logits.argmax(-1).max() < len(keep)


def test_17_types_are_kept_and_a_mistake_meets_no_assert(tokenizer, keep):
    # That nothing handed in is changed: test_models.py and test_adapters.py, by hashes.
    model = make("t5", len(tokenizer)).to(torch.bfloat16)
    pruned = prune_vocabulary(model, tokenizer, keep)
    for name, tensor in named_tensors(pruned.model).items():
        assert tensor.dtype == torch.bfloat16
        if name in pruned.report.tensors:
            assert tensor.shape[row_axis(tensor.shape, len(keep))] == len(keep)
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)], path.name


def test_18_counts_know_what_they_were_counted_with_and_on(tokenizer, model, keep):
    # test_counts.py has more of the fingerprint.
    counts = count_tokens(AFRICAN, tokenizer)
    assert counts.fingerprint == count_tokens(AFRICAN, tokenizer).fingerprint
    fewer = {code: lines[:-1] for code, lines in AFRICAN.items()}
    assert counts.fingerprint != count_tokens(fewer, tokenizer).fingerprint
    tokenizer.add_tokens(["[more]"])
    assert counts.fingerprint != count_tokens(AFRICAN, tokenizer).fingerprint
    with pytest.raises(ValueError, match="the map was made for another tokenizer"):
        prune_vocabulary(model, tokenizer, keep)


def test_19_a_tokenizer_that_transformers_made_up_is_found(pruned, model, tokenizer, tmp_path):
    pruned.save_pretrained(tmp_path / "pruned")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "pruned" / name).unlink()
    assert len(hf.AutoTokenizer.from_pretrained(tmp_path / "pruned")) < 10  # no error, and no vocabulary
    with pytest.raises(VerificationError, match="the tokenizer has"):
        verify(tmp_path / "pruned", model, tokenizer)
