# SPDX-License-Identifier: Apache-2.0
"""Faults for rehearsal: which requests are spoilt, and how, decided by a seeded generator."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver.access import expired_refusal
from nucleus_bridge.testing.receiver.messages import Refusal, Response

RATE_LIMITED = "rate_limited"
SERVER_ERROR = "server_error"
ERROR_AFTER_COMMIT = "error_after_commit"
UNAVAILABLE = "unavailable"
RESET = "reset"
SLOW_BODY = "slow_body"
CUT_BODY = "cut_body"
STALL = "stall"
WRONG_JSON = "wrong_json"
EXPIRED_URL = "expired_url"

FAULT_NAMES = (
    RATE_LIMITED,
    SERVER_ERROR,
    ERROR_AFTER_COMMIT,
    UNAVAILABLE,
    RESET,
    SLOW_BODY,
    CUT_BODY,
    STALL,
    WRONG_JSON,
    EXPIRED_URL,
)
_DEFAULT_SECONDS = {STALL: 60.0, SLOW_BODY: 5.0, RATE_LIMITED: 1.0}
_NOT_ON_PUT = frozenset({SLOW_BODY, CUT_BODY, WRONG_JSON})  # the answer to a PUT has no body
_WRONG_BODIES = (b"[]", b"null", b'{"unexpected":true}', b'{"dataset_id":', b"<html><body>gateway</body></html>")


@dataclass(frozen=True)
class Fault:
    """One kind of fault and how often it strikes.

    Attributes:
        name: One of FAULT_NAMES.
        rate: Share of the requests, 0..1.
        times: Strikes at most so often; None for no limit.
        match: Only requests whose ``METHOD /path`` contains this.
        seconds: Length of a stall (default 60) or a slow body (5), or the Retry-After of rate_limited (1).
    """

    name: str
    rate: float = 1.0
    times: int | None = None
    match: str = ""
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.name not in FAULT_NAMES:
            raise InputError(f"fault {self.name!r} is not known; there are {', '.join(FAULT_NAMES)}")
        if not 0.0 <= self.rate <= 1.0:
            raise InputError(f"fault {self.name}: rate {self.rate} must be within 0 and 1")
        if self.seconds is not None and not 0.0 <= self.seconds <= 86400.0:
            raise InputError(f"fault {self.name}: {self.seconds} seconds must be within 0 and 86400")

    @property
    def duration_s(self) -> float:
        """``seconds``, or what is usual for this fault."""
        return _DEFAULT_SECONDS.get(self.name, 0.0) if self.seconds is None else self.seconds


def parse_fault(text: str) -> Fault:
    """Read ``name=rate`` or ``name=rate:seconds``.

    Raises:
        InputError: It is neither, or a part is out of range.
    """
    name, _, numbers = text.partition("=")
    rate, _, seconds = numbers.partition(":")
    try:
        return Fault(name, float(rate), seconds=float(seconds) if seconds else None)
    except ValueError:
        message = f"fault {text!r} must be written name=rate or name=rate:seconds, such as rate_limited=0.1"
        raise InputError(message) from None


class FaultInjector:
    """Draws, for each request in the order they come, which fault strikes it."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = tuple(faults)
        self._left = [fault.times for fault in self._faults]
        self._random = random.Random(seed)  # noqa: S311 - a rehearsal has to be repeatable
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def counts(self) -> dict[str, int]:
        """How often each fault struck."""
        with self._lock:
            return dict(self._counts)

    def draw(self, method: str, path: str) -> Fault | None:
        """Return the fault that strikes this request; one number a configured fault is drawn, hit or not."""
        struck = None
        with self._lock:
            for index, fault in enumerate(self._faults):
                number = self._random.random()
                if struck is not None or number >= fault.rate or self._left[index] == 0:
                    continue
                if _applies(fault, method, path):
                    struck = fault
                    self._counts[fault.name] += 1
                    left = self._left[index]
                    self._left[index] = None if left is None else left - 1
        return struck

    def wrong_body(self) -> bytes:
        """Return an answer that is not what was asked for."""
        with self._lock:
            return self._random.choice(_WRONG_BODIES)


def refusal_before_work(fault: Fault) -> Response | None:
    """Return the answer of a fault that keeps the request from being worked on, or None."""
    if fault.name == RATE_LIMITED:
        wait = (("Retry-After", str(round(fault.duration_s))),)
        return Refusal(429, "too many requests (rehearsed fault)", headers=wait).response
    if fault.name == SERVER_ERROR:
        return Refusal(500, "internal error (rehearsed fault)").response
    if fault.name == UNAVAILABLE:
        return Refusal(503, "unavailable (rehearsed fault)").response
    if fault.name == EXPIRED_URL:
        return expired_refusal()
    return None


def _applies(fault: Fault, method: str, path: str) -> bool:
    if fault.match not in f"{method} {path}":
        return False
    signed_put = method == "PUT" and path.startswith("/put/")
    return fault.name not in _NOT_ON_PUT if signed_put else fault.name != EXPIRED_URL
