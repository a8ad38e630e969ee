"""A sweep over teacher layers and relation heads: the best first, impossible ones refused before it begins."""

from __future__ import annotations

import pytest

from hf_afro.training import MAFTTrainingArguments, RelationDistillTrainingArguments, sweep_relations
from tests.training.recipes import checksum, settings, student_of, teacher_of, text_datasets, uneven_sentences


def sweep(tokenizer, folder, **overrides):
    tries = {"teacher_layers": [1, 2], "num_relation_heads": [4, 8], **overrides}
    return sweep_relations(
        tries.pop("student", None) or student_of(tokenizer),
        tries.pop("teacher", None) or teacher_of(tokenizer),
        RelationDistillTrainingArguments(**settings(folder, max_steps=2)),
        MAFTTrainingArguments(**settings(folder, max_steps=2)),
        train_dataset=text_datasets(1),
        eval_dataset=uneven_sentences(),
        processing_class=tokenizer,
        **tries,
    )


def test_every_layer_with_every_number_of_heads_the_best_first(tokenizer, tmp_path):
    student, teacher = student_of(tokenizer), teacher_of(tokenizer)
    before = checksum(student), checksum(teacher)
    results = sweep(tokenizer, tmp_path, student=student, teacher=teacher)
    found = {(result.teacher_layer, result.num_relation_heads): result for result in results}
    assert set(found) == {(1, 4), (1, 8), (2, 4), (2, 8)}
    bits = [result.bits_per_byte for result in results]
    assert bits == sorted(bits)
    assert len(set(bits)) == 4
    assert (checksum(student), checksum(teacher)) == before
    assert not any(module._forward_hooks for module in teacher.modules())
    # Each result is that of its own layer and heads, whatever was tried before it.
    assert sweep(tokenizer, tmp_path, teacher_layers=[2], num_relation_heads=[4]) == [found[2, 4]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"teacher_layers": [1, 3]}, "layer 3 was asked for and the model has layers 1 to 2"),
        ({"num_relation_heads": [4, 5]}, "num_relation_heads=5 does not divide both widths"),
        ({"teacher_layers": []}, "there is nothing to try"),
    ],
)
def test_what_cannot_be_is_refused_before_any_training(tokenizer, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        sweep(tokenizer, tmp_path, **wrong)
    assert not any(tmp_path.iterdir())
