# SPDX-License-Identifier: Apache-2.0
"""Robot descriptions: fixed joints are the edges of the tree, moving ones are not, hostile texts are refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from bags import TYPES
from pose_messages import matrix_of, serialised
from scipy.spatial.transform import Rotation

from nucleus_bridge.decode.registry import interface_of
from nucleus_bridge.errors import ConfigError, DecodeError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import FloatArray, Message
from nucleus_bridge.poses.source import Edge
from nucleus_bridge.poses.urdf import MAX_BYTES, UrdfError, UrdfFile, UrdfTopic, load_urdf, parse_urdf
from nucleus_bridge.recordings import open_recording


def robot(*joints: str) -> str:
    return f'<?xml version="1.0"?><robot name="r" xmlns:xacro="http://ros.org/wiki/xacro">{"".join(joints)}</robot>'


def joint(parent: str, child: str, kind: str = "fixed", origin: str = '<origin xyz="1 2 3" rpy="0 0 1"/>') -> str:
    name = f"{parent}_{child}"
    return f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>{origin}</joint>'


def described(text: str) -> Message:
    return serialised(TYPES.types["std_msgs/msg/String"](text), "/robot_description")


def test_fixed_joints_are_edges_and_moving_ones_are_not() -> None:
    description = parse_urdf(robot(joint("base", "mast"), joint("base", "wheel", "continuous"), joint("mast", "lidar")))
    assert [(edge.parent, edge.child, edge.static) for edge in description.edges] == [
        ("base", "mast", True),
        ("mast", "lidar", True),
    ]
    assert [moving.child for moving in description.moving] == ["wheel"]


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "<origin/>",
        '<origin xyz="0 0 0"/>',
        '<origin rpy="0\t0\n 0e0"/>',
        "<visual><origin xyz='9 9 9'/></visual>",
    ],
)
def test_what_an_origin_leaves_out_is_zero(origin: str) -> None:
    (edge,) = parse_urdf(robot(joint("a", "b", origin=origin))).edges
    assert (edge.translation, edge.rotation_xyzw) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def chained(path: Path, parent: str, child: str) -> FloatArray:
    """Return parent_from_child by a walk over the XML of its own, with scipy's rotations."""
    joints = {}
    for element in ET.parse(path).getroot().iter("joint"):
        above, below = element.find("parent"), element.find("child")
        if above is not None and below is not None:
            origin = element.find("origin")
            joints[below.get("link")] = above.get("link"), {} if origin is None else origin.attrib
    product = np.eye(4)
    at: str | None = child
    while at != parent:
        at, origin_of = joints[at]
        step = np.eye(4)
        step[:3, 3] = [float(value) for value in origin_of.get("xyz", "0 0 0").split()]
        angles = [float(value) for value in origin_of.get("rpy", "0 0 0").split()]
        step[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
        product = step @ product
    return product


@pytest.mark.parametrize("link", ["lidar", "depth_camera_front_depth_optical_frame", "depth_camera_left_camera"])
def test_a_real_description_leads_to_its_sensors(real_data: Path, link: str) -> None:
    path = real_data / "inputs" / "real" / "calibration" / "anymal_c.urdf"
    description = load_urdf(path, "transforms.urdf")
    assert (len(description.edges), len(description.moving)) == (65, 12)
    assert np.abs(matrix_of(description.between("base", link)) - chained(path, "base", link)).max() < 1e-12


def test_mounts_of_a_recorded_description_are_those_of_the_drive(real_data: Path) -> None:
    folder = real_data / "inputs" / "made"
    truth = json.loads((folder / "base.truth.json").read_text())
    source, tree = UrdfTopic("/robot_description", is_needed=False), TransformTree()
    with open_recording(folder / "robot_description_only") as recording:
        for message in recording.messages(source.topics):
            for edge in source.edges(message):
                tree.add(edge.parent, edge.child, 0, edge.translation, edge.rotation_xyzw, static=True)
    for kind, mount in (("lidars", "base_from_lidar"), ("cameras", "base_from_camera")):
        for sensor in truth[kind].values():
            found = tree.lookup("base_link", sensor["frame_id"], 1)
            wanted = Edge("", "", 0, sensor[mount]["translation"], sensor[mount]["rotation_xyzw"], static=True)
            difference = matrix_of(found) - matrix_of(wanted)
            assert np.abs(difference).max() < 4e-9  # the text has nine digits


def test_a_description_is_latched_and_read_as_text() -> None:
    interface = interface_of("std_msgs/msg/String", "description")
    assert interface is not None
    assert interface.is_latched
    text = robot(joint("base", "lidar"))
    assert list(interface.decoder(None).decode(described(text))) == [text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not XML"),
        ("just words", "is not XML"),
        ("<sdf/>", "root is <sdf>"),
        ("<robot><joint></robot>", "is not XML"),
        ('<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><robot name="&b;"/>', "document type"),
        ('<!DOCTYPE r SYSTEM "file:///etc/passwd"><robot/>', "document type"),
        (robot("<xacro:include filename='x'/>"), "ros2 run xacro"),
        (robot(joint("a", "b", origin='<origin xyz="${x} 0 0"/>')), "ros2 run xacro"),
        (robot(joint("$(arg p)", "b")), "ros2 run xacro"),
        (robot(joint("a", "b", origin='<origin xyz="1 2"/>')), "three numbers"),
        (robot(joint("a", "b", origin='<origin rpy="1 2 nan"/>')), "three numbers"),
        (robot(joint("a", "a")), "from 'a' to 'a'"),
        (robot("<joint name='j' type='fixed'><parent link='a'/></joint>"), "from 'a' to ''"),
        (robot(joint("a", "b"), joint("b", "c"), joint("c", "a")), "loop"),
        (robot(joint("a", "c"), joint("b", "c")), "two parents"),
        ("<robot>" + "<a>" * 200 + "</a>" * 200 + "</robot>", "deep"),
    ],
)
def test_what_is_no_description_is_refused_with_its_reason(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UrdfError, match=said):
        parse_urdf(text)
    (tmp_path / "robot.urdf").write_text(text)
    with pytest.raises(ConfigError, match=said):
        UrdfFile(tmp_path / "robot.urdf")
    with pytest.raises(DecodeError, match=said) as caught:
        list(UrdfTopic("/robot_description", is_needed=True).edges(described(text)))
    assert caught.value.cause == "bad_description"


def test_a_text_without_end_is_not_parsed() -> None:
    with pytest.raises(UrdfError, match="larger than"):
        parse_urdf(b" " * (MAX_BYTES + 1))


def test_tolerated_oddities_are_read() -> None:
    text = robot("<!-- 1e3 -->", joint("a", "b"), joint("a", "b"), "<link name='alone'/>", joint("x", "y"))
    assert [(edge.parent, edge.child) for edge in parse_urdf(text).edges] == [("a", "b"), ("x", "y")]


@pytest.mark.parametrize(
    ("parent", "child", "said"),
    [("a", "z", "no link 'z'"), ("c", "a", "not below 'c'"), ("a", "w", r"revolute joint 'b_w' .* moves")],
)
def test_links_that_fixed_joints_do_not_join(parent: str, child: str, said: str) -> None:
    description = parse_urdf(robot(joint("a", "b"), joint("b", "c"), joint("b", "w", "revolute")))
    with pytest.raises(UrdfError, match=said):
        description.between(parent, child)
    assert description.between("a", "a").translation == (0.0, 0.0, 0.0)


def test_a_file_yields_its_edges_at_once(tmp_path: Path) -> None:
    (tmp_path / "robot.urdf").write_text(robot(joint("base", "lidar")))
    assert [edge.child for edge in UrdfFile(tmp_path / "robot.urdf").initial()] == ["lidar"]
    with pytest.raises(ConfigError, match="cannot be read"):
        UrdfFile(tmp_path / "none.urdf")
