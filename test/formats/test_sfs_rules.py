# SPDX-License-Identifier: Apache-2.0
"""The rules of .sfs scenes beside the verdicts of Scale's validator: one change each to a good scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scale_sfs import VECTORS, verdicts

from nucleus_bridge.formats.rules.findings import Findings
from nucleus_bridge.formats.sfs.container import open_tree, write_tree
from nucleus_bridge.formats.sfs.lenses import PARAMETERS
from nucleus_bridge.formats.sfs.rules import OWN_RULES, SCALE_RULES, check_tree

Change = Callable[[Any], None]
ROWS = json.loads((VECTORS / "validator_verdicts.json").read_text())
LIDAR, CAMERA, RADAR = ("sensors", 0), ("sensors", 1), ("sensors", 3)
POINTS = (*LIDAR, "frames", 0, "points")
LATER = (*LIDAR, "frames", 1, "points")
IMAGE = (*CAMERA, "images", 0)
LENS = (*CAMERA, "intrinsics")
BENT = (*LENS, "distortion")
RADAR_POINTS = (*RADAR, "frames", 0, "points")
NAN = float("nan")


def good_tree() -> Any:
    """Return two_frames.sfs, its arrays open to change."""

    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copied(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [copied(entry) for entry in value]
        return value.copy() if isinstance(value, np.ndarray) else value

    return copied(open_tree(VECTORS / "two_frames.sfs"))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def put(value: Any, *path: Any) -> Change:
    """Set what stands at a path; a function is given what stands there."""

    def change(tree: Any) -> None:
        parent = at(tree, path[:-1])
        parent[path[-1]] = value(parent[path[-1]]) if callable(value) else value

    return change


def drop(*path: Any) -> Change:
    return lambda tree: at(tree, path[:-1]).pop(path[-1])


def both(*changes: Change) -> Change:
    def change(tree: Any) -> None:
        for each in changes:
            each(tree)

    return change


def stamped(sensor: tuple[Any, ...], *stamps: Any) -> Change:
    """Give a sensor's frames or images stamps, and leave out the times of points."""

    def change(tree: Any) -> None:
        entries = at(tree, sensor).get("frames") or at(tree, sensor)["images"]
        del entries[len(stamps) :]
        for entry, stamp in zip(entries, stamps, strict=True):
            entry["timestamp"] = stamp
            entry.get("points", {}).pop("timestamps", None)

    return change


def poses(stamps: Any, values: Any) -> Change:
    return put({"timestamps": stamps, "values": values}, *LIDAR, "poses")


def posed(*row: Any) -> Change:
    return put(list(row), *LIDAR, "poses", "values", 0)


def emptied(*columns: str, sensor: tuple[Any, ...] = POINTS) -> Change:
    """Leave a cloud without points, with these columns besides the positions, empty."""
    empty = {"colors": (np.uint8, 3), "intensities": (np.uint8, None), "timestamps": (np.uint32, None)}

    def change(tree: Any) -> None:
        arrays = {name: np.zeros((0, 3) if empty[name][1] else 0, empty[name][0]) for name in columns}
        at(tree, sensor[:-1])["points"] = {"positions": np.zeros((0, 3), np.float32), **arrays}

    return change


def added(sensor: dict[str, Any]) -> Change:
    return lambda tree: tree["sensors"].append(sensor)


def bent(model: str, count: int) -> Change:
    return put({"model": model, "params": [0.01] * count}, *BENT)


def as_video(**changes: Any) -> Change:
    def change(tree: Any) -> None:
        camera = at(tree, CAMERA)
        video = {"timestamps": [5000, 105000], "content": np.arange(9, dtype=np.uint8), "fps": 10.0, **changes}
        camera["video"] = {key: value for key, value in video.items() if value is not None}
        del camera["images"]

    return change


POSE = [0.0, 0.0, 1.8, 0.0, 0.0, 0.0, 1.0]
ODOMETRY = {"id": "odo", "poses": {"timestamps": [0], "values": [POSE]}}
STATIC = {"id": "map", "type": "points", "points": {"positions": np.zeros((2, 3), np.float32)}}
CHANGES: dict[str, Change] = {
    "base": lambda _tree: None,
    **{f"no {key}": drop(key) for key in ("version", "sensors", "annotations", "attributes", "time_offset")},
    **{f"no {key}": drop(key) for key in ("time_unit", "metadata")},
    **{f"version {text}": put(text, "version") for text in ("1.0.7", "5.1", "5.1.3", "2.0")},
    "version number": put(1.0, "version"),
    "sensors []": put([], "sensors"),
    "sensors null": put(None, "sensors"),
    "sensors dict": put({"a": 1}, "sensors"),
    "unit ns": put("nanoseconds", "time_unit"),
    "unit null": put(None, "time_unit"),
    "unit seconds": put("seconds", "time_unit"),
    "offset -1": put(-1, "time_offset"),
    "offset float": put(1.5, "time_offset"),
    "offset str": put("0", "time_offset"),
    "offset null": put(None, "time_offset"),
    "offset ns 1.76e18": put(1_760_000_000_000_000_000, "time_offset"),
    "metadata null": put(None, "metadata"),
    "metadata nested": put({"a": {"b": [1]}}, "metadata"),
    "metadata list": put([1], "metadata"),
    "extra top key": put(lambda _: None, "metadata"),
    "extra sensor key": lambda tree: at(tree, LIDAR).update(extra=1),
    "dup ids": put("top", *CAMERA, "id"),
    "id int": put(7, "sensors", 2, "id"),
    "id float": put(7.5, "sensors", 2, "id"),
    "no id": drop("sensors", 2, "id"),
    'ids 7 and "7"': both(put(7, *LIDAR, "id"), put("7", *CAMERA, "id")),
    "no type": drop(*LIDAR, "type"),
    "type foo": put("foo", *LIDAR, "type"),
    "lidar no coordinates": drop(*LIDAR, "coordinates"),
    "lidar coordinates ego": put("ego", *LIDAR, "coordinates"),
    "lidar coordinates map": put("map", *LIDAR, "coordinates"),
    "lidar no parent_id": drop(*LIDAR, "parent_id"),
    "lidar parent_id unknown": put("nobody", *LIDAR, "parent_id"),
    "lidar parent null": put(None, *LIDAR, "parent_id"),
    "lidar no poses": drop(*LIDAR, "poses"),
    "lidar no frames": drop(*LIDAR, "frames"),
    "lidar frames []": put([], *LIDAR, "frames"),
    "lidar points no positions": drop(*POINTS, "positions"),
    **{f"lidar points no {name}": drop(*POINTS, name) for name in ("colors", "intensities", "timestamps")},
    **{f"lidar points null {name}": put(None, *POINTS, name) for name in ("colors", "intensities", "timestamps")},
    "positions flat f32": put(lambda xyz: xyz.reshape(-1), *POINTS, "positions"),
    "positions f64": put(lambda xyz: xyz.astype(np.float64), *POINTS, "positions"),
    "positions list": put(lambda xyz: xyz.tolist(), *POINTS, "positions"),
    "positions 14 values flat": put(np.zeros(14, np.float32), *POINTS, "positions"),
    "positions (3,n)": put(lambda xyz: np.ascontiguousarray(xyz.T), *POINTS, "positions"),
    "positions empty all": emptied(),
    "empty with ts": emptied("colors", "intensities", "timestamps"),
    "empty frame 1 with ts": emptied("timestamps", sensor=LATER),
    "positions NaN": put(NAN, *POINTS, "positions", (0, 0)),
    "positions inf": put(np.inf, *POINTS, "positions", (0, 0)),
    "positions 1e7": put(1e7, *POINTS, "positions", (0, 0)),
    "intens u16": put(lambda column: column.astype(np.uint16), *POINTS, "intensities"),
    "intens f32": put(lambda column: column.astype(np.float32), *POINTS, "intensities"),
    "intens short": put(lambda column: column[:-1], *POINTS, "intensities"),
    "intens (n,1)": put(lambda column: column[:, None], *POINTS, "intensities"),
    "colors flat": put(lambda column: column.reshape(-1), *POINTS, "colors"),
    "colors rgba": put(np.zeros((5, 4), np.uint8), *POINTS, "colors"),
    "colors f32": put(lambda column: column.astype(np.float32), *POINTS, "colors"),
    "colors short": put(lambda column: column[:-1], *POINTS, "colors"),
    "ts u64": put(lambda column: column.astype(np.int64), *POINTS, "timestamps"),  # a container of ours has no uint64
    "ts i64": put(lambda column: column.astype(np.int64), *POINTS, "timestamps"),
    "ts i32": put(lambda column: column.astype(np.int32), *POINTS, "timestamps"),
    "ts (n,1)": put(lambda column: column[:, None], *POINTS, "timestamps"),
    "ts short": put(lambda column: column[:-1], *POINTS, "timestamps"),
    "point ts before frame ts": put(99_999, *LATER, "timestamps", 0),
    "point ts after next frame": put(300_000, *POINTS, "timestamps", 0),
    "frame ts float": put(0.0, *LIDAR, "frames", 0, "timestamp"),
    "frame ts 0.5": put(0.5, *LIDAR, "frames", 0, "timestamp"),
    "frame ts str": put("0", *LIDAR, "frames", 0, "timestamp"),
    "frame ts neg": put(-1, *LIDAR, "frames", 0, "timestamp"),
    "frame ts equal": stamped(LIDAR, 0, 0),
    "frame ts decreasing": stamped(LIDAR, 100_000, 50_000),
    "lidar frames start at 100 s": stamped(LIDAR, 100_000_000, 100_100_000),
    "lidar frames start at 100.000001 s": stamped(LIDAR, 100_000_001, 100_100_000),
    "lidar 100 Hz (10000us)": stamped(LIDAR, 0, 10_000),
    "lidar 9999us": stamped(LIDAR, 0, 9_990),
    "lidar gap 1h": stamped(LIDAR, 0, 3_600_000_000),
    "lidar one frame": stamped(LIDAR, 0),
    "pose one": poses([0], [POSE]),
    "pose empty": poses([], []),
    "pose len mismatch": poses([0, 100_000], [POSE]),
    "pose 6 values": posed(*POSE[:6]),
    "pose 8 values": posed(*POSE, 0.0),
    "pose quat zero": posed(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "pose quat non-unit": posed(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0),
    "pose None value": posed(*POSE[:6], None),
    "pose NaN": posed(NAN, *POSE[1:]),
    "pose ts not increasing": poses([0, 0], [POSE, POSE]),
    "pose ts neg": poses([-1, 0], [POSE, POSE]),
    "pose ts 1e9": poses([1_000_000_000], [POSE]),
    "pose ts float": poses([0.0, 1.0], [POSE, POSE]),
    "pose ts as ndarray": put(np.array([0, 100_000]), *LIDAR, "poses", "timestamps"),
    "pose values ndarray": put(np.array([POSE, POSE]), *LIDAR, "poses", "values"),
    "pose 1000 Hz": poses(list(range(0, 9_000, 1_000)), [POSE] * 9),
    "pose begins after frame": poses([50_000, 100_000], [POSE, POSE]),
    "pose ints": posed(0, 0, 1, 0, 0, 0, 1),
    **{f"cam no {key}": drop(*CAMERA, key) for key in ("id", "poses", "intrinsics", "video", "parent_id")},
    "cam no images": drop(*CAMERA, "images"),
    "cam images []": put([], *CAMERA, "images"),
    "cam both video+images": put(
        {"timestamps": [5000], "content": np.zeros(3, np.uint8), "fps": 1.0}, *CAMERA, "video"
    ),
    "cam video junk bytes": as_video(),
    "video fps int": as_video(fps=10),
    "video no fps": as_video(fps=None),
    "video fps mismatch": as_video(fps=77.0),
    "video ts []": as_video(timestamps=[]),
    "video content bytes list": as_video(content=[1, 2]),
    "video ts 5 ms apart": as_video(timestamps=[0, 5_000, 10_000]),
    "cam coordinates ego key": lambda tree: at(tree, CAMERA).update(coordinates="ego"),
    "img content list": put([1, 2], *IMAGE, "content"),
    "img content empty": put(np.zeros(0, np.uint8), *IMAGE, "content"),
    "img content u16": put(np.zeros(4, np.uint16), *IMAGE, "content"),
    "img junk": put(np.arange(50, dtype=np.uint8), *IMAGE, "content"),
    "img 2d": put(np.zeros((4, 4), np.uint8), *IMAGE, "content"),
    "img ts equal": stamped(CAMERA, 5_000, 5_000),
    "img ts 9 ms apart": stamped(CAMERA, 5_000, 14_000),
    "img ts neg": stamped(CAMERA, -5_000, 14_000),
    "img ts 101 s": stamped(CAMERA, 101_005_000, 101_105_000),
    "img order swapped": put(lambda images: images[::-1], *CAMERA, "images"),
    **{f"intr no {key}": drop(*LENS, key) for key in ("fx", "fy", "cx", "cy", "width", "height", "distortion")},
    "intr width float": put(48.0, *LENS, "width"),
    "intr fx int": put(40, *LENS, "fx"),
    "intr fx 0": put(0.0, *LENS, "fx"),
    "intr fx neg": put(-40.0, *LENS, "fx"),
    "intr width 0": put(0, *LENS, "width"),
    "intr width other than jpeg": put(640, *LENS, "width"),
    "intr skew extra": lambda tree: at(tree, LENS).update(skew=0.1),
    "intr distortion null": put(None, *BENT),
    **{
        f"dist {model} {count} params": bent(model, count)
        for model, names in PARAMETERS.items()
        for count in {0, max(0, len(names) - 1), len(names), len(names) + 1}
    },
    "dist unknown": bent("pinhole", 0),
    "dist no params": drop(*BENT, "params"),
    "dist params null": put(None, *BENT, "params"),
    "dist params dict": put({"k1": 0.1}, *BENT, "params"),
    "dist model empty": put("", *BENT, "model"),
    "dist int params": put([0, 1], *BENT, "params"),
    "dist NaN": put([NAN], *BENT, "params"),
    "dist params ndarray": put(np.zeros(4), *BENT, "params"),
    **{f"radar no {key}": drop(*RADAR, key) for key in ("poses", "frames", "coordinates", "parent_id")},
    "radar points no positions": drop(*RADAR_POINTS, "positions"),
    **{
        f"radar points no {name}": (lambda tree, name=name: at(tree, RADAR_POINTS).pop(name, None))
        for name in ("directions", "lengths", "timestamps")
    },
    "radar lengths set via raw": put(np.zeros(2, np.float32), *RADAR_POINTS, "lengths"),
    "radar lengths f64": put(np.zeros(2), *RADAR_POINTS, "lengths"),
    "radar lengths short": put(np.zeros(1, np.float32), *RADAR_POINTS, "lengths"),
    "radar dirs f64": put(lambda column: column.astype(np.float64), *RADAR_POINTS, "directions"),
    "radar dirs short": put(lambda column: column[:-1], *RADAR_POINTS, "directions"),
    "radar dirs flat": put(lambda column: column.reshape(-1), *RADAR_POINTS, "directions"),
    "radar frames []": put([], *RADAR, "frames"),
    "radar empty points": emptied(sensor=RADAR_POINTS),
    "radar intensities extra": lambda tree: at(tree, RADAR_POINTS).update(intensities=np.zeros(2, np.uint8)),
    "odometry sensor": added({**ODOMETRY, "type": "odometry"}),
    "odometer sensor": added({**ODOMETRY, "type": "odometer"}),
    "points sensor": added(STATIC),
    "annot garbage": put([{"x": 1}], "annotations"),
    "annot dict": put({}, "annotations"),
    "annot dup id": put(lambda entries: [*entries, entries[0]], "annotations"),
    "cuboid 8 values": put(lambda row: row[:8], "annotations", 0, "path", "values", 0),
    "cuboid no label": drop("annotations", 0, "label"),
    "cuboid no path": drop("annotations", 0, "path"),
}
BY_NAME = {row["change"]: row for row in ROWS}
OWN_REFUSES = {
    "version 5.1": "sfs-loads",
    "metadata list": "sfs-loads",
    "positions NaN": "sfs-values",
    "positions inf": "sfs-values",
    "positions 1e7": "sfs-values",
    "positions (3,n)": "sfs-values",
    "pose NaN": "sfs-values",
    "dist NaN": "sfs-lenses",
    "pose quat zero": "sfs-quaternions",
    "pose quat non-unit": "sfs-quaternions",
    "pose begins after frame": "sfs-coverage",
    "img content empty": "sfs-images",
    "img content u16": "sfs-images",
    "img junk": "sfs-images",
    "img 2d": "sfs-images",
    "intr fx 0": "sfs-lenses",
    "intr fx neg": "sfs-lenses",
    "intr width other than jpeg": "sfs-images",
    "dist brown_conrady 11 params": "sfs-lenses",
    "annot garbage": "sfs-annotations",
    "annot dict": "sfs-annotations",
    "cuboid 8 values": "sfs-annotations",
    "cuboid no label": "sfs-annotations",
    "cuboid no path": "sfs-annotations",
}
"""What Scale's validator accepts, and which rule of ours does not."""


def failed(tree: Any) -> set[str]:
    findings = Findings({**SCALE_RULES, **OWN_RULES})
    check_tree(tree, findings)
    return {result.rule for result in findings.results() if not result.ok}


def changed(name: str) -> Any:
    tree = good_tree()
    CHANGES[name](tree)
    return tree


@pytest.mark.parametrize("name", CHANGES)
def test_the_rules_refuse_what_scale_refuses_and_nothing_else(name: str) -> None:
    refused = failed(changed(name)) & SCALE_RULES.keys()
    assert (not refused) == (BY_NAME[name]["validator"] == "accepts"), refused or BY_NAME[name]["says"]


@pytest.mark.parametrize("name", OWN_REFUSES)
def test_the_rules_notice_what_scale_does_not_look_at(name: str) -> None:
    assert BY_NAME[name]["validator"] == "accepts"
    assert failed(changed(name)) == {OWN_REFUSES[name]}


def test_a_good_scene_breaks_no_rule() -> None:
    assert failed(good_tree()) == set()


def test_nearly_every_verdict_that_was_written_down_is_looked_at() -> None:
    left = BY_NAME.keys() - CHANGES.keys()
    assert all(BY_NAME[name]["validator"] == "accepts" for name in left), sorted(left)
    assert left <= {
        name for name in left if name.startswith(("annot", "attr", "cuboid", "scene", "pose NaN", "dist NaN"))
    }


def test_the_changes_are_those_that_scale_was_asked_about(tmp_path: Path) -> None:
    files = {}
    for number, name in enumerate(CHANGES):
        if name in ("pose NaN", "dist NaN"):  # a header of ours has no such numbers
            continue
        files[name] = tmp_path / f"{number}.sfs"
        files[name].write_bytes(b"".join(write_tree(changed(name))))
    found = {name: verdict["validator"] for name, verdict in zip(files, verdicts(*files.values()), strict=True)}
    assert found == {name: BY_NAME[name]["validator"].split()[0] for name in files}
