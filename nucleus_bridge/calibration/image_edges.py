# SPDX-License-Identifier: Apache-2.0
"""Where an image has edges, by direction, as maps that clouds' edges are laid upon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DIRECTIONS = 4
"""Of the gradient: along x, down to the right, along y, up to the right."""
SCALE = 24.0
"""Of the maps' numbers: so much is one standard deviation."""
NOTHING = 128
"""What the maps have where there is neither more nor less of an edge than usual."""
_STRONG = 0.85  # share of the pixels whose gradient is weaker
_COARSE = 1.5  # pixels: edges as wide as this are as good in half of the size
_WIDE = 10.0  # half of the width over which maps are level, in those of an edge


@dataclass(frozen=True, eq=False)
class EdgeMaps:
    """Edges of an image, of one width.

    Attributes:
        scale: Of the maps, as a share of the image's size: wide edges need fewer pixels.
        by_direction: Each of shape (height, width), uint8: ``NOTHING`` and a multiple of a standard deviation.
    """

    scale: float
    by_direction: Sequence[Array]


def edge_maps(gray: Array, sigmas: Sequence[float]) -> list[EdgeMaps]:
    """Make maps of the edges of an image.

    Strengths, 0 to 1, are blurred to a width of ``sigma`` pixels, and what is broader is taken out.

    Args:
        gray: Shape (height, width), uint8.
        sigmas: How wide edges are made, in pixels.
    """
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    gx, gy = (cv2.Sobel(smooth, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
    size = cv2.magnitude(gx, gy)
    some = size[::3, ::3].ravel()
    rank = int(_STRONG * len(some))
    strong = max(2.0, float(np.partition(some, rank)[rank]))
    weight = np.sqrt(1.0 / ((size + strong) * np.maximum(size, np.float32(1e-3))))
    gx *= weight
    gy *= weight
    # The part of the gradient along any direction is a sum of these: three maps are blurred, not four.
    moments = [gx * gx, gx * gy, gy * gy]
    found = []
    for sigma in sigmas:
        scale = 0.5 if sigma >= _COARSE and min(gray.shape) > 1 else 1.0
        scaled = [_halved(moment) for moment in moments] if scale < 1.0 else moments
        along_x, mixed, along_y = (_within(moment, sigma * scale) for moment in scaled)
        half = cv2.addWeighted(along_x, 0.5, along_y, 0.5, 0.0)
        bands = (along_x, cv2.add(half, mixed), along_y, cv2.subtract(half, mixed))
        found.append(EdgeMaps(scale, [_levelled(band) for band in bands]))
    return found


def _halved(moment: Array) -> Array:
    height, width = moment.shape[0] // 2, moment.shape[1] // 2
    return np.asarray(cv2.resize(moment[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))


def _within(moment: Array, sigma: float) -> Array:
    """Blur a map, and take out what is broader."""
    broad = 2 * math.ceil(_WIDE * sigma) + 1
    narrow = cv2.GaussianBlur(moment, (0, 0), sigma)
    return np.asarray(cv2.subtract(narrow, cv2.blur(narrow, (broad, broad))))


def _levelled(band: Array) -> Array:
    """Bring a map to one variance around ``NOTHING``."""
    # Together these take a third of the time of meanStdDev.
    square, mean = cv2.norm(band, cv2.NORM_L2SQR) / max(band.size, 1), cv2.mean(band)[0]
    spread = math.sqrt(max(square - mean * mean, 0.0))
    if not spread > 1e-4:
        return np.full(band.shape, NOTHING, np.uint8)
    return np.asarray(cv2.addWeighted(band, SCALE / spread, band, 0.0, float(NOTHING), dtype=cv2.CV_8U))
