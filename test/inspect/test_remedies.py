# SPDX-License-Identifier: Apache-2.0
"""A remedy counts with what is configured already: pasted as it stands, it makes the recording right."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_drive import MS, Camera, Lidar, Recording, SmallDrive, Tf
from test_faults import fixes, headings, pose_stamped, unbent

from nucleus_bridge.config import config_from_values
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.decode.cdr import peek_header, with_stamp
from nucleus_bridge.inspect.report import study

AHEAD_NS = 1_300 * MS
PLAIN = SmallDrive()


def odometry(ahead_ns: int) -> SmallDrive:
    def add(drive: SmallDrive, made: Recording) -> None:
        for at in drive.times(40, 0.8, 1.0):
            (place,), (yaw,) = drive.pose(at)
            made.add("/pose", pose_stamped(at + ahead_ns, "map", place, yaw), at + 4 * MS)

    return PLAIN.but(tf=(), more=add)


def ahead(true: int) -> int:
    return true + AHEAD_NS


CASES: dict[str, tuple[SmallDrive, SmallDrive, str]] = {
    "cameras.front": (PLAIN, PLAIN.but(cameras=(replace(Camera(), clock=ahead),)), "sensor_clock"),
    "lidars.os": (PLAIN, PLAIN.but(lidars=(replace(Lidar(), clock=ahead),)), "sensor_clock"),
    "transforms": (PLAIN, PLAIN.but(tf=(replace(Tf(), clock=ahead),)), "tf_clock"),
    "poses.ego": (odometry(0), odometry(AHEAD_NS), "tf_clock"),
}


@pytest.mark.parametrize("section", CASES)
@pytest.mark.parametrize("configured_ms", [0.0, -400.0])
def test_a_clock_is_corrected_by_the_remedy_whatever_is_configured(
    tmp_path: Path, section: str, configured_ms: float
) -> None:
    right, wrong, code = CASES[section]
    values: dict[str, Any] = dict(study(right.write(tmp_path / "right"))[1].values)
    bag, key = wrong.write(tmp_path / "wrong"), f"{section}.clock_offset_ms"

    def remedies(offset_ms: float, spool: str) -> list[str]:
        config = config_from_values({**values, key: offset_ms})
        return [found.remedy for found in convert_bag(bag, config, tmp_path / spool).findings if found.code == code]

    (remedy,) = set(remedies(configured_ms, "before"))
    found = re.search(rf"{re.escape(key)}: (\S+)", remedy)
    assert found, remedy
    assert float(found[1]) == pytest.approx(-AHEAD_NS / 1e6, abs=30.0)
    assert remedies(float(found[1]), "after") == []


@pytest.mark.parametrize(
    ("fix_ns", "heading_ns", "lines"),
    [
        (-640 * MS, 0, {"gps.clock_offset_ms": 640.0, "gps.heading_clock_offset_ms": -640.0}),
        (0, 410 * MS, {"gps.heading_clock_offset_ms": -410.0}),
        (1_200 * MS, 1_200 * MS, {"gps.clock_offset_ms": -1_200.0}),
        (-18_000 * MS, 0, {"gps.clock_offset_ms": 18_000.0, "gps.heading_clock_offset_ms": -18_000.0}),
    ],
)
def test_clocks_of_fixes_and_headings_are_corrected_apart(
    tmp_path: Path, fix_ns: int, heading_ns: int, lines: dict[str, float]
) -> None:
    def add(drive: SmallDrive, made: Recording) -> None:
        satellites = Recording()
        fixes(drive, satellites, unbent)
        headings(drive, satellites, lambda yaw: yaw)
        for log_ns, topic, type_name, data in satellites.rows:
            by_ns = fix_ns if topic == "/fix" else heading_ns
            made.add_raw(topic, type_name, with_stamp(data, peek_header(data)[0] + by_ns), log_ns)

    right = study(PLAIN.but(more=lambda d, m: (fixes(d, m, unbent), headings(d, m, lambda yaw: yaw))).write(tmp_path))[
        1
    ]
    wrong = PLAIN.but(seconds=3.0, more=add).write(tmp_path / "wrong")
    values = dict(right.values)
    said = convert_bag(wrong, config_from_values(values), tmp_path / "spool").findings
    found = {f.remedy.removeprefix("if it is the clock: ") for f in said if f.code == "sensor_clock"}
    (remedy,) = found
    given = {key: float(value) for key, value in re.findall(r"(gps\.\w+): (\S+?)(?:,|$)", remedy)}
    assert given == {key: pytest.approx(value, abs=25.0) for key, value in lines.items()}
    after = convert_bag(wrong, config_from_values({**values, **given}), tmp_path / "after")
    assert [f for f in after.findings if f.code != "heading_disagrees"] == []


def test_init_names_the_clock_of_a_pose_topic_in_its_own_section(tmp_path: Path) -> None:
    report, made = study(odometry(AHEAD_NS).write(tmp_path))
    assert "transforms.clock_offset_ms" not in made.values
    (remedy,) = (finding.remedy for finding in report.warnings if finding.code == "tf_clock")
    assert remedy.startswith("poses.ego.clock_offset_ms: -1")
