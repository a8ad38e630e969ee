"""The papers' settings, and values that are refused."""

from __future__ import annotations

import dataclasses

import pytest

from hf_afro.evaluation.presets import SEEDS, FineTuningSettings, check_seeds, preset


def short(settings: FineTuningSettings) -> tuple:
    return settings.max_length, settings.batch_size, settings.epochs, settings.learning_rate


def test_the_settings_of_the_papers():
    assert short(preset("paper", "ner", "masakhaner1/swa")) == (164, 16, 50, 5e-5)
    assert short(preset("paper", "ner", "masakhaner2/swa")) == (164, 32, 20, 5e-5)
    assert short(preset("paper", "topic", "masakhanews/swa")) == (512, 32, 25, 5e-5)
    assert short(preset("paper", "sentiment")) == (512, 32, 25, 5e-5)
    assert len(set(SEEDS)) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 1}, "did you mean 'learning_rate'"),
        ({"epochs": 0}, "epochs=0; expected a whole number, at least 1"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"max_length": 2}, "max_length=2"),
        ({"accumulation": 3}, "does not divide batch_size=16"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"warmup": 1.0}, r"outside \[0, 1\)"),
        ({"weight_decay": -1.0}, "negative"),
        ({"patience": 0}, "patience=0"),
        ({"learning_rate": None}, "learning_rate=None; expected a number"),
        ({"warmup": float("nan")}, "warmup=nan; expected a number"),
    ],
)
def test_what_is_impossible_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FineTuningSettings().replace(**changes)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**32]])
def test_seeds_that_cannot_be_are_refused(seeds):
    with pytest.raises(ValueError, match="expected one or more different ones from 0 to 4294967295"):
        check_seeds(seeds)
    check_seeds(SEEDS)


def test_unknown_presets_and_tasks_are_named():
    with pytest.raises(ValueError, match="unknown preset 'tiny'; expected one of paper, small"):
        preset("tiny", "ner")
    with pytest.raises(ValueError, match="unknown task 'ners'"):
        preset("small", "ners")


def test_every_setting_has_a_description():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(FineTuningSettings))
