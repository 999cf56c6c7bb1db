# SPDX-License-Identifier: Apache-2.0
"""The trajectories that a page draws: the scene's own, those of sources that are only compared, and the fixes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nucleus_bridge.formats.content import SceneFrame
from nucleus_bridge.geometry.agreement import laid_over
from nucleus_bridge.geometry.local_level import GlobeOrigin, local_poses
from nucleus_bridge.model import FloatArray
from nucleus_bridge.spool import Manifest

_LEAST_FIXES = 3
_LEAST_WAY_M = 2.0
_DECIMALS = 3


class Tracks:
    """Collects the poses of a scene's frames, given one after the other."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._ms: list[float] = []
        self._places: list[FloatArray] = []
        self._globe: list[tuple[int, float, float]] = []

    def add(self, frame: SceneFrame) -> None:
        """Take a frame."""
        if frame.gps is not None:
            self._globe.append((len(self._ms), frame.gps.latitude, frame.gps.longitude))
        self._ms.append((frame.timestamp_ns - self._manifest.first_stamp_ns) / 1e6)
        self._places.append(frame.position)

    def results(self) -> list[dict[str, Any]]:
        """Return the trajectories, the scene's own first.

        Each has ``name``, ``is_used``, ``note`` and ``points``, in scene coordinates: none for the scene's own, which
        are the positions of the frames, and for those that cannot be drawn. ``apart_m`` is how far a track is from the
        scene's own at the most, at the same time.
        """
        return [self._own(), *self._compared(), *self._fixes()]

    def _own(self) -> dict[str, Any]:
        poses = self._manifest.poses
        names = _texts(poses.get("used")) or _texts(poses.get("sources")) or ["tf"]
        note = "estimated from the lidar" if poses.get("estimated") else ""
        return {"name": ", ".join(names), "is_used": True, "note": note, "points": []}

    def _compared(self) -> Iterator[dict[str, Any]]:
        records = self._manifest.poses.get("compared")
        for record in records if isinstance(records, Sequence) and not isinstance(records, str) else ():
            if not isinstance(record, Mapping):
                continue
            rows = np.array([_numbers(row) for row in _texts(record.get("samples"))]).reshape(-1, 4)
            rows = rows[np.isfinite(rows).all(axis=1)]
            notes = [
                str(record.get("topic", "")),
                "estimated from the lidar" if record.get("estimated") is True else "",
                "begins where the scene does" if record.get("laid_on") is True and len(rows) else "",
                str(record.get("problem") or ("" if len(rows) else "says nothing of this scene")),
            ]
            yield {
                "name": str(record.get("source", "")),
                "is_used": False,
                "note": ", ".join(note for note in notes if note),
                **self._drawn(rows[:, 0], rows[:, 1:]),
            }

    def _fixes(self) -> Iterator[dict[str, Any]]:
        """Lay the fixes over the scene from above: nothing says how the world lies on the globe."""
        if len(self._globe) < _LEAST_FIXES:
            return
        numbers = [number for number, *_ in self._globe]
        own = np.array([self._places[number] for number in numbers])
        if float(np.linalg.norm(np.ptp(own[:, :2], axis=0))) < _LEAST_WAY_M:
            return
        globe = np.array([(latitude, longitude, 0.0) for _, latitude, longitude in self._globe])
        level = local_poses(globe, np.zeros_like(globe), GlobeOrigin(*globe[0].tolist()))[:, :3]
        flat = np.array([1.0, 1.0, 0.0])
        rotation, shift = laid_over(level * flat, own * flat)
        points = level * flat @ rotation.T + shift
        points[:, 2] = own[:, 2]
        note = "laid over as a whole"
        drawn = self._drawn(np.array(self._ms)[numbers], points)
        yield {"name": "GNSS", "is_used": False, "note": note, **drawn}

    def _drawn(self, ms: FloatArray, points: FloatArray) -> dict[str, Any]:
        apart = None
        order = np.argsort(self._ms, kind="stable")
        if len(ms) and len(order):
            times, places = np.array(self._ms)[order], np.array(self._places)[order]
            own = np.stack([np.interp(ms, times, axis) for axis in places.T], axis=1)
            apart = round(float(np.linalg.norm(points - own, axis=1).max()), _DECIMALS)
        return {"points": np.round(points, _DECIMALS).tolist(), "apart_m": apart}


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _numbers(row: str) -> list[float]:
    """Read ms, x, y and z; what is not four numbers becomes NaN."""
    try:
        numbers = [float(text) for text in itertools.islice(row.split(), 5)]
    except ValueError:
        numbers = []
    return numbers if len(numbers) == 4 else [np.nan] * 4
