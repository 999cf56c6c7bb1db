# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frame files: their names, and a file of either kind read so that every fault of it can be named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.formats.point_reading import KEYS, PointFault, PointTable, read_cloud
from nucleus_bridge.formats.sensor_fusion.lidar_frame import read_lidar_frame
from nucleus_bridge.formats.strict_json import Document

FRAME_FOLDER = "frames"
COEFFICIENTS = {
    "brown_conrady": ("k1", "k2", "k3", "p1", "p2"),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "omnidirectional": ("k1", "k2", "k3", "p1", "p2", "xi"),
}
"""Distortion coefficients by camera model, in the order in which JSON has them."""

_DOUBLE_STEP_NS = 256
"""Distance between neighbouring 64-bit floats at today's times."""

_ORDER = "point-keys-and-order"


@dataclass(frozen=True, eq=False)
class FrameFile:
    """What a frame file says.

    Attributes:
        document: The frame under the keys of JSON, without its points.
        points: Its points.
        step_ns: How coarse its stamps are.
    """

    document: Document
    points: PointTable
    step_ns: int

    @property
    def record(self) -> Mapping[str, object]:
        """The frame's object; empty where the file holds something else."""
        return self.document.value if isinstance(self.document.value, dict) else {}


ReadFrame = Callable[[bytes, int | None], FrameFile]
"""Reads a frame file; content with so many points, where that is quicker."""


def read_json_frame(data: bytes, most: int | None = None) -> FrameFile:
    """Read a Frame object.

    Raises:
        SceneError: It is not JSON.
    """
    document, points = read_cloud(data, most)
    return FrameFile(document, points, 1)


def read_protobuf_frame(data: bytes, most: int | None = None) -> FrameFile:
    """Read a LidarFrame message.

    Raises:
        SceneError: It is none.
    """
    del most  # to read them all is quick
    record, runs = read_lidar_frame(data)
    for moment in (record, *record["images"]):
        if "timestamp" in moment and float(moment["timestamp"]).is_integer():
            moment["timestamp"] = int(moment["timestamp"])
    return FrameFile(Document({**record, "points": []}), _joined(runs), _DOUBLE_STEP_NS)


def _joined(runs: list[dict[str, NDArray[np.float64]]]) -> PointTable:
    """Put runs of points together; those that have other keys than the first are a fault and left out."""
    keys = tuple(key for key in KEYS if runs and key in runs[0]) or KEYS[:3]
    counts = [len(run["x"]) for run in runs]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    good = [number for number, run in enumerate(runs) if set(run) == set(keys)]
    faults: dict[str, PointFault] = {}
    wrong = [number for number in range(len(runs)) if number not in good]
    if wrong:
        found = ", ".join(key for key in KEYS if key in runs[wrong[0]])
        text = f"has {found}, expected {', '.join(keys)}"
        faults[_ORDER] = PointFault(_ORDER, int(starts[wrong[0]]), text, sum(counts[number] for number in wrong))
    empty: list[NDArray[np.float64]] = [np.empty(0)]
    columns = {key: np.concatenate([runs[number][key] for number in good] or empty) for key in keys}
    numbers = [np.arange(starts[number], starts[number + 1]) for number in good]
    return PointTable(int(starts[-1]), np.concatenate(numbers or [np.empty(0, np.int64)]), columns, faults)
