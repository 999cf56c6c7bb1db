# SPDX-License-Identifier: Apache-2.0
"""Two hundred consistent drives, each with its own sensors, rates, delays and mounts, give not a single warning."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from bags import OPTICAL
from small_drive import Camera, Lidar, SmallDrive, Tf

from nucleus_bridge import convert_bag
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.inspect.report import study
from nucleus_bridge.warnings import Code

DRIVES, CHUNKS = 200, 8
CONVERTED = 10
"""Every tenth drive is converted as well, which judges by what it notes on the way."""
TIMES = (
    ("t", "u4", "ns", "stamp", "start"),
    ("time", "f4", "s", "stamp", "start"),
    ("timestamp", "f8", "s", "absolute", "start"),
    ("timestamp", "f8", "ns", "absolute", "end"),
    ("time", "f4", "s", "end", "end"),
    ("offset_time", "u4", "us", "stamp", "start"),
    ("", "f4", "s", "stamp", "start"),
)


def consistent(seed: int) -> SmallDrive:
    """A drive of which everything that is random is consistent."""
    g = np.random.default_rng(seed)
    standing = g.random() < 0.15
    speed = 1e-6 if standing else float(g.uniform(0.3, 15.0))
    time, dtype, unit, reference, moment = TIMES[int(g.integers(len(TIMES)))]
    rate = float(g.choice([5, 10, 20]))
    lidars = tuple(
        Lidar(
            topic=f"/lidar_{k}/points",
            frame=f"lidar_{k}",
            mount=(*g.uniform(-1.5, 1.5, 2), float(g.uniform(1.2, 2.5))),
            yaw=float(g.uniform(-3, 3)),
            rate=rate,
            columns=int(g.choice([36, 60, 120])),
            rings=int(g.choice([4, 8, 12])),
            delay_ms=float(g.uniform(0.5, 70)),
            time=time,
            dtype=dtype,
            unit=unit,
            reference=reference,
            moment=moment,
        )
        for k in range(int(g.choice([1, 1, 2, 3])))
    )
    cameras = tuple(
        Camera(
            topic=f"/cam_{k}/image_raw/compressed",
            info_topic=f"/cam_{k}/camera_info",
            frame=f"cam_{k}_optical",
            mount=tuple(g.uniform(-1.5, 1.5, 3)),
            rotation=tuple(quaternion.multiply(_turned(g), np.array(OPTICAL)).tolist()),
            rate=float(g.choice([5, 10, 15, 30])),
            phase_ms=float(g.uniform(0, 60)),
            delay_ms=float(g.uniform(1, 250 if g.random() < 0.3 else 40)),
        )
        for k in range(int(g.integers(0, 4)))
    )
    tf = Tf(
        parent=str(g.choice(["map", "odom", "world"])),
        rate=float(g.choice([20, 50, 100])),
        delay_ms=float(g.uniform(0.2, 290 if g.random() < 0.3 else 30)),
    )
    yaw_rate = float(g.choice([-1, 1])) * max(speed / 40.0, float(g.uniform(0.05, 0.5)) if not standing else 1e-7)
    return SmallDrive(
        seconds=float(g.uniform(1.0, 2.5)), speed=speed, yaw_rate=yaw_rate, lidars=lidars, cameras=cameras, tf=(tf,)
    )


def _turned(g: np.random.Generator) -> np.ndarray:
    """A mount that looks anywhere to the side, a little up or down."""
    yaw, pitch = float(g.uniform(-3, 3)), float(g.uniform(-0.3, 0.3))
    about_z = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    return quaternion.multiply(about_z, np.array([0.0, np.sin(pitch / 2), 0.0, np.cos(pitch / 2)]))


def alarms(seed: int) -> list[str]:
    """What is wrongly said of a drive."""
    with tempfile.TemporaryDirectory() as folder:
        bag = consistent(seed).write(Path(folder), "sqlite3" if seed % 5 == 0 else "mcap")
        report, made = study(bag)
        config = made.config()
        told = list(report.warnings)
        if config is not None and seed % CONVERTED == 0:
            told += convert_bag(bag, config, Path(folder) / "spool").findings
    wrong = [finding for finding in told if finding.code is not Code.CALIBRATION_NOT_MEASURED]
    found = [f"drive {seed}: {finding}" for finding in wrong]  # pictures are drawn and show nothing of the clouds
    return found if report.trial.frames else [*found, f"drive {seed}: no frame: {report.missing}"]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_consistent_drives_give_no_warning(chunk: int) -> None:
    assert [text for seed in range(chunk, DRIVES, CHUNKS) for text in alarms(seed)] == []
