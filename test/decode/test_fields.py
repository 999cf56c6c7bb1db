# SPDX-License-Identifier: Apache-2.0
"""Fields of messages by their path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from serialised import STAMP_NS, make, serialise

from nucleus_bridge.decode import detections, fields
from nucleus_bridge.decode.fields import FieldError, find_field, parse_path
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

STATE = "vehicle_msgs/msg/State"
STATE_DEFINITION = f"""\
std_msgs/Header header
float32 brake
bool[] lamps
string mode
float32 from
vehicle_msgs/Wheel[] wheels
{"=" * 80}
MSG: vehicle_msgs/Wheel
int16 ticks
float64[3] force
geometry_msgs/Vector3 axis
"""
STATE_IDL = f"""\
{"=" * 80}
IDL: vehicle_msgs/msg/State
#include "vehicle_msgs/msg/Wheel.idl"
module vehicle_msgs {{ module msg {{ struct State {{ float brake; vehicle_msgs::msg::Wheel wheel; }}; }}; }};
{"=" * 80}
IDL: vehicle_msgs/msg/Wheel
module vehicle_msgs {{ module msg {{ struct Wheel {{ short ticks; }}; }}; }};
"""


def header() -> Any:
    stamp = make("builtin_interfaces/msg/Time", sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id="base_link")


def imu(z: float = -9.5) -> Message:
    content = make(
        "sensor_msgs/msg/Imu",
        header=header(),
        orientation=make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        orientation_covariance=np.arange(9.0),
        angular_velocity=make("geometry_msgs/msg/Vector3", x=1.0, y=2.0, z=3.0),
        angular_velocity_covariance=np.zeros(9),
        linear_acceleration=make("geometry_msgs/msg/Vector3", x=0.25, y=-4.0, z=z),
        linear_acceleration_covariance=np.zeros(9),
    )
    return serialise(content, "/imu")


def diagnostics(*levels: int) -> Message:
    status = [
        make(
            "diagnostic_msgs/msg/DiagnosticStatus", level=level, name="driver", message="ok", hardware_id="", values=[]
        )
        for level in levels
    ]
    return serialise(make("diagnostic_msgs/msg/DiagnosticArray", header=header(), status=status), "/diagnostics")


def state_store() -> Any:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(STATE_DEFINITION, STATE))
    return store


@pytest.mark.parametrize(
    ("path", "holds", "declared", "value"),
    [
        ("linear_acceleration.z", "number", "float64", -9.5),
        ("orientation_covariance[4]", "number", "float64", 4.0),
        ("linear_acceleration", "vector", "geometry_msgs/msg/Vector3", (0.25, -4.0, -9.5)),
        ("orientation_covariance", "vector", "float64[9]", tuple(float(n) for n in range(9))),
        ("header.frame_id", "text", "string", "base_link"),
        ("header.stamp.sec", "number", "int32", STAMP_NS // 10**9),
        ("header.stamp", "other", "builtin_interfaces/msg/Time", None),
    ],
)
def test_a_path_leads_to_the_value_that_was_sent(path: str, holds: str, declared: str, value: object) -> None:
    found = find_field("sensor_msgs/msg/Imu", path)
    assert (found.holds, found.declared, str(found)) == (holds, declared, path)
    assert found.read(imu()) == value
    assert not isinstance(found.read(imu()), np.generic)


def test_a_list_that_is_too_short_has_no_value() -> None:
    second = find_field("diagnostic_msgs/msg/DiagnosticArray", "status[1].level")
    assert second.read(diagnostics(0, 2)) == 2
    assert second.read(diagnostics(1)) is None
    assert second.read(diagnostics()) is None


@pytest.mark.parametrize(
    ("type_name", "path", "nearest"),
    [
        ("std_msgs/msg/Float64", "dat", "data (float64)"),
        ("sensor_msgs/msg/Imu", "linear_accelaration.z", "linear_acceleration.z (float64)"),
        ("geometry_msgs/msg/TwistStamped", "linear.x", "twist.linear.x (float64)"),
        ("diagnostic_msgs/msg/DiagnosticArray", "status[3].lvel", "status[0].level (byte)"),
        ("sensor_msgs/msg/NavSatFix", "lattitude", "latitude (float64)"),
    ],
)
def test_a_path_to_nowhere_names_the_nearest_field_and_its_type(type_name: str, path: str, nearest: str) -> None:
    with pytest.raises(FieldError) as refused:
        find_field(type_name, path)
    assert str(refused.value).endswith(f"the nearest field of {type_name} is {nearest}")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("linear_acceleration.z.x", "is float64; nothing is inside it"),
        ("linear_acceleration[0]", "has no elements"),
        ("orientation_covariance[9]", "its last element is [8]"),
        ("orientation_covariance.x", "choose an element"),
        ("linear acceleration", "is not a path"),
        ("", "is not a path"),
    ],
)
def test_a_path_that_does_not_fit_is_refused(path: str, says: str) -> None:
    with pytest.raises(FieldError) as refused:
        find_field("sensor_msgs/msg/Imu", path)
    assert says in str(refused.value)


def test_a_type_that_nobody_defines_is_refused() -> None:
    with pytest.raises(FieldError, match="vehicle_msgs/msg/State is not known"):
        find_field(STATE, "brake")


def test_a_type_is_read_by_the_definition_that_the_recording_embeds() -> None:
    store = state_store()
    types = store.types
    wheels = [
        types["vehicle_msgs/msg/Wheel"](
            ticks=n, force=np.array([3.0, 4.0, n]), axis=types["geometry_msgs/msg/Vector3"](x=0.0, y=n, z=0.0)
        )
        for n in (7, 8)
    ]
    content = types[STATE](
        header=types["std_msgs/msg/Header"](
            stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="vehicle"
        ),
        brake=0.5,
        lamps=np.array([True, False]),
        mode="auto",
        from_=2.5,
        wheels=wheels,
    )
    message = Message("/state", STATE, 1, bytes(store.serialize_cdr(content, STATE)))
    expected = {
        "brake": 0.5,
        "lamps[0]": True,
        "mode": "auto",
        "from": 2.5,
        "wheels[1].ticks": 8,
        "wheels[0].force": (3.0, 4.0, 7.0),
        "wheels[1].axis.y": 8.0,
    }
    read = {path: find_field(STATE, path, STATE_DEFINITION).read(message) for path in expected}
    assert read == expected
    assert read["lamps[0]"] is True
    with pytest.raises(FieldError, match=r"nearest field of vehicle_msgs/msg/State is wheels\[0\]\.ticks \(int16\)"):
        find_field(STATE, "wheels[2].tick", STATE_DEFINITION)


def test_a_definition_in_idl_is_read() -> None:
    assert find_field(STATE, "wheel.ticks", STATE_IDL).declared == "int16"


def test_a_definition_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(FieldError, match="cannot be used"):
        find_field(STATE, "brake", "float32[ brake\n")


def test_types_of_this_package_are_known() -> None:
    type_name = next(iter(detections.DEFINITIONS))
    assert "header.frame_id" in fields.paths_of(type_name)


@pytest.mark.parametrize(
    ("type_name", "path", "definition"),
    [("sensor_msgs/msg/Imu", "linear_acceleration.z", ""), (STATE, "brake", STATE_DEFINITION)],
)
def test_damage_is_a_decode_error(type_name: str, path: str, definition: str) -> None:
    with pytest.raises(DecodeError) as damaged:
        find_field(type_name, path, definition).read(Message("/topic", type_name, 1, imu().data[:20]))
    assert damaged.value.cause == "damaged"


def test_a_message_of_another_type_is_a_decode_error() -> None:
    with pytest.raises(DecodeError) as other:
        find_field("sensor_msgs/msg/Imu", "linear_acceleration.z").read(diagnostics(1))
    assert other.value.cause == "wrong_type"


def test_steps_of_a_path() -> None:
    assert [(step.name, step.index) for step in parse_path("a[2].b.c[0]")] == [("a", 2), ("b", None), ("c", 0)]
