# SPDX-License-Identifier: Apache-2.0
"""Recordings of packets: sweeps are made of several messages, which need the sensor's metadata from another topic."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from nucleus_bridge.cli.main import main
from nucleus_bridge.inspect.report import study

REAL = Path(os.environ.get("NUCLEUS_BRIDGE_TEST_DATA", "/nowhere"), "inputs", "real")
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="NUCLEUS_BRIDGE_TEST_DATA is not set")


@pytest.mark.parametrize(
    ("bag", "topic", "points"),
    [
        ("ouster/512x10_raw.bag", "/os_node0/lidar_packets", 28_751),
        ("ouster/lowband_os0_128", "/os_node/lidar_packets", 97_299),
        ("ouster/legacy_os2_32", "/ouster/lidar_packets", 28_541),
        ("nebula_vlp16", "/velodyne_packets", 14_856),
    ],
)
def test_packets_are_offered_as_a_lidar_and_nothing_else_is(bag: str, topic: str, points: int) -> None:
    report, suggestion = study(REAL / bag)
    seen = {sensor.topic: int(sensor.facts["points a sweep"].partition(",")[0]) for sensor in report.sensors}
    assert seen == {topic: pytest.approx(points, abs=1)}
    assert [warning.code for warning in report.warnings] == ["no_pose"]
    assert len(suggestion.lidar_names) == 1


def test_packets_that_are_not_read_are_named_with_the_driver() -> None:
    report, _ = study(REAL / "nebula_qt64")
    (warning,) = [warning for warning in report.warnings if warning.code == "unreadable_topic"]
    assert "pandar_msgs/msg/PandarScan" in str(warning)
    assert "nebula" in warning.remedy


@pytest.mark.parametrize(
    ("library", "extra", "bag", "topic"),
    [
        ("av", "video", REAL.parent / "made" / "video_foxglove", "/camera/front/image_raw/video"),
        ("velodyne_decoder", "packets", REAL / "nebula_vlp16", "/velodyne_packets"),
        ("DracoPy", "draco", REAL.parent / "made" / "clouds_compressed", "/lidar/top/points/draco"),
    ],
)
def test_a_missing_extra_costs_its_topics_alone_and_is_named_with_the_command(
    library: str, extra: str, bag: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    report, _ = study(bag)
    told = {warning.name: str(warning) for warning in report.warnings if warning.code.startswith("unreadable")}
    assert f"pip install 'nucleus-bridge[{extra}]'" in told[topic]
    assert report.topics


PACKETS = """
/**:
  ros__parameters:
    world_frame: os_sensor
    device_frame: os_sensor
    lidar_names: [top]
    lidars: {top: {topic: %s}}
    spool: {min_free_bytes: 0}
"""


@pytest.mark.parametrize(
    ("bag", "topic", "changes", "said"),
    [
        ("nebula_qt64", "/pandar_packets", (), r"PandarScan, not a type that is read here \(play .* nebula running"),
        (
            "ouster/512x10_raw.bag",
            "/os_node0/lidar_packets",
            ("metadata_topic=/none",),
            r"\. Topics that fit here: /os_n",
        ),
        ("ouster/512x10_raw.bag", "/os_node0/imu_packets", (), "10 sweeps .* 48 bytes; the metadata says 8448"),
        (
            "nebula_vlp16",
            "/velodyne_packets",
            ("model=VLS128",),
            "4 sweeps .* of a VLP16, and lidars.top.model is VLS1",
        ),
    ],
)
def test_a_configuration_that_is_wrong_for_packets_is_told_what_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bag: str, topic: str, changes: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "drive.yaml"
    path.write_text(PACKETS % topic)
    command = ["convert", str(REAL / bag), "--config", str(path), "--output", str(tmp_path / "spool")]
    assert main([*command, *(word for change in changes for word in ("--set", f"lidars.top.{change}"))]) == 2
    told = capsys.readouterr().err
    assert re.search(said, told)
    assert "Traceback" not in told
