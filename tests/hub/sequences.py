"""Pushes under faults, single or in random sequences, and the state of the repository after each."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub.constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from hf_afro.hub import PushFailed, PushRefused, push
from tests.hub.faults import STATUSES, Fault
from tests.hub.folders import held, here, small_model
from tests.hub.server import Hub

NAME = "ama/model"
UNCHANGED, COMPLETE, PARTIAL = "unchanged", "complete", "partial"
ASKED = ("create", "yaml", "preupload", "batch", "put", "verify", "commit", "info", "tree", "refs")
_ANY = ("reset", "lost", "truncated", "slow", "done-500", *STATUSES)
MOST_PUSHES = 3


@contextlib.contextmanager
def speaking_to_loopback() -> Iterator[None]:
    """Let the client of this process go online, with plain LFS and without waiting between tries."""
    with (
        mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", False),
        mock.patch.object(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True),
        mock.patch.object(time, "sleep"),
    ):
        disable_progress_bars()
        try:
            yield
        finally:
            huggingface_hub.close_session()
            enable_progress_bars()


@dataclass(frozen=True)
class Outcome:
    """The outcome of pushes.

    Attributes:
        told: The error of each; empty on success.
        states: The state of the repository after each.
        struck: Endpoints and kinds of the faults that occurred.
    """

    told: tuple[str, ...]
    states: tuple[str, ...]
    struck: tuple[tuple[str, str], ...]


def state_of(hub: Hub, folder: Path, before: dict[str, dict[str, bytes]]) -> str:
    """Return the state of a repository: every branch and pull request is unchanged, or holds the folder."""
    repository = hub.store.find("model", NAME)
    if repository is None:
        return UNCHANGED
    new, states = here(folder), set()
    for ref in repository.refs:
        old = before.get(ref, before.get("refs/heads/main", {}))
        files = held(hub, NAME, ref)
        changed = {path: content for path, content in files.items() if old.get(path) != content}
        if files == old:
            states.add(UNCHANGED)
        elif files in (new, {**old, **new}):
            states.add(COMPLETE)
        else:
            return f"{PARTIAL}: {ref} has new {sorted(changed)} of {sorted(new)}"
    return COMPLETE if COMPLETE in states else UNCHANGED


def contents(hub: Hub) -> dict[str, dict[str, bytes]]:
    repository = hub.store.find("model", NAME)
    return {} if repository is None else {ref: held(hub, NAME, ref) for ref in repository.refs}


def pushed(hub: Hub, folder: Path, **settings: Any) -> str:
    """Push and return the error, or an empty string."""
    try:
        push(folder, NAME, endpoint=hub.url, token=hub.token, **settings)
    except (PushRefused, PushFailed) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def strike(folder: Path, former: Path | None, faults: Sequence[Fault], hub: Hub, **settings: Any) -> Outcome:
    """Push a folder under faults up to three times, and check the repository after each push.

    Args:
        folder: The folder to push.
        former: The previous content of the repository; None if there is no repository.
        faults: Activated before the first push.
        hub: A new Hub.
        **settings: Arguments of `push`.
    """
    if former is not None:
        assert pushed(hub, former) == ""
    before = contents(hub)
    hub.faults.on(*faults)
    told, states = [], []
    while len(told) < MOST_PUSHES and (not told or told[-1]):
        told.append(pushed(hub, folder, **settings))
        states.append(state_of(hub, folder, before))
    return Outcome(tuple(told), tuple(states), tuple(hub.faults.struck))


def random_fault(chance: random.Random) -> Fault:
    endpoint = chance.choice((*ASKED, "commit", "commit", "put", "branch", "tag", "complete"))
    kind = "corrupt" if endpoint == "put" and chance.random() < 0.3 else chance.choice(_ANY)
    retry_after = chance.choice((None, 0, 1, 500)) if kind in ("429", "503") else None
    return Fault(kind, endpoint, chance.choice((1, 1, 2, 3, 40)), chance.choice((0, 0, 1, 2)), retry_after)


def run_sequence(seed: int, folder: Path) -> Outcome:
    """Run one random sequence of faults, and a last push without faults, which must succeed.

    Args:
        seed: Determines the faults, the previous content, and the arguments of the push.
        folder: An empty folder for the models.
    """
    chance = random.Random(seed)
    former = small_model(folder / "former", shards=chance.choice((1, 2)), seed=1) if chance.random() < 0.6 else None
    new = small_model(folder / "new", shards=chance.choice((1, 2, 3)), seed=2)
    settings: dict[str, Any] = {"replace": chance.random() < 0.3}
    if chance.random() < 0.25:
        settings["revision"] = "dev"
    elif former is not None and chance.random() < 0.25:
        settings["create_pr"] = True
    faults = [random_fault(chance) for _ in range(chance.randint(1, 6))]
    with Hub(part_size=chance.choice((3000, 1 << 20))) as hub:
        outcome = strike(new, former, faults, hub, **settings)
        hub.faults.off()
        last = pushed(hub, new, **settings)
        wanted = held(hub, NAME, settings.get("revision", "main")) if "create_pr" not in settings else here(new)
        whole = here(new).items() <= wanted.items()
        assert not any(hub.token in text for text in outcome.told)
        for text, before, state in zip(outcome.told, (UNCHANGED, *outcome.states), outcome.states, strict=False):
            if "Nothing was published" in text:
                assert state == before, text
            elif "It is unknown whether" not in text:
                assert state == COMPLETE, text
    return Outcome((*outcome.told, last), (*outcome.states, COMPLETE if whole else "not there"), outcome.struck)
