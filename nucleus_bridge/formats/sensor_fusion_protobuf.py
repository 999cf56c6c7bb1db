# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames as protocol buffers: a LidarFrame message in a file, as ``lidar_frame.proto`` describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.protobuf_wire import (
    LENGTH_DELIMITED,
    WireField,
    content_field,
    equal_records,
    fields,
)

# Field numbers of LidarFrame and of CameraImage.
FRAME_POINTS, FRAME_IMAGES = 4, 6
IMAGE_URL = 2


def frame_fields(document: bytes) -> Iterator[tuple[WireField, int]]:
    """Find the fields of a frame; points of one length that lie one behind the other are one entry with their count.

    Raises:
        SceneError: It is no message.
    """
    start = 0
    while start < len(document):
        field = next(fields(document, start))
        count = 1
        if field.number == FRAME_POINTS and field.wire_type == LENGTH_DELIMITED:
            count = equal_records(document, field)
        yield field, count
        start += count * (field.stop - field.start)


def image_urls(document: bytes) -> list[str]:
    """List the ``image_url`` of every image.

    Raises:
        SceneError: It is no frame.
    """
    images = [field for field, _ in frame_fields(document) if _is_image(field)]
    return [_text(document, _url_of(document, image)) for image in images]


def replace_image_urls(document: bytes, url_of: Callable[[str], str]) -> bytes:
    """Replace the ``image_url`` of every image; all other bytes stay as they are.

    Raises:
        SceneError: It is no frame.
    """
    view = memoryview(document)
    pieces: list[bytes | memoryview] = []
    copied = 0
    for image, _ in frame_fields(document):
        if not _is_image(image):
            continue
        url = _url_of(document, image)
        replaced = content_field(IMAGE_URL, url_of(_text(document, url)).encode())
        content = (view[image.content : url.start], replaced, view[url.stop : image.stop])
        pieces += [view[copied : image.start], content_field(FRAME_IMAGES, *map(bytes, content))]
        copied = image.stop
    return b"".join([*pieces, view[copied:]])


def _is_image(field: WireField) -> bool:
    return field.number == FRAME_IMAGES and field.wire_type == LENGTH_DELIMITED


def _url_of(document: bytes, image: WireField) -> WireField:
    urls = [field for field in fields(document, image.content, image.stop) if field.number == IMAGE_URL]
    if len(urls) != 1 or urls[0].wire_type != LENGTH_DELIMITED:
        raise SceneError(f"is no frame: the image at byte {image.start} has no image_url")
    return urls[0]


def _text(document: bytes, field: WireField) -> str:
    try:
        return document[field.content : field.stop].decode()
    except UnicodeDecodeError:
        raise SceneError(f"is no frame: the text at byte {field.content} is not UTF-8") from None
