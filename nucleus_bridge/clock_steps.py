# SPDX-License-Identifier: Apache-2.0
"""When a clock was set back: stamps that stay below their highest one, in the order of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

MESSAGES_IN_A_ROW = 2
"""This many messages in a row below the highest stamp show a step; a single one came late."""
EDGES_IN_A_ROW = 3
"""The same for an edge of transforms, of which two publishers may disagree."""
PICTURES_IN_A_ROW = 17
"""The same for a video, which comes in the order of decoding: encoders put up to 16 pictures that build on a later one
(B frames) behind it."""


@dataclass(frozen=True)
class Step:
    """A clock that was set back.

    Attributes:
        low_ns: Smallest stamp after it.
        high_ns: Highest stamp before it.
    """

    low_ns: int
    high_ns: int


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """What one more stamp decides.

    Attributes:
        before: Items that are not after a new step, in order.
        step: The step that is seen now, or None.
        after: Items that are after it, in order.
    """

    before: tuple[Item, ...] = ()
    step: Step | None = None
    after: tuple[Item, ...] = ()


class StepWatch(Generic[Item]):
    """The stamps of one topic or edge in the order of arrival; what may be after a step is held until that is known.

    Args:
        in_a_row: This many stamps in a row below the highest one are a step.
    """

    __slots__ = ("_held", "_in_a_row", "highest_ns")

    def __init__(self, in_a_row: int = MESSAGES_IN_A_ROW) -> None:
        self._in_a_row = in_a_row
        self._held: list[tuple[int, Item]] = []
        self.highest_ns: int | None = None

    @property
    def oldest_held_ns(self) -> int | None:
        """Smallest stamp of what is held, or None."""
        return min((stamp_ns for stamp_ns, _ in self._held), default=None)

    def ascends(self, stamp_ns: int) -> bool:
        """Take a stamp that decides nothing but itself; say whether it was one: nothing is held, and it is no lower."""
        if self._held or (self.highest_ns is not None and stamp_ns < self.highest_ns):
            return False
        self.highest_ns = stamp_ns
        return True

    def take(self, stamp_ns: int, item: Item, in_a_row: int | None = None) -> Outcome[Item]:
        """Take the next stamp and what belongs to it; ``in_a_row`` says how many are enough now."""
        if self.highest_ns is None or stamp_ns >= self.highest_ns:
            self.highest_ns = stamp_ns
            return Outcome((*self.release(), item))
        self._held.append((stamp_ns, item))
        if len(self._held) < (in_a_row or self._in_a_row):
            return Outcome()
        stamps = [stamp for stamp, _ in self._held]
        first = self._deepest_fall(stamps) if self._in_a_row == PICTURES_IN_A_ROW else 0
        step = Step(min(stamps[first:]), self.highest_ns)
        self.highest_ns = max(stamps[first:])
        held = self.release()
        return Outcome(held[:first], step, held[first:])

    def _deepest_fall(self, stamps: list[int]) -> int:
        """Return which of those that are held fell most below the one before: some may wait for no step."""
        before = [self.highest_ns or 0, *stamps]
        return max(range(len(stamps)), key=lambda place: (before[place] - stamps[place], -place))

    def release(self) -> tuple[Item, ...]:
        """Give up what is held: it came late, and after no step."""
        held, self._held = self._held, []
        return tuple(item for _, item in held)
