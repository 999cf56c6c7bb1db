# SPDX-License-Identifier: Apache-2.0
"""Image files as from a pinhole camera, for those who know no distortion."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nucleus_bridge.decode.image import encode_pixels, pixels
from nucleus_bridge.decode.rectify import rectify
from nucleus_bridge.model import CameraModel, Image

QUALITY = 95
_KINDS = ((b"\xff\xd8", "jpeg", ".jpg"), (b"\x89PNG", "png", ".png"))
Kind = Literal["jpeg", "png"]


def pinhole_file(content: bytes, model: CameraModel, kind: Kind | None = None) -> tuple[bytes, str, CameraModel]:
    """Return an image file without distortion and skew, the suffix of its name, and the camera that it is from.

    What is so already stays as it is, byte for byte.

    Args:
        content: A JPEG or PNG file.
        model: The camera that took it.
        kind: What the file must be; None for what it is.

    Raises:
        ImageError: It cannot be decoded, or its size is not the camera's.
    """
    known, suffix = next(((name, end) for start, name, end in _KINDS if content.startswith(start)), ("compressed", ""))
    is_flat = model.model == "brown_conrady" and not model.skew and not any(model.distortion.values())
    if is_flat and suffix and kind in (None, known):
        return content, suffix, model
    image = Image(0, "", model.width, model.height, known, np.frombuffer(content, np.uint8))
    picture = pixels(image)
    if not is_flat:
        picture, model = rectify(picture, model)
    kind = kind or ("png" if known == "png" else "jpeg")
    return encode_pixels(picture, kind, QUALITY), ".png" if kind == "png" else ".jpg", model
