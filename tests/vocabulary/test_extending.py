"""Tokens for new scripts are added, old ones stay, new rows are sensible, and the saved folder is the same."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from benchmarks.trained_tokenizers import FAMILIES
from hf_afro.vocabulary import extend_vocabulary
from tests.texts import SENTENCES
from tests.tiny_families import tiny

NKO = [chr(code) for code in range(0x07CA, 0x07EB)]
TIFINAGH = [chr(code) for code in range(0x2D30, 0x2D50)]
OLD_LINES = [line for lines in SENTENCES.values() for line in lines]


def lines_of(letters: list[str], count: int = 60) -> list[str]:
    """Lines of made-up words: a few stems with endings, so that there is something to learn."""
    draw = random.Random(0)
    stems = ["".join(draw.choices(letters, k=3)) for _ in range(20)]
    endings = ["", *("".join(draw.choices(letters, k=2)) for _ in range(4))]
    return [
        " ".join(draw.choice(stems) + draw.choice(endings) for _ in range(8)) + " kitabu 12." for _ in range(count)
    ] + [" ".join(letters)]


@pytest.fixture
def nko(model, tokenizer):
    return extend_vocabulary(model, tokenizer, lines_of(NKO), 60, scripts=["Nko"])


def test_new_text_is_known_and_shorter_and_old_text_is_split_as_before(nko, tokenizer):
    assert len(nko.pieces) == 60
    assert len(nko.tokenizer) == len(tokenizer) + 60
    line = lines_of(NKO)[0].removesuffix(" kitabu 12.")
    assert tokenizer.unk_token_id in tokenizer(line)["input_ids"]
    ids = nko.tokenizer(line, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert len(ids) < len(line.replace(" ", ""))  # pieces of several letters are used
    assert nko.tokenizer.decode(ids) == line
    for old in OLD_LINES:
        assert nko.tokenizer(old)["input_ids"] == tokenizer(old)["input_ids"]
    assert nko.tokenizer.mask_token_id == tokenizer.mask_token_id
    assert nko.tokenizer.convert_ids_to_tokens(range(len(tokenizer), len(nko.tokenizer))) == list(nko.pieces)


def test_every_letter_of_the_text_has_a_piece(nko):
    assert set(NKO) <= set(nko.pieces)


def test_old_rows_stay_and_new_ones_are_near_the_mean_and_all_different(nko, model, tokenizer):
    size = len(tokenizer)
    old, new = model.get_input_embeddings().weight, nko.model.get_input_embeddings().weight
    assert new.shape[0] == nko.model.config.vocab_size == size + 60
    assert torch.equal(new[:size], old)
    ordinary = [index for index in range(size) if index not in tokenizer.all_special_ids]
    away = (new[size:] - old[ordinary].mean(0)).norm(dim=1)
    assert (away > 0).all()
    assert away.max() < 0.5 * old[ordinary].norm(dim=1).mean()
    assert len(torch.unique(new[size:], dim=0)) == 60
    assert nko.from_pieces == 0  # not one letter could be spelt
    assert nko.model.get_output_embeddings().weight is new
    bias = nko.model.lm_head.bias
    assert nko.model.lm_head.decoder.bias is bias
    torch.testing.assert_close(bias[size:], model.lm_head.bias[ordinary].mean().expand(60))


def test_a_piece_that_could_be_spelt_begins_as_the_mean_of_its_parts(model, tokenizer):
    lines = ["ውሃውሃ ሰላምሰላም " * 3 + "".join(SENTENCES["amh"])] * 20
    extended = extend_vocabulary(model, tokenizer, lines, 60, scripts=["Ethiopic"])
    size = len(tokenizer)
    assert extended.from_pieces >= 2
    rows = extended.model.get_input_embeddings().weight
    checked = 0
    for index, piece in enumerate(extended.pieces):
        parts = [token.id for token in tokenizer.backend_tokenizer.model.tokenize(piece)]
        if tokenizer.unk_token_id not in parts:
            assert len(parts) > 1
            torch.testing.assert_close(rows[size + index], rows[parts].mean(0))
            checked += 1
    assert checked == extended.from_pieces


def test_a_reloaded_folder_is_the_same(nko, model, tokenizer, tmp_path):
    nko.save_pretrained(tmp_path / "with-nko")
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "with-nko")
    loaded_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "with-nko")
    line = f"{lines_of(NKO)[3]} {OLD_LINES[0]}"
    batch = loaded_tokenizer(line, return_tensors="pt")
    assert batch["input_ids"].tolist()[0] == nko.tokenizer(line)["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, nko.model(**batch).logits)
        batch = tokenizer(OLD_LINES[0], return_tensors="pt")
        old = model(**batch).logits
        torch.testing.assert_close(loaded(**batch).logits[..., : len(tokenizer)], old)


def test_other_forms_of_tokenizer_spare_rows_and_untied_heads():
    for name in ("Unigram", "Unigram, bytes"):
        tokenizer = FAMILIES[name](OLD_LINES, 600)
        tokenizer.add_tokens(["<extra>"])
        model = tiny("bert", vocab_size=len(tokenizer) + 7, tie_word_embeddings=False)
        extended = extend_vocabulary(model, tokenizer, lines_of(TIFINAGH), 50, scripts=["Tifinagh"])
        assert extended.model.config.vocab_size == len(extended.tokenizer) == len(tokenizer) + 50
        line = lines_of(TIFINAGH)[0]
        ids = extended.tokenizer(line + "<extra>")["input_ids"]
        assert max(ids) >= len(tokenizer)
        assert tokenizer.convert_tokens_to_ids("<extra>") in ids
        assert extended.from_pieces == (len(extended.pieces) if "bytes" in name else 0)
        found = extended.model.get_output_embeddings().weight
        assert found is not extended.model.get_input_embeddings().weight
        assert torch.equal(found[: len(tokenizer)], model.get_output_embeddings().weight[: len(tokenizer)])


def test_the_same_seed_gives_the_same_rows(model, tokenizer):
    rows = [
        extend_vocabulary(model, tokenizer, lines_of(NKO), 40, scripts=["Nko"], seed=seed)
        .model.get_input_embeddings()
        .weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


@pytest.mark.parametrize(
    ("lines", "size", "scripts", "message"),
    [
        (["kitabu"], 10, ["Nko"], "hold no word of Nko"),
        (lines_of(NKO), 10, ["Nko"], "33 letters of Nko, for which 33 tokens are missing"),
        (lines_of(NKO), 50, ["Klingon"], "'Klingon' is not a Unicode script"),
        (lines_of(NKO), 50, [], "hold no word of no script"),
    ],
)
def test_refusals(model, tokenizer, lines, size, scripts, message):
    with pytest.raises(ValueError, match=message):
        extend_vocabulary(model, tokenizer, lines, size, scripts=scripts)


def test_the_script_may_be_spelt_as_people_do(model, tokenizer, nko):
    assert extend_vocabulary(model, tokenizer, lines_of(NKO), 60, scripts=["N'Ko"]).pieces == nko.pieces


def test_one_string_is_no_list_of_scripts(model, tokenizer):
    with pytest.raises(TypeError, match=r"scripts is 'Nko', one string; expected a list of names: \['Nko'\]"):
        extend_vocabulary(model, tokenizer, ["x"], 5, scripts="Nko")
