# SPDX-License-Identifier: Apache-2.0
"""Trying again: full-jitter backoff up to five minutes or what was asked for, a limit in time, an end on demand."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from nucleus_bridge.errors import StoppedError, UnavailableError, UploadError

BASE_S = 0.25
CAP_S = 300.0

Result = TypeVar("Result")


class TransientError(UploadError):
    """An attempt failed in a way that another one may not; never leaves this room.

    Attributes:
        retry_after_s: What the other side asked to wait for, if it did.
        unclear: Whether what was asked for may have been done nevertheless.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, unclear: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unclear = unclear


def _ignore(reason: str, seconds: float) -> None:
    """Do nothing."""


@dataclass
class Retry:
    """How to try again.

    Attributes:
        give_up_after_s: Time after which the last failure stands; 0 for never.
        stop: Ends every wait.
        clock: Steady seconds.
        random: Numbers in [0, 1).
        told: Called with the reason and the seconds before each wait.
        sleep: Waits; None for one that ``stop`` ends.
    """

    give_up_after_s: float = 3600.0
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    told: Callable[[str, float], None] = _ignore
    sleep: Callable[[float], None] | None = None

    def check(self) -> None:
        """Raise when it is time to stop.

        Raises:
            StoppedError: It is.
        """
        if self.stop.is_set():
            raise StoppedError("stopped")

    def wait(self, seconds: float) -> None:
        """Wait, or raise when told to stop.

        Raises:
            StoppedError: It was.
        """
        self.check()
        if self.sleep is not None:
            self.sleep(seconds)
        else:
            self.stop.wait(seconds)
        self.check()

    def call(self, attempt: Callable[[], Result], before_again: Callable[[TransientError], Result | None]) -> Result:
        """Call until an attempt succeeds; ``before_again`` may find the result in another way.

        Raises:
            UnavailableError: No attempt succeeded for ``give_up_after_s``.
            StoppedError: It was told to stop.
        """
        began = self.clock()
        failures = 0
        last: TransientError | None = None
        while True:
            self.check()
            try:
                found = None if last is None else before_again(last)
                return attempt() if found is None else found
            except TransientError as error:
                last = error
            seconds = self.backoff(failures, last.retry_after_s)
            failures += 1
            if self.give_up_after_s and self.clock() + seconds - began > self.give_up_after_s:
                message = f"{last}; given up after {failures} attempts in {self.clock() - began:.0f} s"
                raise UnavailableError(message) from None
            self.told(str(last), seconds)
            self.wait(seconds)

    def again(self, attempt: Callable[[], Result]) -> Result:
        """Call until an attempt succeeds; for what may be done twice without harm.

        Raises:
            UnavailableError: No attempt succeeded for ``give_up_after_s``.
            StoppedError: It was told to stop.
        """
        return self.call(attempt, lambda _: None)

    def backoff(self, failures: int, retry_after_s: float | None) -> float:
        """Return the seconds before the next attempt: random up to the doubled limit, never less than asked for."""
        ceiling = min(CAP_S, BASE_S * 2.0 ** min(failures, 32))
        seconds = self.random() * ceiling
        return seconds if retry_after_s is None else max(seconds, retry_after_s)
