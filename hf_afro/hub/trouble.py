"""What goes wrong between here and the Hub: what can be tried again and when, and how the rest is told."""

from __future__ import annotations

import datetime
import email.utils
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError, HTTPError

from hf_afro.hub.traces import without_secrets

Result = TypeVar("Result")

_PASSING = (408, 429, 500, 502, 503, 504)
_MOVED = (409, 412)
_TOO_MANY = 429
_LOG_IN = (
    "log in with `hf auth login`, or set HF_TOKEN to a token that may write (https://huggingface.co/settings/tokens)"
)


class PushRefused(ValueError):
    """What was asked cannot be done as it is, and trying again would not help."""


class PushFailed(RuntimeError):
    """The Hub, or the way to it, failed; the same may work later."""


@dataclass(frozen=True)
class Trouble:
    """What an error means for a push.

    Attributes:
        status: Of HTTP; None where no answer could be read.
        passing: Whether trying again may help.
        open: Whether what was asked may have been done all the same.
        wait: Seconds that the Hub asks to wait.
        says: What the Hub or the connection said, on one line and without secrets.
    """

    status: int | None
    passing: bool
    open: bool
    wait: float | None
    says: str

    @property
    def moved(self) -> bool:
        """Whether somebody else was there first."""
        return self.status in _MOVED


def trouble_of(error: Exception, token: str | None) -> Trouble | None:
    """Return what an error of the client means; None where it is neither the Hub's nor the connection's.

    Args:
        error: What was raised.
        token: That of the push, which nothing may hold that is told.
    """
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, HfHubHTTPError) and one.response is not None:
            status = one.response.status_code
            # The client says so of large files. One refused as bad has been spoilt on the way, and the address of one
            # that was forbidden has run out: the file is read from the disk again, and sent to a new address.
            spoilt = status in (400, 403) and isinstance(error, RuntimeError)
            passing = status in _PASSING or spoilt
            says = one.server_message or str(one).strip().split("\n")[0]
            wait = _asked_to_wait(one.response.headers)
            return Trouble(status, passing, status >= 500 or status == 408, wait, _line(says, token))
    for one in chain:
        if isinstance(one, HTTPError):
            return Trouble(None, True, True, None, _line(f"{type(one).__name__}: {one}", token))
    if isinstance(error, json.JSONDecodeError | KeyError):
        return Trouble(None, True, True, None, f"an answer that cannot be read ({type(error).__name__})")
    return None


def told(trouble: Trouble, what: str, where: str) -> PushRefused | PushFailed:
    """Return the error for what cannot be mended by trying again, or was not.

    Args:
        trouble: The last of it.
        what: What was being done, as in ``the commit``.
        where: The repository, and what has become of it.
    """
    status, says = trouble.status, f"the Hub says: {trouble.says}"
    if status == 401:
        return PushRefused(f"{what} was refused (401): the Hub does not know the token; {_LOG_IN}; {says}. {where}")
    if status == 403:
        return PushRefused(
            f"{what} was refused (403): the token may not write there; take one with write permission, name a "
            f"repository of your own, or propose the change as a pull request; {says}. {where}"
        )
    if status == 404:
        return PushRefused(
            f"{what} found nothing (404): the repository or the branch does not exist, or the token may not see it; "
            f"{says}. {where}"
        )
    if status in _MOVED:
        return PushRefused(
            f"{what} met a conflict ({status}): somebody else has changed the repository; look at their change, and "
            f"give the command again; {says}. {where}"
        )
    again = "What has been sent is kept there and is not sent again: give the command again later"
    if status == _TOO_MANY:
        asked = "" if trouble.wait is None else f", and to wait {trouble.wait:.0f} s"
        return PushFailed(
            f"{what} was put off (429): the Hub asks for fewer requests{asked}; {says}. {where}. {again}"
        )
    if status is None:
        return PushFailed(f"{what} failed: the connection broke, or the answer did: {trouble.says}. {where}. {again}")
    if trouble.passing:
        return PushFailed(f"{what} failed ({status}), several times; {says}. {where}. {again}")
    return PushRefused(f"{what} was refused ({status}); {says}. {where}")


@dataclass
class Patience:
    """How often and how long a push tries again.

    Attributes:
        attempts: Tries of one request, the first included.
        first_wait: Seconds at most before the second try; each further one may take twice as long.
        longest_wait: Seconds at most before any try. Where the Hub asks for more, the push ends, and says so.
        sleep: How to wait.
        chance: The share of the longest time that is waited, from 0 to 1, so that many who were put off together do
            not come back together.
    """

    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = field(default=random.random)

    def wait(self, trouble: Trouble, attempt: int) -> bool:
        """Wait before the next try; say whether there is to be one.

        Args:
            trouble: What has happened.
            attempt: The number of the try that failed, from 1.
        """
        if not trouble.passing or attempt >= self.attempts:
            return False
        if trouble.wait is not None:
            if trouble.wait > self.longest_wait:
                return False
            self.sleep(trouble.wait + self.chance())
            return True
        self.sleep(min(self.longest_wait, self.first_wait * 2 ** (attempt - 1)) * self.chance())
        return True

    def tried(self, act: Callable[[], Result], what: str, where: str, token: str | None) -> Result:
        """Do something that may be done twice, until it is done or cannot be.

        Args:
            act: What to do.
            what: What it is called, see `told`.
            where: What has become of the repository if it cannot be done.
            token: That of the push.

        Raises:
            PushRefused: If it can never be done as it is.
            PushFailed: If it could not be done now.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return act()
            except Exception as error:
                trouble = trouble_of(error, token)
                if trouble is None:
                    raise
                if not self.wait(trouble, attempt):
                    # The client's own error names signed addresses, so it is not carried along.
                    raise told(trouble, what, where) from None


def _asked_to_wait(headers: object) -> float | None:
    """Return the seconds that an answer asks to wait: a number or a date, or the Hub's own header of its limits."""
    value = headers.get("Retry-After")  # type: ignore[attr-defined]
    if value is None:
        limits = re.search(r"\bt\s*=\s*(\d+)", headers.get("RateLimit") or "")  # type: ignore[attr-defined]
        return None if limits is None else float(limits[1])
    if value.strip().isdigit():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:  # a zone of -0000 is read as none; a date of HTTP is in GMT whatever it says
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def _line(text: str, token: str | None) -> str:
    return " ".join(without_secrets(text, [token]).split()).rstrip(".")
