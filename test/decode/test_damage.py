# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to the bytes of a message, it is used or refused; no other exception comes out."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
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
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.image import decode_image, pixels
from nucleus_bridge.decode.navsat import decode_fix, decode_heading
from nucleus_bridge.decode.pointcloud2 import decode_sweep, has_points
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.decode.tf import decode_transforms
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message

MUTATIONS = 2_000
LIDAR = LidarConfig(name="top", topic="/lidar/points", max_range_m=200.0)
NUMBERS = (0, 1, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def use_cloud(message: Message) -> None:
    for config in (LIDAR, replace(LIDAR, stamp="end", time_field="t")):
        sweep = decode_sweep(message, config)
        cloud = select_points(sweep, config)
        assert has_points(sweep, config) == (len(cloud.xyz) > 0)
        assert sweep.first_ns <= sweep.last_ns
        if cloud.time_ns is not None and len(cloud.time_ns):
            assert sweep.first_ns <= cloud.time_ns.min()
            assert cloud.time_ns.max() <= sweep.last_ns


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


def points(time_type: str):
    cloud = np.zeros(6, np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), ("t", time_type)]))
    cloud["x"] = np.arange(6)
    cloud["t"] = np.linspace(0, 0.1, 6) if time_type == "f4" else (STAMP_NS / 1e9 if time_type == "f8" else 7)
    return cloud


PICTURE = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
CASES: dict[str, tuple[Callable[[Message], object], list[Message]]] = {
    "PointCloud2": (use_cloud, [cloud_of(points(kind)) for kind in ("f4", "f8", "u4")]),
    "Image": (
        use_image,
        [
            image_message("rgb8", PICTURE.tobytes(), width=16, height=12, step=48),
            image_message("bayer_rggb16", PICTURE.tobytes(), width=16, height=18, step=32),
            image_message("nv12", PICTURE.tobytes(), width=16, height=24, step=16),
        ],
    ),
    "CompressedImage": (
        use_image,
        [
            compressed_message(cv2.imencode(suffix, PICTURE)[1].tobytes())
            for suffix in (".jpg", ".png", ".tiff", ".webp", ".bmp")
        ],
    ),
    "CameraInfo": (use_camera_info, [camera_info_message(d=[0.1, 0.2, 0.3, 0.4, 0.5])]),
    "NavSatFix": (decode_fix, [fix_message(48.0, 11.0)]),
    "Imu": (decode_heading, [imu_message((0.0, 0.0, 0.6, 0.8))]),
    "TFMessage": (
        decode_transforms,
        [tf_message(*[("map", "base_link", STAMP_NS, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0))] * 3)],
    ),
}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip bits, overwrite a run, put in a telling number, cut off or double a part: one or several of these."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(damaged)) if damaged else 0
        how = rng.randrange(6)
        if how == 0 and damaged:
            damaged[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            damaged[at : at + rng.randrange(1, 9)] = bytes([rng.choice((0, 0x7F, 0xFF))]) * rng.randrange(1, 9)
        elif how == 2 and len(damaged) >= 8:
            struct.pack_into("<I", damaged, at // 4 * 4 % (len(damaged) - 4), rng.choice(NUMBERS))
        elif how == 3:
            del damaged[at:]
        elif how == 4:
            damaged[at:at] = damaged[at : at + rng.randrange(1, 40)]
        elif damaged:
            damaged[at] = rng.randrange(256)
    return bytes(damaged)


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_message_is_used_or_refused(name):
    use, originals = CASES[name]
    for message in originals:
        use(message)
    rng = random.Random(f"damage to {name}")
    refused = 0
    for number in range(MUTATIONS):
        message = originals[number % len(originals)]
        damaged = replace(message, data=mutate(message.data, rng))
        try:
            use(damaged)
        except DecodeError:
            refused += 1
    assert MUTATIONS / 20 < refused < MUTATIONS


@pytest.mark.parametrize("name", [name for name in CASES if name != "TFMessage"])
def test_a_damaged_header_is_peeked_or_refused(name):
    rng = random.Random(name)
    for _ in range(MUTATIONS):
        data = mutate(CASES[name][1][0].data[:40], rng)
        try:
            stamp_ns, frame_id = peek_header(data)
        except DecodeError:
            continue
        assert isinstance(stamp_ns, int)
        assert not frame_id.startswith("/")


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 64, 4096])
@pytest.mark.parametrize("name", CASES)
def test_noise_is_refused(name, size):
    use, originals = CASES[name]
    rng = random.Random(size)
    for head in (b"", b"\x00\x01\x00\x00", b"\x00\x00\x00\x00"):
        data = (head + rng.randbytes(size))[: max(size, len(head))]
        with pytest.raises(DecodeError):
            use(replace(originals[0], data=data))
