# SPDX-License-Identifier: Apache-2.0
"""The Chromium that tests of pages run in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def chromium() -> str:
    """Return the program, or skip."""
    path = os.environ.get("NUCLEUS_BRIDGE_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).is_file():
        pytest.skip(f"no chromium at {path}; set NUCLEUS_BRIDGE_CHROMIUM")
    return path
