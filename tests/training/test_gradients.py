"""Gradients dropped for the first steps: by the names of parameters, and of a student's embeddings."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerState, XLMRobertaModel

from hf_afro.training.gradients import freeze_embeddings, vocabulary_parameters, warm_up_embeddings
from tests.conftest import tiny_config
from tests.training.tiny_trainers import StopAt, checksum, distill_trainer, student_of, teacher_of

TABLE = "roberta.embeddings.word_embeddings.weight"
QUERY = "roberta.encoder.layer.0.attention.self.query.weight"
RUN = {"max_steps": 4, "lr_scheduler_type": "constant", "weight_decay": 0.1, "mlm_weight": 1.0}


@pytest.mark.parametrize("drop", [warm_up_embeddings, freeze_embeddings])
def test_parameters_that_fsdp_has_replaced_are_known_by_name(model, drop):
    callback = drop(model, 1)
    query = model.roberta.encoder.layer[0].attention.self.query
    query.weight = torch.nn.Parameter(query.weight.detach().clone())
    own = {id(parameter) for parameter in vocabulary_parameters(model)}
    for step in (0, 1):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        callback.on_pre_optimizer_step(None, TrainerState(global_step=step), None, model=model)
        for name, parameter in model.named_parameters():
            dropped = (id(parameter) in own) == (drop is freeze_embeddings)
            assert (parameter.grad is None) == (dropped and step == 0), name


def test_an_encoder_without_a_head_has_one_table(tokenizer):
    encoder = XLMRobertaModel(tiny_config(len(tokenizer)))
    assert vocabulary_parameters(encoder) == [encoder.embeddings.word_embeddings.weight]
    assert freeze_embeddings(encoder, 1).names == {"embeddings.word_embeddings.weight"}


@pytest.mark.parametrize("stop", [2, 3])
def test_frozen_embeddings_wait_and_then_learn(tokenizer, tmp_path, stop):
    first = student_of(tokenizer).state_dict()
    run = {**RUN, "freeze_embeddings_steps": 2}
    trainer = distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, callbacks=[StopAt(stop)], **run)
    trainer.train()
    after = trainer.model.state_dict()
    for name in (TABLE, "lm_head.bias"):
        assert torch.equal(after[name], first[name]) == (stop == 2), name
    assert not torch.equal(after[QUERY], first[QUERY])


def test_a_resumed_run_freezes_as_long_as_an_unbroken_one(tokenizer, tmp_path):
    teacher = teacher_of(tokenizer)
    run = {**RUN, "freeze_embeddings_steps": 3, "save_strategy": "steps", "save_steps": 2}
    unbroken = distill_trainer(teacher, tokenizer, tmp_path / "unbroken", **run)
    unbroken.train()
    broken = distill_trainer(teacher, tokenizer, tmp_path / "broken", callbacks=[StopAt(2)], **run)
    broken.train()
    resumed = distill_trainer(teacher, tokenizer, tmp_path / "broken", **run)
    resumed.train(resume_from_checkpoint=True)
    assert checksum(resumed.model) == checksum(unbroken.model) != checksum(broken.model)


def test_fewer_than_no_steps_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="freeze_embeddings_steps=-1 is less than 0"):
        distill_trainer(teacher_of(tokenizer), tokenizer, tmp_path, freeze_embeddings_steps=-1)
