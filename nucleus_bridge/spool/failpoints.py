# SPDX-License-Identifier: Apache-2.0
"""Named places where a rehearsal kills this process: ``NUCLEUS_BRIDGE_FAILPOINT=name`` or ``name:times``."""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "NUCLEUS_BRIDGE_FAILPOINT"

_reached = 0
_lock = threading.Lock()


def failpoint(name: str) -> None:
    """Kill this process as hard as a power cut would, when it is the n-th time here and the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    wanted_name, _, times = wanted.partition(":")
    if wanted_name != name:
        return
    global _reached  # noqa: PLW0603 - one count a process, as there is one environment
    with _lock:
        _reached += 1
        if _reached >= int(times or "1"):
            os.kill(os.getpid(), signal.SIGKILL)
