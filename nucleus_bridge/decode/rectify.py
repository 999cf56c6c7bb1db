# SPDX-License-Identifier: Apache-2.0
"""Images without distortion, for the camera models that an output format cannot express."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.distortion import BROWN_CONRADY, FISHEYE, OMNIDIRECTIONAL, RATIONAL, THIN_PRISM
from nucleus_bridge.decode.raw_image import Pixels
from nucleus_bridge.errors import ImageError
from nucleus_bridge.model import CameraModel

_CACHED_CAMERAS = 16
_OPENCV_ORDER = {"brown_conrady": BROWN_CONRADY, "rational": RATIONAL, "thin_prism": THIN_PRISM}
_NO_ROTATION = np.eye(3)

Map = NDArray[np.float32]


def rectify(picture: Pixels, model: CameraModel) -> tuple[Pixels, CameraModel]:
    """Remove an image's distortion.

    The result has the same size and, but for the skew, the same fx, fy, cx and cy as before, so that the middle of the
    image keeps its scale and nothing hangs on a numeric search; what then lies outside is lost and what was never seen
    is black. An omnidirectional camera gets fx / (1 + xi) and fy / (1 + xi), its scale in the middle.

    Args:
        picture: Shape (height, width, 3) or (height, width); ``model.scale_factor`` times smaller than ``model`` says.
        model: The camera that took it.

    Returns:
        The rectified image, and its camera: ``brown_conrady`` without distortion.

    Raises:
        ImageError: The image's size does not fit ``model``, or OpenCV cannot take it.
    """
    height, width = picture.shape[:2]
    factor = model.scale_factor
    if abs(model.width / factor - width) >= 1 or abs(model.height / factor - height) >= 1:
        msg = f"an image of {width} x {height} is not from a camera of {model.width} x {model.height} / {factor:g}"
        raise ImageError(msg)
    target = _without_distortion(model)
    try:
        coarse, fine = _maps(_Key(model), width, height)
        return cast("Pixels", cv2.remap(picture, coarse, fine, cv2.INTER_LINEAR)), target
    except cv2.error as error:
        msg = f"an image of {width} x {height} cannot be rectified: {error}"
        raise ImageError(msg) from error


class _Key:
    """A camera model as a key of a cache; its own mapping of coefficients has no hash."""

    def __init__(self, model: CameraModel) -> None:
        self.model = model
        self._values = (replace(model, distortion={}).__repr__(), tuple(sorted(model.distortion.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)


def _without_distortion(model: CameraModel) -> CameraModel:
    shrink = 1.0 + model.distortion["xi"] if model.model == "omnidirectional" else 1.0
    return replace(
        model,
        model="brown_conrady",
        fx=model.fx / shrink,
        fy=model.fy / shrink,
        skew=0.0,
        distortion=dict.fromkeys(BROWN_CONRADY, 0.0),
    )


@lru_cache(maxsize=_CACHED_CAMERAS)
def _maps(key: _Key, width: int, height: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where in the distorted image each pixel of the rectified one comes from, in OpenCV's fixed-point form."""
    model, factor = key.model, key.model.scale_factor
    x, y = _distorted_plane(model, _matrix(_without_distortion(model)), width, height)
    u = (model.fx * x + model.skew * y + model.cx) / factor
    v = (model.fy * y + model.cy) / factor
    coarse, fine = cv2.convertMaps(u.astype(np.float32), v.astype(np.float32), cv2.CV_16SC2)
    return coarse, fine


def _matrix(model: CameraModel) -> NDArray[np.float64]:
    """Return the matrix of the image at hand."""
    matrix = np.array([[model.fx, model.skew, model.cx], [0.0, model.fy, model.cy], [0.0, 0.0, 1.0]])
    matrix[:2] /= model.scale_factor
    return matrix


def _distorted_plane(
    model: CameraModel, target: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the distorted coordinates in the plane at distance 1 for every pixel of the rectified image.

    OpenCV is given a unit matrix for the distorted camera, because its maps leave the skew out.
    """
    unit = np.eye(3)
    if model.model == "fisheye":
        d = np.array([model.distortion[name] for name in FISHEYE])
        return cast(
            "tuple[Map, Map]",
            cv2.fisheye.initUndistortRectifyMap(unit, d, _NO_ROTATION, target, (width, height), cv2.CV_32FC1),
        )
    if model.model == "omnidirectional":
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        x, y = (columns - target[0, 2]) / target[0, 0], (rows - target[1, 2]) / target[1, 1]
        return _unified(x, y, model.distortion)
    d = np.array([model.distortion[name] for name in _OPENCV_ORDER[model.model]])
    return cast(
        "tuple[Map, Map]",
        cv2.initUndistortRectifyMap(unit, d, _NO_ROTATION, target, (width, height), cv2.CV_32FC1),
    )


def _unified(
    x: NDArray[np.float64], y: NDArray[np.float64], distortion: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Apply the unified camera model (C. Mei and P. Rives, ICRA 2007) to the plane z = 1."""
    xi, k1, k2, p1, p2 = (distortion[name] for name in OMNIDIRECTIONAL)
    depth = 1.0 + xi * np.sqrt(x * x + y * y + 1.0)
    x, y = x / depth, y / depth
    square = x * x + y * y
    radial = 1.0 + square * (k1 + square * k2)
    return (
        x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
        y * radial + 2.0 * p2 * x * y + p1 * (square + 2.0 * y * y),
    )
