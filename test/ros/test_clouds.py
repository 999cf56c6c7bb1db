# SPDX-License-Identifier: Apache-2.0
"""Clouds are made and described alike by sensor_msgs_py and by the rule that takes its place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import recfunctions

pytest.importorskip("rclpy", reason="needs ROS 2")
from rclpy.serialization import serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from nucleus_bridge.ros import clouds

pytestmark = pytest.mark.live

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "pointcloud2.json").read_text())["cases"]
SIZES = ("height", "width", "point_step", "row_step", "is_bigendian", "is_dense")


def message(case: dict[str, Any]) -> PointCloud2:
    made = PointCloud2(fields=[PointField(**field) for field in case["fields"]], **{key: case[key] for key in SIZES})
    made.data.frombytes(base64.b64decode(case["data_base64"]))
    return made


def cloud_by(rule: Any, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[np.dtype, PointCloud2]:
    """Describe a cloud's layout, and make another one of its points without gaps between them."""
    monkeypatch.setattr(clouds, "sensor_msgs_py", rule)
    given = message(case)
    layout = clouds.layout_of(given)
    points = recfunctions.repack_fields(np.frombuffer(given.data, layout))
    return layout, clouds.make_cloud(Header(frame_id="map"), points)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_both_rules_agree(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sensor_msgs_py = pytest.importorskip("sensor_msgs_py.point_cloud2", reason="needs sensor_msgs_py of ROS 2")
    layout, made = cloud_by(sensor_msgs_py, case, monkeypatch)
    own_layout, own = cloud_by(None, case, monkeypatch)
    assert layout == own_layout
    assert bytes(serialize_message(made)) == bytes(serialize_message(own))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_layouts_and_clouds_are_those_of_the_vectors(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What sensor_msgs_py read when the vectors were made."""
    layout, made = cloud_by(None, case, monkeypatch)
    assert list(layout.names) == list(case["columns"])
    assert (made.width, made.header.frame_id) == (case["width"] * case["height"], "map")
    assert made.point_step == sum(layout[name].itemsize for name in layout.names)
    again = np.frombuffer(made.data, clouds.layout_of(made))
    given = np.frombuffer(message(case).data, layout)
    for name in layout.names:
        np.testing.assert_array_equal(again[name], given[name])


def test_a_layout_reads_like_one_and_damage_like_nothing() -> None:
    velodyne = next(case for case in CASES if case["name"] == "velodyne")
    text = clouds.layout_text(bytes(serialize_message(message(velodyne))))
    assert text == "x float32, y float32, z float32, intensity float32, ring uint16, time float32; 22 bytes a point"
    twice = message(velodyne)
    twice.fields = [*twice.fields, twice.fields[0]]
    assert clouds.layout_text(bytes(serialize_message(twice))) == ""
