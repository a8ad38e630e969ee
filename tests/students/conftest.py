"""Configurations of a small student, factorised and not, and a batch."""

from __future__ import annotations

import pytest
import torch

from hf_afro.students import AfroStudentConfig
from tests.conftest import tiny_config


def student_config(vocab_size: int = 120, **overrides) -> AfroStudentConfig:
    """Configuration of a student of two layers, width 32 and embeddings of width 8, run padded, dropout off."""
    settings = tiny_config(vocab_size).to_diff_dict()
    settings.pop("model_type")
    return AfroStudentConfig(**{**settings, "embedding_size": 8, "unpad": False, **overrides})


@pytest.fixture(params=[8, None], ids=["factorised", "plain"])
def config(request) -> AfroStudentConfig:
    """The configuration of a factorised student, and of one that is not."""
    return student_config(embedding_size=request.param)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Two rows of random ids, the second padded on the right."""
    ids = torch.randint(4, 120, (2, 9), generator=torch.Generator().manual_seed(0))
    ids[1, 6:] = 1
    return {"input_ids": ids, "attention_mask": (ids != 1).long()}
