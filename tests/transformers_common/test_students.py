"""transformers' own tests of models and configurations, for every student class, and for XLM-R as a control."""

from __future__ import annotations

import inspect
import unittest
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("transformers_tests", reason="transformers' own tests are not fetched; run `tox -e transformers`")

from transformers import PreTrainedConfig, XLMRobertaConfig  # noqa: E402
from transformers.models.xlm_roberta import modeling_xlm_roberta  # noqa: E402
from transformers_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_tests.test_modeling_common import (  # noqa: E402
    ModelTesterMixin,
    ids_tensor,
    random_attention_mask,
)

from hf_afro.students import AfroStudentConfig, modeling_afro_student  # noqa: E402
from hf_afro.students.registration import MODELS  # noqa: E402

HEADS = (
    "Model",
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)


class SmallModel:
    """The sizes that transformers' tests read off a `model_tester`, and the inputs that they ask it for.

    Args:
        config_class: Of the model.
        **settings: What it is given besides the sizes.
    """

    batch_size, seq_length, is_training = 13, 7, True
    encoder_seq_length = key_length = seq_length
    vocab_size, hidden_size, num_hidden_layers, num_attention_heads = 99, 32, 2, 4
    num_choices, type_vocab_size = 4, 16

    def __init__(self, config_class: type[PreTrainedConfig], **settings: Any) -> None:
        self.config_class, self.settings = config_class, settings

    def get_config(self) -> PreTrainedConfig:
        return self.config_class(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            max_position_embeddings=512,
            type_vocab_size=self.type_vocab_size,
            **self.settings,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Any]]:
        shape = [self.batch_size, self.seq_length]
        return self.get_config(), {
            "input_ids": ids_tensor(shape, self.vocab_size).clamp(min=3),  # no padding: the mask alone leaves out
            "token_type_ids": ids_tensor(shape, self.type_vocab_size),
            "attention_mask": random_attention_mask(shape),
        }


class Common(ModelTesterMixin):
    """What transformers' tests are told of every model here."""

    # Off for models from before 2023 unless they ask for it.
    test_can_init_all_missing_weights_before_2023 = True
    config_class: type[PreTrainedConfig]
    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        self.model_tester = SmallModel(self.config_class, **self.settings)
        # 36 is a multiple of the 12 heads that a configuration has by default
        self.config_tester = ConfigTester(self, config_class=self.config_class, hidden_size=36, **self.settings)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class XLMRobertaTest(Common, unittest.TestCase):
    """The control: what fails or is skipped here too is not the students' doing."""

    config_class = XLMRobertaConfig
    all_model_classes = tuple(getattr(modeling_xlm_roberta, f"XLMRoberta{head}") for head in HEADS)


class Student(Common):
    config_class = AfroStudentConfig
    all_model_classes = tuple(getattr(modeling_afro_student, f"AfroStudent{head}") for head in HEADS)

    def setUp(self) -> None:
        super().setUp()
        # The tests know what a class is for by tables of names, which the public registration does not enter.
        for auto_class, model_class in MODELS.items():
            names = auto_class._model_mapping._model_mapping
            self.enterContext(mock.patch.dict(names, {AfroStudentConfig.model_type: model_class.__name__}))
        # They take a model whose `**kwargs` are not annotated in full for one that cannot give attention weights.
        full = inspect.signature(modeling_xlm_roberta.XLMRobertaModel.forward).parameters["kwargs"].annotation
        for model_class in self.all_model_classes:
            if "forward" in vars(model_class):
                self.enterContext(mock.patch.dict(model_class.forward.__annotations__, kwargs=full))


class FactorisedStudentTest(Student, unittest.TestCase):
    settings = {"embedding_size": 16}


class PlainStudentTest(Student, unittest.TestCase):
    settings = {"embedding_size": None}


class PaddedStudentTest(Student, unittest.TestCase):
    settings = {"embedding_size": 16, "unpad": False}
