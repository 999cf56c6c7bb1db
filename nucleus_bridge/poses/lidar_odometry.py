# SPDX-License-Identifier: Apache-2.0
"""The device's motion from its lidar alone: each sweep is registered to a map of those before it (GICP by small_gicp).

The pose of a sweep belongs to its last point. Sweeps are corrected for their own motion, taken as constant from one
sweep to the next. What cannot be registered is a gap: behind it the map begins anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from nucleus_bridge.errors import InputError
from nucleus_bridge.geometry import quaternion
from nucleus_bridge.geometry.deskew import points_in_world
from nucleus_bridge.model import FloatArray, IntArray, Trajectory

LIBRARY = "small_gicp"
_VOXEL_M = 1.0  # of the map
_SAMPLE_M = 0.4  # between the points that are registered
_NEIGHBOURS = 10
_REACH_M = 2.0  # between a point and the map
_ITERATIONS = 30
_HORIZON = 300  # sweeps until a voxel that is not seen again is forgotten
_PASSES = 2
_FIRST_PASSES = 3
_MIN_POINTS = 100
_MIN_INLIERS = 0.5
_MAX_SURPRISE_M, _MAX_SURPRISE_DEG = 1.0, 10.0
_MAX_STEP_NS = 1_000_000_000
_GAP_STEPS = 4  # a gap is longer than this many steps before it, so that it is none of a slow lidar
_DEGENERATE = 0.02  # a street has 0.3 and more, a tube 0.008
_KNOT_NS = 5_000_000
_SMALL = 1e-6  # radians: from here on quotients lose their digits
_NOWHERE = np.zeros(3)


class SweepPoints(NamedTuple):
    """The points of one sweep in the device frame.

    Attributes:
        xyz: Shape (n, 3), metres.
        time_ns: Shape (n,), int64, or None where the points have no times.
        first_ns: Time of the first point.
        last_ns: Time of the last point.
    """

    xyz: FloatArray
    time_ns: IntArray | None
    first_ns: int
    last_ns: int


@dataclass(frozen=True, eq=False)
class SweepPose:
    """Where the device was at the end of a sweep.

    Attributes:
        stamp_ns: When.
        pose: Shape (7,): x, y, z in metres, unit quaternion x y z w, in the frame of the first sweep.
        inliers: Share of points that lie on the map.
        residual: Root mean square of their distances to it, in standard deviations of points and map (Mahalanobis).
        constraint: Smallest by largest eigenvalue of what holds the position: near 0 it can slide one way.
        begins: Whether a gap lies before it.
    """

    stamp_ns: int
    pose: FloatArray
    inliers: float
    residual: float
    constraint: float
    begins: bool

    @property
    def is_degenerate(self) -> bool:
        """Whether the surroundings do not hold the position in every direction, as in a tunnel."""
        return self.constraint < _DEGENERATE


class _Fit(NamedTuple):
    world_from_device: FloatArray
    cloud: Any
    inliers: float
    residual: float
    constraint: float


@dataclass
class LidarOdometry:
    """Registers sweeps one after another; the same sweeps give the same bits.

    Args:
        gap_ns: How long after the last good sweep no pose is given once one has failed, so that nobody interpolates
            over it.

    Attributes:
        sweeps: Sweeps seen.
        failed: Sweeps that could not be registered, or fell into the gap behind one.

    Raises:
        InputError: small_gicp is not installed.
    """

    gap_ns: int = 1_000_000_000
    sweeps: int = 0
    failed: int = 0
    _held: SweepPoints | None = None
    _map: Any = None
    _pose: FloatArray = field(default_factory=lambda: np.eye(4))
    _twist: FloatArray = field(default_factory=lambda: np.zeros(6))  # of a nanosecond
    _last_ns: int = 0
    _step_ns: int = 0
    _silent_until_ns: int | None = None

    def __post_init__(self) -> None:
        self._library = load_library()

    def add(self, sweep: SweepPoints) -> list[SweepPose]:
        """Take the next sweep; return the poses that it decides, in order."""
        self.sweeps += 1
        if len(sweep.xyz) < _MIN_POINTS:
            return self._lost()
        if self._map is None:
            return self._begin(sweep)
        step_ns = sweep.last_ns - self._last_ns
        if not 0 < step_ns <= _MAX_STEP_NS:
            self._cut()
            return self._begin(sweep)
        fit = self._register(sweep, step_ns)
        if fit is None:
            self._cut()
            self._held = sweep
            self.failed += 1
            return []
        self._accept(sweep, fit)
        return self._told([_pose_of(sweep.last_ns, fit, begins=False)])

    def finish(self) -> None:
        """End: a sweep that waited for another to begin a map with has no pose."""
        if self._held is not None:
            self._held = None
            self.failed += 1

    def _begin(self, sweep: SweepPoints) -> list[SweepPose]:
        """Begin a map with the sweep that is held and this one, by the motion between them."""
        before, self._held = self._held, sweep
        if before is None:
            return []
        step_ns = sweep.last_ns - before.last_ns
        if not 0 < step_ns <= _MAX_STEP_NS:
            return self._lost()
        start, fit = self._pose, None
        for _ in range(_FIRST_PASSES):
            target, tree = self._prepared(before, self._twist)
            # On one sweep alone a map of voxels is thin: the points themselves hold better.
            relative = self._fit((target,), (tree,), sweep, self._twist, _exp(self._twist * step_ns))
            if relative is None:
                self._twist = np.zeros(6)
                return self._lost()
            self._twist = _log(relative.world_from_device) / step_ns
            fit = relative._replace(world_from_device=start @ relative.world_from_device)
        assert fit is not None  # noqa: S101 - of the last pass
        self._map, self._held = self._library.GaussianVoxelMap(_VOXEL_M), None
        self._map.set_lru(horizon=_HORIZON, clear_cycle=10)
        self._map.insert(self._prepared(before, self._twist)[0], start)
        self._pose, self._last_ns = start, before.last_ns
        at_first = start @ _exp(self._twist * (before.first_ns - before.last_ns))
        poses = [
            _pose_of(stamp_ns, fit._replace(world_from_device=matrix), begins=stamp_ns == before.first_ns)
            for stamp_ns, matrix in {before.first_ns: at_first, before.last_ns: start}.items()
        ]
        self._accept(sweep, fit)
        return self._told([*poses, _pose_of(sweep.last_ns, fit, begins=False)])

    def _register(self, sweep: SweepPoints, step_ns: int) -> _Fit | None:
        """Return where a sweep lies on the map, or None; between passes it is corrected by the motion that came out."""
        expected = guess = self._pose @ _exp(self._twist * step_ns)
        twist, fit = self._twist, None
        for _ in range(_PASSES):
            fit = self._fit((self._map,), (), sweep, twist, guess)
            if fit is None:
                return None
            guess = fit.world_from_device
            twist = _log(_inverse(self._pose) @ guess) / step_ns
        return None if _surprises(expected, guess) else fit

    def _fit(
        self, target: tuple[Any], tree: tuple[Any, ...], sweep: SweepPoints, twist: FloatArray, guess: FloatArray
    ) -> _Fit | None:
        """Align a sweep to a map, or to a cloud with its tree; None where it does not lie on it."""
        cloud, _ = self._prepared(sweep, twist)
        if cloud.size() < _MIN_POINTS:
            return None
        result = self._library.align(
            *target,
            cloud,
            *tree,
            init_T_target_source=guess,
            max_correspondence_distance=_REACH_M,
            num_threads=1,
            max_iterations=_ITERATIONS,
        )
        inliers = result.num_inliers / cloud.size()
        if not result.converged or inliers < _MIN_INLIERS:
            return None
        held = np.linalg.eigvalsh(result.H[3:, 3:])
        return _Fit(
            result.T_target_source,
            cloud,
            inliers,
            math.sqrt(max(2.0 * result.error / result.num_inliers, 0.0)),
            float(held[0] / held[-1]) if held[-1] > 0.0 else 0.0,
        )

    def _prepared(self, sweep: SweepPoints, twist: FloatArray) -> tuple[Any, Any]:
        """Return a sweep as it would look from where it ended, thinned, with covariances; and its tree."""
        xyz = sweep.xyz
        if sweep.time_ns is not None and twist.any():
            xyz = points_in_world(xyz, sweep.time_ns, _knots(sweep, twist), _NOWHERE)
        return self._library.preprocess_points(  # type: ignore[no-any-return]
            np.ascontiguousarray(xyz, dtype=np.float64), _SAMPLE_M, num_neighbors=_NEIGHBOURS, num_threads=1
        )

    def _accept(self, sweep: SweepPoints, fit: _Fit) -> None:
        self._step_ns = sweep.last_ns - self._last_ns
        self._twist = _log(_inverse(self._pose) @ fit.world_from_device) / self._step_ns
        self._pose, self._last_ns = fit.world_from_device, sweep.last_ns
        self._map.insert(fit.cloud, fit.world_from_device)

    def _cut(self) -> None:
        """Forget the map: what comes is not known to lie where the motion would have led."""
        self._silent_until_ns = self._last_ns + max(self.gap_ns, _GAP_STEPS * self._step_ns)
        self._map, self._held = None, None

    def _lost(self) -> list[SweepPose]:
        self.failed += 1
        return []

    def _told(self, poses: list[SweepPose]) -> list[SweepPose]:
        if self._silent_until_ns is None:
            return poses
        told = [pose for pose in poses if pose.stamp_ns > self._silent_until_ns]
        self.failed += len(poses) - len(told)
        if told:
            self._silent_until_ns = None
            told[0] = replace(told[0], begins=True)
        return told


def load_library() -> Any:  # noqa: ANN401 - it has no types
    """Return small_gicp.

    Raises:
        InputError: It is not installed.
    """
    try:
        import small_gicp  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(f"{LIBRARY} is not installed: pip install 'nucleus-bridge[odometry]'") from None
    return small_gicp


def _pose_of(stamp_ns: int, fit: _Fit, *, begins: bool) -> SweepPose:
    return SweepPose(stamp_ns, _seven(fit.world_from_device), fit.inliers, fit.residual, fit.constraint, begins)


def _seven(matrix: FloatArray) -> FloatArray:
    return np.concatenate((matrix[:3, 3], quaternion.from_matrix(matrix[:3, :3])))


def _surprises(expected: FloatArray, found: FloatArray) -> bool:
    twist = _log(_inverse(expected) @ found)
    turn, way = np.linalg.norm(twist[:3]), np.linalg.norm(twist[3:])
    return bool(way > _MAX_SURPRISE_M or turn > math.radians(_MAX_SURPRISE_DEG))


def _knots(sweep: SweepPoints, twist: FloatArray) -> Trajectory:
    """Return where the device was over a sweep, seen from where it was at the last point."""
    count = max(2, (sweep.last_ns - sweep.first_ns) // _KNOT_NS + 2)
    stamps_ns = np.linspace(sweep.first_ns - sweep.last_ns, 0, count).astype(np.int64)
    matrices = np.array([_exp(twist * int(stamp)) for stamp in stamps_ns])
    return Trajectory(stamps_ns + sweep.last_ns, matrices[:, :3, 3], quaternion.from_matrix(matrices[:, :3, :3]))


def _exp(twist: FloatArray) -> FloatArray:
    """Return the motion of a constant twist (turn, way), shape (4, 4)."""
    turn, way = twist[:3], twist[3:]
    angle = float(np.sqrt((turn * turn).sum()))
    cross = _cross(turn)
    square = cross @ cross
    if angle < _SMALL:
        a, b, c = 1.0, 0.5, 1.0 / 6.0
    else:
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle**2
        c = (1.0 - a) / angle**2
    matrix = np.eye(4)
    matrix[:3, :3] += a * cross + b * square
    matrix[:3, 3] = (np.eye(3) + b * cross + c * square) @ way
    return matrix


def _log(matrix: FloatArray) -> FloatArray:
    """Return the twist of a motion of less than half a turn: the inverse of ``_exp``."""
    x, y, z, w = quaternion.from_matrix(matrix[:3, :3])
    sine = math.sqrt(x * x + y * y + z * z)
    angle = 2.0 * math.atan2(sine, abs(w))
    scale = math.copysign(angle / sine if sine > 1e-12 else 2.0, w)
    turn = scale * np.array((x, y, z))
    cross = _cross(turn)
    c = 1.0 / 12.0
    if angle >= _SMALL:
        c = 1.0 / angle**2 - (1.0 + math.cos(angle)) / (2.0 * angle * math.sin(angle))
    return np.concatenate((turn, (np.eye(3) - 0.5 * cross + c * cross @ cross) @ matrix[:3, 3]))


def _cross(turn: FloatArray) -> FloatArray:
    x, y, z = turn
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _inverse(matrix: FloatArray) -> FloatArray:
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse
