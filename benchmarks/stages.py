# SPDX-License-Identifier: Apache-2.0
"""Measure each stage of the converter on one sweep, transform look-ups and the synchroniser, on one core."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, cpu_ms
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.formats.point_json import encode_points
from nucleus_bridge.geometry import TransformTree, points_in_world
from nucleus_bridge.memory import keep_freed_memory
from nucleus_bridge.model import Frame, Message
from nucleus_bridge.pipeline import FrameReady, Pipeline
from nucleus_bridge.pipeline.synchroniser import StreamSpec, Synchroniser
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.render.cloud import lidar_sweeps, merged_points
from nucleus_bridge.spool.durable import write_file
from nucleus_bridge.testing.demo import DriveOptions, demo_config, write_demo_drive

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
SCALE_PYTHON = "NUCLEUS_BRIDGE_LIDAR_IO_PYTHON"
"""Names the interpreter of an environment that has ``scale-lidar-io``."""

ORIGIN = (0.0, 0.0, 0.0)
LOOKUP_US, BATCH_MS, SYNC_US = 10.0, 1.0, 20.0

SCALE_SCRIPT = """
import sys, time
import numpy as np
from pyquaternion import Quaternion
from scale_lidar_io.transform import Transform
from scale_lidar_io.nucleus_scene import NucleusLidarScene
points, best = np.load(sys.argv[1]), float("inf")
for _ in range(5):
    start = time.process_time()
    scene = NucleusLidarScene()
    scene.get_frame(0).add_points(points)
    scene.get_frame(0).apply_transform(Transform().from_Rt(R=Quaternion(1, 0, 0, 0), t=[1.0, 2.0, 3.0]))
    text = scene.get_frame(0).to_json()
    best = min(best, time.process_time() - start)
print(best * 1e3)
"""


def measure(points: int) -> Iterator[Row]:
    """Yield the rows of all stages for sweeps of so many rays."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="stages-") as folder:
        message, frame, config = one_frame(Path(folder), points)
        yield from sweep_stages(message, frame, config, Path(folder))
        yield from whole_cloud(frame, config, Path(folder))
    yield from lookups()
    yield from synchroniser()


def one_frame(folder: Path, points: int) -> tuple[Message, Frame, Config]:
    """Return a sweep of the demo drive as a message and as a posed frame."""
    options = DriveOptions(seconds=1.0, points=points, cameras=0)
    write_demo_drive(folder / "drive", options)
    (folder / "drive.yaml").write_text(demo_config(options))
    config = load_config(folder / "drive.yaml")
    pipeline = Pipeline(config)
    with open_recording(folder / "drive") as bag:
        message = next(bag.messages([config.lidars[0].topic]))
        pipeline.prime(bag.messages(["/tf_static"]))
        events = [event for part in map(pipeline.add, bag.messages(pipeline.topics)) for event in part]
    return message, next(event.frame for event in events if isinstance(event, FrameReady)), config


def sweep_stages(message: Message, frame: Frame, config: Config, folder: Path) -> Iterator[Row]:
    """Yield what becomes of a sweep, step by step."""
    (posed,), lidar = frame.sweeps, config.lidars[0]
    cloud = select_points(posed.sweep, lidar)
    world = points_in_world(cloud.xyz, cloud.time_ns, posed.world_from_lidar, ORIGIN)
    text = encode_points(world, intensity=cloud.intensity)
    payload = bytes(text)
    steps: dict[str, tuple[Callable[[], Any], str, Callable[[], Any]]] = {
        "decode and check a sweep": (
            lambda: decode_sweep(message, lidar),
            "copying its bytes",
            lambda: bytearray(message.data),
        ),
        "select points": (
            lambda: select_points(posed.sweep, lidar),
            "copying its bytes",
            lambda: bytearray(message.data),
        ),
        "move points by the pose at their time": (
            lambda: points_in_world(cloud.xyz, cloud.time_ns, posed.world_from_lidar, ORIGIN),
            "one pose for all, by BLAS",
            lambda: cloud.xyz.astype(np.float64) @ np.eye(3) + 1.0,
        ),
        "encode points": (
            lambda: encode_points(world, intensity=cloud.intensity),
            "copying the text",
            lambda: bytearray(payload),
        ),
        "write and hash a cloud": (
            lambda: _rewrite(folder / "ours", lambda path: write_file(path, [payload])),
            "sha256 and one plain write",
            lambda: _rewrite(
                folder / "plain", lambda path: (hashlib.sha256(payload).digest(), path.write_bytes(payload))
            ),
        ),
    }
    for name, (ours, peer, theirs) in steps.items():
        yield Row(name, cpu_ms(ours), "ms", peer, cpu_ms(theirs))


def _rewrite(path: Path, write: Callable[[Path], Any]) -> None:
    path.unlink(missing_ok=True)
    write(path)


def whole_cloud(frame: Frame, config: Config, folder: Path) -> Iterator[Row]:
    """Yield a sweep to its points in JSON, beside numpy with json.dumps and beside Scale's own writer."""

    def ours() -> memoryview:
        columns = merged_points(lidar_sweeps(frame, ORIGIN, config, {}), config.point_fields)
        return encode_points(columns.xyz, intensity=columns.intensity)

    value = cpu_ms(ours)
    cloud = select_points(frame.sweeps[0].sweep, config.lidars[0])
    if cloud.intensity is None:
        raise SystemExit("the demo drive has no intensity")
    points = np.column_stack([cloud.xyz, cloud.intensity]).astype(np.float64)

    def plain() -> str:
        rows = np.round(points @ np.eye(4) + 1.0, 3).tolist()
        return json.dumps([{"x": x, "y": y, "z": z, "i": i} for x, y, z, i in rows])

    name = "a sweep to world points in JSON"
    yield Row(name, value, "ms", "numpy and json.dumps", cpu_ms(plain, rounds=3))
    python = os.environ.get(SCALE_PYTHON, "")
    if not python:
        print(f"left out: Scale's writer, since {SCALE_PYTHON} names no interpreter that has scale-lidar-io")
        return
    np.save(folder / "points.npy", points)
    command = [python, "-I", "-W", "ignore", "-c", SCALE_SCRIPT, str(folder / "points.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"left out: Scale's writer failed: {done.stderr.strip().splitlines()[-1]}")
        return
    yield Row(name, value, "ms", "scale-lidar-io's writer", float(done.stdout))


def lookups() -> Iterator[Row]:
    """Yield look-ups through two moving and two fixed edges."""
    tree = TransformTree()
    for index in range(2000):
        turn = (0.0, 0.0, index * 1e-4, 1.0)
        tree.add("odom", "base_link", START_NS + 5 * MS * index, (index * 0.01, 0, 0), turn)
        if index % 10 == 0:
            tree.add("map", "odom", START_NS + 5 * MS * index, (index * 1e-4, 0, 0), (0, 0, 0, 1))
    tree.add("base_link", "lidar", 0, (1, 0, 2), (0, 0, 0, 1), static=True)
    tree.add("lidar", "optical", 0, (1, 0, 2), (-0.5, 0.5, -0.5, 0.5), static=True)
    stamps = START_NS + np.arange(1000, dtype=np.int64) * 9_876_543
    each = stamps.tolist()
    single = cpu_ms(lambda: [tree.lookup("map", "optical", stamp) for stamp in each])
    yield Row("a transform look-up over four edges", single, "us", bar=LOOKUP_US)
    yield Row(
        "1,000 look-ups in a batch", cpu_ms(lambda: tree.lookup_many("map", "optical", stamps)), "ms", bar=BATCH_MS
    )


def synchroniser() -> Iterator[Row]:
    """Yield the cost of a message with seven streams, and with one of them far behind, so that queues are long."""
    for lag_s, wait_s in ((0, 2), (250, 300)):
        yield Row(f"synchronise a message, a stream {lag_s} s late", _sync_us(lag_s, wait_s), "us", bar=SYNC_US)


def _sync_us(lag_s: int, wait_s: int) -> float:
    names = [f"camera_{number}" for number in range(6)]
    specs = [StreamSpec(name, 0, 50 * MS) for name in names]
    arrivals = []
    for sweep in range(3000):
        stamp = START_NS + sweep * 100 * MS
        arrivals.append((stamp, "top", stamp))
        arrivals += [(stamp + (k or lag_s * 1000 * MS), name, stamp + k) for k, name in enumerate(names)]
    arrivals.sort()
    sync: Synchroniser[None] = Synchroniser("top", specs, wait_s * 1000 * MS, 1, lambda *_: None)
    start = time.process_time()
    matched = 0
    for _, name, stamp in arrivals:
        if name == "top":
            sync.add_anchor(stamp, stamp + 99 * MS, 1, None)
        else:
            sync.add(name, stamp, 1, None)
        matched += sum(1 for _ in sync.ready())
    if not matched:
        raise SystemExit("the synchroniser matched nothing")
    return (time.process_time() - start) / len(arrivals) * 1e6
