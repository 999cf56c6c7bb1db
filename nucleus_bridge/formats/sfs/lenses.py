# SPDX-License-Identifier: Apache-2.0
"""Camera models of ``.sfs`` files: their names, and their parameters in the order of the specification.

``brown_conrady`` has OpenCV's order of ``plumb_bob`` and ``rational_polynomial``, ``fisheye`` that of OpenCV's fisheye
model. Skew and OpenCV's thin prism have no place.
"""

from __future__ import annotations

from typing import Any

from nucleus_bridge.image_header import FileHeader
from nucleus_bridge.model import CameraModel

PARAMETERS: dict[str, tuple[str, ...]] = {
    "brown_conrady": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "lx", "ly"),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "mod_equi_fish": ("k1", "k2", "k3", "k4"),
    "mod_kannala": ("k1", "k2", "k3", "k4"),
    "omnidirectional": ("k1", "k2", "k3", "k4", "p1", "p2", "xi", "lx", "ly"),
    "fisheye_rad_tan_prism": ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4"),
    "fisheye_radial_custom": ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "dcx", "dcy"),
    "ftheta": ("k1", "k2", "k3", "k4", "k5"),
    "cylindrical": (),
    "equirectangular": (),
}
"""Every model that the specification knows; a shorter list of parameters leaves the rest 0."""

_WRITTEN = {
    "brown_conrady": "brown_conrady",
    "rational": "brown_conrady",
    "fisheye": "fisheye",
    "omnidirectional": "omnidirectional",
}
"""The model in the file by that of a calibration."""


def expresses(model: CameraModel) -> bool:
    """Return whether a file can say what a camera's intrinsics are."""
    return model.model in _WRITTEN and not model.skew


def intrinsics(model: CameraModel, header: FileHeader) -> dict[str, Any]:
    """Return a camera's intrinsics for its images as they are: there is no scale factor in a file."""
    name = _WRITTEN[model.model]
    params = [float(model.distortion.get(key, 0.0)) for key in PARAMETERS[name]]
    written = max((number for number, value in enumerate(params, 1) if value), default=0)
    fewest = {"brown_conrady": 8 if model.model == "rational" else 5}.get(name, len(params))
    return {
        **{key: getattr(model, key) / model.scale_factor for key in ("fx", "fy", "cx", "cy")},
        "width": header.width,
        "height": header.height,
        "distortion": {"model": name, "params": params[: max(written, fewest)]},
    }


def camera_model(record: Any) -> CameraModel:  # noqa: ANN401 - as it was parsed
    """Return what a file says of a camera.

    Raises:
        KeyError, TypeError, ValueError: It says it otherwise than ``intrinsics``.
    """
    lens = {key: float(record[key]) for key in ("fx", "fy", "cx", "cy")}
    distortion = record.get("distortion") or {"model": "brown_conrady", "params": []}
    name = distortion["model"]
    named = dict.fromkeys(PARAMETERS[name], 0.0)
    named |= dict(zip(PARAMETERS[name], map(float, distortion["params"]), strict=False))
    if name == "brown_conrady":
        is_rational = any(named[key] for key in ("k4", "k5", "k6"))
        name = "rational" if is_rational else name
        named = {key: named[key] for key in PARAMETERS["brown_conrady"][: 8 if is_rational else 5]}
    elif name == "omnidirectional":
        named = {key: named[key] for key in ("xi", "k1", "k2", "p1", "p2")}
    return CameraModel(name, int(record["width"]), int(record["height"]), **lens, distortion=named)
