# SPDX-License-Identifier: Apache-2.0
"""Calls that end their process, for tests."""

from __future__ import annotations

import os
from pathlib import Path


def answer(argument: str) -> str:
    """Give the argument back; ``always`` ends the process, ``once:FILE`` does so until FILE is there."""
    if argument == "always":
        os._exit(9)
    if argument.startswith("once:"):
        marker = Path(argument.removeprefix("once:"))
        if not marker.exists():
            marker.write_text("")
            os._exit(9)
    return argument


def worker_number(_argument: None) -> int:
    """Give the number of the process."""
    return os.getpid()
