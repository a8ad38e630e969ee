"""Settings that cannot be are refused when they are given, not when training comes to need them."""

from __future__ import annotations

import pytest

from hf_afro.training import MAFTTrainingArguments, RelationDistillTrainingArguments


@pytest.mark.parametrize("kind", [MAFTTrainingArguments, RelationDistillTrainingArguments])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0 is less than 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0 is less than 1"),
        ({"seed": -1}, "seed=-1 is outside 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296 is outside"),
        ({"learning_rate": float("nan")}, "learning_rate=nan is not a finite number"),
        ({"num_train_epochs": 0}, "max_steps=-1 and num_train_epochs=0 leave nothing to train"),
        ({"max_length": 2}, "max_length=2 leaves no room"),
        ({"language_alpha": 1.5}, r"language_alpha=1\.5 is outside"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(output_dir=str(tmp_path), use_cpu=True, **settings)


def test_steps_do_without_epochs(tmp_path):
    assert (
        MAFTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=5, num_train_epochs=0).max_steps == 5
    )
