# SPDX-License-Identifier: Apache-2.0
"""Which CameraInfo holds for which image."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from nucleus_bridge.decode.camera_info import CameraInfo


@dataclass
class _History:
    changes: list[tuple[int, CameraInfo]] = field(default_factory=list)
    newest_ns: int = -1
    stamps_seen: int = 0


class Calibrations:
    """The calibrations of every camera, each valid from its stamp on; the first one also for all images before it."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._fixed: dict[str, CameraInfo] = {}

    def fix(self, camera: str, info: CameraInfo) -> None:
        """Use one calibration throughout, as a calibration file says."""
        self._fixed[camera] = info

    def add(self, camera: str, info: CameraInfo) -> None:
        """Take a CameraInfo message; one that repeats the calibration in force takes no memory."""
        history = self._histories.setdefault(camera, _History())
        if info.stamp_ns != history.newest_ns:
            history.stamps_seen += 1
        history.newest_ns = max(history.newest_ns, info.stamp_ns)
        position = bisect_right([stamp for stamp, _ in history.changes], info.stamp_ns)
        if position and history.changes[position - 1][1] == info:
            return
        if position < len(history.changes) and history.changes[position][1] == info:
            history.changes[position] = (info.stamp_ns, history.changes[position][1])
            return
        history.changes.insert(position, (info.stamp_ns, info))

    def unsettled(self, camera: str, stamp_ns: int) -> bool:
        """Whether a message to come can change what holds at a stamp.

        A camera whose CameraInfo came once (latched) is settled; one that repeats is once it has passed the stamp.
        """
        if camera in self._fixed:
            return False
        history = self._histories.get(camera)
        return history is None or (history.stamps_seen > 1 and history.newest_ns < stamp_ns)

    def at(self, camera: str, stamp_ns: int) -> CameraInfo | None:
        """Return the calibration that holds at a stamp."""
        if camera in self._fixed:
            return self._fixed[camera]
        history = self._histories.get(camera)
        if history is None or not history.changes:
            return None
        position = bisect_right([stamp for stamp, _ in history.changes], stamp_ns)
        return history.changes[max(0, position - 1)][1]

    def restart(self) -> None:
        """Forget stamps after a step of the clock; the newest calibration stays in force."""
        for history in self._histories.values():
            if history.changes:
                history.changes = [(0, history.changes[-1][1])]
            history.newest_ns = -1
            history.stamps_seen = min(history.stamps_seen, 1)
