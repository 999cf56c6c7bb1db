# SPDX-License-Identifier: Apache-2.0
"""Whether a camera's calibration can be that of its images: what no real camera has is said in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from nucleus_bridge.decode.camera_info import CameraInfo
from nucleus_bridge.decode.distortion import RATIONAL, read_distortion
from nucleus_bridge.errors import CalibrationError

_FARTHEST_CENTRE = 0.25
_EXCHANGED_OFF, _EXCHANGED_NEAR, _EXCHANGED_SIDES = 0.09, 0.06, 1.15
_SCALED_CENTRE = 0.12
_SAME_SCALE = 0.04
_NARROWEST, _WIDEST = 60.0, 0.12
_WIDEST_FISHEYE = 0.08
_MOST_ASPECT = 1.6
_MOST_ZOOM = 4.0
_POLYNOMIAL = frozenset(("brown_conrady", "rational"))
_MOST_TANGENTIAL = 0.08
_FOLDS, _FOLD_STEPS = 0.6, 64
_MOST_VERSIONS, _LEAST_RETURNS, _CHANGED = 8, 3, 0.02


class Versions:
    """Watches the calibrations of one camera: one that was replaced does not come back, unless two nodes publish it.

    Attributes:
        change: By how much it changed, and when, in words; '' where it did not, or hardly.
    """

    def __init__(self) -> None:
        self._known: list[tuple[object, ...]] = []
        self._last: tuple[object, ...] | None = None
        self._returns = 0
        self._first: CameraInfo | None = None
        self.change = ""

    def add(self, info: CameraInfo) -> None:
        """Take the next calibration, in the order of arrival; a region of interest may move."""
        said = (info.k, info.d, info.p, info.width, info.height, info.distortion_model)
        if said == self._last:
            return
        self._last = said
        self._note_change(info)
        if said in self._known:
            self._returns += 1
        elif len(self._known) < _MOST_VERSIONS:
            self._known.append(said)

    def _note_change(self, info: CameraInfo) -> None:
        if not info.k[0] > 0.0:
            return  # never calibrated
        if self._first is None:
            self._first = info
        first, width = self._first, max(info.width, 1)
        was, now = (np.array(one.k)[[0, 2, 4, 5]] for one in (first, info))
        is_other = max(abs(now[0] / was[0] - 1.0), abs(now[2] / was[2] - 1.0)) > _CHANGED
        if self.change or not (is_other or np.abs(now - was)[[1, 3]].max() > _CHANGED * width):
            return
        after_s = (info.stamp_ns - first.stamp_ns) / 1e9
        self.change = (
            f"{after_s:.1f} s after the first one, from focal length {was[0]:.5g} and centre ({was[1]:.4g}, "
            f"{was[3]:.4g}) to {now[0]:.5g} and ({now[1]:.4g}, {now[3]:.4g})"
        )

    @property
    def contradiction(self) -> str:
        """What is wrong with them together; '' where nothing is."""
        if self._returns < _LEAST_RETURNS:
            return ""
        return f"{len(self._known)} versions of it come by turns, as where two nodes publish it"


def implausible(info: CameraInfo, width: int, height: int, *, rectified: bool) -> str:
    """Say what contradicts an image of this size, or itself, in a calibration; '' where nothing does.

    Args:
        info: The calibration.
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        rectified: Whether the image is rectified, so that P counts rather than K.
    """
    return next(_contradictions(info, width, height, rectified=rectified), "")


def _contradictions(info: CameraInfo, width: int, height: int, *, rectified: bool) -> Iterator[str]:
    name = "P" if rectified else "K"
    if rectified:
        fx, cx, fy, cy = (info.p[i] for i in (0, 2, 5, 6))
    else:
        fx, cx, fy, cy = (info.k[i] for i in (0, 2, 4, 5))
    if not (fx > 0.0 and fy > 0.0):
        why = "the camera was never calibrated" if fx == fy == 0.0 else "no lens has them"
        yield f"{name} has focal lengths of {fx:g} and {fy:g} pixels: {why}"
        return
    if not rectified and (any(abs(info.k[i]) > 1e-6 for i in (3, 6, 7)) or abs(info.k[8] - 1.0) > 1e-6):
        yield f"the last row of K is {info.k[6]:g} {info.k[7]:g} {info.k[8]:g} in place of 0 0 1: it may be transposed"
    roi, bin_x, bin_y = info.roi, max(info.binning_x, 1), max(info.binning_y, 1)
    seen_width, seen_height = (roi.width or info.width) / bin_x, (roi.height or info.height) / bin_y
    scale_x, scale_y = (
        seen / side if seen and side else 1.0 for seen, side in ((seen_width, width), (seen_height, height))
    )
    cx, cy = (cx - roi.x_offset) / bin_x / scale_x, (cy - roi.y_offset) / bin_y / scale_y
    fx, fy = fx / bin_x / scale_x, fy / bin_y / scale_y
    where = f"{name} has its principal point at ({cx:.4g}, {cy:.4g}) in an image of {width} x {height}"
    yield from _centre(cx / width, cy / height, where)
    if _is_exchanged(cx, cy, width, height):
        yield f"{where}: cx and cy are exchanged, or it is the calibration of an upright image"
    if not 1 / _MOST_ASPECT < fx / fy < _MOST_ASPECT:
        yield f"{name} has focal lengths of {fx:.4g} and {fy:.4g} pixels, which no lens has"
    fisheye = _is_fisheye(info)
    widest = _WIDEST_FISHEYE if fisheye and not rectified else _WIDEST
    if not widest < max(fx / width, fy / height) < _NARROWEST:
        yield f"{name} has a focal length of {fx:.4g} pixels for an image of {width} x {height}"
    if not rectified:
        yield from _distorted(info, max(math.hypot(max(cx, width - cx) / fx, max(cy, height - cy) / fy), 1e-6))
    zoom = info.p[0] / info.k[0] if info.k[0] > 0 and info.p[0] > 0 else 1.0
    if not 1 / _MOST_ZOOM < zoom < _MOST_ZOOM and not fisheye:
        yield f"K and P contradict each other: focal lengths {info.k[0]:.4g} and {info.p[0]:.4g} pixels"


def _distorted(info: CameraInfo, corner: float) -> Iterator[str]:
    """Judge the coefficients of a lens that is not a fisheye; ``corner`` is how far a corner is from the centre / f."""
    try:
        model, values = read_distortion(info.distortion_model, info.d)
    except CalibrationError:
        return
    if model not in _POLYNOMIAL:
        return
    k1, k2, p1, p2, k3, k4, k5, k6 = (values.get(name, 0.0) for name in RATIONAL)
    if max(abs(p1), abs(p2)) > _MOST_TANGENTIAL:
        yield (
            f"D has tangential coefficients of {p1:g} and {p2:g}, which no lens has: they may be those of a fisheye "
            "(equidistant)"
        )
        return
    squares = [(corner * step / _FOLD_STEPS) ** 2 for step in range(3 * _FOLD_STEPS)]
    reached = 0.0
    for square in squares:
        above = 1.0 + square * (k1 + square * (k2 + square * k3))
        below = 1.0 + square * (k4 + square * (k5 + square * k6))
        seen = math.sqrt(square) * above / below if below > 0.0 else -1.0
        if seen < reached:
            break
        reached = seen
    if reached < _FOLDS * corner:
        yield f"D folds the picture back {reached / corner:.0%} of the way to its corner, which no lens does"


def _centre(x: float, y: float, where: str) -> Iterator[str]:
    """Judge the principal point, in parts of the image's sides."""
    if not (0.0 <= x <= 1.0 and 0.0 <= y <= 1.0):
        yield f"{where}, outside of it"
        return
    off = max(abs(x - 0.5), abs(y - 0.5))
    is_scaled = abs(x - y) < _SAME_SCALE and off > _SCALED_CENTRE
    if is_scaled:
        yield f"{where}: it fits images of {2 * x:.2g} times that size"
    elif off > _FARTHEST_CENTRE:
        yield f"{where}, far from its middle"


def _is_exchanged(cx: float, cy: float, width: int, height: int) -> bool:
    """Whether a principal point off the middle in both directions is in it once its numbers change places."""
    given = min(abs(cx / width - 0.5), abs(cy / height - 0.5))
    other = max(abs(cy / width - 0.5), abs(cx / height - 0.5))
    sides = max(width, height) / min(width, height)
    return sides > _EXCHANGED_SIDES and given > _EXCHANGED_OFF and other < _EXCHANGED_NEAR


def _is_fisheye(info: CameraInfo) -> bool:
    try:
        model, _ = read_distortion(info.distortion_model, info.d)
    except CalibrationError:
        return True  # unknown: it may be anything
    return model in ("fisheye", "omnidirectional")
