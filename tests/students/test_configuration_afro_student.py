"""The configuration keeps its fields when saved, and refuses impossible values."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from huggingface_hub.errors import StrictDataclassError

from hf_afro import AfroStudentConfig
from tests.students.conftest import student_config


def test_defaults_are_plain_xlm_roberta():
    config = AfroStudentConfig()
    assert (config.model_type, config.embedding_size, config.unpad) == ("afro-student", None, True)
    assert not config.is_factorised
    assert config.word_embedding_width == config.hidden_size


def test_an_embedding_as_wide_as_the_layers_is_not_factorised():
    assert not student_config(embedding_size=32).is_factorised
    assert student_config(embedding_size=31).is_factorised


def test_both_fields_are_saved_and_loaded(tmp_path):
    config = student_config(unpad=True)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["embedding_size"], saved["unpad"], saved["model_type"]) == (8, True, "afro-student")
    loaded = AfroStudentConfig.from_pretrained(tmp_path)
    assert (loaded.embedding_size, loaded.unpad, loaded.hidden_size) == (8, True, 32)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_copies_are_equal(duplicate):
    config = student_config(unpad=True)
    assert duplicate(config).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embedding_size": 0}, "embedding_size is 0; expected"),
        ({"embedding_size": 2.5}, "embedding_size is 2.5; expected"),
        ({"embedding_size": True}, "embedding_size is True; expected"),
        ({"embedding_size": 33}, "embedding_size 33 is wider than hidden_size 32"),
        ({"num_attention_heads": 5}, "hidden_size 32 is not a multiple of num_attention_heads 5"),
        ({"num_attention_heads": 0}, "hidden_size 32 is not a multiple of num_attention_heads 0"),
        ({"unpad": "yes"}, "unpad is 'yes'; expected True or False"),
        ({"hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(StrictDataclassError, match=message):
        student_config(**wrong)


def test_a_later_assignment_is_checked_too():
    config = student_config()
    with pytest.raises(StrictDataclassError, match="embedding_size is -1"):
        config.embedding_size = -1
