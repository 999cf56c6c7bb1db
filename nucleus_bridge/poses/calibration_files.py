# SPDX-License-Identifier: Apache-2.0
"""Mounts in calibration files: Kalibr camchains, Autoware's sensor kits, matrices of OpenCV, plain YAML, URDF."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config.loader import parse_yaml, read_text
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.geometry import quaternion, scalar_pose
from nucleus_bridge.geometry.scalar_pose import Pose, quaternion_of_rpy
from nucleus_bridge.poses.urdf import UrdfError, parse_urdf

Content = Mapping[str, Any]

INVERSE = "^-1"
"""Behind a key: the matrix maps from the parent to the child."""
_DIRECTIVES = re.compile(r"\A(?:\s*%[^\n]*\n)+(?:---[^\n]*\n)?")
_OPENCV_MATRIX = re.compile(r"!!opencv-matrix\b")
_TURN = 2.0 * math.pi
_LARGEST = 1e9  # of a number in a mount; NaN fails, too
_ORTHOGONAL_WITHIN, _UNIT_WITHIN = 0.01, 0.02  # what two printed digits leave
_POSITIONS = ("xyz", "translation", "position", "t")
_ROTATIONS = ("quaternion_xyzw", "rotation_xyzw", "quaternion", "rpy", "rotation", "orientation", "R", "q")
_MATRICES = ("matrix", "transform", "T", "extrinsics")
_IGNORED = frozenset({"frame_id", "child_frame_id", "parent_frame", "child_frame", "type", "comment", "name", "header"})
_TO_IMU, _TO_LIDAR, _TO_PREVIOUS = "T_cam_imu", "T_cam_lidar", "T_cn_cnm1"


def read_mount(path: Path, key: str, parent: str, child: str, name: str) -> Pose:
    """Read the pose of a child frame in its parent frame.

    Args:
        path: A calibration file.
        key: The entry, below the parent where the file has one; empty for the child's name, or the whole file.
        parent: The parent frame.
        child: The child frame.
        name: ``mounts.<name>``, for errors.

    Raises:
        ConfigError: Naming the parameter, the file, and what it holds.
    """
    where = f"{name}.file: {path}"
    text = read_text(path, where)
    if text.lstrip().startswith("<"):
        try:
            edge = parse_urdf(text).between(parent, key or child)
        except UrdfError as error:
            raise ConfigError(f"{where} {error}") from None
        return (*edge.translation, *edge.rotation_xyzw)
    content = parse_yaml(_OPENCV_MATRIX.sub("", _DIRECTIVES.sub("", text)), where)
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where} holds no mapping of names to mounts")
    wanted, is_inverse = (key.removesuffix(INVERSE).strip(), key.rstrip().endswith(INVERSE))
    camera, _, matrix = wanted.partition("/")
    if _is_camera_chain(content.get(camera)):
        pose = _from_chain(content, camera, matrix, where, f"{name}.key")
    else:
        pose = _pose(_entry(content, wanted, parent, child, where, f"{name}.key"), f"{where}, {wanted or child}")
    return scalar_pose.inverse(pose) if is_inverse else pose


def pose_of(xyz: Iterable[float], turn: Iterable[float], where: str) -> Pose:
    """Return a pose from metres and from roll, pitch, yaw in radians or a quaternion x y z w.

    Raises:
        ConfigError: A number of values, degrees for radians, or a quaternion that is far from unit length.
    """
    place, rotation = tuple(xyz), tuple(turn) or (0.0, 0.0, 0.0)
    if len(place) != 3 or len(rotation) not in (3, 4) or not all(map(math.isfinite, (*place, *rotation))):
        raise ConfigError(f"{where}: needs three finite numbers of metres and three or four of rotation")
    if len(rotation) == 3:
        largest = max(map(abs, rotation))
        if largest > _TURN:
            radians = ", ".join(f"{math.radians(angle):.6g}" for angle in rotation)
            raise ConfigError(f"{where}: {largest:g} rad is more than a turn; degrees? In radians: [{radians}]")
        rotation = quaternion_of_rpy(*rotation)
    length = math.sqrt(sum(value * value for value in rotation))
    if abs(length - 1.0) > _UNIT_WITHIN:
        raise ConfigError(f"{where}: the quaternion {list(rotation)} has length {length:g}, not 1")
    return scalar_pose.checked_pose(place, rotation)


def _entry(content: Content, key: str, parent: str, child: str, where: str, parameter: str) -> Any:  # noqa: ANN401
    """Find an entry: below the parent, else by itself, else the whole file."""
    below = content.get(parent)
    for mapping in (below, content):
        found = _find(mapping, key or child) if isinstance(mapping, Mapping) else None
        if found is not None:
            return found
    if not key and _holds_pose(content):
        return content
    there = ", ".join(_names(content)) or "no mount"
    raise ConfigError(f"{where} has no entry {key or child!r} below {parent!r}; it has {there}; set {parameter}")


def _find(mapping: Content, key: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Follow a key, whose parts are separated by slashes and may hold slashes themselves."""
    if key in mapping:
        return mapping[key]
    for name, inner in mapping.items():
        if isinstance(inner, Mapping) and key.startswith(f"{name}/"):
            found = _find(inner, key[len(str(name)) + 1 :])
            if found is not None:
                return found
    return None


def _names(content: Content, most: int = 20) -> list[str]:
    """Return the keys of what may be mounts, for errors."""
    names = []
    for name, inner in content.items():
        if _is_camera_chain(inner):
            names.append(str(name))
        elif isinstance(inner, Mapping) and not _holds_pose(inner) and "data" not in inner:
            names += [f"{name}/{deeper}" for deeper in _names(inner)]
        elif isinstance(inner, Mapping) and name not in (*_POSITIONS, *_ROTATIONS):
            names.append(str(name))
    return names[:most]


def _holds_pose(entry: Content) -> bool:
    return not {*_POSITIONS, *_MATRICES, "x"}.isdisjoint(entry)


def _pose(entry: Any, where: str) -> Pose:  # noqa: ANN401 - whatever the file holds
    if not isinstance(entry, Mapping) or "data" in entry:
        return _of_matrix(entry, where)
    matrix = next((entry[name] for name in _MATRICES if name in entry), None)
    if matrix is not None and not isinstance(matrix, Mapping):
        return _of_matrix(matrix, where)
    if isinstance(matrix, Mapping):
        return _pose(matrix, where)
    used = {name for name in _POSITIONS if name in entry} or {"x", "y", "z"}
    place = _values(entry, _POSITIONS, ("x", "y", "z"))
    turn = _values(entry, _ROTATIONS, ("roll", "pitch", "yaw")) or _components(entry, ("qx", "qy", "qz", "qw"))
    if not place:
        raise ConfigError(f"{where}: has neither xyz nor translation nor a matrix, but {', '.join(map(str, entry))}")
    if not turn:
        others = {str(name) for name in entry} - used - _IGNORED
        if others:
            raise ConfigError(f"{where}: no rotation is known among {', '.join(sorted(others))}; name it rpy (radians)")
    if len(turn) == 9:
        turn = _quaternion(np.array(turn).reshape(3, 3), where)
    return pose_of(place, turn, where)


def _values(entry: Content, names: Iterable[str], components: tuple[str, ...]) -> tuple[float, ...]:
    """Return the numbers under the first of several names, as a list, rows or x, y, z, w; else by components."""
    for name in names:
        value = entry.get(name)
        if isinstance(value, Mapping):
            parts = _components(value, ("x", "y", "z", "w") if "w" in value else ("x", "y", "z"))
            return parts or _components(value, components)
        if isinstance(value, list):
            return _flat(value)
    return _components(entry, components)


def _components(entry: Content, names: tuple[str, ...]) -> tuple[float, ...]:
    if not all(name in entry for name in names):
        return ()
    return _flat([entry[name] for name in names])


def _flat(value: Any) -> tuple[float, ...]:  # noqa: ANN401 - whatever the file holds
    """Return numbers in the order they stand in; empty when something else is among them."""
    if isinstance(value, bool) or not isinstance(value, (int, float, list)):
        return ()
    if not isinstance(value, list):
        return (float(value),) if abs(value) < _LARGEST else ()
    parts = [_flat(part) for part in value]
    return tuple(number for part in parts for number in part) if all(parts) else ()


def _of_matrix(value: Any, where: str) -> Pose:  # noqa: ANN401 - whatever the file holds
    numbers = _flat(value.get("data") if isinstance(value, Mapping) else value)
    if len(numbers) not in (12, 16):
        raise ConfigError(f"{where}: is not a 3x4 or 4x4 matrix, nor xyz with rpy or a quaternion")
    rows = np.array(numbers).reshape(-1, 4)
    if len(rows) == 4 and not np.allclose(rows[3], (0.0, 0.0, 0.0, 1.0), atol=1e-9):
        raise ConfigError(f"{where}: the last row of the matrix is {rows[3].tolist()}, not [0, 0, 0, 1]")
    return pose_of(rows[:3, 3].tolist(), _quaternion(rows[:3, :3], where), where)


def _quaternion(matrix: Any, where: str) -> tuple[float, ...]:  # noqa: ANN401 - shape (3, 3)
    off = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if not off < _ORTHOGONAL_WITHIN or np.linalg.det(matrix) < 0.0:
        raise ConfigError(f"{where}: {matrix.tolist()} is not a rotation matrix")
    return tuple(quaternion.from_matrix(matrix).tolist())


def _is_camera_chain(entry: Any) -> bool:  # noqa: ANN401 - whatever the file holds
    return isinstance(entry, Mapping) and not {_TO_IMU, _TO_LIDAR, _TO_PREVIOUS, "camera_model"}.isdisjoint(entry)


def _from_chain(content: Content, camera: str, matrix: str, where: str, parameter: str) -> Pose:
    """Return the pose of a Kalibr camera in the IMU, else in the lidar, else in the chain's first camera.

    Kalibr's matrices map into the camera (ethz-asl/kalibr, ConfigReader); a mount is the inverse.
    """
    if matrix:
        if matrix not in content[camera]:
            raise ConfigError(f"{where}: {camera} has no {matrix}, but {', '.join(map(str, content[camera]))}")
        return scalar_pose.inverse(_of_matrix(content[camera][matrix], f"{where}, {camera}/{matrix}"))
    for wanted in (_TO_IMU, _TO_LIDAR, ""):
        pose = _along_chain(content, camera, wanted, where)
        if pose is not None:
            return scalar_pose.inverse(pose)
    raise ConfigError(
        f"{where}: {camera} has no {_TO_IMU}: it is the chain's first camera, and the file does not say where that is; "
        f"set another {parameter}"
    )


def _along_chain(content: Content, camera: str, wanted: str, where: str) -> Pose | None:
    """Return the pose of the IMU, the lidar or, with "", the first camera in a camera; None when there is none."""
    pose, at, passed = scalar_pose.IDENTITY, camera, {camera}
    while True:
        entry = content.get(at)
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}: the chain of {camera} leads to {at}, which is not there")
        if wanted in entry:
            return scalar_pose.compose(pose, _of_matrix(entry[wanted], f"{where}, {at}/{wanted}"))
        number = re.fullmatch(r"cam(\d{1,4})", at)
        if _TO_PREVIOUS not in entry or number is None:
            return pose if not wanted and at != camera else None
        pose = scalar_pose.compose(pose, _of_matrix(entry[_TO_PREVIOUS], f"{where}, {at}/{_TO_PREVIOUS}"))
        at = f"cam{int(number[1]) - 1}"
        if at in passed:
            return None
        passed.add(at)
