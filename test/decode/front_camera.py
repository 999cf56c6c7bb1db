# SPDX-License-Identifier: Apache-2.0
"""The calibration of a camera, and the model that an image of it gets."""

from __future__ import annotations

from dataclasses import replace

from serialised import STAMP_NS

from nucleus_bridge.decode.camera_info import CameraInfo, camera_model

K = (1000.0, 0.0, 960.0, 0.0, 1001.0, 540.0, 0.0, 0.0, 1.0)
P = (900.0, 0.0, 950.0, 0.0, 0.0, 901.0, 530.0, 0.0, 0.0, 0.0, 1.0, 0.0)
BROWN = [-0.3, 0.1, 0.001, -0.002, 0.05]
INFO = CameraInfo(STAMP_NS, "front_optical", 1920, 1080, "plumb_bob", tuple(BROWN), K, p=P)


def model_of(info: CameraInfo, width: int = 1920, height: int = 1080, *, rectified: bool = False):
    return camera_model(info, image_width=width, image_height=height, rectified=rectified)


def distorted(distortion_model: str, *d: float) -> CameraInfo:
    return replace(INFO, distortion_model=distortion_model, d=d)
