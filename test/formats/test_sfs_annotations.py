# SPDX-License-Identifier: Apache-2.0
"""Recorded detections as pre-labels: read from vision_msgs and Autoware, placed in the world at their own stamps."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import CONFIG, MS, START_NS, TYPES, header, recording, write_config
from rosbags.typesys import get_types_from_msg
from scale_sfs import leaves, verdicts

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode.detections import DEFINITIONS, DETECTION3D, decode_detections
from nucleus_bridge.formats.sfs.container import open_tree
from nucleus_bridge.model import Message
from nucleus_bridge.validate.scenes import validate_path

TOPIC = "/detections"
CONFIGURED = (
    CONFIG + f"    annotation_names: [found]\n    annotations:\n      found: {{topic: {TOPIC}, min_score: 0.3}}\n"
)
YAW, PITCH, ROLL = 0.5, 0.1, -0.2
LATER = 7 * MS
AUTOWARE = [name for name in DEFINITIONS if name != DETECTION3D]

for _name, _text in DEFINITIONS.items():
    TYPES.register(get_types_from_msg(_text, _name))


def make(name: str, *fields: Any) -> Any:
    return TYPES.types[name.replace("/", "/msg/")](*fields)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Turn about the fixed axes z, then y, then x, as Scale's own package does."""
    (sx, sy, sz), (cx, cy, cz) = np.sin([roll, pitch, yaw]), np.cos([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


def quaternion(matrix: np.ndarray) -> list[float]:
    w = np.sqrt(1 + np.trace(matrix)) / 2
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    return [*(axis / (4 * w)).tolist(), float(w)]


def pose(xyz: tuple[float, ...], xyzw: list[float]) -> Any:
    return make("geometry_msgs/Pose", make("geometry_msgs/Point", *xyz), make("geometry_msgs/Quaternion", *xyzw))


def vision(stamp_ns: int, frame_id: str = "lidar", turn: list[float] | None = None, **size: float) -> Any:
    """A car that is tracked and sure, and a tree that is not sure enough."""
    turned = quaternion(rotation(ROLL, PITCH, YAW)) if turn is None else turn
    place = pose((10.0, 2.0, -1.0), turned)
    extent = make("geometry_msgs/Vector3", size.get("x", 4.5), 1.8, 1.5)
    unsure = make("geometry_msgs/PoseWithCovariance", place, np.zeros(36))

    def found(track: str, **scores: float) -> Any:
        results = [
            make("vision_msgs/ObjectHypothesisWithPose", make("vision_msgs/ObjectHypothesis", label, score), unsure)
            for label, score in scores.items()
        ]
        box = make("vision_msgs/BoundingBox3D", place, extent)
        return make("vision_msgs/Detection3D", header(stamp_ns, frame_id), results, box, track)

    boxes = [found("7", bus=0.2, car=0.7), found("8", tree=0.1)]
    return make("vision_msgs/Detection3DArray", header(stamp_ns, frame_id), boxes)


def autoware(
    type_name: str, stamp_ns: int, shape_type: int = 0, footprint: tuple[tuple[float, float], ...] = (), **options: Any
) -> Any:
    package, _, name = type_name.split("/")
    kind = name.removesuffix("Objects")
    turned = options.get("turn", quaternion(rotation(0, 0, YAW)))
    place = make("geometry_msgs/PoseWithCovariance", pose((10.0, 2.0, -1.0), turned), np.zeros(36))
    vector = make("geometry_msgs/Vector3", 0.0, 0.0, 0.0)
    twist = make("geometry_msgs/TwistWithCovariance", make("geometry_msgs/Twist", vector, vector), np.zeros(36))
    accel = make("geometry_msgs/AccelWithCovariance", make("geometry_msgs/Accel", vector, vector), np.zeros(36))
    known = options.get("known", 2)
    own = {
        "pose_with_covariance": place, "twist_with_covariance": twist, "orientation_availability": known,
        **({"acceleration_with_covariance": accel, "is_stationary": True} if kind == "Tracked" else
           {"has_position_covariance": True, "has_twist": True, "has_twist_covariance": True}),
    }  # fmt: skip
    kinematics = TYPES.types[f"{package}/msg/{kind}ObjectKinematics"](**own)
    label = options.get("label", 7)
    classes = [make(f"{package}/ObjectClassification", 1, 0.2), make(f"{package}/ObjectClassification", label, 0.8)]
    corners = [make("geometry_msgs/Point32", x, y, 0.0) for x, y in footprint]
    size = options.get("size", (0.6, 0.5, 1.75))
    shape = make(
        f"{package}/Shape", shape_type, make("geometry_msgs/Polygon", corners), make("geometry_msgs/Vector3", *size)
    )
    track = (make("unique_identifier_msgs/UUID", np.arange(16, dtype=np.uint8)),) if kind == "Tracked" else ()
    thing = make(f"{package}/{kind}Object", *track, 0.9, classes, kinematics, shape)
    return make(f"{package}/{name}", header(stamp_ns, "lidar"), [thing])


def convert(folder: Path, messages: dict[int, Any], scene_format: str = "sfs", **options: Any) -> ConversionReport:
    made = recording(frames=5, speed=1.0)
    for stamp_ns, message in messages.items():
        made.add(TOPIC, message, stamp_ns + 90 * MS)
    config = load_config(write_config(folder, CONFIGURED), [f"scene.format={scene_format}"])
    return convert_bag(made.write(folder / "bag"), config, folder / "spool", **options)


def annotations(report: ConversionReport) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_tree(Path(report.scenes[0].folder) / "scene.sfs").get("annotations", [])
    return found


STAMPS = [START_NS + 100 * number * MS + LATER for number in range(5)]


def test_tracked_boxes_are_one_cuboid_in_the_world_at_their_own_stamps(tmp_path: Path) -> None:
    report = convert(tmp_path, {stamp: vision(stamp) for stamp in STAMPS})
    (cuboid,) = annotations(report)
    assert (cuboid["id"], cuboid["type"], cuboid["label"]) == ("found-7", "cuboid", "car")
    assert cuboid["path"]["timestamps"] == [(stamp - START_NS) // 1000 for stamp in STAMPS]
    for stamp, row in zip(STAMPS, cuboid["path"]["values"], strict=True):
        assert row[:3] == [4.5, 1.8, 1.5]
        driven = (stamp - START_NS) / 1e9  # at 1 m/s, the lidar 2 m above the ground
        np.testing.assert_allclose(row[3:6], [10.0 + driven, 2.0, 1.0], atol=1e-6)
        np.testing.assert_allclose(np.radians(row[6:]), [ROLL, PITCH, YAW], atol=1e-6)
    folder = Path(report.scenes[0].folder)
    (checked,) = validate_path(folder)
    assert [rule.rule for rule in checked.rules if not rule.ok] == []
    assert verdicts(folder / "scene.sfs") == [{"validator": "accepts", "says": ""}]
    loaded = leaves("load", folder / "scene.sfs", tmp_path)
    assert [loaded[f"/annotations/0/path/values/0/{place}"] for place in range(9)] == cuboid["path"]["values"][0]


@pytest.mark.parametrize("type_name", AUTOWARE)
def test_objects_of_autoware_are_read(tmp_path: Path, type_name: str) -> None:
    found = annotations(convert(tmp_path, {stamp: autoware(type_name, stamp) for stamp in STAMPS}))
    is_tracked = "Tracked" in type_name
    assert len(found) == (1 if is_tracked else len(STAMPS))
    assert {cuboid["label"] for cuboid in found} == {"pedestrian"}
    assert found[0]["id"] == ("found-000102030405060708090a0b0c0d0e0f" if is_tracked else "found-000000-0")
    np.testing.assert_allclose(found[0]["path"]["values"][0][6:], [0, 0, np.degrees(YAW)], atol=1e-5)


# Fields that stand in a message, in order, as the packages' own repositories define them; headers and UUIDs apart.
DOUBLES = {"pose": 7 + 36, "twist": 6 + 36, "acceleration": 6 + 36}
TRACKED_ORDER = {
    "autoware_perception_msgs": ("pose", "twist", "acceleration", "uint8", "bool"),
    "autoware_auto_perception_msgs": ("pose", "uint8", "twist", "acceleration", "bool"),
}


class Bytes:
    """CDR written by hand, so that a wrong definition is not on both sides."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0\1\0\0")

    def put(self, form: str, *values: Any) -> Bytes:
        size = struct.calcsize(form[-1])
        self.data += bytes(-(len(self.data) - 4) % size) + struct.pack(f"<{len(values)}{form[-1]}", *values)
        return self

    def text(self, text: str) -> Bytes:
        self.put("I", len(text) + 1)
        self.data += text.encode() + b"\0"
        return self

    def header(self, stamp_ns: int, frame_id: str = "lidar") -> Bytes:
        return self.put("i", stamp_ns // 10**9).put("I", stamp_ns % 10**9).text(frame_id)


@pytest.mark.parametrize("package", TRACKED_ORDER)
def test_tracks_of_both_packages_are_read_in_their_own_order(package: str) -> None:
    made = Bytes().header(STAMPS[0]).put("I", 1)
    made.data += bytes(range(16))
    made.put("f", 0.9).put("I", 1).put("B", 10).put("f", 0.8)
    turned = quaternion(rotation(0, 0, YAW))
    for part in TRACKED_ORDER[package]:
        if part in DOUBLES:
            numbers = [10.0, 2.0, -1.0, *turned] if part == "pose" else []
            made.put("d", *numbers, *[0.25] * (DOUBLES[part] - len(numbers)))
        else:
            made.put("B", 1)
    made.put("B", 0).put("I", 0).put("d", 4.5, 1.8, 1.5)
    message = Message(TOPIC, f"{package}/msg/TrackedObjects", 0, bytes(made.data))
    (box,) = decode_detections(0.0, message).boxes
    assert (box.label, box.track, round(box.score, 6)) == ("over_drivable", bytes(range(16)).hex(), 0.9)
    assert (box.center.tolist(), box.size.tolist()) == ([10.0, 2.0, -1.0], [4.5, 1.8, 1.5])
    np.testing.assert_array_equal(box.rotation_xyzw, turned)


@pytest.mark.parametrize("release", ["foxy", "noetic", "galactic"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_layout_of_detection3d_is_read(release: str, count: int) -> None:
    made = Bytes().header(STAMPS[0]).put("I", count)
    turned = quaternion(rotation(ROLL, PITCH, YAW))
    for number in range(count):
        made.header(STAMPS[0]).put("I", 2)
        for label, score in ((3, 0.2), (number, 0.7)):
            made.put("q", label) if release == "noetic" else made.text(str(label))
            made.put("d", score, *[0.0] * 7, *[0.5] * 36)
        made.put("d", 10.0, 2.0, -1.0, *turned, 4.5, 1.8, 1.5)
        if release != "galactic":  # the cloud that it was found in, with one point
            made.header(STAMPS[0]).put("I", 1, 1).put("I", 1).text("x").put("I", 0).put("B", 7).put("I", 1)
            made.put("B", 0).put("I", 4, 4).put("I", 4).put("B", 1, 2, 3, 4).put("B", 1)
        if release == "foxy":
            made.put("B", 1)
        if release != "noetic":
            made.text(f"track {number}")
    found = decode_detections(0.0, Message(TOPIC, DETECTION3D, 0, bytes(made.data)))
    tracks = ["" if release == "noetic" else f"track {number}" for number in range(count)]
    assert [(box.label, box.track, box.score) for box in found.boxes] == [
        (str(number), track, 0.7) for number, track in enumerate(tracks)
    ]
    assert all(box.size.tolist() == [4.5, 1.8, 1.5] for box in found.boxes)


def test_shapes_that_are_not_boxes_get_one_around_them(tmp_path: Path) -> None:
    square = ((-1.0, -0.5), (3.0, -0.5), (3.0, 1.5), (-1.0, 1.5))
    shapes = [
        autoware(AUTOWARE[0], STAMPS[0], 2, square, size=(0.0, 0.0, 1.2)),
        autoware(AUTOWARE[0], STAMPS[1], 1, size=(0.8, 0.0, 1.7), turn=[0.0] * 4, known=0),
    ]
    polygon, cylinder = annotations(convert(tmp_path, dict(zip(STAMPS, shapes, strict=False))))
    (row,), (other,) = polygon["path"]["values"], cylinder["path"]["values"]
    middle = rotation(0, 0, YAW) @ (1.0, 0.5, 0.0)
    driven = (STAMPS[0] - START_NS) / 1e9
    np.testing.assert_allclose(row[:3], [4.0, 2.0, 1.2], atol=1e-6)
    np.testing.assert_allclose(row[3:6], middle + np.array([10.0 + driven, 2.0, 1.0]), atol=1e-5)
    assert (other[:3], other[6:]) == ([0.8, 0.8, 1.7], [0.0, 0.0, 0.0])


def test_headings_do_not_jump_where_people_interpolate(tmp_path: Path) -> None:
    turns = {stamp: quaternion(rotation(0, 0, 3.0 + 0.1 * number)) for number, stamp in enumerate(STAMPS)}
    (cuboid,) = annotations(convert(tmp_path, {stamp: vision(stamp, turn=turn) for stamp, turn in turns.items()}))
    yaws = np.radians([row[8] for row in cuboid["path"]["values"]])
    np.testing.assert_allclose(np.diff(yaws), 0.1, atol=1e-6)


def test_detections_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    messages = {
        STAMPS[0]: vision(STAMPS[0]),
        STAMPS[1]: vision(STAMPS[1], x=0.0),
        STAMPS[2]: vision(STAMPS[2], turn=[0.0, 0.0, 0.0, 0.0]),
        STAMPS[3]: vision(STAMPS[3], frame_id="nowhere"),
        STAMPS[4]: vision(STAMPS[4], frame_id=""),
    }
    report = convert(tmp_path, messages)
    (cuboid,) = annotations(report)
    assert len(cuboid["path"]["timestamps"]) == 1
    losses = report.scenes[0].manifest.losses[TOPIC]
    assert losses == {"bad_detection": 2, "empty_frame_id": 1, "unknown_frame": 1}


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    messages = {stamp: vision(stamp) for stamp in STAMPS}
    (tmp_path / "one").mkdir()
    (tmp_path / "three").mkdir()
    files = [
        Path(convert(tmp_path / name, messages, workers=workers).scenes[0].folder) / "scene.sfs"
        for name, workers in (("one", 1), ("three", 3))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_formats_without_annotations_do_not_read_them(tmp_path: Path) -> None:
    report = convert(tmp_path, {stamp: vision(stamp) for stamp in STAMPS}, scene_format="nucleus")
    assert report.complete
    assert TOPIC not in report.scenes[0].manifest.losses
