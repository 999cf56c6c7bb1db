# SPDX-License-Identifier: Apache-2.0
"""Let the tests of this folder import their targets and what makes good input for them."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.extend(
    [str(HERE), *(str(HERE.parent / room) for room in ("recordings", "decode", "formats", "testing/receiver"))]
)
