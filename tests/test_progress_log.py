"""The log of long work: its lines, how seldom they come, and where there are none."""

from __future__ import annotations

import logging
import sys

import pytest

from hf_afro.progress_log import EVERY, ProgressLog, duration


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "hf_afro")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_line_has_step_speed_and_time_left(clock, lines):
    log = ProgressLog("ner swa, seed 1", 660, clock=clock)
    clock.now += 57
    log.update(120)
    assert lines() == ["ner swa, seed 1: 120 of 660 steps, 2.1 steps/s, 5 min left"]


def test_there_is_a_line_every_thirty_seconds_at_most(clock, lines):
    log = ProgressLog("MAFT", 1_000, clock=clock)
    for step in range(1, 1_001):
        clock.now += 0.25
        log.update(step)
    assert EVERY == 30
    assert [line.partition(" of ")[0] for line in lines()] == [f"MAFT: {step}" for step in range(120, 1_000, 120)]
    assert set(line.rpartition(", ")[0].partition("steps, ")[2] for line in lines()) == {"4.0 steps/s"}


def test_a_run_that_is_resumed_is_as_fast_as_what_it_did_itself(clock, lines):
    log = ProgressLog("MAFT", 1_000, done=900, clock=clock)
    clock.now += 40
    log.update(910)
    assert lines() == ["MAFT: 910 of 1,000 steps, 0.25 steps/s, 6 min left"]


def test_what_has_no_known_end_says_no_time_left(clock, lines):
    log = ProgressLog("counting", None, unit="MB", clock=clock)
    clock.now += 60
    log.update(6_120)
    assert lines() == ["counting: 6,120 MB, 102 MB/s"]


def test_there_is_none_on_a_terminal_nor_where_the_log_is_off(clock, lines, caplog, monkeypatch, capsys):
    caplog.set_level(logging.WARNING, "hf_afro")
    log = ProgressLog("MAFT", 10, clock=clock)
    clock.now += 60
    log.update(1)
    caplog.set_level(logging.INFO, "hf_afro")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock.now += 60
    log.update(2)
    assert lines() == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "said"), [(1.2, "2 s"), (91, "2 min"), (5399, "90 min"), (9000, "2.5 h")])
def test_a_time_is_said_in_the_unit_that_suits_it(seconds, said):
    assert duration(seconds) == said
