# SPDX-License-Identifier: Apache-2.0
"""What the first picture of each configured camera shows that its settings do not allow for."""

from __future__ import annotations

from collections.abc import Iterator

from nucleus_bridge import warnings
from nucleus_bridge.config import CameraConfig, Config
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.image import is_gray, pixels
from nucleus_bridge.decode.image_checks import mosaic_of
from nucleus_bridge.errors import DecodeError, MissingExtraError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.inspect.cameras import has_body_axes
from nucleus_bridge.model import Image
from nucleus_bridge.recordings import Recording
from nucleus_bridge.warnings import Finding


def first_look(recording: Recording, config: Config, tree: TransformTree) -> Iterator[Finding]:
    """Name cameras in body axes, and gray pictures that look like a mosaic."""
    for camera in config.cameras:
        image = _first_image(recording, camera)
        if image is None:
            continue
        frame, section = camera.optical_frame or image.frame_id, f"cameras.{camera.name}"
        if camera.frame_convention == "optical" and has_body_axes(tree, config.device_frame, frame):
            yield warnings.camera_body_frame(frame, camera.image_topic, f"{section}.frame_convention: body")
        patterns = () if camera.bayer or image.bayer or not is_gray(image) else mosaic_of(pixels(image))
        if patterns:
            yield warnings.unsaid_mosaic(camera.image_topic, patterns, f"{section}.bayer: {patterns[0]}")


def _first_image(recording: Recording, camera: CameraConfig) -> Image | None:
    message = recording.first_messages({camera.image_topic}).get(camera.image_topic)
    interface = None if message is None else registry.interface_of(message.type_name, "image")
    if message is None or interface is None:
        return None
    try:
        return next((image for image in interface.decoder(camera).decode(message) if isinstance(image, Image)), None)
    except (DecodeError, MissingExtraError):
        return None
