"""Faults: the error message, and a repository that is unchanged or holds the whole push."""

from __future__ import annotations

import pytest

from tests.hub.faults import Fault
from tests.hub.folders import small_model
from tests.hub.sequences import COMPLETE, UNCHANGED, run_sequence, strike

FOREVER = 1000
FAST, ALL = range(6), range(200)
PASSING = ("429", "500", "503", "reset", "lost", "truncated", "slow", "done-500")

# Error messages of permanent faults.
REFUSED = {
    "401": "refused (401): the Hub does not know the token: run `hf auth login`, or set HF_TOKEN",
    "403": "refused (403): the token may not write there: use one with write permission",
    "404": "refused (404): the repository or branch does not exist, or the token may not see it",
    "409": "refused (409): somebody else changed the repository",
    "412": "refused (412): somebody else changed the repository",
    "413": "refused (413): the commit is too large",
}
FAILED = {
    "429": "failed (429): too many requests",
    "500": "failed (500): push again later",
    "503": "failed (503): push again later",
    "reset": "failed: ReadError: ",
}


@pytest.fixture
def folders(tmp_path):
    return small_model(tmp_path / "new", seed=2), small_model(tmp_path / "former", seed=1)


@pytest.mark.parametrize("kind", [*REFUSED, *FAILED])
def test_a_commit_that_never_passes_leaves_the_repository_as_it_was(hub, folders, kind):
    outcome = strike(*folders, [Fault(kind, "commit", FOREVER)], hub)
    assert set(outcome.states) == {UNCHANGED}
    for text in outcome.told:
        assert {**REFUSED, **FAILED}[kind] in text
        assert text.startswith("PushRefused: " if kind in REFUSED else "PushFailed: ")
        assert "Nothing was published" in text
        assert "\n" not in text


@pytest.mark.parametrize("endpoint", ["create", "preupload", "batch", "put"])
@pytest.mark.parametrize("kind", ["401", "500"])
def test_what_fails_before_the_commit_leaves_nothing(hub, folders, endpoint, kind):
    outcome = strike(folders[0], None, [Fault(kind, endpoint, FOREVER)], hub)
    assert set(outcome.states) == {UNCHANGED}
    assert all({**REFUSED, **FAILED}[kind] in text for text in outcome.told)


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        *(("commit", kind) for kind in (*PASSING, "409", "412")),
        *(("put", kind) for kind in PASSING),
        *((endpoint, "reset") for endpoint in ("info", "create", "refs", "tree")),
        *((endpoint, "reset") for endpoint in ("preupload", "batch", "verify")),
    ],
)
def test_what_passes_is_tried_again(hub, folders, endpoint, kind):
    new, former = folders
    outcome = strike(new, None if endpoint == "create" else former, [Fault(kind, endpoint)], hub)
    assert outcome.struck == ((endpoint, kind),)
    assert (outcome.told, outcome.states) == (("",), (COMPLETE,))


def test_what_is_spoilt_on_the_way_is_sent_again_and_never_committed(hub, folders):
    assert strike(*folders, [Fault("corrupt", "put")], hub).states == (COMPLETE,)


def test_what_is_always_spoilt_is_refused(hub, folders):
    outcome = strike(*folders, [Fault("corrupt", "put", FOREVER)], hub)
    assert set(outcome.states) == {UNCHANGED}
    assert "wrong checksum: what has arrived is not what was announced" in outcome.told[0]


def test_a_commit_that_cannot_be_looked_at_says_so(hub, folders):
    outcome = strike(*folders, [Fault("lost", "commit"), Fault("500", "refs", 5, skip=1)], hub)
    assert outcome.states == (COMPLETE, COMPLETE)
    assert "It is unknown whether the commit was made: check http" in outcome.told[0]
    assert outcome.told[1] == ""


@pytest.mark.parametrize("seed", FAST)
def test_random_faults(online, tmp_path, seed):
    check(run_sequence(seed, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("seed", ALL)
def test_many_random_faults(online, tmp_path, seed):
    check(run_sequence(seed, tmp_path))


def check(outcome):
    for told, state in zip(outcome.told, outcome.states, strict=True):
        assert state in ((COMPLETE,) if told == "" else (COMPLETE, UNCHANGED)), told
    assert outcome.told[-1] == ""
