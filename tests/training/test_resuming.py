"""A run that goes on warns of keys that are missing, and not of those that are tied; a wrong metric is refused."""

from __future__ import annotations

import copy
import json
import logging
from types import SimpleNamespace

import pytest

from hf_afro.training import resuming
from hf_afro.training.resuming import tied_keys_not_missing
from tests.training.recipes import HYBRID, StopAt, distill_trainer, maft_trainer, text_datasets

SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
MISSING = "There were missing keys in the checkpoint model loaded: {}."


@pytest.fixture
def warnings_of_trainer(caplog):
    logger = logging.getLogger("transformers.trainer")
    logger.addHandler(caplog.handler)  # the root of transformers does not propagate
    yield caplog
    logger.removeHandler(caplog.handler)


def test_going_on_says_nothing_of_tied_keys(model, tokenizer, tmp_path, warnings_of_trainer):
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    first = maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, callbacks=[StopAt(1)], **SAVING)
    first.train()
    maft_trainer(copy.deepcopy(model), tokenizer, tmp_path, **SAVING).train(resume_from_checkpoint=True)
    assert "missing keys" not in warnings_of_trainer.text


def test_keys_that_are_missing_are_told(model, warnings_of_trainer):
    logger = logging.getLogger("transformers.trainer")
    tied = ["lm_head.decoder.weight", "lm_head.decoder.bias"]
    both = "roberta.embeddings.word_embeddings.weight"
    for missing in ([*tied, "lm_head.dense.weight"], [tied[0], both], ["of.another.model"]):
        with tied_keys_not_missing(model):
            logger.warning(MISSING.format(missing))
        assert MISSING.format(missing) in warnings_of_trainer.text
    with tied_keys_not_missing(model):
        logger.warning(MISSING.format(tied))
    assert MISSING.format(tied) not in warnings_of_trainer.text
    logger.warning(MISSING.format(tied))  # and the filter is gone afterwards
    assert MISSING.format(tied) in warnings_of_trainer.text


class Evaluated:
    """What `evaluate_before` asks of a trainer, on one of two processes."""

    def __init__(self, is_main: bool) -> None:
        self.args = SimpleNamespace(world_size=2)
        self.is_main = is_main

    def is_world_process_zero(self) -> bool:
        return self.is_main

    def evaluate(self) -> dict[str, float]:
        return {"eval_loss": 2.0}


@pytest.mark.parametrize("is_main", [True, False])
@pytest.mark.parametrize("there", [None, {"eval_loss": 1.0}])
@pytest.mark.parametrize("seen", [None, {"eval_loss": 1.0}])
def test_all_processes_do_what_the_main_one_finds(tmp_path, monkeypatch, is_main, there, seen):
    """Another one may see the file early or late; evaluation waits for all."""

    def broadcast(found):
        if not is_main:
            found[0] = there
        sent.append(list(found))

    sent = []
    monkeypatch.setattr(resuming, "broadcast_object_list", broadcast)
    on_disk = there if is_main else seen
    if on_disk is not None:
        (tmp_path / resuming.BEFORE_FILE).write_text(json.dumps(on_disk))
    assert resuming.evaluate_before(Evaluated(is_main), tmp_path) == (there or {"eval_loss": 2.0})
    assert sent == [[there]]
    written = (tmp_path / resuming.BEFORE_FILE).is_file()
    assert written == (is_main or on_disk is not None)


BEST = {"eval_strategy": "steps", "eval_steps": 1, "greater_is_better": False, "max_steps": 1}


def test_a_metric_that_does_not_exist_is_refused_before_training(model, tokenizer, tmp_path):
    trainer = maft_trainer(
        model, tokenizer, tmp_path, eval_dataset=text_datasets(), metric_for_best_model="swa_bits_per_bite", **BEST
    )
    with pytest.raises(ValueError, match=r"'swa_bits_per_bite' is no figure .* nearest is 'swa_bits_per_byte' of "):
        trainer.train()
    assert trainer.state.global_step == 0


def test_the_figures_named_are_those_that_evaluation_gives(model, tokenizer, tmp_path):
    trainer = maft_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets(), language_sets={"core": ["swa"]})
    assert {f"eval_{name}" for name in trainer.figure_names()} == set(trainer.evaluate()) - {"epoch"}
    relations = distill_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets())
    assert {f"eval_{name}" for name in relations.figure_names()} == set(relations.evaluate()) - {"epoch"}
    terms = distill_trainer(model, tokenizer, tmp_path, eval_dataset=text_datasets(), **HYBRID)
    assert {f"eval_{name}" for name in terms.figure_names()} == set(terms.evaluate()) - {"epoch"}
