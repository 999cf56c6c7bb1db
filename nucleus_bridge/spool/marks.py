# SPDX-License-Identifier: Apache-2.0
"""The moments that somebody marked while recording, beside the scenes: ``convert --around`` reads them."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from nucleus_bridge.spool.durable import replace_file

MARKS_NAME = "marks.csv"
_HEADER = "id,name,stamp_ns\n"


def mark_id(name: str, stamp_ns: int) -> str:
    """Name a mark after its time in UTC, to the nanosecond."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return f"{name}-{moment:%Y%m%dT%H%M%S}.{nanoseconds:09d}Z"


def note_mark(spool: Path, name: str, stamp_ns: int) -> str:
    """Add a mark to the list of a spool, whole or not at all; returns its id.

    Raises:
        OSError: The list cannot be written.
    """
    path = spool / MARKS_NAME
    known = path.read_text(encoding="utf-8") if path.is_file() else _HEADER
    identity = mark_id(name, stamp_ns)
    replace_file(path, f"{known}{identity},{name},{stamp_ns}\n".encode())
    return identity
