# SPDX-License-Identifier: Apache-2.0
"""Where on the globe the device is at a frame's stamp: fixes between stamps, moved from the antenna to the device.

Between two fixes the antenna is on the straight line between them plus what the transforms say it was beside its own
straight line, so that curves do not cut corners. Nothing is extrapolated.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nucleus_bridge.config import Config
from nucleus_bridge.decode.navsat import Fix, Heading, bearing_of_yaw, interpolate_bearing, interpolate_fix
from nucleus_bridge.errors import ExtrapolationError, TransformError
from nucleus_bridge.geometry import TransformTree, quaternion, transforms
from nucleus_bridge.model import FloatArray, GpsPose, Transform
from nucleus_bridge.pipeline.gps import GpsTrack

MIN_SPEED_M_S = 1.0
"""Without a heading the bearing follows from movement, which means nothing at a slower speed."""
LENGTH_TOLERANCE = 0.2
"""A step by fixes and by transforms is the same one when their lengths differ by no more than this part."""
MAX_ACCELERATION_M_S2 = 20.0
"""Where transforms bend the way between two fixes by more than this explains, they jumped."""
SEMI_MAJOR_M, FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84
ECCENTRICITY_SQUARED = FLATTENING * (2 - FLATTENING)
AHEAD = np.array([1.0, 0.0, 0.0])


class Globe:
    """Answers for the pose of the device frame's origin on the globe."""

    def __init__(self, config: Config, tree: TransformTree, track: GpsTrack) -> None:
        self._world, self._device = config.world_frame, config.device_frame
        self._has_headings = bool(config.gps.heading_topic)
        self._map_is_enu = config.gps.map_is_enu
        self._tree = tree
        self._track = track

    def unsettled(self, stamp_ns: int) -> object:
        """Whether a message to come can change the pose at a stamp."""
        if self._track.unsettled(stamp_ns):
            return True
        fixes = self._track.fixes_around(stamp_ns)
        if fixes is None or fixes[0] is fixes[1]:
            return None
        after_ns = fixes[1].stamp_ns
        error = self._tree.availability(self._world, self._device, after_ns, after_ns)
        return error if isinstance(error, ExtrapolationError) and error.direction == "future" else None

    def pose_at(self, stamp_ns: int, world_from_device: Transform) -> GpsPose | None:
        """Return the pose of the device; None where fix or bearing are missing on either side of the stamp."""
        fixes = self._track.fixes_around(stamp_ns)
        if fixes is None:
            return None
        yaw = self._yaw_in_enu(stamp_ns, world_from_device)
        if yaw is None:
            return None
        bearing, turn = yaw
        fix = interpolate_fix(*fixes, stamp_ns)
        device_from_antenna = self._mount(fixes[1].frame_id, stamp_ns)
        beside = self._beside_line(fixes, stamp_ns, world_from_device, device_from_antenna)
        lever: FloatArray = np.zeros(3)
        if device_from_antenna is not None:
            lever = quaternion.rotate(world_from_device.rotation_xyzw, device_from_antenna.translation)
        east, north = _turned(beside - lever, turn)
        fix = moved(fix, east, north)
        return GpsPose(fix.latitude, fix.longitude, bearing)

    def _yaw_in_enu(self, stamp_ns: int, world_from_device: Transform) -> tuple[float, float] | None:
        """Return the device's bearing in degrees and by how much the world is turned against east, radians."""
        yaw = _yaw(world_from_device.rotation_xyzw)
        if self._has_headings:
            bearing = self._measured_bearing(stamp_ns)
        elif self._map_is_enu:
            return bearing_of_yaw(yaw), 0.0
        else:
            turn = self._turn_by_movement(stamp_ns)
            if turn is not None:
                return bearing_of_yaw(yaw + turn), turn
            bearing = self._course(stamp_ns)
        return None if bearing is None else (bearing, math.radians(90.0 - bearing) - yaw)

    def _measured_bearing(self, stamp_ns: int) -> float | None:
        headings = self._track.headings_around(stamp_ns)
        if headings is None:
            return None
        before, after = (self._of_device(heading) for heading in headings)
        return interpolate_bearing(before, after, stamp_ns)

    def _of_device(self, heading: Heading) -> Heading:
        """Turn the bearing of the sensor's x axis into that of the device's, where its mounting is known."""
        mount = self._mount(heading.frame_id, heading.stamp_ns)
        if mount is None or not mount.rotation_xyzw[:3].any():
            return heading
        sensor_from_device = quaternion.conjugate(mount.rotation_xyzw)
        enu_from_device = quaternion.multiply(np.array(heading.enu_from_frame), sensor_from_device)
        return replace(heading, bearing_deg=bearing_of_yaw(_yaw(enu_from_device)))

    def _turn_by_movement(self, stamp_ns: int) -> float | None:
        """Compare the step between two fixes with the same step in the world, whichever way the device faces."""
        fixes = self._track.step_up_to(stamp_ns)
        if fixes is None or not _is_moving(*fixes):
            return None
        mount = self._mount(fixes[1].frame_id, stamp_ns)
        ends = [self._antenna(fix.stamp_ns, mount) for fix in fixes]
        if ends[0] is None or ends[1] is None:
            return None
        east, north = _step(*fixes)
        x, y, _ = ends[1] - ends[0]
        if abs(math.hypot(x, y) - math.hypot(east, north)) > LENGTH_TOLERANCE * math.hypot(east, north):
            return None
        return math.atan2(north, east) - math.atan2(y, x)

    def _course(self, stamp_ns: int) -> float | None:
        """Course over ground between the fixes next to a stamp."""
        fixes = self._track.step_up_to(stamp_ns)
        if fixes is None or not _is_moving(*fixes):
            return None
        east, north = _step(*fixes)
        return bearing_of_yaw(math.atan2(north, east))

    def _beside_line(
        self, fixes: tuple[Fix, Fix], stamp_ns: int, world_from_device: Transform, mount: Transform | None
    ) -> FloatArray:
        """Return how far in the world the antenna is from the straight line between two fixes, metres."""
        first, last = (fix.stamp_ns for fix in fixes)
        start, end = (self._antenna(fix_ns, mount) for fix_ns in (first, last))
        if first == last or start is None or end is None:
            return np.zeros(3)
        part = (stamp_ns - first) / (last - first)
        beside: FloatArray = _place(world_from_device, mount) - (start + part * (end - start))
        explained = 0.5e-18 * MAX_ACCELERATION_M_S2 * (stamp_ns - first) * (last - stamp_ns)
        return beside if float(np.sqrt((beside * beside).sum())) <= explained else np.zeros(3)

    def _antenna(self, stamp_ns: int, mount: Transform | None) -> FloatArray | None:
        try:
            return _place(self._tree.lookup(self._world, self._device, stamp_ns), mount)
        except TransformError:
            return None

    def _mount(self, frame_id: str, stamp_ns: int) -> Transform | None:
        """Return device_from_sensor, None where the transforms do not have it."""
        try:
            return self._tree.lookup(self._device, frame_id, stamp_ns) if frame_id else None
        except TransformError:
            return None


def moved(fix: Fix, east_m: float, north_m: float) -> Fix:
    """Return a fix moved over the WGS 84 ellipsoid, exact to a millimetre for some hundred metres."""
    east_radius, north_radius = _radii(fix)
    longitude = fix.longitude + math.degrees(east_m / east_radius)
    wrapped = longitude if abs(longitude) <= 180.0 else (longitude + 180.0) % 360.0 - 180.0
    latitude = fix.latitude + math.degrees(north_m / north_radius)
    return replace(fix, latitude=max(-90.0, min(90.0, latitude)), longitude=wrapped)


def _radii(fix: Fix) -> tuple[float, float]:
    """Return metres a radian of longitude and of latitude at a fix."""
    latitude = math.radians(max(-89.9, min(89.9, fix.latitude)))
    height = fix.altitude if math.isfinite(fix.altitude) else 0.0
    bend = 1.0 - ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
    across = SEMI_MAJOR_M / math.sqrt(bend)
    along = across * (1.0 - ECCENTRICITY_SQUARED) / bend
    return (across + height) * math.cos(latitude), along + height


def _step(before: Fix, after: Fix) -> tuple[float, float]:
    """Return the step between two near fixes to the east and to the north, metres."""
    east_radius, north_radius = _radii(before)
    turn = (after.longitude - before.longitude + 180.0) % 360.0 - 180.0
    return math.radians(turn) * east_radius, math.radians(after.latitude - before.latitude) * north_radius


def _is_moving(before: Fix, after: Fix) -> bool:
    return math.hypot(*_step(before, after)) * 1e9 >= MIN_SPEED_M_S * (after.stamp_ns - before.stamp_ns)


def _place(world_from_device: Transform, mount: Transform | None) -> FloatArray:
    return world_from_device.translation if mount is None else transforms.compose(world_from_device, mount).translation


def _yaw(rotation_xyzw: FloatArray) -> float:
    """Return the direction of the x axis seen from above, radians."""
    x, y, _ = quaternion.rotate(rotation_xyzw, AHEAD)
    return math.atan2(y, x)


def _turned(vector: FloatArray, angle: float) -> tuple[float, float]:
    """Return x and y of a vector turned about z."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * float(vector[0]) - sin * float(vector[1]), sin * float(vector[0]) + cos * float(vector[1])
