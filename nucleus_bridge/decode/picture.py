# SPDX-License-Identifier: Apache-2.0
"""Pictures of a video that are decoded, and become pixels when a frame takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# What OpenCV takes for granted: ITU-R BT.601 (unspecified 2, and 5, 6), limited range (unspecified 0, 1).
_PLAIN_SPACES, _PLAIN_RANGES = (2, 5, 6), (0, 1)


class PlanarPicture:
    """A picture as an array that can travel to another process."""

    def __init__(self, data: NDArray[np.uint8], width: int, height: int) -> None:
        """Take a picture of which the upper left part counts.

        Args:
            data: Planes of 4:2:0, shape (1.5 height, width), or B, G, R, shape (height, width, 3).
            width: Pixels to keep.
            height: Rows to keep.
        """
        self._data, self._width, self._height = data, width, height

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self._data.nbytes

    def pixels(self) -> NDArray[np.uint8]:
        """Return shape (height, width, 3) in the order B, G, R."""
        whole = self._data
        if whole.ndim == 2:
            whole = np.asarray(cv2.cvtColor(whole, cv2.COLOR_YUV2BGR_I420), np.uint8)
        return whole[: self._height, : self._width]


class VideoPicture:
    """A picture as its decoder left it: nothing is copied or converted until it is wanted or sent elsewhere."""

    def __init__(self, frame: Any, width: int, height: int) -> None:
        """Take an ``av.VideoFrame`` of which the upper left part counts."""
        self._frame, self._width, self._height = frame, width, height

    @property
    def nbytes(self) -> int:
        """Memory that it holds: a byte of brightness and half a byte of colour a pixel, as nearly all videos have."""
        return int(self._frame.width * self._frame.height * 3 // 2)

    def pixels(self) -> NDArray[np.uint8]:
        """Return shape (height, width, 3) in the order B, G, R."""
        return self._planar().pixels()

    def __reduce__(self) -> tuple[Callable[..., PlanarPicture], tuple[Any, ...]]:
        """Become a ``PlanarPicture`` on the way to another process."""
        picture = self._planar()
        return PlanarPicture, (picture._data, self._width, self._height)  # noqa: SLF001 - its other form

    def _planar(self) -> PlanarPicture:
        frame = self._frame
        is_plain = (
            frame.format.name == "yuv420p"
            and frame.colorspace in _PLAIN_SPACES
            and frame.color_range in _PLAIN_RANGES
            and not (frame.width % 2 or frame.height % 2)
        )
        data = frame.to_ndarray() if is_plain else frame.to_ndarray(format="bgr24")
        return PlanarPicture(data, self._width, self._height)
