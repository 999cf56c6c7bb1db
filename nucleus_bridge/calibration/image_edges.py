# SPDX-License-Identifier: Apache-2.0
"""Where an image has edges, by direction, as maps that clouds' edges are laid upon."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

DIRECTIONS = 4
"""Of the gradient: along x, down to the right, along y, up to the right."""
SCALE = 24.0
"""Of the maps' numbers: so much is one standard deviation."""
_STRONG_PERCENT = 85.0
_WIDE = 10.0  # half of the width over which maps are level, in those of an edge


def edge_strengths(gray: Array) -> Array:
    """Return how much of an edge each pixel has in each direction; shape (DIRECTIONS, height, width), 0 to 1."""
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0).astype(np.float32)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    square = gx * gx + gy * gy
    size = np.sqrt(square)
    strong = max(2.0, float(np.percentile(size, _STRONG_PERCENT)))
    weight = size / (size + strong) / np.maximum(square, 1e-6)
    diagonal = np.float32(np.sqrt(0.5))
    parts = (gx, (gx + gy) * diagonal, gy, (gx - gy) * diagonal)
    return np.stack([weight * part * part for part in parts])


def edge_maps(strengths: Array, sigma: float) -> Array:
    """Blur strengths to a width of ``sigma`` pixels and take out what is broader, each map to one variance; int8."""
    maps = np.empty(strengths.shape, np.int8)
    broad = 2 * math.ceil(_WIDE * sigma) + 1
    for one, out in zip(strengths, maps, strict=True):
        narrow = cv2.GaussianBlur(one, (0, 0), sigma)
        band = narrow - cv2.blur(narrow, (broad, broad))
        spread = float(band.std())
        out[:] = np.clip(np.rint(band * (SCALE / max(spread, 1e-6))), -127, 127) if spread > 1e-4 else 0
    return maps
