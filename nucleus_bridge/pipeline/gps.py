# SPDX-License-Identifier: Apache-2.0
"""Fixes and headings over time, and which of them lie next to a stamp."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, Protocol, TypeVar

from nucleus_bridge.decode.navsat import Fix, Heading

KEEP_NS = 120_000_000_000
MAX_SPAN_NS = 5_000_000_000
"""Two fixes further apart than this have no fix between them."""


class _Stamped(Protocol):
    @property
    def stamp_ns(self) -> int: ...


Record = TypeVar("Record", bound=_Stamped)


class _Track(Generic[Record]):
    """Records in stamp order, the old ones forgotten."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.records: list[Record | None] = []

    def add(self, stamp_ns: int, record: Record | None) -> None:
        position = bisect_left(self.stamps, stamp_ns)
        if position < len(self.stamps) and self.stamps[position] == stamp_ns:
            return
        self.stamps.insert(position, stamp_ns)
        self.records.insert(position, record)
        if self.stamps[-1] - self.stamps[0] > 2 * KEEP_NS:
            cut = bisect_left(self.stamps, self.stamps[-1] - KEEP_NS)
            del self.stamps[:cut], self.records[:cut]

    def around(self, stamp_ns: int) -> tuple[Record, Record] | None:
        """The records at or next to a stamp on both sides."""
        position = bisect_left(self.stamps, stamp_ns)
        if position == len(self.stamps):
            return None
        after = self.records[position]
        before = after if self.stamps[position] == stamp_ns else (self.records[position - 1] if position else None)
        if before is None or after is None or after.stamp_ns - before.stamp_ns > MAX_SPAN_NS:
            return None
        return before, after

    def step(self, stamp_ns: int) -> tuple[Record, Record] | None:
        """The last record before a stamp and the first one at or after it."""
        position = bisect_left(self.stamps, stamp_ns)
        if position in (0, len(self.stamps)):
            return None
        before, after = self.records[position - 1], self.records[position]
        if before is None or after is None or after.stamp_ns - before.stamp_ns > MAX_SPAN_NS:
            return None
        return before, after

    def passed(self, stamp_ns: int) -> bool:
        return bool(self.stamps) and self.stamps[-1] >= stamp_ns


class GpsTrack:
    """The device's fixes and headings over time."""

    def __init__(self, *, has_fixes: bool, has_headings: bool) -> None:
        self._has_fixes = has_fixes
        self._has_headings = has_headings
        self.restart()

    def restart(self) -> None:
        """Forget everything, after a step of the clock."""
        self._fixes: _Track[Fix] = _Track()
        self._headings: _Track[Heading] = _Track()

    def add_fix(self, stamp_ns: int, fix: Fix | None) -> None:
        """Take a NavSatFix; None stands for a message without a fix."""
        self._fixes.add(stamp_ns, fix)

    def add_heading(self, stamp_ns: int, heading: Heading | None) -> None:
        """Take a heading; None stands for a message without an orientation."""
        self._headings.add(stamp_ns, heading)

    def unsettled(self, stamp_ns: int) -> bool:
        """Whether a message to come can change the pose at a stamp."""
        return (self._has_fixes and not self._fixes.passed(stamp_ns)) or (
            self._has_headings and not self._headings.passed(stamp_ns)
        )

    def fixes_around(self, stamp_ns: int) -> tuple[Fix, Fix] | None:
        """Return the fixes at or next to a stamp on both sides; twice the same one when it is at the stamp."""
        return self._fixes.around(stamp_ns)

    def headings_around(self, stamp_ns: int) -> tuple[Heading, Heading] | None:
        """Return the headings at or next to a stamp on both sides."""
        return self._headings.around(stamp_ns)

    def step_up_to(self, stamp_ns: int) -> tuple[Fix, Fix] | None:
        """Return the last fix before a stamp and the first one at or after it, two different ones."""
        return self._fixes.step(stamp_ns)
