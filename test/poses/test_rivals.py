# SPDX-License-Identifier: Apache-2.0
"""A topic and the transforms that say the same of one frame are fine; those that do not are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from bags import Recording
from drives import Drive
from pose_drives import config_with, edges_of
from pose_messages import odometry

from nucleus_bridge.cli.main import main
from nucleus_bridge.poses.rivals import Rivals
from nucleus_bridge.poses.source import Edge
from nucleus_bridge.recordings import open_recording

LEVEL = (0.0, 0.0, 0.0, 1.0)


def drive_on(rivals: Rivals, name: str, index: int, y: float = 0.0, parent: str = "map", late_ns: int = 0) -> None:
    stamp_ns = 10**18 + 10_000_000 * index + late_ns
    x = 0.15 * index + 15.0 * late_ns / 1e9
    rivals.hear(Edge(parent, "base_link", stamp_ns, (x, y, 0.0), LEVEL, static=False), name)


@pytest.mark.parametrize("late_ns", [0, 3_000_000])
def test_sources_that_agree_are_no_conflict(late_ns: int) -> None:
    rivals = Rivals()
    for index in range(20):
        drive_on(rivals, "/tf", index)
        drive_on(rivals, "/odom", index, y=0.01, late_ns=late_ns)
    assert rivals.findings == ()


@pytest.mark.parametrize("late_ns", [0, 3_000_000])
def test_sources_that_differ_are_a_conflict_with_figures(late_ns: int) -> None:
    rivals = Rivals()
    for index in range(20):
        drive_on(rivals, "/tf", index)
        drive_on(rivals, "/odom", index, y=0.5, late_ns=late_ns)
    (finding,) = rivals.findings
    assert (finding.code, finding.name) == ("tf_conflict", "base_link")
    assert "0.500 m" in finding.text


def test_two_parents_are_a_conflict() -> None:
    rivals = Rivals()
    drive_on(rivals, "/tf", 0)
    drive_on(rivals, "/odom", 0, parent="odom")
    assert "'map'" in rivals.findings[0].text
    assert "'odom'" in rivals.findings[0].text


def test_one_source_is_no_rival_of_itself() -> None:
    rivals = Rivals()
    for index in range(5):
        drive_on(rivals, "/tf", index, y=float(index % 2))
    assert rivals.findings == ()


@pytest.mark.parametrize(("aside_m", "is_conflict"), [(0.0, False), (1.5, True)])
def test_a_topic_beside_the_transforms(
    drive: Drive, tmp_path: Path, capsys: pytest.CaptureFixture[str], aside_m: float, *, is_conflict: bool
) -> None:
    made = Recording()
    with open_recording(drive.bag) as recording:
        for message in recording.messages([topic.name for topic in recording.topics]):
            made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
            for edge in edges_of(message) if message.topic == "/tf" else ():
                if edge.child == "base_link":
                    x, y, z = edge.translation
                    odom = odometry(edge.stamp_ns, (x, y + aside_m, z), edge.rotation_xyzw)
                    made.add("/odom", odom, message.log_ns)
    made.write(tmp_path / "bag")
    config = config_with(drive.config_path, tmp_path / "c.yaml", ["pose_names: [ego]", "poses: {ego: {topic: /odom}}"])
    main(["convert", str(tmp_path / "bag"), "--config", str(config), "--output", str(tmp_path / "spool")])
    assert ("[tf_conflict]" in capsys.readouterr().err) == is_conflict
