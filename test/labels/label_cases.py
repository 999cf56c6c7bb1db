# SPDX-License-Identifier: Apache-2.0
"""What tests of labels share: a drive at the receiver, the real client, detections made from the drive's own truth."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bags import TYPES, Recording, header
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.decode.detections import DEFINITIONS
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.testing.demo.course import true_pose
from nucleus_bridge.testing.demo.rigid import Pose
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.testing.receiver.ground_truth import TrueBox

KEY = "live_0123456789abcdef"
PROGRAM = Path(__file__).with_name("label_client_program.py")

for _name, _text in DEFINITIONS.items():
    TYPES.register(get_types_from_msg(_text, _name))


@dataclass(frozen=True)
class Held:
    """A converted drive whose scenes the receiver holds, and the true boxes of its surroundings."""

    spool: Path
    boxes: list[TrueBox]
    stamps: list[int]
    options: list[str]
    receiver: Receiver
    model: str

    @property
    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_bytes()) for path in sorted(self.spool.glob("scenes/*/manifest.json"))]


def ask(python: Path, what: str, receiver: Receiver, **request: Any) -> Any:
    """Have the real client do something."""
    run = subprocess.run(
        [str(python), str(PROGRAM), what],
        input=json.dumps({"key": KEY, "endpoint": receiver.url, **request}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def corners(box: TrueBox) -> np.ndarray:
    """Return the corners of a box, front ones first, in the order that the service's client has them, shape (8, 3)."""
    length, width, height = box.size
    x = length / 2 * np.array([1, 1, 1, 1, -1, -1, -1, -1])
    y = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    z = height / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    sine, cosine = np.sin(box.heading), np.cos(box.heading)
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1) + np.array(box.center)


def make(name: str, *fields: Any) -> Any:
    return TYPES.types[name.replace("/", "/msg/")](*fields)


def poses_of(bag: Path) -> Recording:
    """Return a recording of a drive's transforms alone."""
    made = Recording()
    with AnyReader([bag]) as reader:
        wanted = [entry for entry in reader.connections if entry.topic in ("/tf", "/tf_static")]
        for connection, log_ns, data in reader.messages(wanted):
            made.add_raw(connection.topic, connection.msgtype, data, log_ns)
    return made


def in_base(options: DriveOptions, box: TrueBox, stamp_ns: int) -> tuple[list[float], list[float]]:
    """Return centre and rotation of a box as the vehicle sees it at a stamp."""
    turn = np.array([0.0, 0.0, np.sin(box.heading / 2), np.cos(box.heading / 2)])
    seen = true_pose(options, stamp_ns).inverse() @ Pose(np.array(box.center), turn)
    return seen.translation.tolist(), seen.rotation_xyzw.tolist()


def pose_message(xyz: list[float], xyzw: list[float]) -> Any:
    return make("geometry_msgs/Pose", make("geometry_msgs/Point", *xyz), make("geometry_msgs/Quaternion", *xyzw))


def detection_array(options: DriveOptions, boxes: list[TrueBox], stamp_ns: int, frame_id: str = "base_link") -> Any:
    """Return what a detector would publish that sees everything as it is."""
    made = []
    for box in boxes:
        pose = pose_message(*in_base(options, box, stamp_ns))
        hypothesis = make("vision_msgs/ObjectHypothesis", box.label, 0.75)
        covered = make("geometry_msgs/PoseWithCovariance", pose, np.zeros(36))
        result = make("vision_msgs/ObjectHypothesisWithPose", hypothesis, covered)
        extent = make("vision_msgs/BoundingBox3D", pose, make("geometry_msgs/Vector3", *box.size))
        made.append(make("vision_msgs/Detection3D", header(stamp_ns, frame_id), [result], extent, box.track))
    return make("vision_msgs/Detection3DArray", header(stamp_ns, frame_id), made)


def tracked_objects(options: DriveOptions, boxes: list[TrueBox], stamp_ns: int) -> Any:
    """Return the same as Autoware says it."""
    package = "autoware_perception_msgs"
    vector = make("geometry_msgs/Vector3", 0.0, 0.0, 0.0)
    still = make("geometry_msgs/TwistWithCovariance", make("geometry_msgs/Twist", vector, vector), np.zeros(36))
    accel = make("geometry_msgs/AccelWithCovariance", make("geometry_msgs/Accel", vector, vector), np.zeros(36))
    made = []
    for number, box in enumerate(boxes):
        covered = make("geometry_msgs/PoseWithCovariance", pose_message(*in_base(options, box, stamp_ns)), np.zeros(36))
        own = make("unique_identifier_msgs/UUID", np.full(16, number, np.uint8))
        shape = make(f"{package}/Shape", 0, make("geometry_msgs/Polygon", []), make("geometry_msgs/Vector3", *box.size))
        moves = make(f"{package}/TrackedObjectKinematics", covered, still, accel, 0, True)
        classes = [make(f"{package}/ObjectClassification", 1, 0.9)]
        made.append(make(f"{package}/TrackedObject", own, 0.75, classes, moves, shape))
    return make(f"{package}/TrackedObjects", header(stamp_ns, "base_link"), made)


def cube_markers(options: DriveOptions, boxes: list[TrueBox], stamp_ns: int) -> Any:
    """Return the same as cubes for RViz, with the text and the deletion that go with them."""
    head = header(stamp_ns, "base_link")
    empty = make("sensor_msgs/CompressedImage", head, "", np.zeros(0, np.uint8))

    def marker(number: int, kind: int, action: int, name: str, xyz: list[float], xyzw: list[float], size: Any) -> Any:
        return make(
            "visualization_msgs/Marker",
            head,
            name,
            number,
            kind,
            action,
            pose_message(xyz, xyzw),
            make("geometry_msgs/Vector3", *size),
            make("std_msgs/ColorRGBA", 1.0, 0.0, 0.0, 0.5),
            make("builtin_interfaces/Duration", 0, 0),
            False,
            [],
            [],
            "",
            empty,
            [],
            "",
            "",
            make("visualization_msgs/MeshFile", "", np.zeros(0, np.uint8)),
            False,
        )

    level = [0.0, 0.0, 0.0, 1.0]
    rows = [marker(0, 1, 3, "", [0.0] * 3, level, (0.0, 0.0, 0.0))]
    for number, box in enumerate(boxes):
        xyz, xyzw = in_base(options, box, stamp_ns)
        rows.append(marker(number, 1, 0, box.label, xyz, xyzw, box.size))
        rows.append(marker(number, 9, 0, "text", xyz, level, (0.0, 0.0, 0.5)))
    return make("visualization_msgs/MarkerArray", rows)
