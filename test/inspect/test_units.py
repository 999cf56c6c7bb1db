# SPDX-License-Identifier: Apache-2.0
"""Clouds that are not in metres are scaled to what they were; whatever is in metres stays, near, far, or of a plane."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_drive import Lidar, SmallDrive

from nucleus_bridge import convert_bag
from nucleus_bridge.inspect.clouds import Cloud
from nucleus_bridge.inspect.report import study
from nucleus_bridge.inspect.units import scale_of
from nucleus_bridge.model import Sweep


def clouds_of(xyz: np.ndarray) -> list[Cloud]:
    points = np.zeros(len(xyz), [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    points["x"], points["y"], points["z"] = xyz.T
    return [Cloud(at, at, Sweep(at, "lidar", points, None, at, at, 1, True)) for at in (1, 2, 3)]


def around(seed: int, nearest: float, farthest: float, height: float) -> np.ndarray:
    """Ground all around below a lidar, and things up to some distance."""
    g = np.random.default_rng(seed)
    ranges = nearest * (farthest / nearest) ** g.random(900)
    azimuth = g.uniform(-np.pi, np.pi, 900)
    z = np.where(g.random(900) < 0.4, -height, g.uniform(-height, 2.0, 900))
    return np.stack([ranges * np.cos(azimuth), ranges * np.sin(azimuth), z], axis=1)


@pytest.mark.parametrize("scale", [0.001, 0.01])
@pytest.mark.parametrize("seed", range(4))
def test_the_unit_is_found_by_the_height_above_the_ground(scale: float, seed: int) -> None:
    height = float(np.random.default_rng(90 + seed).uniform(0.9, 3.0))
    xyz = around(seed, 2.0, 60.0, height)
    assert scale_of(clouds_of(xyz / scale), height + 0.2) == scale
    assert scale_of(clouds_of(xyz), height) == 1.0


def test_without_a_mount_millimetres_are_likelier() -> None:
    assert scale_of(clouds_of(1000 * around(5, 1.0, 40.0, 1.4))) == 0.001


@pytest.mark.parametrize(
    "xyz",
    [
        around(1, 0.3, 4.0, 0.2),
        around(2, 30.0, 250.0, 2.0),
        around(3, 5.0, 2_000.0, 2.5),
        around(4, 380.0, 470.0, 400.0),
        around(5, 40.0, 900.0, 30.0) + np.array([412_000.0, 5_412_000.0, 500.0]),
        np.zeros((500, 3)),
    ],
    ids=["a room", "nothing near", "far sights", "from a plane", "world coordinates", "no points"],
)
def test_metres_are_left_alone(xyz: np.ndarray) -> None:
    assert scale_of(clouds_of(xyz), 1.6) == 1.0


def test_scaled_clouds_come_out_as_those_in_metres(tmp_path: Path) -> None:
    frames = []
    for per_metre in (1.0, 1e3):
        path = SmallDrive(lidars=(Lidar(per_metre=per_metre),)).write(tmp_path / str(per_metre))
        config = study(path)[1].config()
        assert config is not None
        (scene,) = convert_bag(path, config, tmp_path / f"spool{per_metre}").scenes
        clouds = sorted(scene.folder.glob("os/*.json"))
        frames.append([[(p["x"], p["y"], p["z"]) for p in json.loads(cloud.read_text())["points"]] for cloud in clouds])
    assert len(frames[0]) == len(frames[1]) > 10
    for metres, scaled in zip(*frames, strict=True):
        assert np.abs(np.array(metres) - np.array(scaled)).max() < 0.0011
