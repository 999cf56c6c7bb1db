# SPDX-License-Identifier: Apache-2.0
"""Let the tests of this folder share ``random_poses``, and take the time they need on a busy machine."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

sys.path.append(str(Path(__file__).parent))
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
