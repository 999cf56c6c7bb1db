# SPDX-License-Identifier: Apache-2.0
"""Every topic of the drive: its stamps, when a recorder would have logged each message, and the bytes of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.testing.demo import forms, gnss, messages, odometry, packets, radar, signals
from nucleus_bridge.testing.demo.cameras import Camera, CameraImages, cameras_of
from nucleus_bridge.testing.demo.course import true_poses
from nucleus_bridge.testing.demo.lidar import LIDARS, PERIOD_NS, LidarMount, SpinningLidar
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.rigid import Pose

IntArray = NDArray[np.int64]

MAP, ODOM, BASE = "map", "odom", "base_link"
_MS = 1_000_000
_STATIC_LEAD_NS = 520 * _MS
_SHUFFLE_MS = 250.0


@dataclass(frozen=True, eq=False)
class Stream:
    """One topic.

    Attributes:
        topic: Name.
        type_name: Interface name.
        stamps_ns: Header stamps, shape (k,).
        log_ns: When each message is logged, shape (k,).
        message: From the index of a message to its CDR bytes.
        is_latched: Whether late subscribers get the last message (transient local).
    """

    topic: str
    type_name: str
    stamps_ns: IntArray
    log_ns: IntArray
    message: Callable[[int], bytes]
    is_latched: bool = False


def streams_of(options: DriveOptions) -> list[Stream]:
    """Return all topics of a drive."""
    clock = _Recorder(options)
    lidars = [mount for mount in LIDARS if mount.name in options.lidar_names]
    cameras = cameras_of(options)
    streams = [_static_transforms(options, lidars, cameras), _transforms(options, clock)]
    streams += [_sweeps(options, clock, mount) for mount in lidars]
    for camera in cameras:
        streams += [_calibration(clock, camera), _images(clock, camera)]
    streams += [_fixes(options, clock), _headings(options, clock)]
    streams += [_scans(options, clock)] if options.radars else []
    return [*streams, _brake(options, clock), _marks(options)] if options.events else streams


class _Recorder:
    """Says when messages reach the recorder: after a latency of their kind, jitter and, if chosen, shuffling."""

    def __init__(self, options: DriveOptions) -> None:
        self._options = options
        self._topics = 0

    def log_ns(self, stamps: IntArray, latency_ms: float, jitter_ms: float, *, is_bulky: bool = False) -> IntArray:
        """Return log times; within a topic they ascend strictly unless the topic is bulky and shuffled."""
        chance = np.random.default_rng([self._options.seed, self._topics])
        self._topics += 1
        delay_ms = latency_ms + chance.uniform(0.0, jitter_ms, len(stamps))
        shuffled = is_bulky and self._options.shuffle
        if shuffled:
            delay_ms = delay_ms + chance.uniform(0.0, _SHUFFLE_MS, len(stamps))
        logged = stamps + np.rint(delay_ms * _MS).astype(np.int64)
        if shuffled:
            return logged
        order = np.arange(len(logged))
        ascending: IntArray = np.maximum.accumulate(logged - order) + order
        return ascending


def _static_transforms(options: DriveOptions, lidars: list[LidarMount], cameras: tuple[Camera, ...]) -> Stream:
    edges = [(BASE, mount.frame_id, mount.base_from_lidar) for mount in lidars]
    edges += [(BASE, camera.frame_id, camera.base_from_camera) for camera in cameras]
    edges.append((BASE, gnss.FRAME_ID, gnss.BASE_FROM_ANTENNA))
    if options.radars:
        edges.append((BASE, radar.FRAME_ID, radar.BASE_FROM_RADAR))
    stamp_ns = options.start_ns - _STATIC_LEAD_NS
    late_ns = round(options.late_static_s * 1e9)
    return Stream(
        "/tf_static",
        messages.TF,
        np.array([stamp_ns]),
        np.array([options.start_ns + late_ns if late_ns else stamp_ns + _MS]),
        lambda _: messages.transforms(stamp_ns, edges),
        is_latched=True,
    )


def _transforms(options: DriveOptions, clock: _Recorder) -> Stream:
    stamps = odometry.stamps_ns(options)
    map_from_odom, odom_from_base = odometry.edges_at(options, stamps)

    def message(index: int) -> bytes:
        edges = [(ODOM, BASE, _pick(odom_from_base, index))]
        if index % odometry.per_tick(options) == 0:
            edges.insert(0, (MAP, ODOM, _pick(map_from_odom, index)))
        return messages.transforms(int(stamps[index]), edges)

    return Stream("/tf", messages.TF, stamps, clock.log_ns(stamps, 1.5, 3.0), message)


def _sweeps(options: DriveOptions, clock: _Recorder, mount: LidarMount) -> Stream:
    lidar = SpinningLidar(mount, options)
    stamps = lidar.stamps_ns()
    raw = Stream(
        mount.topic,
        messages.CLOUD,
        stamps,
        clock.log_ns(stamps, PERIOD_NS / _MS + 8.0, 12.0, is_bulky=True),
        lambda index: messages.cloud(int(stamps[index]), mount.frame_id, lidar.sweep(index)),
    )
    if options.driver == "livox-custommsg":
        return replace(
            raw,
            type_name=forms.CUSTOM_MSG,
            message=lambda index: forms.custom_message(int(stamps[index]), mount.frame_id, lidar.sweep(index)),
        )
    if options.driver == "velodyne-packets":
        return replace(
            raw,
            type_name=packets.VELODYNE_SCAN,
            message=lambda index: packets.velodyne_scan(mount, options, int(stamps[index])),
        )
    if options.cloud == "raw":
        return raw
    return replace(
        raw,
        topic=f"{mount.topic}/{options.cloud}",
        type_name=forms.COMPRESSED_CLOUD,
        message=lambda index: forms.packed_cloud(raw.message(index), options.cloud),
    )


def _images(clock: _Recorder, camera: Camera) -> Stream:
    images, stamps = CameraImages(camera), camera.stamps_ns()
    if camera.options.camera != "images":
        video = forms.Video(camera.options.camera, camera.frame_id, images.pixels)
        return Stream(
            camera.image_topic,
            forms.COMPRESSED_VIDEO,
            stamps,
            clock.log_ns(stamps, 28.0, 18.0),
            lambda index: video.message(index, int(stamps[index])),
        )
    if camera.options.image == "raw":
        type_name, latency_ms = messages.IMAGE, 14.0
    else:
        type_name, latency_ms = messages.COMPRESSED_IMAGE, 28.0

    def message(index: int) -> bytes:
        stamp_ns = int(stamps[index])
        if camera.options.image == "raw":
            return messages.image(stamp_ns, camera.frame_id, images.pixels(index))
        return messages.compressed_image(stamp_ns, camera.frame_id, images.jpeg(index))

    return Stream(camera.image_topic, type_name, stamps, clock.log_ns(stamps, latency_ms, 18.0, is_bulky=True), message)


def _calibration(clock: _Recorder, camera: Camera) -> Stream:
    stamps = camera.stamps_ns()
    return Stream(
        camera.info_topic,
        messages.CAMERA_INFO,
        stamps,
        clock.log_ns(stamps, 6.0, 4.0),
        lambda index: messages.camera_info(int(stamps[index]), camera.frame_id, camera.lens),
    )


def _fixes(options: DriveOptions, clock: _Recorder) -> Stream:
    stamps = options.start_ns + np.arange(-2, options.ticks // 2 + 3, dtype=np.int64) * 200 * _MS + 33 * _MS
    map_from_base = true_poses(options, stamps)
    places = gnss.geodetic((map_from_base @ gnss.BASE_FROM_ANTENNA).translation)
    return Stream(
        gnss.FIX_TOPIC,
        messages.FIX,
        stamps,
        clock.log_ns(stamps, 40.0, 30.0),
        lambda index: messages.fix(int(stamps[index]), gnss.FRAME_ID, *places[index].tolist()),
    )


def _headings(options: DriveOptions, clock: _Recorder) -> Stream:
    stamps = options.start_ns + np.arange(-3, options.ticks + 4, dtype=np.int64) * 100 * _MS + 7 * _MS
    yaw = gnss.yaw_of(true_poses(options, stamps))
    return Stream(
        gnss.HEADING_TOPIC,
        messages.IMU,
        stamps,
        clock.log_ns(stamps, 12.0, 8.0),
        lambda index: messages.heading(int(stamps[index]), gnss.FRAME_ID, float(yaw[index])),
    )


def _scans(options: DriveOptions, clock: _Recorder) -> Stream:
    stamps = radar.stamps_ns(options)
    return Stream(
        radar.TOPIC,
        messages.CLOUD,
        stamps,
        clock.log_ns(stamps, 20.0, 10.0),
        lambda index: messages.cloud(int(stamps[index]), radar.FRAME_ID, radar.scan(options, index)),
    )


def _brake(options: DriveOptions, clock: _Recorder) -> Stream:
    stamps = signals.brake_stamps(options)
    return Stream(
        signals.BRAKE_TOPIC,
        messages.PRESSURE,
        stamps,
        clock.log_ns(stamps, 2.0, 3.0),
        lambda index: messages.pressure(int(stamps[index]), BASE, signals.pressure_pa(options, int(stamps[index]))),
    )


def _marks(options: DriveOptions) -> Stream:
    """Messages without a stamp: their log time is the moment."""
    stamps = signals.mark_stamps(options)
    return Stream(signals.MARK_TOPIC, messages.STRING, stamps, stamps, lambda _: messages.text(signals.MARK_TEXT))


def _pick(poses: Pose, index: int) -> Pose:
    return Pose(poses.translation[index], poses.rotation_xyzw[index])
