# SPDX-License-Identifier: Apache-2.0
"""How often the nodes announce themselves: as Fast DDS reads it, and not where the user has profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drives import Drive

pytest.importorskip("rclpy", reason="needs ROS 2")
from live_graph import observing, recorder

from nucleus_bridge.ros import announcing
from nucleus_bridge.ros.announcing import FAST_DDS_2, FAST_DDS_3, IN_THIS_FOLDER, PROFILES, announce_often

VARIABLES = (FAST_DDS_3, FAST_DDS_2)


@pytest.fixture(autouse=True)
def nothing_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("release", "name", "other"), [((9, 1), FAST_DDS_3, FAST_DDS_2), ((7, 1), FAST_DDS_2, FAST_DDS_3)]
)
def test_each_release_of_fast_dds_gets_the_profile_as_it_asks_for_it(
    release: tuple[int, int], name: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "rclpy_version", lambda: release)
    announce_often()
    assert os.environ[name] == str(PROFILES)
    assert os.environ[other] == ""
    assert PROFILES.exists()


@pytest.mark.parametrize("name", VARIABLES)
def test_profiles_of_ones_own_are_left(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/etc/mine.xml")
    announce_often()
    assert {os.environ[one] for one in VARIABLES} == {"", "/etc/mine.xml"}


@pytest.mark.parametrize("name", IN_THIS_FOLDER)
def test_a_file_of_ones_own_in_this_folder_is_left(name: str) -> None:
    Path(name).touch()
    announce_often()
    assert {os.environ[one] for one in VARIABLES} == {""}


@pytest.mark.live
def test_fast_dds_reads_the_profile_without_a_complaint(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with observing() as observer, recorder(drive.config_path, tmp_path / "spool") as node:
        observer.value("scenes", "state", lambda state: state == "active")
        assert node.end() == 0
        assert "XMLPARSER" not in node.output
        assert "PROFILES_FILE" not in node.output
    broken = tmp_path / "mine.xml"
    broken.write_text(PROFILES.read_text().replace("leaseAnnouncement", "leaseAnnouncements"))
    for name in VARIABLES:
        monkeypatch.setenv(name, str(broken))
    with observing() as observer, recorder(drive.config_path, tmp_path / "spool") as node:
        observer.value("scenes", "state", lambda state: state == "active")
        assert node.end() == 0
        assert "XMLPARSER" in node.output
