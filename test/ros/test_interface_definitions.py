# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore
from rosbags_types import typestore_of

from nucleus_bridge.errors import InputError
from nucleus_bridge.ros.interface_definitions import BUILT_IN, TF2_MSGS, InterfacePackage, read_interface_package


def test_the_transform_message_has_the_type_hash_that_rosbags_knows() -> None:
    released = get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage")
    assert TF2_MSGS.type_hashes["TFMessage"] == released
    assert typestore_of(TF2_MSGS).hash_rihs01("tf2_msgs/msg/TFMessage") == released


def test_the_packages_a_message_needs_are_read_from_its_text() -> None:
    text = """
# uses sensor_msgs/Image in words only
std_msgs/Header header
  builtin_interfaces/Time stamp
geometry_msgs/Point[] points
geometry_msgs/Pose pose
own_msgs/Other other
float64 share 1.5
"""
    package = InterfacePackage("own_msgs", {"Thing": text, "Other": "uint8 KIND=1\n"})
    assert package.depends == ["builtin_interfaces", "geometry_msgs", "std_msgs"]
    assert {name: package.depends for name, package in BUILT_IN.items()} == {
        "tf2_msgs": ["geometry_msgs"],
        "radar_msgs": ["std_msgs"],
        "bond": ["std_msgs"],
    }


def test_a_folder_of_messages_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "B.msg").write_text("uint8 b\n")
    (tmp_path / "A2.msg").write_text("B b  # ä\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("no message")
    assert read_interface_package("own_msgs", tmp_path).messages == {"A2": "B b  # ä\n", "B": "uint8 b\n"}


@pytest.mark.parametrize("name", ["Own", "own-msgs", "own__msgs", "_own", "own_", "2own", "", "../own"])
def test_a_wrong_package_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "A.msg").write_text("uint8 a\n")
    with pytest.raises(InputError, match="is not a ROS 2 package name"):
        read_interface_package(name, tmp_path)


def test_a_folder_without_messages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.msg file"):
        read_interface_package("own_msgs", tmp_path / "absent")


def test_wrong_message_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lower.msg").write_text("uint8 a\n")
    with pytest.raises(InputError, match=r"lower\.msg is not a ROS 2 message name"):
        read_interface_package("own_msgs", tmp_path)
    (tmp_path / "lower.msg").unlink()
    (tmp_path / "Latin.msg").write_bytes(b"uint8 a # \xe4\n")
    with pytest.raises(InputError, match=r"Latin\.msg cannot be read"):
        read_interface_package("own_msgs", tmp_path)
