# SPDX-License-Identifier: Apache-2.0
"""Where on the globe the device is at a frame's stamp: fixes between stamps, moved from the antenna to the device.

Between two fixes the antenna is on the straight line between them plus what the transforms say it was beside its own
straight line, so that curves do not cut corners. Nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import takewhile

import numpy as np

from nucleus_bridge.causes import Cause
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
JUDGED_AFTER_NS = 500_000_000
"""A fix is judged by those up to ``sync.wait_s`` before it and this long after it, or a quarter of that if less."""
LEAST_JUDGES, MOST_JUDGES, MOST_POINTS = 2, 16, 4_096
STEP_TOLERANCE_M, STEP_SHARE, FASTEST_M_S = 15.0, 0.3, 80.0
"""Two fixes agree with the transforms when their steps differ by less; without transforms a vehicle is no faster."""
STUCK_WAY_M = 3.0
"""A fix that is the same to the last digit where the device has moved so far is an old one; digits may be coarse."""
TELLING_WAY_M, MOST_OFF_DEG, FIX_ERROR_M = 2.0, 10.0, 4.0
"""Over such a way a heading does not count that is further off what fixes and transforms say than bad fixes explain."""
FIXES, HEADINGS = "gps.topic", "gps.heading_topic"
"""The names that losses are reported under."""
SEMI_MAJOR_M, FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84
LossReport = Callable[[str, Cause, int, str], None]
ECCENTRICITY_SQUARED = FLATTENING * (2 - FLATTENING)
AHEAD = np.array([1.0, 0.0, 0.0])


class Globe:
    """Answers for the pose of the device frame's origin on the globe."""

    def __init__(self, config: Config, tree: TransformTree, track: GpsTrack, lost: LossReport) -> None:
        self._world, self._device = config.world_frame, config.device_frame
        self._has_headings = bool(config.gps.heading_topic)
        self._map_is_enu = config.gps.map_is_enu
        self._tree = tree
        self._track = track
        self._lost = lost
        self._before_ns = round(config.sync.wait_s * 1e9)
        self._after_ns = min(self._before_ns // 4, JUDGED_AFTER_NS)
        self._points: dict[int, tuple[float, float]] = {}
        self._agreements: dict[tuple[int, int], bool] = {}  # a track has one fix a stamp
        self._reported: set[tuple[str, int]] = set()

    def restart(self) -> None:
        """Forget where the device was, after a step of the clock."""
        self._points.clear()
        self._agreements.clear()
        self._reported.clear()

    def unsettled(self, stamp_ns: int) -> object:
        """Whether a message to come can change the pose at a stamp."""
        if self._track.unsettled(stamp_ns, stamp_ns + self._after_ns):
            return True
        fixes = self._track.fixes_around(stamp_ns, _any)
        if fixes is None or fixes[0] is fixes[1]:
            return None
        after_ns = fixes[1].stamp_ns
        error = self._tree.availability(self._world, self._device, after_ns, after_ns)
        return error if isinstance(error, ExtrapolationError) and error.direction == "future" else None

    def pose_at(self, stamp_ns: int, world_from_device: Transform) -> GpsPose | None:
        """Return the pose of the device; None where fix or bearing are missing on either side of the stamp."""
        fixes = self._track.fixes_around(stamp_ns, self._counting(stamp_ns))
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
        bearing = self._measured_bearing(stamp_ns) if self._has_headings else None
        if bearing is not None and self._contradicts(bearing, yaw, stamp_ns):
            bearing = None
        if bearing is None and self._map_is_enu:
            return bearing_of_yaw(yaw), 0.0
        if bearing is None:
            turn = self._turn_by_movement(stamp_ns)
            if turn is not None:
                return bearing_of_yaw(yaw + turn), turn
            bearing = self._course(stamp_ns)
        return None if bearing is None else (bearing, math.radians(90.0 - bearing) - yaw)

    def _counting(self, stamp_ns: int) -> Callable[[Fix], bool]:
        """Return what tells which fixes count for a frame: those that have arrived when it is decided judge them."""
        return partial(self._counts, until_ns=stamp_ns + self._after_ns)

    def _counts(self, fix: Fix, *, until_ns: int) -> bool:
        """Whether a fix can be where the device was: at least half of the fixes near it agree with the transforms.

        One that only repeats those before it while the transforms go on is of the place where it came first.
        """
        after_ns = min(self._after_ns, until_ns - fix.stamp_ns)
        if (stuck_m := self._stuck_way(fix, after_ns)) > STUCK_WAY_M:
            place = f"{fix.latitude:.6f}, {fix.longitude:.6f}"
            text = f"the fix at {place} repeats those before it while the device moves {stuck_m:.0f} m"
            self._report_once(FIXES, "gps_implausible", fix.stamp_ns, text)
            return False
        others = self._track.fixes_near(fix.stamp_ns, self._before_ns, after_ns)[-MOST_JUDGES:]
        agreeing = sum(self._agree(fix, other) for other in others)
        if len(others) < LEAST_JUDGES or 2 * agreeing >= len(others):
            return True
        text = f"the fix at {fix.latitude:.6f}, {fix.longitude:.6f} is where the transforms cannot have got to"
        self._report_once(FIXES, "gps_implausible", fix.stamp_ns, text)
        return False

    def _stuck_way(self, fix: Fix, after_ns: int) -> float:
        """Return how far the device moved while fixes around one were the same, metres; 0 for the first of them."""
        is_same = partial(_is_same_place, fix)
        before = list(takewhile(is_same, reversed(self._track.fixes_near(fix.stamp_ns, self._before_ns, -1))))
        if not before:
            return 0.0
        after = takewhile(is_same, self._track.fixes_near(fix.stamp_ns, -1, after_ns))
        known = [place for one in (*reversed(before), fix, *after) if (place := self._ground_point(one.stamp_ns))]
        return math.dist(known[0], known[-1]) if known else 0.0

    def _agree(self, fix: Fix, other: Fix) -> bool:
        """Whether the step between two fixes is about as long as the transforms say, or as a vehicle can go."""
        known = self._agreements.get((fix.stamp_ns, other.stamp_ns))
        if known is not None:
            return known
        step_m = math.hypot(*ground_step(fix, other))
        start, end = self._ground_point(fix.stamp_ns), self._ground_point(other.stamp_ns)
        if start is None or end is None:
            return step_m <= STEP_TOLERANCE_M + FASTEST_M_S * abs(fix.stamp_ns - other.stamp_ns) * 1e-9
        moved_m = math.dist(start, end)
        if len(self._agreements) >= MOST_POINTS * MOST_JUDGES:
            self._agreements.clear()
        agrees = abs(step_m - moved_m) <= max(STEP_TOLERANCE_M, STEP_SHARE * moved_m)
        self._agreements[fix.stamp_ns, other.stamp_ns] = agrees
        return agrees

    def _ground_point(self, stamp_ns: int) -> tuple[float, float] | None:
        """Return x and y of the device in the world at the stamp of a fix."""
        known = self._points.get(stamp_ns)
        if known is None and (place := self._antenna(stamp_ns, None)) is not None:
            if len(self._points) >= MOST_POINTS:
                self._points.clear()
            known = self._points[stamp_ns] = (float(place[0]), float(place[1]))
        return known

    def _report_once(self, name: str, cause: Cause, stamp_ns: int, text: str) -> None:
        if (cause, stamp_ns) not in self._reported:
            self._reported.add((cause, stamp_ns))
            self._lost(name, cause, stamp_ns, text)

    def _contradicts(self, bearing: float, yaw: float, stamp_ns: int) -> bool:
        """Whether fixes and transforms over a longer way say that the device faces elsewhere."""
        counts = self._counting(stamp_ns)
        near = self._track.fixes_near(stamp_ns, self._before_ns, self._after_ns)
        first, last = next(filter(counts, near), None), next(filter(counts, reversed(near)), None)
        if first is None or last is None or (way_m := math.hypot(*ground_step(first, last))) < TELLING_WAY_M:
            return False
        turn = self._turn_between(first, last, stamp_ns)
        if turn is None:
            return False
        off = abs((bearing_of_yaw(yaw + turn) - bearing + 180.0) % 360.0 - 180.0)
        if off <= MOST_OFF_DEG + math.degrees(math.atan(FIX_ERROR_M / way_m)):
            return False
        text = f"a heading of {bearing:.0f} degrees is {off:.0f} degrees off what fixes and transforms say"
        self._report_once(HEADINGS, "heading_disagrees", stamp_ns, text)
        return True

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
        fixes = self._track.step_up_to(stamp_ns, self._counting(stamp_ns), stamp_ns + self._after_ns)
        return self._turn_between(*fixes, stamp_ns) if fixes is not None and _is_moving(*fixes) else None

    def _turn_between(self, before: Fix, after: Fix, stamp_ns: int) -> float | None:
        """Return by how much the world is turned against east, radians, from two fixes; None where that is unclear."""
        mount = self._mount(after.frame_id, stamp_ns)
        ends = [self._antenna(fix.stamp_ns, mount) for fix in (before, after)]
        if ends[0] is None or ends[1] is None:
            return None
        east, north = ground_step(before, after)
        x, y, _ = ends[1] - ends[0]
        if abs(math.hypot(x, y) - math.hypot(east, north)) > LENGTH_TOLERANCE * math.hypot(east, north):
            return None
        return math.atan2(north, east) - math.atan2(y, x)

    def _course(self, stamp_ns: int) -> float | None:
        """Course over ground between the fixes next to a stamp."""
        fixes = self._track.step_up_to(stamp_ns, self._counting(stamp_ns), stamp_ns + self._after_ns)
        if fixes is None or not _is_moving(*fixes):
            return None
        east, north = ground_step(*fixes)
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


def _is_same_place(one: Fix, other: Fix) -> bool:
    return one.latitude == other.latitude and one.longitude == other.longitude


def _any(_fix: Fix) -> bool:
    return True


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


def ground_step(before: Fix, after: Fix) -> tuple[float, float]:
    """Return the step between two near fixes to the east and to the north, metres."""
    east_radius, north_radius = _radii(before)
    turn = (after.longitude - before.longitude + 180.0) % 360.0 - 180.0
    return math.radians(turn) * east_radius, math.radians(after.latitude - before.latitude) * north_radius


def _is_moving(before: Fix, after: Fix) -> bool:
    return math.hypot(*ground_step(before, after)) * 1e9 >= MIN_SPEED_M_S * (after.stamp_ns - before.stamp_ns)


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
