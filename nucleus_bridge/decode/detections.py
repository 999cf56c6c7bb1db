# SPDX-License-Identifier: Apache-2.0
"""Detections that were recorded, from vision_msgs, Autoware or cubes among markers, as boxes in their frame.

Messages of types that no ROS installation here knows are read by the definitions below.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np

from nucleus_bridge.decode.cdr import deserialise, naming, register, require_stamp, strip_slashes, to_ns
from nucleus_bridge.decode.interface import Decoder, Interface, Stateless, StatelessMany
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Detection, Detections, Message

DETECTION3D = "vision_msgs/msg/Detection3DArray"
MARKERS = "visualization_msgs/msg/MarkerArray"
_RULE = "=" * 80 + "\n"
DETECTION3D_DEFINITION = _RULE.join((
    "std_msgs/Header header\nvision_msgs/Detection3D[] detections\n",
    ("MSG: vision_msgs/Detection3D\nstd_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox3D bbox\nstring id\n"),
    ("MSG: vision_msgs/ObjectHypothesisWithPose\nvision_msgs/ObjectHypothesis hypothesis\n"
    "geometry_msgs/PoseWithCovariance pose\n"),
    "MSG: vision_msgs/ObjectHypothesis\nstring class_id\nfloat64 score\n",
    "MSG: vision_msgs/BoundingBox3D\ngeometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n",
))  # fmt: skip
AUTOWARE_PACKAGES = ("autoware_perception_msgs", "autoware_auto_perception_msgs")
AUTOWARE_LABELS = ("unknown", "car", "truck", "bus", "trailer", "motorcycle", "bicycle", "pedestrian")
_AUTOWARE_KINEMATICS = {
    "Detected": "geometry_msgs/PoseWithCovariance pose_with_covariance\nbool has_position_covariance\n"
    "uint8 orientation_availability\ngeometry_msgs/TwistWithCovariance twist_with_covariance\nbool has_twist\n"
    "bool has_twist_covariance\n",
    "Tracked": "geometry_msgs/PoseWithCovariance pose_with_covariance\nuint8 orientation_availability\n"
    "geometry_msgs/TwistWithCovariance twist_with_covariance\n"
    "geometry_msgs/AccelWithCovariance acceleration_with_covariance\nbool is_stationary\n",
}
_NEAREST_TO_UNIT = 1e-3
_CUBE, _ADD = 1, 0


def autoware_definition(package: str, kind: str) -> str:
    """Return the definition of DetectedObjects (``Detected``) or TrackedObjects (``Tracked``)."""
    own = "unique_identifier_msgs/UUID object_id\n" if kind == "Tracked" else ""
    return _RULE.join((
        f"std_msgs/Header header\n{package}/{kind}Object[] objects\n",
        (f"MSG: {package}/{kind}Object\n{own}float32 existence_probability\n{package}/ObjectClassification[] "
        f"classification\n{package}/{kind}ObjectKinematics kinematics\n{package}/Shape shape\n"),
        f"MSG: {package}/ObjectClassification\nuint8 label\nfloat32 probability\n",
        f"MSG: {package}/{kind}ObjectKinematics\n{_AUTOWARE_KINEMATICS[kind]}",
        f"MSG: {package}/Shape\nuint8 type\ngeometry_msgs/Polygon footprint\ngeometry_msgs/Vector3 dimensions\n",
        "MSG: unique_identifier_msgs/UUID\nuint8[16] uuid\n",
    ))  # fmt: skip


DEFINITIONS = {
    DETECTION3D: DETECTION3D_DEFINITION,
    **{
        f"{package}/msg/{kind}Objects": autoware_definition(package, kind)
        for package in AUTOWARE_PACKAGES
        for kind in _AUTOWARE_KINEMATICS
    },
}


@lru_cache(maxsize=8)
def _make_known(type_name: str) -> None:
    register(type_name, DEFINITIONS[type_name])


def decode_detections(min_score: float, message: Message) -> Detections:
    """Read the detections of a message; the likeliest class of each counts.

    Args:
        min_score: Detections of a lower score are left out.
        message: The message.

    Raises:
        DecodeError: The bytes are not such a message (``damaged``), its stamp or frame is not set (``zero_stamp``,
            ``empty_frame_id``), or a box is not finite, turned by nothing or has no size (``bad_detection``).
    """
    _make_known(message.type_name)
    found = deserialise(message, *DEFINITIONS)
    with naming(message):
        stamp_ns, frame_id = _place(found.header)
        rows = _vision(found) if message.type_name == DETECTION3D else _autoware(found)
        boxes = tuple(_checked(row) for row in rows if row.score >= min_score)
    return Detections(stamp_ns, frame_id, boxes)


def decode_cubes(message: Message) -> list[Detections]:
    """Read the cubes of a MarkerArray, one sample for each stamp and frame among them.

    The namespace is the class, namespace and number are the track. Markers hold no score: it counts as 1.

    Raises:
        DecodeError: The bytes are not such a message (``damaged``), the stamp or frame of a cube is not set
            (``zero_stamp``, ``empty_frame_id``), or a cube is not finite or has no size (``bad_detection``).
    """
    found = deserialise(message, MARKERS)
    groups: dict[tuple[int, str], list[Detection]] = {}
    with naming(message):
        for marker in found.markers:
            if (marker.type, marker.action) != (_CUBE, _ADD):
                continue
            stamp_ns, frame_id = _place(marker.header)
            label, track = str(marker.ns) or "unknown", f"{marker.ns}/{marker.id}"
            box = _checked(_box(label, 1.0, track, marker.pose, marker.scale))
            groups.setdefault((stamp_ns, frame_id), []).append(box)
    return [Detections(stamp_ns, frame_id, tuple(boxes)) for (stamp_ns, frame_id), boxes in sorted(groups.items())]


def _place(header: Any) -> tuple[int, str]:
    stamp_ns, frame_id = to_ns(header.stamp), strip_slashes(header.frame_id)
    require_stamp(stamp_ns)
    if not frame_id:
        raise DecodeError("header.frame_id is empty", cause="empty_frame_id")
    return stamp_ns, frame_id


def _vision(found: Any) -> Iterator[Detection]:
    for detection in found.detections:
        best = max((result.hypothesis for result in detection.results), key=lambda each: each.score, default=None)
        label, score = ("unknown", 0.0) if best is None else (str(best.class_id) or "unknown", float(best.score))
        center, size = detection.bbox.center, detection.bbox.size
        yield _box(label, score, str(detection.id), center, size)


def _autoware(found: Any) -> Iterator[Detection]:
    for detected in found.objects:
        best = max(detected.classification, key=lambda each: each.probability, default=None)
        number = 0 if best is None else int(best.label)
        label = AUTOWARE_LABELS[number] if number < len(AUTOWARE_LABELS) else f"class_{number}"
        track = bytes(detected.object_id.uuid).hex() if hasattr(detected, "object_id") else ""
        pose = detected.kinematics.pose_with_covariance.pose
        yield _box(label, float(detected.existence_probability), track, pose, detected.shape.dimensions)


def _box(label: str, score: float, track: str, pose: Any, size: Any) -> Detection:
    place, turn = pose.position, pose.orientation
    return Detection(
        label,
        score,
        track,
        np.array([place.x, place.y, place.z]),
        np.array([turn.x, turn.y, turn.z, turn.w]),
        np.array([size.x, size.y, size.z]),
    )


def _checked(box: Detection) -> Detection:
    length = float(np.linalg.norm(box.rotation_xyzw))
    is_box = np.isfinite(box.center).all() and np.isfinite(box.size).all() and (box.size > 0.0).all()
    if not is_box or not abs(length - 1.0) <= _NEAREST_TO_UNIT:
        raise DecodeError(
            f"a {box.label} is at {box.center.tolist()} m, of {box.size.tolist()} m, turned by "
            f"{box.rotation_xyzw.tolist()}; expected finite numbers, sizes above 0 and a unit quaternion",
            cause="bad_detection",
        )
    return box


def _decoder(settings: Any) -> Decoder:
    return Stateless(partial(decode_detections, getattr(settings, "min_score", 0.0)))


INTERFACES = (
    *(Interface(type_name, "detections", _decoder, only_configured=True) for type_name in DEFINITIONS),
    Interface(MARKERS, "detections", lambda _: StatelessMany(decode_cubes), peek=None, only_configured=True),
)
