# SPDX-License-Identifier: Apache-2.0
"""Let the tests of this folder import how they write recordings."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
