# SPDX-License-Identifier: Apache-2.0
"""``inspect --deep`` says how thick walls and poles are, with and without deskewing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drives import Drive, make_drive

from nucleus_bridge.cli.main import main
from nucleus_bridge.testing.demo import DriveOptions


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    options = DriveOptions(seconds=2.5, points=20_000, cameras=0, standing_s=0.0, course="ring")
    return make_drive(tmp_path_factory.mktemp("moving"), options)


def inspected(bag: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    main(["inspect", str(bag), "--json", *flags])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_deskewed_walls_are_thin_and_the_report_says_so(moving: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    document = inspected(moving.bag, capsys, "--deep")
    (found,) = document["trial"]["sharpness"].values()
    assert found["frames"] >= 8
    assert found["deskewed"]["walls_m"] < 0.02
    assert found["as_measured"]["walls_m"] > 3 * found["deskewed"]["walls_m"]
    assert (found["blurs"], found["why"]) == (False, "")
    (lidar,) = (sensor for sensor in document["sensors"] if sensor["kind"] == "lidar")
    assert lidar["facts"]["thickness, all sweeps"].startswith("deskewed: walls ")


def test_a_usual_inspection_does_not_measure_it(moving: Drive, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspected(moving.bag, capsys)["trial"]["sharpness"] == {}
