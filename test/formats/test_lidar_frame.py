# SPDX-License-Identifier: Apache-2.0
"""LidarFrame messages read without a protobuf library, written by protobuf itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fusion_frames import BARE, FULL, as_protobuf, columns
from hypothesis import given, settings
from hypothesis import strategies as st
from lidar_frame_messages import messages, record_of

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.sensor_fusion.lidar_frame import read_lidar_frame


def whole(document: bytes) -> dict[str, Any]:
    record, runs = read_lidar_frame(document)
    points = [{key: run[key][number] for key in run} for run in runs for number in range(len(next(iter(run.values()))))]
    return {**record, "points": points}


def test_a_frame_is_read_as_protobuf_reads_it() -> None:
    document = as_protobuf(FULL, columns(200))
    assert whole(document) == record_of(messages()["LidarFrame"].FromString(document))
    assert len(read_lidar_frame(document)[1]) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_points_of_any_keys_and_numbers_are_read(data: st.DataObject) -> None:
    number = st.floats(width=32, allow_nan=False)
    frame = messages()["LidarFrame"]()
    frame.device_position.x = frame.device_position.y = frame.device_position.z = 0.0
    for _ in range(data.draw(st.integers(0, 12))):
        point = frame.points.add(x=data.draw(number), y=data.draw(number), z=data.draw(number))
        if data.draw(st.booleans()):
            point.d = data.draw(st.sampled_from([0, 1, 127, 128, 255, 16_383]))
        if data.draw(st.booleans()):
            point.t = data.draw(st.floats(allow_nan=False))
        if data.draw(st.booleans()):
            point.is_ground = data.draw(st.booleans())
    document = frame.SerializeToString()
    expected = record_of(frame)
    expected.pop("device_heading")
    expected.pop("timestamp")
    assert whole(document) == expected


def partial(**content: Any) -> bytes:
    frame = messages()["LidarFrame"](**content)
    return bytes(frame.SerializePartialToString())


POSITION = {"device_position": {"x": 1.0, "y": 2.0, "z": 3.0}}
AXIS = {"w": 1.0, "x": 0.0, "y": 0.0, "z": 0.0}


@pytest.mark.parametrize(
    ("document", "match"),
    [
        (b"", "the frame has no device_position"),
        (partial(device_position={"x": 1.0}), "device_position has no y"),
        (partial(**POSITION, points=[{"x": 1.0, "y": 2.0}]), "a point has no z"),
        (partial(**POSITION, points=[{"x": 1.0, "y": 2.0, "z": 3.0, "d": 20_000}]), "d of a point is 20000"),
        (partial(**POSITION, images=[{"image_url": "a", "heading": AXIS}]), "images has no position"),
        (
            partial(**POSITION, images=[{"image_url": "a", "heading": AXIS, "position": POSITION["device_position"]}]),
            "intrinsics of 0 camera models",
        ),
        (partial(**POSITION) + b"\x78\x01", "field 15, which is not known"),
        (partial(**POSITION) + b"\x39" + bytes(7), "cut off"),
        (partial(**POSITION) + b"\x3d" + bytes(4), "timestamp has the wire type 5"),
        (partial(**POSITION) + b"\x20\x01", "points have the wire type 0"),
        (partial(**POSITION) + b"\x22\x02\x78\x01", "a point has a field 15"),
        (partial(**POSITION) + b"\x32\x03\x12\x01\xff", "image_url is not UTF-8"),
    ],
)
def test_what_is_no_frame_is_refused_by_name(document: bytes, match: str) -> None:
    with pytest.raises(SceneError, match=match):
        read_lidar_frame(document)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_an_error_or_read_never_a_crash(data: st.DataObject) -> None:
    document = bytearray(as_protobuf(FULL if data.draw(st.booleans()) else BARE, columns(5, devices=200)))
    for _ in range(data.draw(st.integers(0, 3))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, runs = read_lidar_frame(bytes(document[: data.draw(st.integers(0, len(document)))]))
    except SceneError:
        return
    assert all(np.ndim(column) == 1 for run in runs for column in run.values())
