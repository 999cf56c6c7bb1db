# SPDX-License-Identifier: Apache-2.0
"""Fixes and headings over time, and which of them lie next to a stamp."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from nucleus_bridge.decode.navsat import Fix, Heading

KEEP_NS = 120_000_000_000
MAX_SPAN_NS = 5_000_000_000
"""Two fixes further apart than this have no fix between them."""
REACH = 64
"""This many neighbours are looked through for one that counts."""
Counts = Callable[[Any], bool]


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

    def around(self, stamp_ns: int, counts: Counts) -> tuple[Record, Record] | None:
        """The records at or next to a stamp on both sides."""
        position = bisect_left(self.stamps, stamp_ns)
        if position == len(self.stamps):
            return None
        here = self.records[position]
        if self.stamps[position] == stamp_ns and here is not None and counts(here):
            return here, here
        return self._pair(position, position + (self.stamps[position] == stamp_ns), counts)

    def step(self, stamp_ns: int, counts: Counts, until_ns: int) -> tuple[Record, Record] | None:
        """The last record before a stamp and the first one at or after it; else that at the stamp and the next.

        A way has a direction whatever came between, so that messages without a record are passed over up to a stamp
        until which all are known.
        """
        position = bisect_left(self.stamps, stamp_ns)
        found = self._pair(position, position, counts)
        if found is None and position < len(self.stamps) and self.stamps[position] == stamp_ns:
            found = self._pair(position + 1, position + 1, counts)
        if found is not None:
            return found
        before = self._first_there(reversed(self.records[max(0, position - REACH) : position]), counts)
        after = self._first_there(self.records[position : position + REACH], counts)
        if before is None or after is None or after.stamp_ns > until_ns:
            return None
        return (before, after) if after.stamp_ns - before.stamp_ns <= MAX_SPAN_NS else None

    def near(self, stamp_ns: int, before_ns: int, after_ns: int) -> list[Record]:
        """The records in a span around a stamp, without the one at the stamp."""
        first = bisect_left(self.stamps, stamp_ns - before_ns)
        last = bisect_right(self.stamps, stamp_ns + after_ns)
        return [record for record in self.records[first:last] if record is not None and record.stamp_ns != stamp_ns]

    def _pair(self, until: int, since: int, counts: Counts) -> tuple[Record, Record] | None:
        """The last record that counts below an index and the first at or above another; a gap is between none."""
        before = self._first(reversed(self.records[max(0, until - REACH) : until]), counts)
        after = self._first(self.records[since : since + REACH], counts)
        if before is None or after is None or after.stamp_ns - before.stamp_ns > MAX_SPAN_NS:
            return None
        return before, after

    @staticmethod
    def _first(records: Iterable[Record | None], counts: Counts) -> Record | None:
        for record in records:
            if record is None or counts(record):
                return record
        return None

    @staticmethod
    def _first_there(records: Iterable[Record | None], counts: Counts) -> Record | None:
        return next((record for record in records if record is not None and counts(record)), None)

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

    def unsettled(self, stamp_ns: int, judged_until_ns: int) -> bool:
        """Whether a message to come can change the pose at a stamp, for which fixes count up to a later one."""
        return (self._has_fixes and not self._fixes.passed(judged_until_ns)) or (
            self._has_headings and not self._headings.passed(stamp_ns)
        )

    def fixes_around(self, stamp_ns: int, counts: Callable[[Fix], bool]) -> tuple[Fix, Fix] | None:
        """Return the fixes that count at or next to a stamp; twice the same one when it is at the stamp."""
        return self._fixes.around(stamp_ns, counts)

    def headings_around(self, stamp_ns: int) -> tuple[Heading, Heading] | None:
        """Return the headings at or next to a stamp on both sides."""
        return self._headings.around(stamp_ns, _every)

    def step_up_to(self, stamp_ns: int, counts: Callable[[Fix], bool], until_ns: int) -> tuple[Fix, Fix] | None:
        """Return the last fix that counts before a stamp and the first one at or after it, two different ones.

        Messages without a fix are passed over up to ``until_ns``.
        """
        return self._fixes.step(stamp_ns, counts, until_ns)

    def fixes_near(self, stamp_ns: int, before_ns: int, after_ns: int) -> list[Fix]:
        """Return the fixes in a span around a stamp, without the one at the stamp."""
        return self._fixes.near(stamp_ns, before_ns, after_ns)


def _every(_record: object) -> bool:
    return True
