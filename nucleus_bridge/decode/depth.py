# SPDX-License-Identifier: Apache-2.0
"""Depth images with their calibration to sweeps: where ``lidars.<name>.topic`` names one, and nowhere else."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config.settings import LidarConfig
from nucleus_bridge.decode.camera_info import (
    CAMERA_INFO,
    CameraInfo,
    camera_model,
    decode_camera_info,
    is_rectified_topic,
    load_calibration,
)
from nucleus_bridge.decode.cdr import naming
from nucleus_bridge.decode.cdr_reader import CdrReader
from nucleus_bridge.decode.cloud_message import message_of_points
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, IMAGE, check_size
from nucleus_bridge.decode.interface import Companion, Interface, Reset
from nucleus_bridge.decode.pointcloud2 import decode_sweep
from nucleus_bridge.decode.points import any_value
from nucleus_bridge.errors import CalibrationError, CloudError, ImageError
from nucleus_bridge.image_header import read_file_header
from nucleus_bridge.model import CameraModel, FloatArray, Message, Sweep

_TRANSPORT = "compressedDepth"
_ENCODINGS = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_METRES = {"u2": 0.001, "f4": 1.0}  # REP 118
_POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
_DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_MOST_NIBBLES = 1 << 26


class DepthDecoder:
    """The depth images of one topic; each is an instant, so that its points have no times and no intensity.

    Depth is along the optical axis, in millimetres (16UC1) or metres (32FC1); 0 and what is not finite are not values.
    """

    def __init__(self, config: LidarConfig) -> None:
        """Read the calibration file, if there is one.

        Raises:
            ConfigError: It cannot be used.
        """
        self._lidar = replace(config, intensity_field="", time_field="none")
        self._info: CameraInfo | None = None
        self._rays: tuple[CameraModel, FloatArray] | None = None
        if config.calibration_file:
            self._info = load_calibration(Path(config.calibration_file))

    def decode(self, message: Message) -> Iterable[Sweep]:
        """Return the sweep of an image; take a calibration as well.

        Raises:
            CloudError: There is no depth in it (``empty_cloud``), or no calibration yet (``no_calibration``).
            ImageError: It is not a depth image (``unknown_encoding``), or damaged.
            CalibrationError: The calibration cannot be used for it.
            DecodeError: The bytes are not a message of that type.
        """
        if message.type_name == CAMERA_INFO:
            if not self._lidar.calibration_file:
                self._info = decode_camera_info(message)
            return ()
        with naming(message), any_value():
            reader = CdrReader(message)
            stamp_ns, frame_id = reader.header()
            depth = _compressed(reader) if message.type_name == COMPRESSED_IMAGE else _raw(reader)
            if self._info is None:
                raise CloudError(
                    f"there is no CameraInfo on {info_topic(self._lidar)} for it; set "
                    f"lidars.{self._lidar.name}.calibration_file to a camera_info file",
                    cause="no_calibration",
                )
            points = self._points(depth, self._info)
            if not len(points):
                raise CloudError("no pixel has a depth", cause="empty_cloud")
            cloud = message_of_points(message, stamp_ns, frame_id, points)
        return (decode_sweep(cloud, self._lidar),)

    def reset(self, why: Reset) -> Iterable[Sweep]:  # noqa: ARG002 - the calibration stays
        """Do nothing: an image stands for itself."""
        return ()

    def flush(self) -> Iterable[Sweep]:
        """Return nothing: nothing is held back."""
        return ()

    def _points(self, depth: FloatArray, info: CameraInfo) -> NDArray[np.void]:
        height, width = depth.shape
        rectified = is_rectified_topic(self._lidar.topic)
        model = camera_model(info, image_width=width, image_height=height, rectified=rectified)
        if self._rays is None or self._rays[0] != model:
            self._rays = model, _rays_of(model, width, height)
        rows = np.flatnonzero((depth > 0) & np.isfinite(depth))
        z = depth.reshape(-1)[rows]
        points: NDArray[np.void] = np.zeros(len(rows), _POINT)
        points["x"], points["y"] = (self._rays[1][rows] * z[:, None]).T
        points["z"] = z
        return points


def _rays_of(model: CameraModel, width: int, height: int) -> FloatArray:
    """Return x and y at depth 1 of every pixel, by rows, shape (width * height, 2)."""
    v, u = np.mgrid[0:height, 0:width].astype(np.float64)
    camera = np.array([[model.fx, model.skew, model.cx], [0.0, model.fy, model.cy], [0.0, 0.0, 1.0]])
    camera[:2] /= model.scale_factor
    pixels = np.stack([u.reshape(-1), v.reshape(-1)], axis=1)
    if not any(model.distortion.values()):
        y = (pixels[:, 1] - camera[1, 2]) / camera[1, 1]
        return np.stack([(pixels[:, 0] - camera[0, 2] - camera[0, 1] * y) / camera[0, 0], y], axis=1)
    if model.model not in ("brown_conrady", "rational"):
        raise CalibrationError(f"depth images with {model.model} distortion are not read", cause="distortion")
    coefficients = np.array([model.distortion.get(name, 0.0) for name in _DISTORTION])
    rays = cv2.undistortPoints(pixels[:, None], camera, coefficients)
    return np.asarray(rays, np.float64).reshape(-1, 2)


def _raw(reader: CdrReader) -> FloatArray:
    height, width = reader.number("I"), reader.number("I")
    encoding, is_big, step = reader.text(), bool(reader.number("B")), reader.number("I")
    data = reader.octets()
    kind = _ENCODINGS.get(encoding)
    if kind is None:
        raise ImageError(f"encoding {encoding[:40]!r} is not depth: 16UC1 or 32FC1", cause="unknown_encoding")
    check_size(width, height)
    dtype = np.dtype(kind).newbyteorder(">" if is_big else "<")
    if step < width * dtype.itemsize or len(data) != height * step:
        raise ImageError(f"{len(data)} bytes in rows of {step} do not hold {width} x {height} pixels of {encoding}")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)[:, : width * dtype.itemsize]
    values: FloatArray = np.ascontiguousarray(rows).view(dtype).astype(np.float64)
    return values * _METRES[kind]


def _compressed(reader: CdrReader) -> FloatArray:
    """Read what compressed_depth_image_transport wrote: 12 bytes of header, then a PNG or RVL."""
    fmt, data = reader.text(), reader.octets()
    encoding, _, how = fmt.partition(";")
    encoding = encoding.strip()
    if (_TRANSPORT not in fmt and encoding not in _ENCODINGS) or encoding not in _ENCODINGS:
        raise ImageError(
            f"format {fmt[:60]!r} is not a compressed depth image (16UC1, 32FC1)", cause="unknown_encoding"
        )
    if len(data) < 12:
        raise ImageError(f"the depth image has {len(data)} bytes")
    _, a, b = struct.unpack("<iff", data[:12])
    body = bytes(data[12:])
    values = _rvl(body) if how.strip().endswith("rvl") else _png(body)
    if encoding != "32FC1":
        return values * _METRES["u2"]
    with np.errstate(divide="ignore"):
        return np.where(values > 0, a / (values - b), np.nan)


def _png(data: bytes) -> FloatArray:
    header = read_file_header(data)
    if header is None or header.kind != "png":
        raise ImageError("the depth image holds no PNG")
    check_size(header.width, header.height)
    try:
        picture = cast("NDArray[Any] | None", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    except cv2.error as error:
        raise ImageError(f"the PNG of the depth image cannot be decoded: {error}") from error
    if picture is None or picture.dtype != np.uint16 or picture.shape != (header.height, header.width):
        raise ImageError("the PNG of the depth image does not hold one channel of 16 bits")
    return picture.astype(np.float64)


def _rvl(data: bytes) -> FloatArray:
    """Unpack runs of zeros and of differences, in groups of three bits (A. Wilson, Fast Lossless Depth Compression)."""
    if len(data) < 8:
        raise ImageError("the RVL data is cut")
    width, height = struct.unpack("<II", data[:8])
    check_size(width, height)
    words = np.frombuffer(data[8 : 8 + (len(data) - 8) // 4 * 4], "<u4")
    if 8 * len(words) > _MOST_NIBBLES:
        raise ImageError(f"the RVL data has {len(words)} words")
    nibbles = ((words[:, None] >> np.arange(28, -1, -4, dtype=np.uint32)) & 15).reshape(-1).astype(np.int64)
    ends = np.flatnonzero(nibbles < 8)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    numbers = np.zeros(len(ends), np.int64)
    for place in range(11):
        inside = starts + place <= ends
        numbers[inside] |= (nibbles[starts[inside] + place] & 7) << 3 * place
    values: NDArray[np.int64] = np.zeros(width * height, np.int64)
    at, token, before = 0, 0, 0
    while at < len(values):
        if token + 2 > len(numbers):
            raise ImageError(f"the RVL data ends after {at} of {len(values)} pixels")
        at += int(numbers[token])
        count = int(numbers[token + 1])
        codes = numbers[token + 2 : token + 2 + count]
        if at + count > len(values) or len(codes) < count or (count == 0 and numbers[token] == 0):
            raise ImageError("the RVL data has a run that passes its end")
        run = before + np.cumsum((codes >> 1) ^ -(codes & 1))
        values[at : at + count] = run
        before = int(run[-1]) if count else before
        at, token = at + count, token + 2 + count
    return (values & 0xFFFF).reshape(height, width).astype(np.float64)


def info_topic(lidar: LidarConfig) -> str:
    """Return the topic of the CameraInfo beside a depth topic; "" where a file replaces it."""
    if lidar.calibration_file:
        return ""
    return f"{lidar.topic.removesuffix('/' + _TRANSPORT).rpartition('/')[0]}/camera_info"


INTERFACES = tuple(
    Interface(
        name,
        "cloud",
        DepthDecoder,
        is_sample=True,
        depth=20,
        companion=Companion(CAMERA_INFO, info_topic, "calibration_file"),
        only_configured=True,
    )
    for name in (IMAGE, COMPRESSED_IMAGE)
)
