# SPDX-License-Identifier: Apache-2.0
"""Turns of a lidar that do not close are named for what would close them; turns that do close are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_drive import Lidar, SmallDrive

from nucleus_bridge.convert import convert_bag
from nucleus_bridge.inspect.report import study
from nucleus_bridge.warnings import Code, Finding

ASIDE = (-36.0, 25.0)  # a wall around the way's middle goes on behind the seam whatever the times are

DRIVE = SmallDrive(speed=10.0, yaw_rate=0.5, lidars=(Lidar(columns=240, wall=ASIDE),))


def named(
    folder: Path, bend: Callable[[np.ndarray], np.ndarray], speed: float = 10.0, yaw_rate: float = 0.5, **lidar: object
) -> dict[Code, Finding]:
    sensor = Lidar(columns=240, wall=ASIDE, bend=bend, **lidar)  # type: ignore[arg-type]
    path = SmallDrive(speed=speed, yaw_rate=yaw_rate, lidars=(sensor,)).write(folder)
    return {
        finding.code: finding
        for finding in study(path)[0].warnings
        if finding.code is not Code.CALIBRATION_NOT_MEASURED
    }


def named_by_convert(folder: Path, drive: SmallDrive) -> dict[Code, Finding]:
    """What is said of a drive that is converted with the configuration of one without a fault."""
    config = study(DRIVE.write(folder / "plain"))[1].config()
    assert config is not None
    found = convert_bag(drive.write(folder / "bent"), config, folder / "spool").findings
    return {finding.code: finding for finding in found}


def as_they_are(times: np.ndarray) -> np.ndarray:
    return times


@pytest.mark.parametrize("yaw_rate", [-0.6, 0.45])
def test_a_turn_that_closes_is_not_named(tmp_path: Path, yaw_rate: float) -> None:
    assert named(tmp_path, as_they_are, yaw_rate=yaw_rate) == {}


def test_times_that_run_backwards_are_named_with_a_remedy(tmp_path: Path) -> None:
    found = named(tmp_path, lambda times: times.max() - times)
    assert list(found) == [Code.POINT_TIME_SUSPECT]
    assert "ran backwards" in found[Code.POINT_TIME_SUSPECT].text
    assert found[Code.POINT_TIME_SUSPECT].remedy == "lidars.os.time_field: none"


@pytest.mark.parametrize("dtype", ["u4", "f8"])
def test_times_that_are_half_as_long_are_named(tmp_path: Path, dtype: str) -> None:
    found = named(tmp_path, lambda times: times / 2, dtype=dtype)
    assert list(found) == [Code.POINT_TIME_SUSPECT]
    assert "twice as long" in found[Code.POINT_TIME_SUSPECT].text


@pytest.mark.parametrize("yaw_rate", [-0.5, 0.6])
def test_a_cloud_whose_left_and_right_are_exchanged_is_named(tmp_path: Path, yaw_rate: float) -> None:
    found = named(tmp_path, as_they_are, yaw_rate=yaw_rate, is_left_handed=True)
    assert list(found) == [Code.AXES_MIRRORED]


@pytest.mark.parametrize(
    ("lidar", "code"),
    [
        (Lidar(columns=240, wall=ASIDE), None),
        (Lidar(columns=240, wall=ASIDE, bend=lambda times: times.max() - times), Code.POINT_TIME_SUSPECT),
        (Lidar(columns=240, wall=ASIDE, bend=lambda times: times / 2), Code.POINT_TIME_SUSPECT),
        (Lidar(columns=240, wall=ASIDE, is_left_handed=True), Code.AXES_MIRRORED),
    ],
    ids=["as they are", "backwards", "half as long", "left-handed"],
)
def test_convert_names_what_inspect_does(tmp_path: Path, lidar: Lidar, code: Code | None) -> None:
    drive = DRIVE.but(lidars=(lidar,))
    assert list(named_by_convert(tmp_path, drive)) == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("bend", "dtype", "code"),
    [
        (lambda times: times * 2, "u4", Code.POINT_TIME_SPAN),
        (np.zeros_like, "f4", Code.POINT_TIME_SPAN),
        (lambda times: times % 10**9, "u4", Code.POINT_TIME_FAR),
    ],
    ids=["twice as long", "all the same", "since the last whole second"],
)
def test_convert_blames_no_stamp_for_what_times_are(
    tmp_path: Path, bend: Callable[[np.ndarray], np.ndarray], dtype: str, code: Code
) -> None:
    reference = "absolute" if code is Code.POINT_TIME_FAR else "stamp"
    lidar = Lidar(columns=240, wall=ASIDE, bend=bend, dtype=dtype, reference=reference)
    assert list(named_by_convert(tmp_path, DRIVE.but(lidars=(lidar,)))) == [code]
