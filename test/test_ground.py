# SPDX-License-Identifier: Apache-2.0
"""Ground found by segmentation, against the demo drive, whose ground is the plane z = 0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from drives import Drive, make_drive

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.testing.demo import DriveOptions

CHOICES = ["point_fields=[intensity,device,is_ground]", "ground.method=patchwork", "ground.device_height_m=0.35"]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    options = DriveOptions(seconds=0.3, points=30_000, cameras=0, lidars=2)
    return make_drive(tmp_path_factory.mktemp("ground"), options)


@pytest.mark.parametrize("lidars", [1, 2])
def test_ground_is_found_where_it_is(drive: Drive, tmp_path: Path, lidars: int) -> None:
    pytest.importorskip("pypatchworkpp")
    names = ["lidar_names=[top]"] if lidars == 1 else []
    report = convert_bag(drive.bag, load_config(drive.config_path, [*CHOICES, *names]), tmp_path / "spool")
    assert report.complete
    (scene,) = report.scenes
    height = scene.manifest.world_offset["z"]
    clouds = sorted(scene.folder.glob("*/*.json"))
    assert len(clouds) == 3
    for path in clouds:
        points = [point for point in json.loads(path.read_bytes())["points"] if point["d"] == 0]
        on_the_plane = np.abs(np.array([point["z"] for point in points]) + height) < 0.05
        found = np.array([point["is_ground"] for point in points])
        assert on_the_plane.sum() > 10_000
        assert (found & on_the_plane).sum() > 0.95 * on_the_plane.sum()
        assert (found & on_the_plane).sum() > 0.93 * found.sum()


def test_the_same_sweep_has_the_same_ground_whatever_was_before_it(drive: Drive, tmp_path: Path) -> None:
    pytest.importorskip("pypatchworkpp")
    config = load_config(drive.config_path, CHOICES)
    one, other = (
        convert_bag(drive.bag, config, tmp_path / str(workers), workers=workers).scenes[0].manifest
        for workers in (1, 2)
    )
    assert one == other


def test_without_the_library_the_remedy_is_named(drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleus_bridge.render.ground.LIBRARY", "a_library_that_is_not_there")
    with pytest.raises(ConfigError, match=r"pip install 'nucleus-bridge\[ground\]'"):
        convert_bag(drive.bag, load_config(drive.config_path, CHOICES), tmp_path / "spool")


def test_a_flag_needs_a_source(drive: Drive) -> None:
    with pytest.raises(ConfigError, match=r"ground_field.*or ground\.method: patchwork"):
        load_config(drive.config_path, CHOICES[:1])
