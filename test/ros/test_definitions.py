# SPDX-License-Identifier: Apache-2.0
"""Definitions made of installed message classes, against those that rosbags brings."""

from __future__ import annotations

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

pytest.importorskip("rclpy", reason="needs ROS 2")
from nucleus_bridge.config.sources import SignalConfig
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros.definitions import definition_of, field_problem

HUMBLE = get_typestore(Stores.ROS2_HUMBLE).fielddefs


@pytest.mark.parametrize(
    "type_name",
    [
        "nav_msgs/msg/Odometry",
        "diagnostic_msgs/msg/DiagnosticArray",
        "sensor_msgs/msg/NavSatFix",
        "sensor_msgs/msg/JointState",
        "sensor_msgs/msg/PointCloud2",
        "std_msgs/msg/Bool",
    ],
)
def test_the_definition_is_that_of_the_interface(type_name: str) -> None:
    pytest.importorskip(f"{type_name.split('/', maxsplit=1)[0]}.msg")
    made = get_types_from_msg(definition_of(type_name), type_name)
    assert type_name in made
    for name, (_constants, fields) in made.items():
        assert fields == HUMBLE[name][1], name


def signal(field: str) -> WantedTopic:
    config = SignalConfig("speed", "/speed", field)
    return WantedTopic("/speed", "metadata_from.speed.topic", "value", "signal", "speed", config)


def test_a_wrong_field_is_named_before_the_first_message() -> None:
    assert field_problem(signal("twist.linear.x"), "geometry_msgs/msg/TwistStamped") == ""
    text = field_problem(signal("twist.lineer.x"), "geometry_msgs/msg/TwistStamped")
    assert text.startswith("metadata_from.speed.field: 'twist.lineer.x'")
    assert "twist.linear.x (float64)" in text
