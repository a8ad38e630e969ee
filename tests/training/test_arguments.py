"""Arguments are refused where they are impossible, and read from a command line."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import HfArgumentParser, TrainingArguments

from hf_afro.training import MAFTTrainingArguments, RelationDistillTrainingArguments


@pytest.mark.parametrize("kind", [MAFTTrainingArguments, RelationDistillTrainingArguments])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size=0 is less than 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0 is less than 1"),
        ({"seed": -1}, "seed=-1 is outside 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296 is outside"),
        ({"learning_rate": float("nan")}, "learning_rate=nan; expected a finite number"),
        ({"num_train_epochs": 0}, "max_steps=-1 and num_train_epochs=0 leave nothing to train"),
        ({"max_length": 2}, "max_length=2 leaves no room"),
        ({"language_alpha": 1.5}, r"language_alpha=1\.5 is outside \[0, 1\]"),
        ({"mlm_probability": 0.0}, r"mlm_probability=0\.0 is outside \(0, 1\)"),
        ({"streaming": True}, "streaming=True needs max_steps, got -1"),
        ({"language_sizes": {"swa": 1}}, "language_sizes needs streaming"),
        ({"streaming": True, "max_steps": 1, "language_sizes": {"swa": 0}}, "expected a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(output_dir=str(tmp_path), use_cpu=True, **settings)


def test_steps_do_without_epochs(tmp_path):
    assert (
        MAFTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=5, num_train_epochs=0).max_steps == 5
    )


@pytest.mark.parametrize("kind", [MAFTTrainingArguments, RelationDistillTrainingArguments])
def test_every_field_of_ours_has_a_help_text(kind):
    stock = {field.name for field in dataclasses.fields(TrainingArguments)} - {"ddp_find_unused_parameters"}
    own = [field for field in dataclasses.fields(kind) if field.name not in stock]
    assert len(own) >= 10
    assert all(len(field.metadata["help"]) > 20 for field in own)


def test_a_command_line_gives_lists_and_json(tmp_path):
    common = ["--output_dir", str(tmp_path), "--use_cpu", "--max_steps", "1", "--streaming"]
    (maft,) = HfArgumentParser(MAFTTrainingArguments).parse_args_into_dataclasses(
        [*common, "--language_sets", '{"core": ["swa", "yor"]}', "--language_sizes", '{"swa": 2, "yor": 1.5}']
    )
    assert maft.language_sets == {"core": ["swa", "yor"]}
    assert maft.language_sizes == {"swa": 2, "yor": 1.5}
    (distill,) = HfArgumentParser(RelationDistillTrainingArguments).parse_args_into_dataclasses(
        [
            *common,
            "--teacher_layers",
            "1",
            "2",
            "--relation_weights",
            "1",
            "0.5",
            "0",
            "--no_packing",
            "--hidden_weight",
            "1",
            "--hidden_teacher_layers",
            "6",
            "12",
            "--hidden_student_layers",
            "3",
            "6",
        ]
    )
    assert distill.teacher_layers == [1, 2]
    assert distill.relation_weights == [1.0, 0.5, 0.0]
    assert (distill.hidden_teacher_layers, distill.hidden_student_layers) == ([6, 12], [3, 6])
    assert (distill.student_layers, distill.packing) == (None, False)
