"""Sizes by arithmetic are those of the models themselves."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM, XLMRobertaConfig

from hf_afro.recipes.architecture import Architecture
from hf_afro.students import AfroStudentConfig
from tests.conftest import tiny_config

BASE = Architecture(250_002, 768, 12, 12, 3072)


@pytest.mark.parametrize("embedding_size", [None, 8, 32])
def test_parameters_are_counted_right(embedding_size):
    sizes = tiny_config(100).to_dict()
    config = AfroStudentConfig(**{**sizes, "model_type": "afro-student", "embedding_size": embedding_size})
    if embedding_size is None:
        config = tiny_config(100)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    assert Architecture.of_config(config).parameters == model.num_parameters()


def test_xlm_roberta_base_has_the_parameters_known_of_it():
    config = XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1)
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(config)
    assert BASE.parameters == Architecture.of_config(config).parameters == model.num_parameters() == 278_295_186


def test_heads_have_to_divide_the_width():
    with pytest.raises(ValueError, match="hidden_size 768 is not a multiple of num_attention_heads 7"):
        BASE.with_(num_attention_heads=7)
