# SPDX-License-Identifier: Apache-2.0
"""Sensor-fusion frames as protocol buffers: a LidarFrame message in a file, as ``lidar_frame.proto`` describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.content import Buffer, SceneFrame, SceneImage
from nucleus_bridge.formats.rounding import gps_pose, quaternion, vector
from nucleus_bridge.formats.sensor_fusion.point_protobuf import FRAME_POINTS
from nucleus_bridge.formats.sensor_fusion.protobuf_wire import (
    LENGTH_DELIMITED,
    WireField,
    content_field,
    double_field,
    equal_records,
    fields,
    float_field,
    integer_field,
)
from nucleus_bridge.formats.sensor_fusion.radar import RadarPoint, radar_points
from nucleus_bridge.model import CameraModel, FloatArray

# Field numbers of LidarFrame and of CameraImage.
FRAME_IMAGES = 6
IMAGE_URL = 2

INTRINSICS = {
    "brown_conrady": (8, ("fx", "fy", "cx", "cy", "skew", "k1", "k2", "p1", "p2", "k3")),
    "fisheye": (9, ("fx", "fy", "cx", "cy", "skew", "k1", "k2", "k3", "k4")),
    "omnidirectional": (13, ("fx", "fy", "cx", "cy", "skew", "k1", "k2", "p1", "p2", "k3", "xi")),
}
"""Field number in CameraImage, and the fields from number 1 on, by camera model."""


def encode_frame(frame: SceneFrame, points: Buffer) -> tuple[Buffer, ...]:
    """Put a frame and its points, as ``point_protobuf.encode_points`` writes them, together to a LidarFrame.

    Every number is the one that JSON has, as the nearest 32-bit float; stamps have 64 bits.

    Returns:
        The message's bytes in pieces, ready for ``writelines``; the points are not copied.
    """
    before = _vector(1, frame.position) + _quaternion(2, frame.heading_xyzw)
    if frame.gps is not None:
        before += content_field(3, _floats(gps_pose(frame.gps).values()))
    behind = [content_field(5, *_radar_point(point)) for point in radar_points(frame) or ()]
    behind += [content_field(FRAME_IMAGES, *_camera_image(image)) for image in frame.images]
    behind.append(double_field(7, frame.timestamp_ns))
    return before, points, b"".join(behind)


def _floats(values: Iterable[float]) -> bytes:
    """Write float fields, numbered from 1."""
    return b"".join(float_field(number, value) for number, value in enumerate(values, 1))


def _vector(number: int, xyz: FloatArray) -> bytes:
    return content_field(number, _floats(vector(xyz).values()))


def _quaternion(number: int, xyzw: FloatArray) -> bytes:
    rounded = quaternion(xyzw)
    return content_field(number, _floats(rounded[axis] for axis in "wxyz"))


def _radar_point(point: RadarPoint) -> Iterator[bytes]:
    yield content_field(1, _floats(point.position))
    if point.direction is not None:
        yield content_field(2, _floats(point.direction))
    if point.size is not None:
        yield float_field(3, point.size)


def _camera_image(image: SceneImage) -> Iterator[bytes]:
    yield double_field(1, image.stamp_ns)
    yield content_field(IMAGE_URL, image.path.encode())
    yield _vector(3, image.position)
    yield _quaternion(4, image.heading_xyzw)
    if image.model.scale_factor != 1.0:
        yield float_field(5, image.model.scale_factor)
    if image.priority:
        yield integer_field(6, image.priority)
    yield integer_field(7, image.camera_index)
    yield _intrinsics(image.model)


def _intrinsics(model: CameraModel) -> bytes:
    number, names = INTRINSICS[model.model]
    values = {"fx": model.fx, "fy": model.fy, "cx": model.cx, "cy": model.cy, "skew": model.skew, **model.distortion}
    content = [float_field(place, values[name]) for place, name in enumerate(names, 1) if name in values]
    return content_field(number, *content)


def frame_fields(document: bytes) -> Iterator[tuple[WireField, int]]:
    """Find the fields of a frame; points of one length that lie one behind the other are one entry with their count.

    Raises:
        SceneError: It is not a message.
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
        SceneError: It is not a frame.
    """
    images = [field for field, _ in frame_fields(document) if _is_image(field)]
    return [_text(document, _url_of(document, image)) for image in images]


def replace_image_urls(document: bytes, url_of: Callable[[str], str]) -> bytes:
    """Replace the ``image_url`` of every image; all other bytes stay as they are.

    Raises:
        SceneError: It is not a frame.
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
        raise SceneError(f"is not a frame: the image at byte {image.start} has no image_url")
    return urls[0]


def _text(document: bytes, field: WireField) -> str:
    try:
        return document[field.content : field.stop].decode()
    except UnicodeDecodeError:
        raise SceneError(f"is not a frame: the text at byte {field.content} is not UTF-8") from None
