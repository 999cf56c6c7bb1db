# SPDX-License-Identifier: Apache-2.0
"""Clouds and pictures made small enough for a page."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from nucleus_bridge.errors import SceneError
from nucleus_bridge.preview.scene import Cloud, Picture

PICTURE_BYTES = 11_000_000
_STEPS = 65_535
_WIDTHS = (960, 800, 640, 480, 400, 320)
_BYTES_A_PIXEL = 0.2  # of a JPEG of quality 75, on a street, a little more than usual, base64 included


def pack_cloud(cloud: Cloud, most: int) -> dict[str, Any]:
    """Thin a cloud out at random and put it into 8 bytes a point.

    The data are x, y, z as uint16 of the box from ``low`` in steps of ``step`` metres, then intensity and number of the
    lidar as uint8; each column as a whole, all little-endian, in base64.
    """
    count = len(cloud.xyz)
    rows = np.arange(count)
    if count > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    xyz = cloud.xyz[rows]
    low = xyz.min(axis=0) if len(xyz) else np.zeros(3)
    step = np.maximum((xyz.max(axis=0) - low) / _STEPS, 1e-6) if len(xyz) else np.ones(3)
    columns = np.rint((xyz - low) / step).astype("<u2").T
    data = b"".join(
        (
            np.ascontiguousarray(columns).tobytes(),
            np.rint(np.clip(cloud.intensity[rows], 0, 1) * 255).astype(np.uint8).tobytes(),
            cloud.device[rows].tobytes(),
        )
    )
    return {"count": len(rows), "low": low.tolist(), "step": step.tolist(), "data": base64.b64encode(data).decode()}


def picture_width(pictures: int) -> int:
    """Choose the width of so many pictures so that together they stay within ``PICTURE_BYTES``."""
    for width in _WIDTHS:
        if pictures * width * width * 0.6 * _BYTES_A_PIXEL <= PICTURE_BYTES:
            return width
    return _WIDTHS[-1]


def pack_picture(picture: Picture, width: int) -> dict[str, Any]:
    """Shrink a picture; its camera parameters stay those of the full one.

    Raises:
        SceneError: The file is no picture.
    """
    pixels = cv2.imread(str(picture.path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise SceneError(f"{picture.path}: cannot be decoded")
    full_height, full_width = pixels.shape[:2]
    if full_width > width:
        size = (width, max(1, round(full_height * width / full_width)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return {
        "width": full_width,
        "height": full_height,
        "jpeg": base64.b64encode(encoded.tobytes()).decode(),
        "params": {**picture.params, "timestamp": str(picture.params.get("timestamp", ""))},
    }
