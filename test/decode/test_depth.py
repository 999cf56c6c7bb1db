# SPDX-License-Identifier: Apache-2.0
"""Depth images: a tilted plane, seen by a pinhole, comes back as a plane, in every form that drivers publish."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from serialised import STAMP_NS, header, make, serialise

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.depth import DepthDecoder, info_topic
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, IMAGE
from nucleus_bridge.errors import CalibrationError, DecodeError
from nucleus_bridge.model import Message, Sweep

WIDTH, HEIGHT, FX, FY, CX, CY = 64, 48, 60.0, 58.0, 31.0, 25.0
LIDAR = LidarConfig(name="depth", topic="/depth/image_raw")
U, V = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
X, Y = (U - CX) / FX, (V - CY) / FY
DEPTH = 2.0 / (1.0 - 0.3 * X - 0.2 * Y)  # z = 2 + 0.3 x + 0.2 y
DEPTH[5:8, 10:20] = 0.0


def info(**changes: Any) -> Message:
    values = {
        "header": header(STAMP_NS, "depth_optical"),
        "width": WIDTH,
        "height": HEIGHT,
        "distortion_model": "plumb_bob",
        "d": np.zeros(5),
        "k": np.array([FX, 0, CX, 0, FY, CY, 0, 0, 1]),
        "r": np.eye(3).reshape(-1),
        "p": np.array([FX, 0, CX, 0, 0, FY, CY, 0, 0, 0, 1, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        **changes,
    }
    return serialise(make("sensor_msgs/msg/CameraInfo", **values), "/depth/camera_info")


def image(encoding: str, pixels: np.ndarray, is_bigendian: int = 0, padding: int = 0) -> Message:
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if is_bigendian else "<")).view(np.uint8).reshape(HEIGHT, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    content = make(
        IMAGE,
        header=header(STAMP_NS, "depth_optical"),
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=rows.shape[1],
        data=rows.reshape(-1),
    )
    return serialise(content, "/depth/image_raw")


def compressed(fmt: str, body: bytes, a: float = 0.0, b: float = 0.0) -> Message:
    data = np.frombuffer(struct.pack("<iff", 0, a, b) + body, np.uint8)
    content = make(COMPRESSED_IMAGE, header=header(STAMP_NS, "depth_optical"), format=fmt, data=data)
    return serialise(content, "/depth/image_raw/compressedDepth")


def png(values: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", values.astype(np.uint16))[1].tobytes())


def rvl(values: np.ndarray) -> bytes:
    """Pack runs of zeros and differences into groups of three bits, the first in the highest bits of a word."""
    nibbles: list[int] = []

    def put(value: int) -> None:
        while True:
            nibbles.append(value & 7 | (8 if value >> 3 else 0))
            value >>= 3
            if not value:
                return

    flat, at, before = values.reshape(-1).astype(int).tolist(), 0, 0
    while at < len(flat):
        start = at
        while at < len(flat) and not flat[at]:
            at += 1
        put(at - start)
        start = at
        while at < len(flat) and flat[at]:
            at += 1
        put(at - start)
        for value in flat[start:at]:
            difference, before = value - before, value
            put((difference << 1) ^ (difference >> 63))
    nibbles += [0] * (-len(nibbles) % 8)
    words = [sum(n << 28 - 4 * i for i, n in enumerate(nibbles[k : k + 8])) for k in range(0, len(nibbles), 8)]
    return struct.pack("<II", values.shape[1], values.shape[0]) + np.array(words, "<u4").tobytes()


def decode(message: Message, config: LidarConfig = LIDAR, calibration: Message | None = None) -> Sweep:
    decoder = DepthDecoder(config)
    assert list(decoder.decode(calibration or info())) == []
    (sweep,) = decoder.decode(message)
    return sweep


MILLIMETRES = np.rint(DEPTH * 1000).astype(np.uint16)
QUANTISED = np.where(DEPTH > 0, np.rint(10_100.0 / np.where(DEPTH > 0, DEPTH, 1) - 1_009.0), 0)
FORMS = {
    "16UC1": (image("16UC1", MILLIMETRES), 0.0006),
    "16UC1 big-endian, padded": (image("16UC1", MILLIMETRES, 1, 6), 0.0006),
    "32FC1": (image("32FC1", np.where(DEPTH > 0, DEPTH, np.nan).astype(np.float32)), 1e-6),
    "png": (compressed("16UC1; compressedDepth png", png(MILLIMETRES)), 0.0006),
    "png of old": (compressed("16UC1; compressedDepth", png(MILLIMETRES)), 0.0006),
    "rvl": (compressed("16UC1; compressedDepth rvl", rvl(MILLIMETRES)), 0.0006),
    "png of floats": (compressed("32FC1; compressedDepth png", png(QUANTISED), 10_100.0, -1_009.0), 0.003),
    "rvl of floats": (compressed("32FC1; compressedDepth rvl", rvl(QUANTISED), 10_100.0, -1_009.0), 0.003),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_plane_is_a_plane_in_every_form(form: str) -> None:
    message, tolerance_m = FORMS[form]
    sweep = decode(message)
    assert (sweep.stamp_ns, sweep.frame_id, sweep.time_field) == (STAMP_NS, "depth_optical", None)
    assert len(sweep.points) == np.count_nonzero(DEPTH)
    x, y, z = (sweep.points[axis].astype(float) for axis in "xyz")
    assert np.abs(z - (2.0 + 0.3 * x + 0.2 * y)).max() < 1.5 * tolerance_m
    assert np.abs(x - (X * DEPTH)[DEPTH > 0]).max() < tolerance_m


def test_distorted_pixels_look_where_opencv_says() -> None:
    d = np.array([0.1, -0.05, 0.001, -0.002, 0.01])
    sweep = decode(FORMS["32FC1"][0], calibration=info(d=d))
    x, y = sweep.points["x"] / sweep.points["z"], sweep.points["y"] / sweep.points["z"]
    rays = np.stack([x, y, np.ones(len(x))], axis=1).astype(np.float64)
    camera = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    seen = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), camera, d)[0].reshape(-1, 2)
    assert np.abs(seen - np.stack([U[DEPTH > 0], V[DEPTH > 0]], axis=1)).max() < 0.05


def test_a_fisheye_is_refused() -> None:
    with pytest.raises(CalibrationError, match="fisheye"):
        decode(FORMS["32FC1"][0], calibration=info(distortion_model="equidistant", d=np.array([0.1, 0, 0, 0])))


def test_without_a_calibration_it_says_where_one_is_looked_for() -> None:
    with pytest.raises(DecodeError, match=r"no CameraInfo on /depth/camera_info .* lidars\.depth\.calibration_file"):
        DepthDecoder(LIDAR).decode(FORMS["16UC1"][0])
    topic = LidarConfig(name="depth", topic="/cam/depth/image_rect_raw/compressedDepth")
    assert info_topic(topic) == "/cam/depth/camera_info"


def test_no_image_topic_is_taken_for_a_cloud_by_itself() -> None:
    for name in (IMAGE, COMPRESSED_IMAGE):
        assert [interface.kind for interface in registry.interfaces_of(name)] == ["image"]
        assert registry.interface_of(name, "cloud") is not None


@pytest.mark.parametrize(
    "message",
    [
        image("16UC1", np.zeros((HEIGHT, WIDTH), np.uint16)),
        image("bgr8", np.zeros((HEIGHT, 3 * WIDTH), np.uint8)),
        compressed("bgr8; jpeg compressed bgr8", b""),
        compressed("16UC1; compressedDepth png", b"no png"),
        compressed("16UC1; compressedDepth rvl", rvl(MILLIMETRES)[:-400]),
        compressed("16UC1; compressedDepth rvl", struct.pack("<II", 1 << 30, 1 << 30)),
    ],
)
def test_what_is_no_depth_is_refused(message: Message) -> None:
    with pytest.raises(DecodeError):
        decode(message)
