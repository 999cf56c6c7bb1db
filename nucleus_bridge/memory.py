# SPDX-License-Identifier: Apache-2.0
"""What the C library does with memory that is given back to it."""

from __future__ import annotations

import numpy as np

_KEPT_BYTES = 31 << 20


def keep_freed_memory() -> None:
    """Let the memory of one frame serve the next, instead of being returned to the system and fetched page by page.

    The C library of GNU raises its limits, for what it gets by itself and for what it keeps, to the largest block that
    was given back (mallopt(3), M_MMAP_THRESHOLD); elsewhere this does nothing.
    """
    np.empty(_KEPT_BYTES, np.uint8)
