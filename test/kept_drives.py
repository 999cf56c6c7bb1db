# SPDX-License-Identifier: Apache-2.0
"""Small recordings made by integer arithmetic alone: the same bytes with every numpy, compiler and processor.

``python test/kept_drives.py`` prints the digests of what becomes of them, for ``kept_bytes.json``. They change only
when the output is meant to change.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bags import MS, OPTICAL, START_NS, TYPES, Recording, compressed, header, info, transforms

from nucleus_bridge.config import config_from_values
from nucleus_bridge.convert import convert_bag

KEPT = Path(__file__).with_name("kept_bytes.json")
FRAMES, POINTS = 3, 9_000
NOISE_BITS = 23
SWEEP_NS = 100 * MS
# The smallest files with a frame header of 64 x 48 and an end marker: they pass through as they are.
JPEG = bytes.fromhex("ffd8ffc0001108003000400301220002110103110111ffd9")
DATATYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


@dataclass(frozen=True)
class Layout:
    """Columns of a point (type and offset by name), its size, and the column with its time."""

    columns: Mapping[str, tuple[str, int]]
    point_step: int
    time_field: str

    @property
    def dtype(self) -> np.dtype[np.void]:
        kinds, offsets = zip(*self.columns.values(), strict=True)
        return np.dtype(
            {"names": list(self.columns), "formats": kinds, "offsets": offsets, "itemsize": self.point_step}
        )


def layout(time_field: str, point_step: int, **columns: tuple[str, int]) -> Layout:
    return Layout({"x": ("<f4", 0), "y": ("<f4", 4), "z": ("<f4", 8), **columns}, point_step, time_field)


LAYOUTS = {
    "velodyne": layout("time", 22, intensity=("<f4", 12), ring=("<u2", 16), time=("<f4", 18)),
    "ouster": layout(
        "t", 48, intensity=("<f4", 16), t=("<u4", 20), reflectivity=("<u2", 24), ring=("<u2", 26), range=("<u4", 32)
    ),
    "hesai": layout("timestamp", 48, intensity=("<f4", 16), timestamp=("<f8", 24), ring=("<u2", 32)),
    "robosense": layout("timestamp", 26, intensity=("<f4", 12), ring=("<u2", 16), timestamp=("<f8", 18)),
    "livox": layout("timestamp", 26, intensity=("<f4", 12), tag=("u1", 16), line=("u1", 17), timestamp=("<f8", 18)),
    "autoware": layout("time_stamp", 32, intensity=("u1", 12), channel=("<u2", 14), time_stamp=("<u4", 28)),
    "big_endian": Layout(
        {"z": (">f8", 0), "y": (">f8", 8), "x": (">f8", 16), "intensity": (">u2", 24), "t": (">u4", 28)}, 32, "t"
    ),
}


@dataclass(frozen=True)
class Kept:
    """A recording and how it is converted."""

    layouts: tuple[str, ...] = ("velodyne",)
    reach_m: int = 60
    settings: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    **{name: Kept((name,)) for name in LAYOUTS},
    "rigid": Kept(settings={"deskew": False}),
    "no_times": Kept(settings={"lidars.top.time_field": "none", "point_fields": ["intensity", "device"]}),
    "every_field": Kept(
        ("ouster",),
        settings={
            "point_fields": ["intensity", "device", "time", "is_ground"],
            "lidars.top.ground_field": "ring",
            "lidars.top.ground_classes": ["3", "7"],
            "lidars.top.stamp": "end",
        },
    ),
    "bare_points": Kept(("livox",), settings={"point_fields": [], "lidars.top.intensity_field": ""}),
    "far": Kept(("hesai",), reach_m=9_000, settings={"scene.origin": "none"}),
    "beyond_the_range": Kept(("big_endian",), reach_m=150_000, settings={"scene.origin": "none"}),
    "range": Kept(("robosense",), settings={"lidars.top.min_range_m": 2.5, "lidars.top.max_range_m": 40.0}),
    "two_lidars": Kept(
        ("ouster", "velodyne"),
        settings={
            "point_fields": ["intensity", "device", "time"],
            "lidars.second.crop_box": [-5.0, -4.0, -3.0, 6.0, 4.0, 3.0],
            "cloud.voxel_m": 2.0,
            "cloud.max_points": 8_000,
        },
    ),
    "gps": Kept(
        ("autoware",),
        settings={"gps.topic": "/fix", "gps.heading_topic": "/heading", "scene.max_frames": 2},
    ),
    **{
        f"{scene_format}_two_lidars": Kept(
            ("ouster", "velodyne"),
            settings={"scene.format": scene_format, "point_fields": ["intensity", "device", "time"]},
        )
        for scene_format in ("sfs", "sensor_fusion_json", "sensor_fusion_protobuf")
    },
    "sfs_merged": Kept(("ouster", "velodyne"), settings={"scene.format": "sfs", "sfs.lidars": "merged"}),
}


def digests(folder: Path, name: str) -> dict[str, str]:
    """Convert one case; return the digest of each file, and what was lost."""
    case = CASES[name]
    bag = recording(case).write(folder / name)
    lidars = [("top", "/points")] + ([("second", "/points_second")] if len(case.layouts) > 1 else [])
    values: dict[str, Any] = {
        "lidar_names": [lidar for lidar, _ in lidars],
        **{f"lidars.{lidar}.topic": topic for lidar, topic in lidars},
        "camera_names": ["front"],
        "cameras.front.image_topic": "/image",
        "cameras.front.info_topic": "/info",
        "cameras.front.offset_ms": 50.0,
        **case.settings,
    }
    report = convert_bag(bag, config_from_values(values), folder / f"{name}.spool")
    files = {
        f"{scene.manifest.reference_id}/{record.path}": record.sha256
        for scene in report.scenes
        for record in scene.manifest.files
    }
    return {**files, "losses": json.dumps(report.losses, sort_keys=True)}


def recording(case: Kept) -> Recording:
    """A device that drives a curve, with one or two lidars, a camera and a satellite receiver."""
    made = Recording()
    mounts = [("lidar", (0.5, 0.0, 2.0), (0.0, 0.0, 0.6, 0.8)), ("second", (-1.5, 0.25, 1.0), (0.48, 0.64, 0.6, 0.0))]
    static = [("base_link", child, START_NS, xyz, xyzw) for child, xyz, xyzw in mounts]
    static.append(("base_link", "camera", START_NS, (1.0, 0.0, 1.0), OPTICAL))
    made.add("/tf_static", transforms(*static), START_NS - 900 * MS)
    for number in range(-60, 80):
        stamp = START_NS + 10 * number * MS
        made.add("/tf", transforms(("map", "base_link", stamp, *_pose(number))), stamp + MS)
    for number in range(FRAMES):
        stamp = START_NS + number * SWEEP_NS
        for lidar, (kind, frame) in enumerate(zip(case.layouts, ("lidar", "second"), strict=False)):
            topic = "/points_second" if lidar else "/points"
            at = stamp + lidar * 7 * MS
            made.add(topic, _cloud(LAYOUTS[kind], at, frame, 10 * number + lidar, case.reach_m), at + 130 * MS)
        made.add("/info", info(stamp + 50 * MS), stamp + 54 * MS)
        made.add("/image", compressed(stamp + 53 * MS, JPEG), stamp + 55 * MS)
    for number in range(-4, 9):
        stamp = START_NS + number * SWEEP_NS
        made.add("/fix", _fix(stamp, number), stamp + MS)
        made.add("/heading", _heading(stamp), stamp + MS)
    return made


def _pose(number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where the device is: steps that are not even, and a quaternion that is not of unit length."""
    return (number * 0.125, (number * number % 64) / 128.0, 0.25), (0.0, number / 4096.0, number / 512.0, 1.0)


def _cloud(kind: Layout, stamp_ns: int, frame_id: str, seed: int, reach_m: int) -> Any:
    points = np.zeros(POINTS, kind.dtype)
    noise = _noise(seed)
    for axis in "xyz":
        reach = reach_m if axis != "z" else 1 + reach_m // 16
        steps = 1024 * reach
        # Halves of a thousandth come up too.
        points[axis] = ((next(noise) * (2 * steps + 1) >> NOISE_BITS) - steps) / 1024.0
    order = np.arange(POINTS, dtype=np.int64)
    for name in ("intensity", "reflectivity"):
        if name in kind.columns:
            points[name] = next(noise) % (256 if points.dtype[name].kind == "u" else 260)
    for name in ("ring", "line", "channel"):
        if name in kind.columns:
            points[name] = order % 16
    since_ns = order * (SWEEP_NS // POINTS) + next(noise) % 1_000
    points[kind.time_field] = _stored_time(points.dtype[kind.time_field], kind.time_field, since_ns, stamp_ns)
    points["x"][17::391] = np.nan
    for axis in "xyz":
        points[axis][5::211] = 0.0
    points["y"][23::977] = -np.inf
    fields = [
        TYPES.types["sensor_msgs/msg/PointField"](name, offset, DATATYPES[code.lstrip("<>")], 1)
        for name, (code, offset) in kind.columns.items()
    ]
    data = np.frombuffer(points.tobytes(), np.uint8)
    is_big = kind.columns["x"][0].startswith(">")
    return TYPES.types["sensor_msgs/msg/PointCloud2"](
        header(stamp_ns, frame_id), 1, POINTS, fields, is_big, kind.point_step, len(data), data, False
    )


def _stored_time(dtype: np.dtype[Any], name: str, since_ns: np.ndarray, stamp_ns: int) -> np.ndarray:
    if dtype.kind == "u":
        return since_ns
    if dtype.itemsize == 4:
        return (since_ns // 1000).astype(np.float32) / np.float32(1_000_000)
    if name == "timestamp" and dtype.itemsize == 8:
        return (since_ns + stamp_ns) / 1e9
    return since_ns + stamp_ns


def _noise(seed: int) -> Iterator[np.ndarray]:
    """Yield columns of 23-bit numbers that look random, from linear congruential generators."""
    values = (np.arange(POINTS, dtype=np.int64) * 7919 + 104_729 * (seed + 1)) % (1 << 31)
    while True:
        for _ in range(3):
            values = (values * 1_103_515_245 + 12_345) % (1 << 31)
        yield values >> (31 - NOISE_BITS)


def _fix(stamp_ns: int, number: int) -> Any:
    status = TYPES.types["sensor_msgs/msg/NavSatStatus"](0, 1)
    return TYPES.types["sensor_msgs/msg/NavSatFix"](
        header(stamp_ns, "base_link"), status, 48.0 + number / (1 << 20), 11.5, 500.0, np.zeros(9), 2
    )


def _heading(stamp_ns: int) -> Any:
    vector, quaternion = TYPES.types["geometry_msgs/msg/Vector3"], TYPES.types["geometry_msgs/msg/Quaternion"]
    still = vector(0.0, 0.0, 0.0)
    turn = quaternion(0.0, 0.0, 0.6, 0.8)
    return TYPES.types["sensor_msgs/msg/Imu"](
        header(stamp_ns, "base_link"), turn, np.zeros(9), still, np.zeros(9), still, np.zeros(9)
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        kept = {name: digests(Path(scratch), name) for name in CASES}
    sys.stdout.write(json.dumps(kept, indent=1) + "\n")
