# SPDX-License-Identifier: Apache-2.0
"""How many requests a second are taken, so that a client that runs wild leaves room for others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BURST_S = 10.0


class RequestRate:
    """A store of allowances that fills steadily and holds those of ten seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = per_second * BURST_S
        self._filled = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take the allowance for one request; False when there is none."""
        with self._lock:
            now = self._clock()
            self._left = min(self._left + (now - self._filled) * self._per_second, self._per_second * BURST_S)
            self._filled = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True
