# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rosbags_types import typestore_of

from nucleus_bridge.cli.main import main as command
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.ros.build_interfaces import Installation, build, why_unusable
from nucleus_bridge.ros.interface_definitions import BUILT_IN, TF2_MSGS, InterfacePackage, read_interface_package

pytestmark = pytest.mark.live
serialization = pytest.importorskip("rclpy.serialization", reason="ROS 2 (rclpy) is not installed")

COMMON = """
import importlib, sys
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message

package, name, *data = sys.argv[1:]
type_ = getattr(importlib.import_module(package + ".msg"), name)
qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
rclpy.init()
"""
TALKER = (
    COMMON
    + """
node = rclpy.create_node("talker")
publisher = node.create_publisher(type_, "built", qos)
publisher.publish(deserialize_message(bytes.fromhex(data[0]), type_))
sys.stdin.read()
"""
)
LISTENER = (
    COMMON
    + """
node = rclpy.create_node("listener")
heard = rclpy.Future()
node.create_subscription(type_, "built", heard.set_result, qos)
rclpy.spin_until_future_complete(node, heard, timeout_sec=30)
(talker,) = node.get_publishers_info_by_topic("built")
print(talker.topic_type_hash)
print(serialize_message(heard.result()).hex())
"""
)


def main(arguments: list[str]) -> int:
    return command(["ros-setup", *arguments])


def example(package: InterfacePackage, message: str) -> Any:
    """Return a message of ``package`` in which no field has its default value."""
    module = importlib.import_module(f"{package.name}.msg")
    if message == "TFMessage":
        transform = importlib.import_module("geometry_msgs.msg").TransformStamped()
        transform.header.stamp.sec, transform.header.stamp.nanosec = 1_700_000_000, 123_456_789
        transform.header.frame_id, transform.child_frame_id = "map", "base_linkä"
        transform.transform.translation.x, transform.transform.rotation.z = 1e6 + 1 / 3, -0.6
        transform.transform.rotation.w = 0.8
        return module.TFMessage(transforms=[transform, transform])
    if message == "Status":
        status = module.Status(id="node", instance_id="one", active=True, heartbeat_timeout=4.0, heartbeat_period=0.25)
        status.header.stamp.sec = 1_700_000_000
        return status
    scan = module.RadarScan()
    scan.header.frame_id = "radar"
    scan.returns = [module.RadarReturn(range=12.5, azimuth=-0.25, doppler_velocity=-3.0, amplitude=7.0)]
    return scan


@pytest.fixture(params=[("tf2_msgs", "TFMessage"), ("radar_msgs", "RadarScan"), ("bond", "Status")], ids="/".join)
def built(request: pytest.FixtureRequest) -> tuple[InterfacePackage, str]:
    name, message = request.param
    assert main([name]) == 0
    return BUILT_IN[name], message


def test_a_built_message_crosses_dds_between_two_processes(built: tuple[InterfacePackage, str]) -> None:
    package, message = built
    sent = example(package, message)
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    arguments = [package.name, message]
    talk = [sys.executable, "-c", TALKER, *arguments, serialization.serialize_message(sent).hex()]
    talker = subprocess.Popen(talk, stdin=subprocess.PIPE, env=environment)
    try:
        listen = [sys.executable, "-c", LISTENER, *arguments]
        listener = subprocess.run(listen, capture_output=True, text=True, env=environment, check=False, timeout=120)
    finally:
        talker.communicate(timeout=60)
    assert listener.returncode == 0, listener.stderr
    type_hash, received = listener.stdout.split()
    assert serialization.deserialize_message(bytes.fromhex(received), type(sent)) == sent
    store = typestore_of(package)
    assert type_hash == store.hash_rihs01(f"{package.name}/msg/{message}")
    read = store.deserialize_cdr(bytes.fromhex(received), f"{package.name}/msg/{message}")
    if message == "TFMessage":
        assert [transform.child_frame_id for transform in read.transforms] == ["base_linkä"] * 2
        assert read.transforms[1].transform.translation.x == sent.transforms[1].transform.translation.x
    elif message == "Status":
        assert (read.id, read.instance_id, read.active) == ("node", "one", True)
        assert (read.heartbeat_timeout, read.heartbeat_period) == (4.0, 0.25)
    else:
        assert read.header.frame_id == "radar"
        assert [(one.range, one.azimuth, one.elevation) for one in read.returns] == [(12.5, -0.25, 0.0)]


def test_what_is_there_and_works_is_not_built_again(
    built: tuple[InterfacePackage, str], capsys: pytest.CaptureFixture[str]
) -> None:
    package, _ = built
    capsys.readouterr()
    assert main([package.name]) == 0
    assert capsys.readouterr().out == f"{package.name} is there already\n"


@pytest.fixture
def vendor_folder(tmp_path: Path) -> Iterator[Path]:
    """A package of a user's own; what is built of it is taken away again."""
    (tmp_path / "Lane.msg").write_text(
        "std_msgs/Header header\ngeometry_msgs/Point[] line\nKind kind\nstring<=9 name\n"
    )
    (tmp_path / "Kind.msg").write_text("uint8 SOLID=1\nuint8 value 1\nbuiltin_interfaces/Time seen\n")
    yield tmp_path
    prefix = Path(sys.prefix)
    for place in (prefix / "share", prefix / "include", Path(sysconfig.get_path("platlib"))):
        shutil.rmtree(place / "vendor_lane_msgs", ignore_errors=True)
    for path in [*prefix.glob("lib/libvendor_lane_msgs__*"), *prefix.glob("share/ament_index/*/*/vendor_lane_msgs")]:
        path.unlink()


def test_a_package_of_ones_own_is_built_from_its_folder(vendor_folder: Path) -> None:
    package = read_interface_package("vendor_lane_msgs", vendor_folder)
    assert why_unusable(package)
    assert main(["--package", "vendor_lane_msgs", "--msg-dir", str(vendor_folder)]) == 0
    assert not why_unusable(package)
    interfaces = Path(sys.prefix, "share/vendor_lane_msgs/msg")
    assert sorted(path.name for path in interfaces.iterdir()) == [
        *("Kind.idl", "Kind.json", "Kind.msg", "Lane.idl", "Lane.json", "Lane.msg")
    ]
    made = json.loads((interfaces / "Lane.json").read_text())["type_hashes"][0]["hash_string"]
    assert made == typestore_of(package).hash_rihs01("vendor_lane_msgs/msg/Lane")


def test_a_type_hash_that_is_not_the_released_one_stops_the_build() -> None:
    wrong = replace(TF2_MSGS, messages={"TFMessage": "geometry_msgs/TransformStamped[] tf\n"})
    with pytest.raises(BridgeError, match="real nodes would not match"):
        build(wrong, Installation.active())
    assert not why_unusable(TF2_MSGS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("float33 x\n", "float33"),
        ("geometry_msgs/Nowhere x\n", "geometry_msgs/Nowhere: no such message"),
        ("Header header\n", "broken_msgs/Header: no such message"),
        ("absent_msgs/Thing x\n", "absent_msgs, which is not installed"),
        ("uint8 a\nuint8 a\n", "duplicate"),
    ],
)
def test_a_message_that_cannot_be_built_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build(InterfacePackage("broken_msgs", {"Broken": text}), Installation.active())


def test_a_missing_compiler_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"is not there; apt install g\+\+"):
        build(TF2_MSGS, Installation.active())


def test_missing_generators_are_named_with_their_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(InputError, match="no ROS 2 with message generators"):
        Installation.active()


def test_wrong_usage_has_exit_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["unheard_msgs"], ["--package", "own_msgs"], ["--msg-dir", "."]):
        assert main(arguments) == 2
    assert "unheard_msgs is not known here" in capsys.readouterr().err


def test_without_a_name_everything_that_wheels_lack_is_there_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in BUILT_IN)
    assert not any(why_unusable(package) for package in BUILT_IN.values())
