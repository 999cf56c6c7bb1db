# SPDX-License-Identifier: Apache-2.0
"""Where an image has edges, by direction, as maps that clouds' edges are laid upon."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
_STRONG_PERCENT = 85.0
_WIDE = 10.0  # half of the width over which maps are level, in those of an edge


def edge_maps(gray: Array, sigmas: Sequence[float]) -> Iterator[Array]:
    """Make maps of the edges of an image.

    Strengths, 0 to 1, are blurred to a width of ``sigma`` pixels, and what is broader is taken out.

    Args:
        gray: Shape (height, width), uint8.
        sigmas: How wide edges are made, in pixels.

    Yields:
        For each width shape (DIRECTIONS, height, width), uint8: ``NOTHING`` and a multiple of a standard deviation.
    """
    smooth = cv2.GaussianBlur(gray, (0, 0), 1.0)
    gx, gy = (cv2.Sobel(smooth, cv2.CV_32F, *way, scale=0.125) for way in ((1, 0), (0, 1)))
    size = cv2.magnitude(gx, gy)
    strong = max(2.0, float(np.percentile(size[::2, ::2], _STRONG_PERCENT)))
    weight = np.sqrt(1.0 / ((size + strong) * np.maximum(size, np.float32(1e-3))))
    gx *= weight
    gy *= weight
    # A part of the gradient along a direction is a sum of these: three maps are blurred, not four.
    moments = cv2.merge([gx * gx, gx * gy, gy * gy])
    for sigma in sigmas:
        narrow = cv2.GaussianBlur(moments, (0, 0), sigma)
        broad = 2 * math.ceil(_WIDE * sigma) + 1
        along_x, mixed, along_y = cv2.split(narrow - cv2.blur(narrow, (broad, broad)))
        half = 0.5 * (along_x + along_y)
        yield np.stack([_levelled(band) for band in (along_x, half + mixed, along_y, half - mixed)])


def _levelled(band: Array) -> Array:
    """Bring a map to one variance around ``NOTHING``."""
    spread = float(cv2.meanStdDev(band)[1][0, 0])
    if spread <= 1e-4:
        return np.full(band.shape, NOTHING, np.uint8)
    return np.asarray(cv2.addWeighted(band, SCALE / spread, band, 0.0, float(NOTHING), dtype=cv2.CV_8U))
