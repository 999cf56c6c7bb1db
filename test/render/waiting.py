# SPDX-License-Identifier: Apache-2.0
"""A call that keeps its process busy until it is told to end."""

from __future__ import annotations

import os
import time
from pathlib import Path

WAIT_S = 60.0


def wait_for(path: Path) -> int:
    """Return the process's id once a file is there."""
    end = time.monotonic() + WAIT_S
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.01)
    return os.getpid()
