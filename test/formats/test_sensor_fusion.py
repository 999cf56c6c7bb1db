# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames: JSON against our schema, protocol buffers against protobuf, the two against each other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fusion_frames import BARE, FULL, START_NS, as_json, as_protobuf, columns, radar, schema_errors
from hypothesis import given, settings
from hypothesis import strategies as st
from lidar_frame_messages import file_descriptor, messages, parse, record_of, rounded_to_32_bits

from nucleus_bridge.errors import CloudError, CoordinateRangeError, InvalidTransformError, SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.interface import TaskUpload
from nucleus_bridge.formats.sensor_fusion import point_protobuf, protobuf_wire

JSON, PROTOBUF = "sensor_fusion_json", "sensor_fusion_protobuf"
URLS = {f"camera_{number}/000000.jpg": f"s3://bucket/ü/{number}?x=1&y=2" for number in range(3)}


# What the format page lists, each field of it.
PAGE = {
    "": "device_position device_heading device_gps_pose points radar_points images timestamp",
    "points": "x y z i d t is_ground",
    "device_position": "x y z",
    "device_heading": "x y z w",
    "device_gps_pose": "lat lon bearing",
    "radar_points": "position direction size",
    "images": "timestamp image_url scale_factor position heading priority camera_index camera_model fx fy cx cy skew "
    "k1 k2 k3 k4 p1 p2 xi",
}


def test_json_has_every_field_of_the_format_and_fits_the_schema() -> None:
    frame = json.loads(as_json(FULL, columns(50)))
    assert schema_errors(frame) == []
    for part, names in PAGE.items():
        entries = frame if not part else frame[part]
        found = {key for entry in (entries if isinstance(entries, list) else [entries]) for key in entry}
        assert found == set(names.split()), part


def test_json_has_its_keys_in_the_order_of_the_format() -> None:
    frame = json.loads(as_json(FULL, columns(3)))
    assert list(frame) == PAGE[""].split()
    assert list(frame["points"][0]) == PAGE["points"].split()
    for image in frame["images"]:
        assert list(image) == [key for key in PAGE["images"].split() if key in image]


def test_json_holds_the_numbers_that_went_in() -> None:
    given = columns(20)
    frame = json.loads(as_json(FULL, given))
    assert frame["timestamp"] == START_NS
    assert [frame["device_position"][axis] for axis in "xyz"] == [12.345679, 0.0, 3.0]
    assert frame["device_gps_pose"] == {"lat": 48.137122216, "lon": 11.574931438, "bearing": 214.427071}
    assert frame["radar_points"] == [
        {
            "position": {"x": 100.123, "y": 150.12, "z": 200.2},
            "direction": {"x": 1.0, "y": 0.0, "z": 0.0},
            "size": 0.5,
        },
        {"position": {"x": -3.0, "y": 4.0, "z": 0.25}},
    ]
    first = frame["images"][0]
    assert (first["scale_factor"], first["skew"], first["camera_index"]) == (2.0, 0.25, 0)
    assert "priority" not in first
    assert frame["images"][2]["priority"] == 2
    assert [image["camera_model"] for image in frame["images"]] == ["brown_conrady", "fisheye", "omnidirectional"]
    for number, point in enumerate(frame["points"]):
        assert [point[axis] for axis in "xyz"] == [round(value * 1000) / 1000 for value in given["xyz"][number]]
        assert (point["d"], point["t"]) == (given["device"][number], given["time_ns"][number])
        assert point["is_ground"] is bool(given["is_ground"][number])


def test_both_formats_hold_the_same_numbers() -> None:
    given = columns(500)
    frame = json.loads(as_json(FULL, given))
    assert record_of(parse(as_protobuf(FULL, given))) == rounded_to_32_bits(frame)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_both_formats_hold_the_same_points_whatever_they_have(data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from(["intensity", "device", "time_ns", "is_ground"])))
    full = columns(
        data.draw(st.integers(1, 60)),
        seed=data.draw(st.integers(0, 2**16)),
        spread=data.draw(st.sampled_from([1e-3, 0.1, 30.0, 9_000.0])),
        devices=data.draw(st.sampled_from([1, 128, 256])),
    )
    given = {name: column for name, column in full.items() if name == "xyz" or name in names}
    frame = messages()["LidarFrame"].FromString(as_protobuf(BARE, given))
    assert record_of(frame)["points"] == rounded_to_32_bits(json.loads(as_json(BARE, given))["points"])


def test_numbers_of_lidars_are_written_shortest_where_they_fit_in_a_byte() -> None:
    parse(as_protobuf(BARE, {**columns(300, devices=128)}))


def test_a_frame_with_nothing_optional_is_a_frame() -> None:
    given = {"xyz": np.array([[1.0, 2.0, 3.0]])}
    frame = json.loads(as_json(BARE, given))
    assert schema_errors(frame) == []
    assert frame["points"] == [{"x": 1.0, "y": 2.0, "z": 3.0}]
    assert "radar_points" not in frame
    assert not parse(as_protobuf(BARE, given)).HasField("device_gps_pose")


NOTHING = replace(radar([0.0, 0.0, 0.0]), position=np.zeros((0, 3)))


def task_upload(name: str) -> TaskUpload:
    upload = registry.of(name).upload
    assert isinstance(upload, TaskUpload)
    return upload


def image_paths(document: bytes, name: str) -> list[str]:
    return task_upload(name).image_paths(document)


def with_image_urls(document: bytes, name: str, urls: dict[str, str]) -> bytes:
    return task_upload(name).with_image_urls(document, urls)


def test_a_radar_that_saw_nothing_is_told_from_no_radar() -> None:
    frame = json.loads(as_json(replace(BARE, radars=(NOTHING,)), columns(2)))
    assert frame["radar_points"] == []


def test_the_schema_refuses_what_the_format_does() -> None:
    good = json.loads(as_json(FULL, columns(2)))

    def changed(*path: Any, value: Any) -> dict[str, Any]:
        frame = json.loads(json.dumps(good))
        place = frame
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return frame

    wrong = [
        changed("points", 0, "i", value=1.5),
        changed("points", 0, "d", value=-1),
        changed("points", 0, "x", value=1e5),
        changed("points", 0, "is_ground", value=1),
        changed("device_gps_pose", "lat", value=91),
        changed("device_gps_pose", "bearing", value=361),
        changed("device_heading", "w", value=1.1),
        changed("radar_points", 0, "size", value=2),
        changed("images", 0, "camera_model", value="cylindrical"),
        changed("images", 0, "k4", value=0.1),
        changed("images", 1, "p1", value=0.1),
        changed("images", 0, "xi", value=0.1),
        changed("images", 0, "fx", value=0),
        changed("images", 0, "scale_factor", value=0),
        changed("images", 0, "k5", value=0.1),
        changed("long", value=1),
    ]
    for frame in wrong:
        assert schema_errors(frame)


def test_the_proto_file_has_the_field_numbers_of_the_service() -> None:
    described = {
        message.name: {field.name: (field.number, field.label, field.type) for field in message.field}
        for message in file_descriptor().message_type
    }
    req, opt, rep = 2, 1, 3
    double, float_, int32, bool_, string, message, bytes_, uint32 = 1, 2, 5, 8, 9, 11, 12, 13
    lens = {name: (number, req, float_) for number, name in enumerate(("fx", "fy", "cx", "cy"), 1)}

    def coefficients(*names: str) -> dict[str, tuple[int, int, int]]:
        return lens | {name: (number, opt, float_) for number, name in enumerate(names, 5)}

    assert described == {
        "Point": {
            **{name: (number, req, float_) for number, name in enumerate("xyz", 1)},
            "i": (4, opt, float_),
            "d": (5, opt, uint32),
            "t": (6, opt, double),
            "is_ground": (7, opt, bool_),
        },
        "Vector3": {name: (number, req, float_) for number, name in enumerate("xyz", 1)},
        "Quaternion": {name: (number, req, float_) for number, name in enumerate("wxyz", 1)},
        "GPSPose": {name: (number, req, float_) for number, name in enumerate(("lat", "long", "bearing"), 1)},
        "RadarPoint": {"position": (1, req, message), "direction": (2, opt, message), "size": (3, opt, float_)},
        "BrownConradyIntrinsics": coefficients("skew", "k1", "k2", "p1", "p2", "k3"),
        "FisheyeIntrinsics": coefficients("skew", "k1", "k2", "k3", "k4"),
        "OmnidirectionalIntrinsics": coefficients("skew", "k1", "k2", "p1", "p2", "k3", "xi"),
        "CameraImage": {
            "timestamp": (1, opt, double),
            "image_url": (2, req, string),
            "position": (3, req, message),
            "heading": (4, req, message),
            "scale_factor": (5, opt, float_),
            "priority": (6, opt, int32),
            "camera_index": (7, opt, int32),
            "brown_conrady": (8, opt, message),
            "fisheye": (9, opt, message),
            "omnidirectional": (13, opt, message),
        },
        "LidarFrame": {
            "device_position": (1, req, message),
            "device_heading": (2, opt, message),
            "device_gps_pose": (3, opt, message),
            "points": (4, rep, message),
            "radar_points": (5, rep, message),
            "images": (6, rep, message),
            "timestamp": (7, opt, double),
            "extra": (8, opt, bytes_),
        },
    }


@pytest.mark.parametrize("encode", [as_json, as_protobuf])
def test_both_formats_refuse_the_same_points(encode: Any) -> None:
    good = columns(4)
    far = good["xyz"].copy()
    far[2, 1] = 1e5
    with pytest.raises(CoordinateRangeError, match="y of point 2"):
        encode(BARE, {"xyz": far})
    with pytest.raises(CloudError, match="intensities reach"):
        encode(BARE, {**good, "intensity": np.full(4, np.nan, np.float32)})
    with pytest.raises(CloudError, match="devices reach"):
        encode(BARE, {**good, "device": np.full(4, 256)})
    with pytest.raises(CloudError, match="before 0"):
        encode(BARE, {**good, "time_ns": np.full(4, -1)})
    with pytest.raises(CloudError, match="shape"):
        encode(BARE, {**good, "is_ground": np.ones(3, np.bool_)})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_numbers_that_no_float_holds_are_refused_by_name(value: float) -> None:
    with pytest.raises(InvalidTransformError, match="device_position"):
        replace(FULL, position=np.array([0.0, value, 0.0]))
    with pytest.raises(InvalidTransformError, match="radar 'radar'"):
        replace(FULL, radars=[radar([0.0, 0.0, 0.0]), radar([0.0, 0.0, 0.0], [value, 0.0, 0.0])])
    image = FULL.images[0]
    bent = replace(image, model=replace(image.model, distortion={"k1": value}))
    with pytest.raises(InvalidTransformError, match="distortion of camera_0"):
        replace(FULL, images=[bent])


@pytest.mark.parametrize(("encode", "name"), [(as_json, JSON), (as_protobuf, PROTOBUF)])
def test_images_get_their_urls_and_nothing_else_changes(encode: Any, name: str) -> None:
    given = columns(40)
    document = encode(FULL, given)
    assert image_paths(document, name) == list(URLS)
    sent = with_image_urls(document, name, URLS)
    assert image_paths(sent, name) == list(URLS.values())
    wanted = replace(FULL, images=[replace(image, path=URLS[image.path]) for image in FULL.images])
    assert sent == encode(wanted, given)
    assert with_image_urls(sent, name, {url: path for path, url in URLS.items()}) == document
    with pytest.raises(SceneError, match="camera_1/000000"):
        with_image_urls(document, name, {path: url for path, url in URLS.items() if "camera_1" not in path})


def test_frames_written_by_protobuf_itself_get_their_urls_too() -> None:
    """Points of different lengths, and the fields in any order."""
    frame = messages()["LidarFrame"]()
    for number in range(9):
        point = frame.points.add(x=1.0, y=2.0, z=float(number))
        if number % 2:
            point.i = 0.5
    frame.images.add(image_url="a").fisheye.fx = 1.0
    frame.extra = b"\x32\x03abc"
    partly = frame.SerializePartialToString()
    images = messages()["LidarFrame"]()
    images.images.add(image_url="b", camera_index=-1)
    document = images.SerializePartialToString() + partly
    assert image_paths(document, PROTOBUF) == ["b", "a"]
    sent = messages()["LidarFrame"]()
    sent.MergeFromString(with_image_urls(document, PROTOBUF, {"a": "x" * 300, "b": ""}))
    assert [image.image_url for image in sent.images] == ["", "x" * 300]
    assert (sent.images[0].camera_index, sent.extra, list(sent.points)) == (-1, frame.extra, list(frame.points))


@pytest.mark.parametrize(
    "damage",
    [
        b"{}",
        b'{"points":[',
        b'{"points":[],"images":[{}]}',
        b'{"points":[],"images":7}',
        b'["points":[]',
        b'{"points":[]}{',
        b"\xff\xff",
    ],
)
def test_damaged_json_is_an_error_not_a_crash(damage: bytes) -> None:
    with pytest.raises(SceneError):
        image_paths(damage, JSON)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_messages_are_an_error_or_read_not_a_crash(data: st.DataObject) -> None:
    document = bytearray(as_protobuf(FULL, columns(3)))
    for _ in range(data.draw(st.integers(0, 3))):
        document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(document[: data.draw(st.integers(0, len(document)))])
    try:
        paths = image_paths(cut, PROTOBUF)
        with_image_urls(cut, PROTOBUF, dict.fromkeys(paths, "x"))
    except SceneError:
        return


def test_integers_are_as_protobuf_writes_them() -> None:
    image = messages()["CameraImage"]
    for value in (0, 1, 127, 128, 300, 2**31 - 1, -1, -(2**31)):
        assert protobuf_wire.integer_field(7, value) == image(camera_index=value).SerializePartialToString()
        field = next(protobuf_wire.fields(protobuf_wire.integer_field(7, value)))
        assert protobuf_wire.read_varint(protobuf_wire.varint(value), 0, 10)[0] == value % 2**64
        assert (field.number, field.start) == (7, 0)
    with pytest.raises(SceneError, match="no end"):
        protobuf_wire.read_varint(b"\x80" * 11, 0, 11)


def test_blocks_of_points_join_without_a_seam() -> None:
    given = columns(point_protobuf._BLOCK_POINTS * 2 + 3)
    whole = bytes(point_protobuf.encode_points(**given))
    cut = 5_000
    parts = [{name: column[rows] for name, column in given.items()} for rows in (slice(None, cut), slice(cut, None))]
    assert whole == b"".join(bytes(point_protobuf.encode_points(**part)) for part in parts)
