# SPDX-License-Identifier: Apache-2.0
"""The demo drive at chosen moments only: what a test of speed needs, without the minutes around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bags import Recording

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.testing.demo import DriveOptions, demo_config, truth_of
from nucleus_bridge.testing.demo.streams import streams_of

FAST_TURN_S = (5.75, 6.45)
"""30 degrees a second, with a correction of the map from 6.20 s to 6.30 s."""
FAST_S = (11.15, 11.75)
"""15 m/s, with a correction of the map from 11.30 s to 11.40 s."""
RING_S = (5.95, 6.55)
"""15 m/s and 30 degrees a second on the ring, with a correction of the map from 6.20 s to 6.30 s."""
MARGIN_NS = 350_000_000

Change = Callable[[str, int, bytes], "bytes | None"]
"""Takes topic, stamp and the serialised message; returns what is recorded instead, None for nothing."""


@dataclass(frozen=True)
class Moments:
    """A recording of some moments of a drive, with its configuration and the truth about the whole drive."""

    folder: Path
    options: DriveOptions
    bag: Path
    config_path: Path
    truth: dict[str, Any]

    def convert(self, name: str, *overrides: str) -> ConversionReport:
        return convert_bag(self.bag, load_config(self.config_path, overrides), self.folder / f"spool_{name}")


def record(
    folder: Path,
    options: DriveOptions,
    moments: Sequence[tuple[float, float]],
    change: Change | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Moments:
    """Record sensors within the moments (seconds from the start) and everything else also shortly around them.

    ``change`` may rewrite each message; topics in ``renamed`` are recorded under another name.
    """
    made = Recording()
    for stream in streams_of(options):
        since_ns = stream.stamps_ns - options.start_ns
        bulky = stream.type_name.endswith(("PointCloud2", "Image", "RadarScan"))
        margin = 0 if bulky else MARGIN_NS
        wanted = np.full(since_ns.shape, stream.is_latched)
        for first, last in moments:
            wanted |= (since_ns >= first * 1e9 - margin) & (since_ns <= last * 1e9 + margin)
        for index in np.flatnonzero(wanted).tolist():
            data = stream.message(index)
            if change is not None:
                data = change(stream.topic, int(stream.stamps_ns[index]), data)
            if data is not None:
                topic = (renamed or {}).get(stream.topic, stream.topic)
                made.add_raw(topic, stream.type_name, data, int(stream.log_ns[index]))
    config = folder / "config.yaml"
    config.write_text(demo_config(options))
    truth = json.loads(json.dumps(truth_of(options)))
    return Moments(folder, options, made.write(folder / "bag"), config, truth)


@dataclass(frozen=True)
class Cloud:
    """One cloud of a scene, its points back in the world frame."""

    sensor: str
    document: dict[str, Any]
    xyz: np.ndarray
    offset: np.ndarray

    def column(self, name: str) -> np.ndarray:
        return np.array([point[name] for point in self.document["points"]])


def clouds_of(report: ConversionReport) -> list[Cloud]:
    found = []
    for scene in report.scenes:
        offset = np.array([scene.manifest.world_offset[axis] for axis in "xyz"])
        for frame in json.loads((scene.folder / "scene.json").read_text())["frames"]:
            sensor, item = next((name, item) for name, item in frame.items() if item["type"] == "pointcloud")
            document = json.loads((scene.folder / item["url"]).read_text())
            xyz = np.array([[point[axis] for axis in "xyz"] for point in document["points"]]).reshape(-1, 3)
            found.append(Cloud(sensor, document, xyz + offset, offset))
    return found


def images_of(report: ConversionReport, camera: str) -> list[tuple[Path, dict[str, Any], np.ndarray]]:
    """Return file, camera_params and the scene's offset of every image of a camera."""
    found = []
    for scene in report.scenes:
        offset = np.array([scene.manifest.world_offset[axis] for axis in "xyz"])
        for frame in json.loads((scene.folder / "scene.json").read_text())["frames"]:
            if camera in frame:
                item = frame[camera]
                found.append((scene.folder / item["url"], item["metadata"]["camera_params"], offset))
    return found
