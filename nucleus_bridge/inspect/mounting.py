# SPDX-License-Identifier: Apache-2.0
"""Whether sensors are mounted the way their names and REP 103 say: optical axes, swapped names, inverted poses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.optical import View, view_of
from nucleus_bridge.model import FloatArray, Frame
from nucleus_bridge.warnings import Finding, Weight

if TYPE_CHECKING:
    from nucleus_bridge.config import Config

_DOWN_COSINE = 0.64
_WRONG_WAY_DEG = 100.0
_LEAST_STEP_M, _LEAST_STEPS, _AGAINST_DEG, _SAME_TURN = 0.1, 6, 20.0, 0.25
_MIN_TRAVEL_M = 1.0
_UPRIGHT_COSINE = math.cos(math.radians(60.0))
_BEARINGS = {
    "front": 0.0, "forward": 0.0, "fwd": 0.0, "rear": 180.0, "back": 180.0, "backward": 180.0, "left": 90.0,
    "right": -90.0, "front_left": 45.0, "front_right": -45.0, "rear_left": 135.0, "rear_right": -135.0,
    "back_left": 135.0, "back_right": -135.0,
}  # fmt: skip


def mount_findings(
    rotations: Mapping[str, FloatArray],
    topics: Mapping[str, str],
    world_frame: str,
    device_frame: str,
    positions: FloatArray,
    turns: FloatArray,
) -> list[Finding]:
    """Name what is unlikely about how cameras and device are mounted.

    Args:
        rotations: ``device_from_camera`` of each optical frame, x y z w, by the camera's name.
        topics: The cameras' topics by name.
        world_frame: Frame in which the device moves.
        device_frame: Frame of the device.
        positions: Where the device was, shape (n, 3).
        turns: How it was turned, shape (n, 4).
    """
    found = pose_findings(world_frame, device_frame, positions, turns)
    ahead = 0.0 if found else forward_deg(positions, turns)
    if ahead:
        axis = "+y" if ahead > 0 else "-y"
        text = f"{device_frame} moves along its {axis} axis: REP 103 has x forward (scenes are right all the same)"
        found.append(warnings.device_axes(device_frame, text, Weight.NOTE))
    for name, texts in camera_warnings(rotations, ahead).items():
        found += [warnings.camera_mount(topics[name], text) for text in texts]
    return found


def pose_findings(world_frame: str, device_frame: str, positions: FloatArray, turns: FloatArray) -> list[Finding]:
    """Name what no vehicle does: it lies on its side, it moves as its inverse would, it turns against its course.

    Args:
        world_frame: Frame in which the device moves.
        device_frame: Frame of the device.
        positions: Where the device was, shape (n, 3).
        turns: How it was turned, shape (n, 4).
    """
    from nucleus_bridge.poses import plausibility  # noqa: PLC0415 - pages, which use this module too, need no poses

    if not len(turns):
        return []
    if tilt := tilt_warning(turns):
        text = f"{world_frame} -> {device_frame}: {tilt}"
        return [warnings.device_axes(device_frame, text, Weight.METRES)]
    poses = np.concatenate((positions, turns), axis=1)
    is_proven = plausibility.is_inverse(poses)
    if is_proven or plausibility.may_be_inverse(poses):
        return [warnings.transforms_inverse(world_frame, device_frame, is_proven=is_proven)]
    against = _against_course(positions, turns)
    return [] if against is None else [warnings.turns_against_course(device_frame, *against)]


def _against_course(positions: FloatArray, turns: FloatArray) -> tuple[float, float] | None:
    """Return by how much a heading turns against the course, degrees, and over which way; None where it does not.

    A vehicle may slide and point anywhere. That its heading would turn as its course does if it were mirrored, and
    that alone, does not happen by chance where both turn far.
    """
    steps = np.diff(positions[:, :2], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    ahead = quaternion.rotate(turns, np.array([1.0, 0.0, 0.0]))[:, :2]
    middle = ahead[:-1] + ahead[1:]
    long = lengths >= _LEAST_STEP_M
    if long.sum() < _LEAST_STEPS:
        return None
    course = np.unwrap(np.arctan2(steps[long, 1], steps[long, 0]))
    yaw = np.unwrap(np.arctan2(middle[long, 1], middle[long, 0]))
    apart, mirrored = float(np.ptp(course - yaw)), float(np.ptp(course + yaw))
    if apart < math.radians(_AGAINST_DEG) or mirrored > _SAME_TURN * apart:
        return None
    return math.degrees(apart), float(lengths.sum())


class SeenMounts:
    """How device and cameras are turned in the frames that go by, as the configuration has them.

    Attributes:
        frame_ids: The frame ids of each camera's images.
    """

    def __init__(self) -> None:
        self.frame_ids: dict[str, str] = {}
        self._rotations: dict[str, FloatArray] = {}
        self._positions: list[FloatArray] = []
        self._turns: list[FloatArray] = []

    def add(self, frame: Frame) -> None:
        """Take a frame."""
        self._positions.append(frame.world_from_device.translation)
        self._turns.append(frame.world_from_device.rotation_xyzw)
        device_from_world = quaternion.conjugate(frame.world_from_device.rotation_xyzw)
        for posed in frame.images:
            if posed.camera not in self._rotations:
                turn = quaternion.multiply(device_from_world, posed.world_from_camera.rotation_xyzw)
                self._rotations[posed.camera] = turn
                self.frame_ids[posed.camera] = posed.image.frame_id

    def findings(self, config: Config) -> list[Finding]:
        """Name what is unlikely about them."""
        positions, turns = np.array(self._positions).reshape(-1, 3), np.array(self._turns).reshape(-1, 4)
        topics = {camera.name: camera.image_topic for camera in config.cameras}
        return mount_findings(self._rotations, topics, config.world_frame, config.device_frame, positions, turns)


def camera_warnings(rotations: Mapping[str, FloatArray], forward_deg: float = 0.0) -> dict[str, list[str]]:
    """Name what is unlikely about how cameras are mounted.

    Args:
        rotations: ``device_from_camera`` of each optical frame, x y z w, by the camera's name.
        forward_deg: Azimuth in the device frame that is ahead.
    """
    found = {name: _upright_warning(name, rotation) for name, rotation in rotations.items()}
    views = {name: _turned(view_of(rotation), -forward_deg) for name, rotation in rotations.items()}
    for name, text in _swapped(views).items():
        found[name].append(text)
    for name, view in views.items():
        wanted = bearing_in_name(name)
        if wanted is None or found[name]:
            continue
        off = _between(view.azimuth_deg, wanted)
        if off > _WRONG_WAY_DEG:
            found[name].append(
                f"its name says it looks {_side(wanted)}, its pose says {_side(view.azimuth_deg)} "
                f"({off:.0f} degrees apart): the extrinsic or the name is wrong"
            )
    return found


def forward_deg(translations: FloatArray, rotations_xyzw: FloatArray) -> float:
    """Say which axis of the device is ahead by how it moves: 0 (x), 90 (y) or -90; 0 where it hardly moves.

    A device that drives backwards counts as one that drives forwards. Shapes (n, 3) and (n, 4), world from device.
    """
    steps = np.diff(translations, axis=0)
    if not len(steps) or float(np.linalg.norm(translations[-1] - translations[0])) < _MIN_TRAVEL_M:
        return 0.0
    local = quaternion.rotate(quaternion.conjugate(rotations_xyzw[:-1]), steps).sum(axis=0)
    quarter = round(math.atan2(local[1], local[0]) / (math.pi / 2))
    return 90.0 * quarter if abs(quarter) == 1 else 0.0


def tilt_warning(world_from_device_xyzw: FloatArray) -> str:
    """Say what is wrong with a device whose z axis does not point up; '' when it does. Shape (n, 4)."""
    up = quaternion.rotate(world_from_device_xyzw, np.array([0.0, 0.0, 1.0]))[..., 2]
    if float(np.median(up)) > _UPRIGHT_COSINE:
        return ""
    tilt = math.degrees(math.acos(max(-1.0, min(1.0, float(np.median(up))))))
    text = f"the device's z axis is {tilt:.0f} degrees away from up"
    moved = quaternion.rotate(_as_w_first(world_from_device_xyzw), np.array([0.0, 0.0, 1.0]))[..., 2]
    if float(np.median(moved)) > _UPRIGHT_COSINE:
        text += ": its quaternions seem to be written w first; ROS wants x y z w"
    return text


def bearing_in_name(name: str) -> float | None:
    """Return the azimuth in degrees that words such as ``front_left`` in a name stand for."""
    words = "_".join(part for part in name.lower().replace("-", "_").split("_") if part)
    fits = [key for key in _BEARINGS if f"_{key}_" in f"_{words}_"]
    return _BEARINGS[max(fits, key=len)] if fits else None


def _upright_warning(name: str, rotation: FloatArray) -> list[str]:
    view = view_of(rotation)
    may_look_down = bearing_in_name(name) is None and view.elevation_deg < -60
    if view.is_upright or may_look_down:
        return []
    text = (
        f"its optical frame is unlikely: the picture's downward axis points {_vertical(rotation)} and it looks "
        f"{_side(view.azimuth_deg)}, {view.elevation_deg:+.0f} degrees of elevation"
    )
    z_up = quaternion.rotate(rotation, np.array([0.0, 0.0, 1.0]))[2]
    if z_up > 0.8:
        text += "; z points up: this is a body frame (x forward), not an optical one (z forward, x right, y down)"
    elif view_of(quaternion.conjugate(rotation)).is_upright:
        text += "; the inverse would be upright: the extrinsic seems to be inverted (parent and child exchanged)"
    elif view_of(_as_w_first(rotation)).is_upright:
        text += "; read w first it would be upright: the quaternion seems to be written w x y z"
    return [text]


def _swapped(views: Mapping[str, View]) -> dict[str, str]:
    """Find pairs of cameras of which each looks where the other one's name says."""
    found: dict[str, str] = {}
    for one, other in combinations(views, 2):
        wanted_one, wanted_other = bearing_in_name(one), bearing_in_name(other)
        if wanted_one is None or wanted_other is None or _between(wanted_one, wanted_other) < 60:
            continue
        straight = _between(views[one].azimuth_deg, wanted_one) + _between(views[other].azimuth_deg, wanted_other)
        crossed = _between(views[one].azimuth_deg, wanted_other) + _between(views[other].azimuth_deg, wanted_one)
        if crossed + 60 < straight and crossed < 80:
            found[one] = f"it looks where {other!r} should: the two cameras' poses seem to be swapped"
            found[other] = f"it looks where {one!r} should: the two cameras' poses seem to be swapped"
    return found


def _as_w_first(rotation: FloatArray) -> FloatArray:
    """Return the rotation that was meant when w, x, y, z was written where x, y, z, w belongs."""
    return np.roll(rotation, -1, axis=-1)


def _turned(view: View, by_deg: float) -> View:
    return view._replace(azimuth_deg=(view.azimuth_deg + by_deg + 180.0) % 360.0 - 180.0)


def _between(one_deg: float, other_deg: float) -> float:
    return abs((one_deg - other_deg + 180.0) % 360.0 - 180.0)


def _side(azimuth_deg: float) -> str:
    names = ("ahead", "left", "back", "right")
    return f"{names[round(azimuth_deg / 90.0) % 4]} ({azimuth_deg:.0f} degrees)"


def _vertical(rotation: FloatArray) -> str:
    down = quaternion.rotate(rotation, np.array([0.0, 1.0, 0.0]))[2]
    return "down" if down < -_DOWN_COSINE else ("up" if down > _DOWN_COSINE else "sideways")
