# SPDX-License-Identifier: Apache-2.0
"""Detections that were recorded, from vision_msgs, Autoware or cubes among markers, as boxes in their frame.

Messages of types that no ROS installation here knows are read by the definitions below: those of vision_msgs 4 and of
its releases for Foxy and ROS 1, of autoware_perception_msgs 1, and of its predecessor autoware_auto_perception_msgs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
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


def _old_detection3d(package: str, id_type: str, tracking: str) -> str:
    """Return the definition of Detection3DArray before Galactic, under a package name of its own."""
    return _RULE.join((
        f"std_msgs/Header header\n{package}/Detection3D[] detections\n",
        (f"MSG: {package}/Detection3D\nstd_msgs/Header header\n{package}/ObjectHypothesisWithPose[] results\n"
        f"{package}/BoundingBox3D bbox\nsensor_msgs/PointCloud2 source_cloud\n{tracking}"),
        (f"MSG: {package}/ObjectHypothesisWithPose\n{id_type} id\nfloat64 score\n"
        "geometry_msgs/PoseWithCovariance pose\n"),
        f"MSG: {package}/BoundingBox3D\ngeometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n",
    ))  # fmt: skip


OLD_DETECTION3D = {
    "vision_msgs_foxy/msg/Detection3DArray": _old_detection3d(
        "vision_msgs_foxy", "string", "bool is_tracking\nstring tracking_id\n"
    ),
    "vision_msgs_noetic/msg/Detection3DArray": _old_detection3d("vision_msgs_noetic", "int64", ""),
}
"""Layouts that have the same name in recordings; a message is of the first one that fits all of its bytes."""
AUTOWARE_PACKAGES = ("autoware_perception_msgs", "autoware_auto_perception_msgs")
AUTOWARE_LABELS = (
    "unknown", "car", "truck", "bus", "trailer", "motorcycle", "bicycle", "pedestrian",
    "animal", "hazard", "over_drivable", "under_drivable",
)  # fmt: skip
_AVAILABLE = "uint8 orientation_availability\n"
_MOTION = (
    "geometry_msgs/TwistWithCovariance twist_with_covariance\n"
    "geometry_msgs/AccelWithCovariance acceleration_with_covariance\n"
)
_TRACKED = {"autoware_perception_msgs": _MOTION + _AVAILABLE, "autoware_auto_perception_msgs": _AVAILABLE + _MOTION}
"""Between a track's pose and ``is_stationary``; the two packages differ in the order."""
_UNAVAILABLE = 0  # an orientation, which is left empty then
_CYLINDER, _POLYGON = 1, 2
_NEAREST_TO_UNIT = 1e-3
_CUBE, _ADD = 1, 0


def autoware_definition(package: str, kind: str) -> str:
    """Return the definition of DetectedObjects (``Detected``) or TrackedObjects (``Tracked``)."""
    is_tracked = kind == "Tracked"
    own = "unique_identifier_msgs/UUID object_id\n" if is_tracked else ""
    detected = (
        f"bool has_position_covariance\n{_AVAILABLE}geometry_msgs/TwistWithCovariance twist_with_covariance\n"
        "bool has_twist\nbool has_twist_covariance\n"
    )
    kinematics = f"{_TRACKED[package]}bool is_stationary\n" if is_tracked else detected
    return _RULE.join((
        f"std_msgs/Header header\n{package}/{kind}Object[] objects\n",
        (f"MSG: {package}/{kind}Object\n{own}float32 existence_probability\n{package}/ObjectClassification[] "
        f"classification\n{package}/{kind}ObjectKinematics kinematics\n{package}/Shape shape\n"),
        f"MSG: {package}/ObjectClassification\nuint8 label\nfloat32 probability\n",
        (f"MSG: {package}/{kind}ObjectKinematics\ngeometry_msgs/PoseWithCovariance pose_with_covariance\n"
        f"{kinematics}"),
        f"MSG: {package}/Shape\nuint8 type\ngeometry_msgs/Polygon footprint\ngeometry_msgs/Vector3 dimensions\n",
        "MSG: unique_identifier_msgs/UUID\nuint8[16] uuid\n",
    ))  # fmt: skip


DEFINITIONS = {
    DETECTION3D: DETECTION3D_DEFINITION,
    **{
        f"{package}/msg/{kind}Objects": autoware_definition(package, kind)
        for package in AUTOWARE_PACKAGES
        for kind in ("Detected", "Tracked")
    },
}


@lru_cache(maxsize=8)
def _make_known(type_name: str) -> None:
    register(type_name, DEFINITIONS[type_name])
    if type_name == DETECTION3D:
        for name, definition in OLD_DETECTION3D.items():
            register(name, definition)


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
    found = _deserialised(message)
    with naming(message):
        stamp_ns, frame_id = _place(found.header)
        rows = _vision(found) if message.type_name == DETECTION3D else _autoware(found)
        boxes = tuple(_checked(row) for row in rows if row.score >= min_score)
    return Detections(stamp_ns, frame_id, boxes)


def _deserialised(message: Message) -> Any:
    """Read a message; where it is not of today's layout, by the older ones of its type."""
    try:
        return deserialise(message, *DEFINITIONS)
    except DecodeError:
        for name in OLD_DETECTION3D if message.type_name == DETECTION3D else ():
            with suppress(DecodeError):
                return deserialise(replace(message, type_name=name))
        raise


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
        results = [getattr(result, "hypothesis", result) for result in detection.results]
        best = max(results, key=lambda each: each.score, default=None)
        name = "" if best is None else str(best.class_id if hasattr(best, "class_id") else best.id)
        track = str(getattr(detection, "id", getattr(detection, "tracking_id", "")))
        score = 0.0 if best is None else float(best.score)
        yield _box(name or "unknown", score, track, detection.bbox.center, detection.bbox.size)


def _autoware(found: Any) -> Iterator[Detection]:
    for detected in found.objects:
        best = max(detected.classification, key=lambda each: each.probability, default=None)
        number = 0 if best is None else int(best.label)
        label = AUTOWARE_LABELS[number] if number < len(AUTOWARE_LABELS) else f"class_{number}"
        track = bytes(detected.object_id.uuid).hex() if hasattr(detected, "object_id") else ""
        pose, size = detected.kinematics.pose_with_covariance.pose, detected.shape.dimensions
        box = _box(label, float(detected.existence_probability), track, pose, size)
        if detected.kinematics.orientation_availability == _UNAVAILABLE and not box.rotation_xyzw.any():
            box = replace(box, rotation_xyzw=np.array([0.0, 0.0, 0.0, 1.0]))
        yield _shaped(box, detected.shape)


def _shaped(box: Detection, shape: Any) -> Detection:
    """Put a box around what is not one: a cylinder has its diameter as x, a polygon has no size but its height."""
    if shape.type == _CYLINDER:
        return replace(box, size=np.array([box.size[0], box.size[0], box.size[2]]))
    if shape.type != _POLYGON or not shape.footprint.points:
        return box
    corners = np.array([[corner.x, corner.y] for corner in shape.footprint.points], np.float64)
    low, high = corners.min(axis=0), corners.max(axis=0)
    axis, w = box.rotation_xyzw[:3], box.rotation_xyzw[3]
    middle = np.array([*((low + high) / 2), 0.0])
    with np.errstate(all="ignore"):  # what is not finite is refused later
        middle = middle + 2 * np.cross(axis, np.cross(axis, middle) + w * middle)
        return replace(box, center=box.center + middle, size=np.array([*(high - low), box.size[2]]))


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
    length = math.hypot(*box.rotation_xyzw.tolist())  # of any numbers, without a warning
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
