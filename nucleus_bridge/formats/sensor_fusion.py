# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frame files of both formats, as whoever uploads them needs them: which images they name.

In a sealed scene each frame is ``frames/<number>.json`` or ``.pb``, and an image's ``image_url`` is its file's path
relative to the scene's folder. Before a frame file is sent, every path is replaced by the URL its image has then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats import sensor_fusion_json, sensor_fusion_protobuf

FRAME_FOLDER = "frames"
SENSOR_FUSION_JSON = "sensor_fusion_json"
SENSOR_FUSION_PROTOBUF = "sensor_fusion_protobuf"
FRAME_SUFFIX = {SENSOR_FUSION_JSON: ".json", SENSOR_FUSION_PROTOBUF: ".pb"}
"""How frame files end, by the manifest's ``format``."""

_READERS: dict[str, Callable[[bytes], list[str]]] = {
    SENSOR_FUSION_JSON: sensor_fusion_json.image_urls,
    SENSOR_FUSION_PROTOBUF: sensor_fusion_protobuf.image_urls,
}
_WRITERS: dict[str, Callable[[bytes, Callable[[str], str]], bytes]] = {
    SENSOR_FUSION_JSON: sensor_fusion_json.replace_image_urls,
    SENSOR_FUSION_PROTOBUF: sensor_fusion_protobuf.replace_image_urls,
}


def image_paths(document: bytes, scene_format: str) -> list[str]:
    """List the ``image_url`` of every image of a frame, in the file's order.

    Args:
        document: A frame file.
        scene_format: The manifest's ``format``; ``sensor_fusion_json`` or ``sensor_fusion_protobuf``.

    Raises:
        SceneError: The file is no frame of this format.
    """
    return _READERS[scene_format](document)


def with_image_urls(document: bytes, scene_format: str, urls: Mapping[str, str]) -> bytes:
    """Replace every ``image_url`` of a frame and nothing else: points are neither decoded nor encoded.

    Args:
        document: A frame file.
        scene_format: As for :func:`image_paths`.
        urls: The URL of each image by its path in the scene; further entries are ignored.

    Raises:
        SceneError: An image is not in ``urls``, or the file is no frame of this format.
    """

    def url_of(path: str) -> str:
        if path not in urls:
            raise SceneError(f"the frame names the image {path!r}, which has no URL")
        return urls[path]

    return _WRITERS[scene_format](document, url_of)
