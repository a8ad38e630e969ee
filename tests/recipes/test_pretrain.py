"""A tokenizer trained from a text is the same one in every process, whatever the order of the lines."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hf_afro.steps.pretrain import train_tokenizer
from tests.texts import AFRICAN

LINES = [f"{first} {second}" for own in AFRICAN.values() for first in own for second in own[:5]]
CHARACTERS = {character for line in LINES for character in line}


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(LINES, 350, 64)


def test_it_is_of_the_form_of_xlm_r(trained):
    assert len(trained) == 350
    assert trained.convert_ids_to_tokens(range(4)) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert trained.convert_tokens_to_ids("<mask>") == 349 == trained.mask_token_id
    assert trained.model_max_length == 64
    ids = trained(LINES[0])["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert trained.decode(ids, skip_special_tokens=True) == LINES[0]


def test_no_character_of_its_text_is_unknown(trained):
    found = {token for line in LINES for token in trained(line)["input_ids"]}
    assert trained.unk_token_id not in found


def test_it_is_the_same_in_another_process_and_for_another_order(trained):
    code = (
        "from tests.recipes.test_pretrain import LINES\n"
        "from hf_afro.steps.pretrain import train_tokenizer\n"
        "print(train_tokenizer(LINES[::-1], 350, 64).backend_tokenizer.to_str())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.rstrip("\n") == trained.backend_tokenizer.to_str()


def test_a_size_too_small_for_the_characters_is_refused():
    with pytest.raises(
        ValueError, match=r"a tokenizer of 50 tokens has room for 45 .* the text has \d+ different"
    ) as refused:
        train_tokenizer(LINES, 50, 64)
    least = int(str(refused.value).rpartition(" ")[2])
    assert len(train_tokenizer(LINES, least, 64)) == least


def test_a_text_that_has_no_more_to_give_makes_fewer_tokens():
    assert 10 < len(train_tokenizer(["mto na mlima"] * 9, 350, 64)) < 100


def test_no_text_is_refused():
    with pytest.raises(ValueError, match="there is no text to train a tokenizer on; expected one line"):
        train_tokenizer([], 50, 64)
