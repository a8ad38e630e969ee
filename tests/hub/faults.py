"""Faults of the Hub on loopback: the endpoint that fails, how, from which request on, and how often."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ENDPOINTS = (
    "whoami",
    "create",
    "yaml",
    "preupload",
    "batch",
    "put",  # of a large file, complete or one part
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
    *STATUSES,  # refused before any change
    "reset",  # the connection is reset after half of the request's body
    "lost",  # done, but the connection is reset before the response
    "done-500",  # done, but the response is an error
    "truncated",  # done, but only half of the response's body is sent
    "slow",  # the response's body arrives a few bytes at a time
    "corrupt",  # one byte of the content is changed
)


@dataclass
class Fault:
    """A fault to switch on.

    Attributes:
        kind: One of `KINDS`.
        endpoint: One of `ENDPOINTS`.
        count: The number of requests that it hits.
        skip: The number of requests to the endpoint that pass before.
        retry_after: Seconds to wait, in the header of a 429 or 503; or, as text, a `RateLimit` header.
        says: The message of the response.
    """

    kind: str
    endpoint: str
    count: int = 1
    skip: int = 0
    retry_after: int | str | None = None
    says: str = "the requested fault"

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.endpoint not in ENDPOINTS:
            raise ValueError(f"no fault {self.kind!r} at {self.endpoint!r}")


class Faults:
    """The active faults."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.struck: list[tuple[str, str]] = []

    def on(self, *faults: Fault) -> None:
        """Add faults."""
        with self._lock:
            self._faults.extend(faults)

    def off(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
            self.struck.clear()

    def next(self, endpoint: str) -> Fault | None:
        """Return the fault that hits a request, if any, and count it."""
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
