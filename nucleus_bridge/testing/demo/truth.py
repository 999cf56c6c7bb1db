# SPDX-License-Identifier: Apache-2.0
"""What is true about a drive, for whoever checks a result against it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nucleus_bridge.testing.demo import gnss, radar, signals
from nucleus_bridge.testing.demo.cameras import Camera, cameras_of
from nucleus_bridge.testing.demo.course import true_poses
from nucleus_bridge.testing.demo.lidar import LIDARS, LidarMount, SpinningLidar
from nucleus_bridge.testing.demo.options import DriveOptions
from nucleus_bridge.testing.demo.rigid import Pose
from nucleus_bridge.testing.demo.streams import BASE, MAP
from nucleus_bridge.testing.demo.world import Box, Pole, build_world

FORMAT_VERSION = 1


def truth_of(options: DriveOptions) -> dict[str, Any]:
    """Return everything that is known about a drive, ready for JSON.

    Metres, radians, nanoseconds; quaternions x y z w; colours RGB; ``a_from_b`` maps coordinates in b to a.
    """
    world = build_world(options.course)
    radars = {"radars": {"front": _radar(options)}} if options.radars else {}
    return {
        "format_version": FORMAT_VERSION,
        "options": options.as_dict(),
        "start_ns": options.start_ns,
        "world_frame": MAP,
        "device_frame": BASE,
        "lidars": {mount.name: _lidar(options, mount) for mount in LIDARS if mount.name in options.lidar_names},
        "cameras": {camera.name: _camera(options, camera) for camera in cameras_of(options)},
        "gps": {
            "origin": vars(gnss.ORIGIN),
            "fix_topic": gnss.FIX_TOPIC,
            "heading_topic": gnss.HEADING_TOPIC,
            "frame_id": gnss.FRAME_ID,
            "base_from_antenna": _json(gnss.BASE_FROM_ANTENNA),
        },
        **radars,
        **({"events": _events(options)} if options.events else {}),
        "ground": {"z": 0.0},
        "poles": [_pole(pole) for pole in world.poles],
        "boxes": [_box(box) for box in world.boxes if box.kind != "wall"],
        "walls": [_box(box) for box in world.boxes if box.kind == "wall"],
    }


def _lidar(options: DriveOptions, mount: LidarMount) -> dict[str, Any]:
    lidar = SpinningLidar(mount, options)
    stamps = lidar.stamps_ns()
    poses = true_poses(options, stamps)
    globe = gnss.geodetic((poses @ gnss.BASE_FROM_ANTENNA).translation)
    bearing = (90.0 - np.degrees(gnss.yaw_of(poses))) % 360.0
    return {
        "topic": mount.topic,
        "frame_id": mount.frame_id,
        "driver": options.driver,
        "base_from_lidar": _json(mount.base_from_lidar),
        "sweeps": [
            {
                "stamp_ns": int(stamp_ns),
                "end_ns": lidar.end_ns(int(stamp_ns)),
                "map_from_base_link": _json(poses, index),
                "antenna": dict(zip(("latitude", "longitude", "altitude"), globe[index].tolist(), strict=True)),
                "bearing": float(bearing[index]),
            }
            for index, stamp_ns in enumerate(stamps)
        ],
    }


def _camera(options: DriveOptions, camera: Camera) -> dict[str, Any]:
    stamps = camera.stamps_ns()
    base, optical = true_poses(options, stamps), camera.map_from_camera(stamps)
    return {
        "image_topic": camera.image_topic,
        "info_topic": camera.info_topic,
        "frame_id": camera.frame_id,
        "distortion_model": camera.lens.model,
        "width": camera.lens.width,
        "height": camera.lens.height,
        "k": list(camera.lens.k),
        "d": list(camera.lens.distortion),
        "base_from_camera": _json(camera.base_from_camera),
        "images": [
            {
                "stamp_ns": int(stamp_ns),
                "map_from_base_link": _json(base, index),
                "map_from_camera": _json(optical, index),
            }
            for index, stamp_ns in enumerate(stamps)
        ],
    }


def _radar(options: DriveOptions) -> dict[str, Any]:
    found = [radar.detections(options, index) for index in range(options.ticks)]
    return {
        "topic": radar.TOPIC,
        "frame_id": radar.FRAME_ID,
        "base_from_radar": _json(radar.BASE_FROM_RADAR),
        "scans": [
            {
                "stamp_ns": int(stamp_ns),
                "positions": seen.positions.tolist(),
                "velocities": seen.velocities.tolist(),
                "rcs": seen.rcs.tolist(),
            }
            for stamp_ns, seen in zip(radar.stamps_ns(options), found, strict=True)
        ],
    }


def _events(options: DriveOptions) -> dict[str, Any]:
    latitude, longitude = signals.place(options)
    return {
        "brakes": {"topic": signals.BRAKE_TOPIC, "spans": [vars(span) for span in signals.brakes(options)]},
        "marks": {"topic": signals.MARK_TOPIC, "stamps_ns": signals.mark_stamps(options).tolist()},
        "place": {
            "latitude": latitude,
            "longitude": longitude,
            "radius_m": signals.PLACE_RADIUS_M,
            "visits": [vars(span) for span in signals.visits(options)],
        },
    }


def _pole(pole: Pole) -> dict[str, Any]:
    return {**vars(pole), "color": list(pole.color)}


def _box(box: Box) -> dict[str, Any]:
    return {**vars(box), "color": list(box.color)}


def _json(poses: Pose, index: int | None = None) -> dict[str, list[float]]:
    pick = ... if index is None else index
    return {"translation": poses.translation[pick].tolist(), "rotation_xyzw": poses.rotation_xyzw[pick].tolist()}
