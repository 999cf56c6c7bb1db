# SPDX-License-Identifier: Apache-2.0
"""What holds of whatever is decoded from a message, and good messages of each family to begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from serialised import (
    STAMP_NS,
    camera_info_message,
    cloud_of,
    compressed_message,
    fix_message,
    image_message,
    imu_message,
    tf_message,
)

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.camera_info import camera_model, decode_camera_info
from nucleus_bridge.decode.image import decode_image, pixels
from nucleus_bridge.decode.navsat import decode_fix, decode_heading
from nucleus_bridge.decode.pointcloud2 import decode_sweep, has_points
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.decode.tf import decode_transforms
from nucleus_bridge.model import Message

LIDARS = (
    LidarConfig(name="top", topic="/lidar/points", max_range_m=200.0),
    LidarConfig(name="top", topic="/lidar/points", stamp="end", time_field="t"),
)
PICTURE = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
POSE = ("map", "base_link", STAMP_NS, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0))


def use_cloud(message: Message, config: LidarConfig) -> None:
    sweep = decode_sweep(message, config)
    cloud = select_points(sweep, config)
    assert has_points(sweep, config) == (len(cloud.xyz) > 0)
    assert np.isfinite(cloud.xyz).all()
    assert sweep.first_ns <= sweep.last_ns
    assert len(cloud.xyz) + sum(cloud.dropped.values()) == len(sweep.points)
    if cloud.intensity is not None:
        assert ((cloud.intensity >= 0) & (cloud.intensity <= 1)).all()
    if cloud.time_ns is not None and len(cloud.time_ns):
        assert sweep.first_ns <= cloud.time_ns.min()
        assert cloud.time_ns.max() <= sweep.last_ns


def use_cloud_both_ways(message: Message) -> None:
    for config in LIDARS:
        use_cloud(message, config)


def use_image(message: Message) -> None:
    image = decode_image(message)
    assert pixels(image).shape[:2] == (image.height, image.width)


def use_camera_info(message: Message) -> None:
    info = decode_camera_info(message)
    hash(info)
    for rectified in (False, True):
        model = camera_model(info, image_width=1920, image_height=1080, rectified=rectified)
        assert model.fx > 0
        assert model.scale_factor >= 1


def use_transforms(message: Message) -> None:
    for row in decode_transforms(message):
        assert row


def cloud_points(time_type: str, names: Sequence[str] = ("x", "y", "z", "intensity")) -> np.ndarray:
    points = np.zeros(6, np.dtype([*((name, "f4") for name in names), ("t", time_type)]))
    points[names[0]] = np.arange(6)
    points["t"] = np.linspace(0, 0.1, 6) if time_type == "f4" else (STAMP_NS / 1e9 if time_type == "f8" else 7)
    return points


def raw_images() -> list[Message]:
    return [
        image_message("rgb8", PICTURE.tobytes(), width=16, height=12, step=48),
        image_message("mono16", PICTURE.tobytes(), width=8, height=12, step=48, is_bigendian=True),
        image_message("bayer_rggb16", PICTURE.tobytes(), width=16, height=18, step=32),
        image_message("nv12", PICTURE.tobytes(), width=16, height=24, step=16),
        image_message("nv24", PICTURE.tobytes(), width=16, height=12, step=16),
        image_message("yuv422", PICTURE.tobytes(), width=16, height=18, step=32),
    ]


def image_files() -> list[Message]:
    suffixes = (".jpg", ".png", ".tiff", ".webp", ".bmp")
    return [compressed_message(cv2.imencode(suffix, PICTURE)[1].tobytes()) for suffix in suffixes]


FAMILIES: dict[str, tuple[Callable[[Message], object], list[Message]]] = {
    "PointCloud2": (use_cloud_both_ways, [cloud_of(cloud_points(kind)) for kind in ("f4", "f8", "u4")]),
    "Image": (use_image, raw_images()),
    "CompressedImage": (use_image, image_files()),
    "CameraInfo": (use_camera_info, [camera_info_message(d=[0.1, 0.2, 0.3, 0.4, 0.5])]),
    "NavSatFix": (decode_fix, [fix_message(48.0, 11.0)]),
    "Imu": (decode_heading, [imu_message((0.0, 0.0, 0.6, 0.8))]),
    "TFMessage": (use_transforms, [tf_message(*[POSE] * 3)]),
}
