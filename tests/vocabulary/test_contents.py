"""What a vocabulary holds is counted right: scripts, groups, spare rows, and the weight of the embedding."""

from __future__ import annotations

import json

from transformers import BertTokenizer, XLMRobertaForMaskedLM

from hf_afro.vocabulary import inspect_vocabulary
from hf_afro.vocabulary.contents import CONTENTS_FILE, Tokens
from tests.conftest import tiny_config
from tests.vocabulary.kinds import EXAMPLES


def test_a_model_with_spare_rows_and_another_padding_id(tokenizer, tmp_path):
    size = len(tokenizer)
    model = XLMRobertaForMaskedLM(tiny_config(size + 3, pad_token_id=0))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    contents = inspect_vocabulary(str(tmp_path))
    assert (contents.kind, contents.tokenizer_class) == ("Unigram", "XLMRobertaTokenizer")
    assert (contents.tokens, contents.rows, contents.spare_rows) == (size, size + 3, 3)
    assert sum(contents.by_group.values()) == size
    assert contents.by_group["added tokens"] == 5
    assert contents.by_group["Ethiopic"] > 30
    assert contents.special_tokens["mask_token"] == (size - 1, "<mask>")
    assert set(contents.added_tokens) == {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
    assert contents.tied is True
    assert list(contents.tensors.values()) == [(size + 3,), (size + 3, 32)]
    assert contents.vocabulary_parameters == 33 * (size + 3)
    assert contents.vocabulary_bytes == 4 * 33 * (size + 3)
    assert contents.parameters == sum(one.numel() for one in model.parameters())
    assert contents.padding_ids == (0, 1)
    assert json.loads(contents.save(tmp_path).read_text("utf-8"))["tokens"] == size
    assert (tmp_path / CONTENTS_FILE).is_file()


def test_unused_tokens_and_bytes_are_groups_of_their_own():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused12]", "unusual", "##ሀ", "2"]
    by_group = Tokens.of(BertTokenizer(vocab={piece: place for place, piece in enumerate(pieces)})).by_group
    assert by_group == {"added tokens": 5, "unused": 2, "Latin": 1, "Ethiopic": 1, "no letter": 1}
    assert Tokens.of(EXAMPLES["unigram, bytes"].make()).by_group["bytes"] == 256
    by_bytes = Tokens.of(EXAMPLES["roberta"].make())
    assert by_bytes.by_group["Ethiopic"] > 5  # whose tokens are letters for bytes
