"""The audit of a cut says "exact renumbering" of a right one, and finds each way in which one can be wrong."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, XLMRobertaForMaskedLM

import hf_afro
from hf_afro.vocabulary import VocabularyAudit, count_tokens, prune_vocabulary, select_tokens
from hf_afro.vocabulary.audit import _difference
from hf_afro.vocabulary.segmentation import SplitCounts
from hf_afro.vocabulary.tokenizers.cutting import save_tokenizer
from tests.conftest import tiny_config
from tests.texts import AFRICAN, SENTENCES
from tests.vocabulary.kinds import EXAMPLES, model_for

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
WORDS = "embeddings.word_embeddings.weight"


def write(folder, model, tokenizer):
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return str(folder)


def cut_of(model, tokenizer, folder, languages=("swa", "yor"), **settings):
    """Write an original and a right cut of it."""
    keep = select_tokens(
        count_tokens({code: SENTENCES[code] for code in languages}, tokenizer), scripts=["Latin"], **settings
    )
    pruned = prune_vocabulary(model, tokenizer, keep)
    return write(folder / "original", model, tokenizer), write(folder / "cut", pruned.model, pruned.tokenizer)


@pytest.fixture(scope="module")
def xlmr(_tokenizer, tmp_path_factory):
    """The folders of a small XLM-R and of a right cut."""
    torch.manual_seed(0)
    model = XLMRobertaForMaskedLM(tiny_config(len(_tokenizer))).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    return cut_of(model, _tokenizer, tmp_path_factory.mktemp("xlmr"))


@pytest.fixture
def spoilt(xlmr, tmp_path):
    """The original, and a copy of the cut to spoil."""
    shutil.copytree(xlmr[1], tmp_path / "cut")
    return xlmr[0], tmp_path / "cut"


def change_json(path, change):
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")


def change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def findings(spoilt, texts=None):
    """The findings of an audit, which must not call the cut exact."""
    audit = hf_afro.compare_vocabularies(spoilt[0], str(spoilt[1]), texts)
    assert not audit.exact
    assert audit.verdict.startswith(f"not an exact renumbering: {audit.findings[0]}")
    return audit.findings


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_right_cut_of_every_kind_is_an_exact_renumbering(name, tmp_path):
    tokenizer = EXAMPLES[name].make()
    original, cut = cut_of(model_for(name, tokenizer), tokenizer, tmp_path)
    audit = hf_afro.compare_vocabularies(original, cut, SENTENCES)
    assert audit.findings == ()
    assert audit.kind == EXAMPLES[name].kind
    assert audit.verdict.startswith(f"exact renumbering: {audit.kept:,} of {audit.old_size:,} tokens")
    assert audit.kept == audit.new_size < audit.old_size
    assert audit.ascending
    assert audit.hidden_difference == 0.0
    assert audit.hidden_texts >= 8  # four of each language that was kept
    assert all(one.compared == one.rows == audit.kept for one in audit.rows)
    assert audit.languages["swa"].lines_kept_alike == audit.languages["swa"].lines == len(SENTENCES["swa"])


def test_the_text_is_counted_right(model, tokenizer, tmp_path):
    """One token of one line is dropped: what the numbers of that line and of the others are is known."""
    lines = AFRICAN["swa"]
    ids = [tokenizer(line, add_special_tokens=False)["input_ids"] for line in lines]
    flat = [one for line in ids for one in line]
    assert flat.count(tokenizer.convert_tokens_to_ids("asu")) == 1  # of "asubuhi", in the third line
    original, cut = cut_of(model, tokenizer, tmp_path, drop_tokens=["asu"])
    audit = hf_afro.compare_vocabularies(original, cut, {"swa": lines, "rus": [*SENTENCES["rus"][:1], "2026 !\n"]})
    assert audit.exact
    swa = audit.languages["swa"]
    assert (swa.lines, swa.lines_kept, swa.lines_kept_alike, swa.lines_alike) == (8, 7, 7, 7)
    assert (swa.old_tokens, swa.lost_tokens, swa.words) == (len(flat), 1, sum(len(line.split()) for line in lines))
    assert swa.lost_share == 1 / len(flat)
    assert swa.new_tokens > swa.old_tokens
    assert (swa.old_unknown, swa.new_unknown) == (0, 0)
    rus = audit.languages["rus"]
    assert rus.lines == 2
    assert rus.lost_tokens > 10
    assert rus.new_unknown > rus.old_unknown == 2  # of "2026 !", whose characters the original does not know either
    assert audit.scripts["Cyrillic"].lines == audit.scripts["no letter"].lines == 1
    assert audit.scripts["Latin"] == swa
    assert set(audit.starved) >= {"rus", "Cyrillic"}
    assert "but running tokens are lost: " in audit.verdict
    assert "Cyrillic 86.1 %, rus 77.5 %" in audit.verdict
    before, after = audit.groups["Cyrillic"]
    assert before > 20
    assert after == 0


def test_the_audit_is_saved_and_read(xlmr, tmp_path):
    audit = hf_afro.compare_vocabularies(*xlmr, AFRICAN)
    audit.save(tmp_path)
    assert VocabularyAudit.load(tmp_path) == audit
    for text in ("{}", "[]", "no", '{"format": 1}'):
        (tmp_path / "other.json").write_text(text, "utf-8")
        with pytest.raises(ValueError, match="other.json holds no vocabulary audit of format 1"):
            VocabularyAudit.load(tmp_path / "other.json")


def test_counts_of_lines_add_up():
    one = SplitCounts.of("a b  c", [5, 6, 3], [5, 3, 3], lost=1, unknown_id=3)
    other = SplitCounts.of("d", [7], [7], lost=0, unknown_id=None)
    assert one + other == SplitCounts(2, 4, 4, 4, 1, 1, 2, 1, 1, 1)
    assert (one + other).unknown_rates == (0.25, 0.5)
    assert (one + other).tokens_per_word == (1.0, 1.0)


def test_rows_of_other_tokens(spoilt):
    def swap(tensors):
        name = f"roberta.{WORDS}"
        tensors[name][[20, 21]] = tensors[name][[21, 20]]
        tensors["lm_head.bias"][7] += 1

    change_weights(spoilt[1], swap)
    audit = hf_afro.compare_vocabularies(spoilt[0], str(spoilt[1]))
    rows = {one.tensor: (one.different, one.of_other_tokens) for one in audit.rows}
    assert rows == {WORDS: (2, 2), "lm_head.bias": (1, 0)}
    size = audit.kept
    assert audit.findings[0].startswith(
        f"2 of {size} rows of {WORDS} are not the original's, 2 of them are rows of ot"
    )
    assert f"1 of {size} rows of lm_head.bias are not the original's" in audit.findings


def test_trained_rows_and_layers(spoilt):
    def train(tensors):
        tensors[f"roberta.{WORDS}"][20:25] += 0.1
        tensors["roberta.encoder.layer.1.output.dense.weight"] *= 1.01

    change_weights(spoilt[1], train)
    audit = hf_afro.compare_vocabularies(spoilt[0], str(spoilt[1]), {"swa": AFRICAN["swa"]})
    assert [(one.different, one.of_other_tokens) for one in audit.rows if one.tensor == WORDS] == [(5, 0)]
    assert audit.other_different == 1
    assert "tensors besides the vocabulary's differ: encoder.layer.1.output.dense.weight" in audit.findings[1]
    assert audit.findings[-1].startswith("hidden states of texts that are split alike differ by up to ")
    assert audit.hidden_difference > 0


def test_tokens_that_the_original_lacks_or_that_occur_twice(spoilt):
    def rename(content):
        vocab = content["model"]["vocab"]
        vocab[30][0] = "zzzz"
        vocab[31][0] = vocab[32][0]

    change_json(spoilt[1] / TOKENIZER, rename)
    found = findings(spoilt)
    assert "1 of its tokens are not in the original: 'zzzz'" in found
    assert any(one.startswith("tokens have two ids: ") for one in found)


def test_ids_beyond_the_rows(spoilt):
    XLMRobertaForMaskedLM(tiny_config(100)).save_pretrained(spoilt[1])
    assert any("tokens have ids beyond the 100 rows of the embedding" in one for one in findings(spoilt, AFRICAN))


def test_ids_that_were_not_renumbered(tmp_path):
    """As vocabtrimmer leaves a BERT: fewer tokens under their old ids."""
    tokenizer = EXAMPLES["bert, cased"].make()
    original, cut = cut_of(model_for("bert, cased", tokenizer), tokenizer, tmp_path)
    path = tmp_path / "cut" / TOKENIZER
    old = json.loads((tmp_path / "original" / TOKENIZER).read_text("utf-8"))["model"]["vocab"]

    def restore(content):
        content["model"]["vocab"] = {piece: old[piece] for piece in content["model"]["vocab"]}
        for token in content["added_tokens"]:
            token["id"] = old[token["content"]]

    change_json(path, restore)
    found = findings((original, cut), AFRICAN)
    assert any(one.startswith("its ids were not renumbered: ") for one in found)
    assert any("tokens have ids beyond the" in one for one in found)


@pytest.mark.parametrize("name", [TOKENIZER, WEIGHTS, "config.json"])
def test_missing_files_are_findings(spoilt, name):
    (spoilt[1] / name).unlink()
    audit = hf_afro.compare_vocabularies(spoilt[0], str(spoilt[1]), AFRICAN)
    what = "tokenizer" if name == TOKENIZER else "model"
    assert any(one.startswith(f"its {what} cannot be used: ") for one in audit.findings)
    assert not any(str(spoilt[1]) in one for one in audit.findings)
    if name == TOKENIZER:
        rows = next(one.rows for one in audit.rows if one.tensor == WORDS)
        assert f"{rows} of {rows} rows of {WORDS} are rows of the original" in audit.notes
    if name == WEIGHTS:
        assert audit.languages["swa"].lines_kept_alike == len(AFRICAN["swa"])


def test_a_configuration_of_another_size(spoilt):
    change_json(spoilt[1] / "config.json", lambda content: content.update(vocab_size=50))
    assert any("its configuration says [50" in one for one in findings(spoilt))


def test_another_model_with_another_kind_of_tokenizer(xlmr, tmp_path):
    tokenizer = EXAMPLES["bert, cased"].make()
    other = write(tmp_path / "other", model_for("bert, cased", tokenizer), tokenizer)
    found = findings((xlmr[0], other), AFRICAN)
    assert "its tokenizer is WordPiece, the original's Unigram" in found
    assert any(one.startswith("its unk_token is '[UNK]', the original's '<unk>'") for one in found)
    assert any("tensors besides the vocabulary's differ" in one for one in found)


def test_special_tokens_around_texts(tmp_path):
    tokenizer = EXAMPLES["modernbert"].make()
    original, cut = cut_of(model_for("modernbert", tokenizer), tokenizer, tmp_path)

    def no_end(content):
        template = content["post_processor"]
        parts = template["processors"][-1] if "processors" in template else template
        parts["single"] = parts["single"][:-1]

    change_json(tmp_path / "cut" / TOKENIZER, no_end)
    assert "it puts [CLS] around texts, the original [CLS] [SEP]" in findings((original, cut))


def test_another_score_and_another_padding_id(spoilt):
    def raise_score(content):
        content["model"]["vocab"][40][1] = -0.5

    change_json(spoilt[1] / TOKENIZER, raise_score)
    change_json(spoilt[1] / "config.json", lambda content: content.update(pad_token_id=5))
    found = findings(spoilt)
    assert any(one.startswith("1 of its tokens have another score: ") for one in found)
    assert any(one.startswith("its configuration has pad_token_id 5 (") and "'<pad>'" in one for one in found)


def test_a_missing_merge(tmp_path):
    tokenizer = EXAMPLES["roberta"].make()
    original, cut = cut_of(model_for("roberta", tokenizer), tokenizer, tmp_path)
    merges = json.loads((tmp_path / "cut" / TOKENIZER).read_text("utf-8"))["model"]["merges"]
    first, second = merges[0]
    change_json(tmp_path / "cut" / TOKENIZER, lambda content: content["model"]["merges"].pop(0))
    found = findings((original, cut), AFRICAN)
    assert f"1 merges of tokens that are kept are missing: {f'{first} + {second}'!r}" in found
    assert any("texts whose tokens are all kept are split otherwise, such as " in one for one in found)


def test_merges_in_another_order_and_merges_of_its_own(tmp_path):
    tokenizer = EXAMPLES["roberta"].make()
    original, cut = cut_of(model_for("roberta", tokenizer), tokenizer, tmp_path)
    merges = json.loads((tmp_path / "cut" / TOKENIZER).read_text("utf-8"))["model"]["merges"]
    change_json(tmp_path / "cut" / TOKENIZER, lambda content: content["model"]["merges"].reverse())
    last = " + ".join(merges[-1])
    assert f"its merges stand in another order than the original's, from {last!r} on" in findings((original, cut))

    def other_parts(content):
        content["model"]["merges"] = [*merges, [whole[:-1], whole[-1]]]

    known = {tuple(merge) for merge in merges}
    vocab = json.loads((tmp_path / "cut" / TOKENIZER).read_text("utf-8"))["model"]["vocab"]
    whole = next(
        piece for piece in vocab if {piece[:-1], piece[-1:]} <= {*vocab} and (piece[:-1], piece[-1]) not in known
    )
    change_json(tmp_path / "cut" / TOKENIZER, other_parts)
    assert f"1 merges are not in the original: {f'{whole[:-1]} + {whole[-1]}'!r}" in findings((original, cut))


def test_the_first_token_of_a_decoder_which_no_tokenizer_knows(xlmr, tmp_path):
    for place, folder, name in ((0, "original", "▁"), (1, "cut", "</s>")):
        shutil.copytree(xlmr[place], tmp_path / folder)
        vocab = json.loads((tmp_path / folder / TOKENIZER).read_text("utf-8"))["model"]["vocab"]
        own = [piece for piece, _ in vocab].index(name)
        change_json(
            tmp_path / folder / "config.json", lambda content, own=own: content.update(decoder_start_token_id=own)
        )
    (found,) = findings((str(tmp_path / "original"), tmp_path / "cut"))
    assert found == "its configuration has decoder_start_token_id 2 ('</s>'), which in the original is '▁'"


def test_hidden_states_that_are_no_number_in_one_model_differ():
    one = torch.tensor([1.0, torch.nan, torch.inf])
    assert _difference(one, one.clone()) == 0.0
    assert _difference(one, torch.tensor([1.5, torch.nan, torch.inf])) == 0.5
    assert np.isnan(_difference(one, torch.tensor([1.0, 2.0, torch.inf])))


def test_lower_case_that_was_lost(tmp_path):
    """As TextPruner leaves a cased BERT: without its settings, it is lower-cased."""
    tokenizer = EXAMPLES["bert, cased"].make()
    original, cut = cut_of(model_for("bert, cased", tokenizer), tokenizer, tmp_path)
    vocab = json.loads((tmp_path / "cut" / TOKENIZER).read_text("utf-8"))["model"]["vocab"]
    (tmp_path / "cut" / "vocab.txt").write_text("".join(f"{piece}\n" for piece in vocab), "utf-8")
    for name in (TOKENIZER, "tokenizer_config.json"):
        (tmp_path / "cut" / name).unlink()
    audit = hf_afro.compare_vocabularies(original, cut, AFRICAN)
    assert audit.findings[0].startswith("its normalizer differs: ")
    assert "BertNormalizer.lowercase is false in the original, true in the cut" in audit.findings[0]
    assert audit.languages["swa"].lines_kept_alike < audit.languages["swa"].lines_kept


def test_a_head_that_was_dropped(spoilt):
    AutoModel.from_pretrained(spoilt[1], add_pooling_layer=False).save_pretrained(spoilt[1])
    assert findings(spoilt) == (
        "it lacks 7 tensors of the original: lm_head.bias, lm_head.dense.weight, lm_head.dense.bias and 4 more",
    )


def test_a_sentencepiece_model_that_was_left_behind(spoilt):
    """As vocabtrimmer leaves the original's, which some programs read instead of tokenizer.json."""
    path = spoilt[1] / "sentencepiece.bpe.model"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES["amh"]), model_writer=model, vocab_size=84, minloglevel=2
    )
    path.write_bytes(model.getvalue())
    (found,) = findings(spoilt)
    assert found.startswith("sentencepiece.bpe.model still holds ")
    path.write_bytes(b"no model")
    assert findings(spoilt) == ("sentencepiece.bpe.model cannot be read as a SentencePiece model",)


def test_another_precision_is_no_mistake(spoilt):
    XLMRobertaForMaskedLM.from_pretrained(spoilt[1], dtype=torch.bfloat16).save_pretrained(spoilt[1])
    audit = hf_afro.compare_vocabularies(spoilt[0], str(spoilt[1]), AFRICAN)
    assert audit.exact
    assert audit.hidden_difference == 0.0
    assert any("torch.bfloat16" in note for note in audit.notes)


def test_an_original_that_cannot_be_read_is_an_error(xlmr, tmp_path):
    with pytest.raises(ValueError, match="no tokenizer"):
        hf_afro.compare_vocabularies(str(tmp_path), xlmr[1])
    with pytest.raises(ValueError, match="no model could be read from 'nobody/none'"):
        hf_afro.compare_vocabularies(xlmr[0], "nobody/none")
