"""Faults of the Hub on loopback: which endpoint fails, how, from which request on and how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ENDPOINTS = (
    "whoami",
    "create",
    "yaml",
    "preupload",
    "batch",
    "put",  # of a large file, whole or a part
    "complete",  # the parts of a large file
    "verify",
    "commit",
    "info",
    "tree",
    "refs",
    "branch",
    "tag",
    "resolve",
)
STATUSES = ("401", "403", "404", "409", "412", "413", "429", "500", "503")
KINDS = (
    *STATUSES,  # refused before anything is done
    "reset",  # the connection is reset when half of the request's body has been read
    "lost",  # all is done, and the connection is reset before the answer
    "done-500",  # all is done, and the answer says that it was not
    "truncated",  # all is done, and half of the answer's body is sent
    "slow",  # the answer's body comes a few bytes at a time
    "corrupt",  # a byte of what was received, or of a file that is sent, is another one
)


@dataclass
class Fault:
    """A fault to switch on.

    Attributes:
        kind: One of `KINDS`.
        endpoint: One of `ENDPOINTS`.
        count: How many requests it strikes.
        skip: How many requests to the endpoint it lets pass before.
        retry_after: Seconds that a 429 or 503 asks to wait; or, as text, a `RateLimit` header. None for no header.
        says: What the answer says.
    """

    kind: str
    endpoint: str
    count: int = 1
    skip: int = 0
    retry_after: int | str | None = None
    says: str = "the fault that was asked for"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.endpoint not in ENDPOINTS:
            raise ValueError(f"no fault {self.kind!r} at {self.endpoint!r}")


class Faults:
    """The faults that are on."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.struck: list[tuple[str, str]] = []

    def on(self, *faults: Fault) -> None:
        """Switch faults on, beside those that are."""
        with self._lock:
            self._faults.extend(faults)

    def off(self) -> None:
        """Switch all off."""
        with self._lock:
            self._faults.clear()
            self.struck.clear()

    def next(self, endpoint: str) -> Fault | None:
        """Return the fault that strikes a request, if any, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.endpoint != endpoint or fault.count <= 0:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.count -= 1
                self.struck.append((endpoint, fault.kind))
                return fault
        return None
