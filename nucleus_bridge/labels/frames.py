# SPDX-License-Identifier: Apache-2.0
"""The frames of a spool's scenes by the stamps of their sweeps: where a detection of some stamp belongs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from nucleus_bridge.labels.label import SceneStamps

TOLERANCE_NS = 60_000_000
"""Largest time between a detection and the sweep that it is put on, as for pre-labels."""


@dataclass(frozen=True)
class FrameAt:
    """One frame.

    Attributes:
        stamps: Of its scene.
        number: Its number in the scene, from 0.
    """

    stamps: SceneStamps
    number: int

    @property
    def stamp_ns(self) -> int:
        """``header.stamp`` of its sweep as recorded."""
        return self.stamps.stamps_ns[self.number]

    @property
    def correction_ns(self) -> int:
        """What the configuration added to that stamp."""
        return self.stamps.times_ns[self.number] - self.stamp_ns


class FrameIndex:
    """Finds frames by stamp."""

    def __init__(self, scenes: Iterable[SceneStamps]) -> None:
        self.scenes = {stamps.scene: stamps for stamps in scenes}
        places = sorted(
            (stamp_ns, name, number)
            for name, stamps in self.scenes.items()
            for number, stamp_ns in enumerate(stamps.stamps_ns)
        )
        self._stamps = [stamp_ns for stamp_ns, _, _ in places]
        self._places = [(name, number) for _, name, number in places]

    def __len__(self) -> int:
        """Count the frames."""
        return len(self._places)

    def nearest(self, stamp_ns: int) -> FrameAt | None:
        """Return the frame nearest to a stamp, the earlier of two, or None when none is within the tolerance."""
        after = bisect_left(self._stamps, stamp_ns)
        around = [index for index in (after - 1, after) if 0 <= index < len(self._stamps)]
        found = min(around, key=lambda index: (abs(self._stamps[index] - stamp_ns), index), default=None)
        if found is None or abs(self._stamps[found] - stamp_ns) > TOLERANCE_NS:
            return None
        name, number = self._places[found]
        return FrameAt(self.scenes[name], number)

    def at(self, scene: str, number: int) -> FrameAt | None:
        """Return a frame by its scene and number, or None when there is none."""
        stamps = self.scenes.get(scene)
        return FrameAt(stamps, number) if stamps is not None and 0 <= number < len(stamps.stamps_ns) else None
