# SPDX-License-Identifier: Apache-2.0
"""Which point clouds and images pass."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receiver_driver import CLOUD, JPEG, PNG

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.content import check_cloud, check_image

NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)
POINT = st.fixed_dictionaries(
    {"x": NUMBER, "y": NUMBER, "z": NUMBER, "i": st.floats(0, 1)},
    optional={"d": st.integers(0, 7), "t": st.integers(0, 2**62), "is_ground": st.booleans()},
)
SPOILT = st.sampled_from(
    [
        ("x", None),
        ("y", "1.0"),
        ("z", True),
        ("x", 10**400),
        ("i", 1.001),
        ("i", -0.001),
        ("d", -1),
        ("d", 1.5),
        ("d", True),
        ("t", -1),
        ("t", "now"),
        ("is_ground", 1),
        ("is_ground", None),
    ]
)


def changed(**changes: Any) -> bytes:
    cloud = {**copy.deepcopy(CLOUD), **changes}
    return json.dumps({key: value for key, value in cloud.items() if value is not None}).encode()


@given(st.lists(POINT, max_size=20))
def test_any_points_within_the_rules_pass(points: list[dict[str, Any]]) -> None:
    assert check_cloud(changed(points=points), strict=True)["points"] == points


@given(st.lists(POINT, min_size=1, max_size=20), st.data(), SPOILT)
def test_one_spoilt_value_among_many_points_is_found(
    points: list[dict[str, Any]], data: st.DataObject, spoilt: tuple[str, Any]
) -> None:
    index = data.draw(st.integers(0, len(points) - 1))
    points[index][spoilt[0]] = spoilt[1]
    with pytest.raises(SceneError, match=rf"point {index}: {spoilt[0]}|points: {spoilt[0]}"):
        check_cloud(changed(points=points), strict=True)


@given(st.lists(POINT, min_size=2, max_size=20), st.data())
def test_one_missing_value_among_many_points_is_found(points: list[dict[str, Any]], data: st.DataObject) -> None:
    index, key = data.draw(st.integers(0, len(points) - 1)), data.draw(st.sampled_from(["x", "y", "z", "i"]))
    del points[index][key]
    with pytest.raises(SceneError, match=rf"point {index}: a point needs {key}|either every point has {key}"):
        check_cloud(changed(points=points), strict=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON"),
        (b"[]", "array of points"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (changed().replace(b"-2", b"NaN"), "NaN"),
        (changed().replace(b"-2", b"1e999"), "y must be finite"),
        (changed(points=None), "array of points"),
        (changed(points={}), "array of points"),
        (changed(points=[[1, 2, 3]]), "point 0: a point must be an object"),
        (changed(points=[CLOUD["points"][0], 7]), "point 1: a point must be an object"),  # type: ignore[index]
        (changed(device_position=None), "device_position"),
        (changed(device_position=[0, 0, 0]), "device_position"),
        (changed(device_heading=None), "device_heading"),
        (changed(device_heading={"x": 0, "y": 0, "z": 0, "w": 0}), "unit quaternion"),
        (changed(device_heading={"x": 0, "y": 0, "z": 0, "w": 1.01}), "unit quaternion"),
        (changed(device_heading={"x": 0, "y": 0, "z": 0, "w": "1"}), "device_heading"),
        (changed(timestamp=-1), "timestamp"),
        (changed(timestamp="now"), "timestamp"),
        (changed(device_gps_pose={"lat": 91, "lon": 0, "bearing": 0}), "device_gps_pose.lat"),
        (changed(device_gps_pose={"lat": 1, "lon": 0, "bearing": -1}), "device_gps_pose.bearing"),
        (changed(device_gps_pose={"lat": 1, "long": 0, "bearing": 0}), "device_gps_pose"),
    ],
)
def test_a_cloud_that_breaks_a_rule_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SceneError, match=reason):
        check_cloud(data, strict=True)


def test_a_cloud_needs_neither_gps_nor_timestamp_nor_points() -> None:
    check_cloud(changed(device_gps_pose=None, timestamp=None, points=[]), strict=True)


@pytest.mark.parametrize("image", [JPEG, PNG])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_images_pass_however_they_come_in_pieces(image: bytes, size: int) -> None:
    check_image(image[start : start + size] for start in range(0, len(image), size))


@pytest.mark.parametrize("image", [b"", b"\xff\xd8", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP", b"<html>"])
def test_other_files_are_no_images(image: bytes) -> None:
    with pytest.raises(SceneError, match="not a JPEG or PNG"):
        check_image([image])
