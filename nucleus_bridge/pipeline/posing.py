# SPDX-License-Identifier: Apache-2.0
"""The poses and intrinsics of one match: the device at the sweep's stamp, each sensor at its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from nucleus_bridge import warnings
from nucleus_bridge.causes import Cause
from nucleus_bridge.config import CameraConfig, Config, RadarConfig
from nucleus_bridge.decode.calibration_check import implausible
from nucleus_bridge.decode.camera_info import (
    CameraInfo,
    camera_model,
    is_rectified_topic,
    rectified_from_optical,
)
from nucleus_bridge.decode.image import SUFFIXES, pixels
from nucleus_bridge.errors import (
    CalibrationError,
    ConnectivityError,
    DecodeError,
    ExtrapolationError,
    TransformError,
    TransformGapError,
    UnknownFrameError,
)
from nucleus_bridge.formats import registry
from nucleus_bridge.geometry import TransformTree, knot_stamps, quaternion, transforms
from nucleus_bridge.geometry.optical import BODY_FROM_OPTICAL
from nucleus_bridge.model import (
    CameraModel,
    Detections,
    FloatArray,
    Frame,
    Image,
    Payload,
    PosedImage,
    PosedSweep,
    RadarPoints,
    RadarScan,
    Sweep,
    Trajectory,
    Transform,
)
from nucleus_bridge.pipeline.calibrations import Calibrations
from nucleus_bridge.pipeline.globe import Globe
from nucleus_bridge.pipeline.gps import GpsTrack
from nucleus_bridge.pipeline.synchroniser import Match
from nucleus_bridge.warnings import Finding

Sample = TypeVar("Sample")
Posed = TypeVar("Posed")

VELOCITY_NS = 50_000_000
"""The radar's own velocity is taken from its positions this long before and after the scan."""

Obstacle = Callable[[], object]
"""Called again and again until its answer is false or None: what was missing is there."""

LossReport = Callable[[str, Cause, int, str], None]
"""Takes sensor name, cause, stamp and the text that explains it."""

Need = tuple[str, int, int]
"""A frame id and the first and last stamp at which its pose is asked for."""


DEFERRED_S = 60.0
"""How long the transforms and fixes that a waiting frame needs are kept, so that it is complete once it is wanted."""
UNPOSED = Trajectory(np.empty(0, np.int64), np.empty((0, 3)), np.empty((0, 4)))
"""Stands for the poses of a sweep that are there and were not asked for yet."""


class GivenUp(Exception):  # noqa: N818 - control flow between two modules, not an error of the package
    """A frame or an image cannot be had."""

    def __init__(self, cause: Cause, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class Poser:
    """Gives a match its poses, calibrations and GPS pose."""

    def __init__(
        self, config: Config, tree: TransformTree, calibrations: Calibrations, gps: GpsTrack, lost: LossReport
    ) -> None:
        self._config = config
        self._tree = tree
        self._calibrations = calibrations
        self._globe = Globe(config, tree, gps, lost)
        self._lost = lost
        self._cameras = {camera.name: (index, camera) for index, camera in enumerate(config.cameras)}
        self._lidars = {lidar.name: lidar for lidar in config.lidars}
        self._radars = {radar.name: radar for radar in config.radars}
        self._reference = config.lidars[0].name
        self._deadline_ns = 0
        self._defers = config.scene.select == "events" and config.look_back_s + config.sync.wait_s <= DEFERRED_S
        self.findings: dict[str, Finding] = {}
        self._looked_at: dict[str, CameraInfo] = {}

    def restart(self) -> None:
        """Forget what holds for the time before a step of the clock."""
        self._globe.restart()

    def needs(self, match: Match[Payload]) -> tuple[Need, ...]:
        """List the poses that the match asks for."""
        start_ns = self._start_ns(match)
        needs = [(self._config.device_frame, start_ns, start_ns)]
        for name, sweep in self._sweeps(match):
            first, last = self._span(name, sweep)
            needs.append((sweep.frame_id, first, last))
        for name, image in self._images(match):
            needs.append((self._optical_frame(name, image), image.stamp_ns, image.stamp_ns))
        for _, scan in self._scans(match):
            needs.append((scan.frame_id, *_radar_span(scan)))
        for _, found in self._found(match):
            needs.append((found.frame_id, found.stamp_ns, found.stamp_ns))
        return tuple(needs)

    def obstacles(
        self, match: Match[Payload], needs: tuple[Need, ...], *, transforms_alone: bool
    ) -> Iterator[Obstacle]:
        """List what may still be missing."""
        for frame_id, first, last in needs:
            yield partial(self._missing_transform, frame_id, first, last, match.deadline_ns)
        if transforms_alone:
            return
        for name, image in self._images(match):
            yield partial(self._calibrations.unsettled, name, image.stamp_ns)
        yield partial(self._globe.unsettled, match.anchor.stamp_ns)

    def _missing_transform(self, frame_id: str, first_ns: int, last_ns: int, deadline_ns: int) -> TransformError | None:
        """Return why a pose cannot be had, or None.

        After a gap, transforms from after the match's deadline do not count, whether they are there yet or not.
        """
        world = self._config.world_frame
        error = self._tree.availability(world, frame_id, first_ns, last_ns)
        if isinstance(error, TransformGapError):
            return error if error.end_ns <= deadline_ns else _resumed_late(frame_id, last_ns)
        if error is not None or self._tree.needed_ns(world, frame_id, last_ns) <= deadline_ns:
            return error
        return _resumed_late(frame_id, last_ns)

    def build(self, match: Match[Payload]) -> tuple[Frame | None, dict[str, int]]:
        """Build the frame and count what cannot be in it.

        Returns:
            The frame, or None when it cannot be had, and the residuals of what is in it.
        """
        failures: dict[str, GivenUp] = {}
        frame = None
        self._deadline_ns = match.deadline_ns
        try:
            frame = self._frame(match, failures)
        except GivenUp as given_up:
            failures[self._reference] = given_up
            for name in match.samples:
                failures.setdefault(name, GivenUp("frame_dropped", ""))
        for name, failure in failures.items():
            sample = match.samples.get(name, match.anchor)
            self._lost(name, failure.cause, sample.stamp_ns, failure.reason)
        return frame, {name: ns for name, ns in match.residuals_ns.items() if name not in failures}

    def _frame(self, match: Match[Payload], failures: dict[str, GivenUp]) -> Frame:
        """Pose everything; what fails alone goes to ``failures``, what takes the frame with it is raised."""
        stamp_ns, start_ns = match.anchor.stamp_ns, self._start_ns(match)
        device = self._lookup(self._config.device_frame, start_ns)
        sweeps = self._posed(self._sweeps(match), self._posed_sweep, failures)
        images = self._posed(self._images(match), self._posed_image, failures)
        radars = self._posed(self._scans(match), self._radar_points, failures)
        detections = self._posed(self._found(match), self._detections, failures)
        for sensor in self._config.matched:
            if sensor.required and (sensor.name in failures or sensor.name not in match.samples):
                lost = "cannot be used" if sensor.name in failures else "has nothing within its tolerance"
                raise GivenUp("required_missing", f"required sensor {sensor.name!r} {lost}")
        gps = None if self._defers else self._globe.pose_at(start_ns, device)
        begun_ns = None if start_ns == stamp_ns else start_ns
        return Frame(stamp_ns, device, gps, sweeps, images, radars, detections, begun_ns)

    def complete(self, frame: Frame) -> Frame:
        """Give a frame that is wanted what most frames are dropped without, where events select them.

        Raises:
            TransformError: A pose that was there is gone.
        """
        if not self._defers:
            return frame
        sweeps = tuple(
            replace(posed, world_from_lidar=self._knots(posed.sweep.frame_id, *self._span(posed.lidar, posed.sweep)))
            if posed.world_from_lidar is UNPOSED
            else posed
            for posed in frame.sweeps
        )
        return replace(frame, sweeps=sweeps, gps=self._globe.pose_at(frame.timestamp_ns, frame.world_from_device))

    def _posed(
        self,
        samples: Iterable[tuple[str, Sample]],
        pose: Callable[[str, Sample], Posed],
        failures: dict[str, GivenUp],
    ) -> tuple[Posed, ...]:
        """Pose the samples of one kind; without the reference lidar's there is no frame."""
        posed = []
        for name, sample in samples:
            try:
                posed.append(pose(name, sample))
            except GivenUp as given_up:
                if name == self._reference:
                    raise
                failures[name] = given_up
        return tuple(posed)

    def _posed_sweep(self, name: str, sweep: Sweep) -> PosedSweep:
        return PosedSweep(name, sweep, self._sweep_poses(name, sweep), self._mounting(name, sweep))

    def _detections(self, name: str, found: Detections) -> Detections:
        return _in_world(name, found, self._lookup(found.frame_id, found.stamp_ns))

    def _radar_points(self, name: str, scan: RadarScan) -> RadarPoints:
        pose = self._lookup(scan.frame_id, scan.stamp_ns)
        return _radar_points(scan, self._radars[name], self._tree, self._config.world_frame, pose)

    def _posed_image(self, name: str, image: Image) -> PosedImage:
        index, camera = self._cameras[name]
        frame_id = self._optical_frame(name, image)
        if not frame_id:
            raise GivenUp(
                "empty_frame_id",
                f"images of camera {name!r} on {camera.image_topic} have an empty header.frame_id; "
                f"set cameras.{name}.optical_frame",
            )
        info = self._calibration(camera, image)
        model = self._camera_model(camera, info, image)
        if camera.required:
            self._check_pixels(camera, image, model)
        pose = self._lookup(frame_id, image.stamp_ns)
        if camera.frame_convention == "body":
            pose = transforms.compose(pose, BODY_FROM_OPTICAL)
        if is_rectified_topic(camera.image_topic):
            pose = _rectified(pose, camera, info)
        return PosedImage(name, index, image, model, pose)

    def _check_pixels(self, camera: CameraConfig, image: Image, model: CameraModel) -> None:
        """Decode now what must be decoded later: whether the frame lives depends on it."""
        if image.encoding in SUFFIXES and self._can_express(model) and camera.rectify != "always":
            return
        try:
            pixels(image)
        except DecodeError as error:
            raise GivenUp(error.cause, f"camera {camera.name!r}: {error}") from None

    def _can_express(self, model: CameraModel) -> bool:
        return registry.of(self._config.scene.format).expresses(model)

    def _calibration(self, camera: CameraConfig, image: Image) -> CameraInfo:
        info = self._calibrations.at(camera.name, image.stamp_ns)
        if info is None:
            raise GivenUp(
                "no_calibration",
                f"no CameraInfo for camera {camera.name!r} on {camera.info_topic or '(no topic)'}; "
                f"record it or set cameras.{camera.name}.calibration_file",
            )
        return info

    def _look_at(self, camera: CameraConfig, info: CameraInfo, image: Image) -> None:
        """Note what contradicts the image, or itself, in a calibration; each is looked at once."""
        if self._looked_at.get(camera.name) is info:
            return
        self._looked_at[camera.name] = info
        why = implausible(info, image.width, image.height, rectified=is_rectified_topic(camera.image_topic))
        if why and camera.name not in self.findings:
            topic = camera.info_topic or camera.calibration_file
            self.findings[camera.name] = warnings.camera_info_implausible(topic, why, camera.name)

    def _camera_model(self, camera: CameraConfig, info: CameraInfo, image: Image) -> CameraModel:
        self._look_at(camera, info, image)
        try:
            model = camera_model(
                info,
                image_width=image.width,
                image_height=image.height,
                rectified=is_rectified_topic(camera.image_topic),
            )
            if camera.rectify == "never" and not self._can_express(model):
                raise CalibrationError(
                    f"camera {camera.name!r}: distortion {info.distortion_model!r} cannot be expressed in a scene; "
                    f"set cameras.{camera.name}.rectify to auto",
                    cause="not_expressible",
                )
        except DecodeError as error:
            raise GivenUp(error.cause, f"camera {camera.name!r}: {error}") from None
        return model

    def _sweep_poses(self, name: str, sweep: Sweep) -> Transform | Trajectory:
        first, last = self._span(name, sweep)
        if first == last:
            return self._lookup(sweep.frame_id, first)
        self._check_in_time(sweep.frame_id, last)
        if self._defers:
            error = self._tree.availability(self._config.world_frame, sweep.frame_id, first, last)
            if error is not None:
                raise self._given_up(error)
            return UNPOSED
        try:
            return self._knots(sweep.frame_id, first, last)
        except TransformError as error:
            raise self._given_up(error) from None

    def _knots(self, frame_id: str, first_ns: int, last_ns: int) -> Trajectory:
        return self._tree.lookup_many(self._config.world_frame, frame_id, knot_stamps(first_ns, last_ns))

    def _mounting(self, name: str, sweep: Sweep) -> Transform | None:
        """Where a lidar sits on the device, if it has a crop box or the ground is to be found in its clouds."""
        if not self._lidars[name].crop_box and not self._config.segments_ground:
            return None
        try:
            return self._tree.lookup(self._config.device_frame, sweep.frame_id, sweep.stamp_ns)
        except TransformError as error:
            raise GivenUp(_cause(error), str(error)) from None

    def _check_in_time(self, frame_id: str, last_ns: int) -> None:
        """Refuse a pose that transforms from after the deadline would make, as it may not have them every time."""
        try:
            needed_ns = self._tree.needed_ns(self._config.world_frame, frame_id, last_ns)
        except TransformError as error:
            raise self._given_up(error) from None
        if needed_ns > self._deadline_ns:
            raise GivenUp("after_last_transform", str(_resumed_late(frame_id, last_ns)))

    def _lookup(self, frame_id: str, stamp_ns: int) -> Transform:
        self._check_in_time(frame_id, stamp_ns)
        try:
            return self._tree.lookup(self._config.world_frame, frame_id, stamp_ns)
        except TransformError as error:
            raise self._given_up(error) from None

    def _given_up(self, error: TransformError) -> GivenUp:
        """Return why a pose is given up; a gap is one only where its end is from before the deadline."""
        if isinstance(error, TransformGapError) and error.end_ns > self._deadline_ns:
            return GivenUp("after_last_transform", str(error))
        return GivenUp(_cause(error), str(error))

    def _start_ns(self, match: Match[Payload]) -> int:
        """Return the instant of the frame: where the rotation begins, if the stamp marks a later one."""
        sweep, stamp_ns = match.anchor.item, match.anchor.stamp_ns
        if self._lidars[self._reference].stamp == "start" or not isinstance(sweep, Sweep):
            return stamp_ns
        return min(stamp_ns, sweep.first_ns)

    def _span(self, name: str, sweep: Sweep) -> tuple[int, int]:
        if self._config.deskew and self._lidars[name].deskew and sweep.time_field is not None:
            return sweep.first_ns, sweep.last_ns
        return sweep.stamp_ns, sweep.stamp_ns

    def _optical_frame(self, name: str, image: Image) -> str:
        return self._cameras[name][1].optical_frame.lstrip("/") or image.frame_id

    def _sweeps(self, match: Match[Payload]) -> Iterator[tuple[str, Sweep]]:
        if isinstance(match.anchor.item, Sweep):
            yield self._reference, match.anchor.item
        for name in self._lidars:
            sample = match.samples.get(name)
            if sample is not None and isinstance(sample.item, Sweep):
                yield name, sample.item

    def _images(self, match: Match[Payload]) -> Iterator[tuple[str, Image]]:
        for name in self._cameras:
            sample = match.samples.get(name)
            if sample is not None and isinstance(sample.item, Image):
                yield name, sample.item

    def _scans(self, match: Match[Payload]) -> Iterator[tuple[str, RadarScan]]:
        for name in self._radars:
            sample = match.samples.get(name)
            if sample is not None and isinstance(sample.item, RadarScan):
                yield name, sample.item

    def _found(self, match: Match[Payload]) -> Iterator[tuple[str, Detections]]:
        for source in self._config.annotations:
            sample = match.samples.get(source.name)
            if sample is not None and isinstance(sample.item, Detections):
                yield source.name, sample.item


def _in_world(name: str, found: Detections, world_from_frame: Transform) -> Detections:
    turn = world_from_frame.rotation_xyzw
    boxes = tuple(
        replace(
            box,
            center=transforms.apply(world_from_frame, box.center),
            rotation_xyzw=quaternion.multiply(turn, box.rotation_xyzw),
        )
        for box in found.boxes
    )
    return replace(found, boxes=boxes, source=name)


def _rectified(world_from_optical: Transform, camera: CameraConfig, info: CameraInfo) -> Transform:
    """Turn a camera's pose into that of its rectified images: R of the calibration turns the optical frame."""
    try:
        turn = rectified_from_optical(info)
    except DecodeError as error:
        raise GivenUp(error.cause, f"camera {camera.name!r}: {error}") from None
    if turn is None:
        return world_from_optical
    optical_from_rectified = quaternion.from_matrix(np.array(turn).reshape(3, 3).T)
    return transforms.compose(world_from_optical, Transform(np.zeros(3), optical_from_rectified))


def _resumed_late(frame_id: str, stamp_ns: int) -> ExtrapolationError:
    return ExtrapolationError(
        f"the pose of {frame_id!r} at {stamp_ns} ns: transforms stopped before it and went on later than sync.wait_s",
        direction="future",
    )


def _cause(error: TransformError) -> Cause:
    if isinstance(error, UnknownFrameError):
        return "unknown_frame"
    if isinstance(error, ConnectivityError):
        return "unconnected_frames"
    if isinstance(error, TransformGapError):
        return "tf_gap"
    if isinstance(error, ExtrapolationError):
        return "before_first_transform" if error.direction == "past" else "after_last_transform"
    return "no_transform"


def _radar_span(scan: RadarScan) -> tuple[int, int]:
    """Return the first and last stamp at which the radar's pose is asked for."""
    if scan.velocity is None or scan.is_compensated:
        return scan.stamp_ns, scan.stamp_ns
    return scan.stamp_ns - VELOCITY_NS, scan.stamp_ns + VELOCITY_NS


def _radar_points(
    scan: RadarScan, radar: RadarConfig, tree: TransformTree, world_frame: str, world_from_radar: Transform
) -> RadarPoints:
    """Express a scan in the world.

    Velocities over ground are turned into the world. To relative ones the radar's own velocity is added, to radial ones
    only its part along the ray. Where that velocity cannot be had there are no directions.
    """
    direction = None
    if scan.velocity is not None:
        direction = quaternion.rotate(world_from_radar.rotation_xyzw, scan.velocity)
        if not scan.is_compensated:
            own = _own_velocity(scan, tree, world_frame)
            direction = None if own is None else direction + _along_rays(scan, world_from_radar, own)
    return RadarPoints(
        radar.name,
        scan.stamp_ns,
        scan.frame_id,
        transforms.apply(world_from_radar, scan.xyz),
        direction,
        _sizes(scan.strength, radar),
        world_from_radar,
    )


def _own_velocity(scan: RadarScan, tree: TransformTree, world_frame: str) -> FloatArray | None:
    first, last = _radar_span(scan)
    try:
        start, end = (tree.lookup(world_frame, scan.frame_id, stamp_ns) for stamp_ns in (first, last))
    except TransformError:
        return None
    velocity: FloatArray = (end.translation - start.translation) / ((last - first) * 1e-9)
    return velocity


def _along_rays(scan: RadarScan, world_from_radar: Transform, velocity: FloatArray) -> FloatArray:
    """Return the radar's velocity for each detection: the whole of it, or its part along the ray."""
    if not scan.is_radial:
        return np.broadcast_to(velocity, scan.xyz.shape)
    distance = np.sqrt((scan.xyz * scan.xyz).sum(axis=1, keepdims=True))
    rays = quaternion.rotate(world_from_radar.rotation_xyzw, scan.xyz / np.where(distance > 0.0, distance, 1.0))
    along: FloatArray = rays * (rays * velocity).sum(axis=1, keepdims=True)
    return along


def _sizes(strength: FloatArray | None, radar: RadarConfig) -> FloatArray | None:
    if strength is None:
        return None
    sizes: FloatArray = np.clip((strength - radar.strength_min) / (radar.strength_max - radar.strength_min), 0.0, 1.0)
    return sizes
