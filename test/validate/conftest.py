# SPDX-License-Identifier: Apache-2.0
"""A good scene for each test, to be damaged."""

from __future__ import annotations

import pytest
from good_scene import Recording


@pytest.fixture
def recording() -> Recording:
    return Recording()
