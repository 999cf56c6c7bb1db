# SPDX-License-Identifier: Apache-2.0
"""What a sample of a camera's pictures shows once they are decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.decode.cdr import deserialise
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, IMAGE
from nucleus_bridge.decode.image_checks import (
    DIRECT_8_BIT,
    Bayer,
    as_gray,
    damage_of,
    emptiness_of,
    mosaic_of,
    orientation_of,
    significant_bits,
    some_pixels,
)
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.inspect.scan import Stream
from nucleus_bridge.model import Message

_MOST_PIXELS = 12_000_000
_NO_LIMIT = 1 << 62
_LEAST_LOOKED_AT, _LEAST_EMPTY = 4, 3
_GRAY = ("mono8", "8UC1")
_DEPTH = ("16UC1", "32FC1")
_SIXTEEN = ("mono16", "16UC1", "rgb16", "bgr16", "rgba16", "bgra16")
_MOST_DEPTH_NAMES = ("compressedDepth", "16UC1", "32FC1")


@dataclass(frozen=True)
class PictureFacts:
    """What a sample of pictures shows.

    Attributes:
        looked_at: Pictures decoded.
        damaged: How many of them are not whole.
        damage: What is missing in the first of those.
        orientation: EXIF orientation of most of them, 1 for none.
        stated_mosaic: Bayer pattern that ``format`` names for the file, or ''.
        mosaics: Bayer patterns that a gray picture may be a mosaic of.
        largest: Largest value of 16-bit pictures; 0 for others.
        bits: Significant bits of those, 16 where all are used.
        is_depth: Whether they hold distances.
        emptiness: What all of them are, if they show nothing at all, or ''.
    """

    looked_at: int = 0
    damaged: int = 0
    damage: str = ""
    orientation: int = 1
    stated_mosaic: str = ""
    mosaics: tuple[Bayer, ...] = ()
    largest: int = 0
    bits: int = 16
    is_depth: bool = False
    emptiness: str = ""


NOT_LOOKED_AT = PictureFacts()


def picture_facts(stream: Stream) -> PictureFacts:
    """Decode a sample of the pictures of a topic, or all of them; video is not looked at."""
    messages = _spread(stream.samples.messages) if stream.every is None else stream.every()
    most = _MOST_PIXELS if stream.every is None else _NO_LIMIT
    if stream.info.type_name == COMPRESSED_IMAGE:
        return _of_files(messages, most)
    return _of_raw(messages, most) if stream.info.type_name == IMAGE else NOT_LOOKED_AT


def _of_files(messages: Iterable[Message], most: int) -> PictureFacts:
    damages: list[str] = []
    orientations: Counter[int] = Counter()
    mosaics: Counter[tuple[Bayer, ...]] = Counter()
    empty: Counter[str] = Counter()
    largest = looked_at = pixels = 0
    stated = ""
    wide = False
    for message in messages:
        try:
            content = deserialise(message, COMPRESSED_IMAGE)
        except DecodeError:
            continue
        text = content.format
        if any(name in text for name in _MOST_DEPTH_NAMES):
            return PictureFacts(is_depth=True)
        stated = stated or _stated_mosaic(text)
        if pixels > most and looked_at >= _LEAST_LOOKED_AT:
            break
        data = content.data.tobytes()
        looked_at += 1
        picture = _decoded(data)
        damage = damage_of(data, picture)
        if damage:
            damages.append(damage)
            continue
        orientations[orientation_of(data)] += 1
        if picture is None:
            continue
        pixels += picture.shape[0] * picture.shape[1]
        empty[emptiness_of(picture if picture.ndim == 2 else picture[:, :, :3])] += 1
        if picture.dtype == np.uint16:
            wide = True
            largest = max(largest, int(picture.max()))
        gray = as_gray(picture)
        if gray is not None:
            mosaics[mosaic_of(np.ascontiguousarray(gray))] += 1
    likely = mosaics.most_common(1)[0][0] if mosaics else ()
    orientation = orientations.most_common(1)[0][0] if orientations else 1
    bits = significant_bits(largest) if wide and largest else 16
    return PictureFacts(
        looked_at,
        len(damages),
        damages[0] if damages else "",
        orientation,
        stated,
        likely,
        largest,
        bits,
        emptiness=_all_alike(empty, looked_at - len(damages)),
    )


def _of_raw(messages: Iterable[Message], most: int) -> PictureFacts:
    mosaics: Counter[tuple[Bayer, ...]] = Counter()
    empty: Counter[str] = Counter()
    largest = looked_at = pixels = 0
    wide = False
    for message in messages:
        try:
            content = deserialise(message, IMAGE)
        except DecodeError:
            continue
        if content.encoding in _DEPTH:
            return PictureFacts(is_depth=True)
        is_wide = content.encoding in _SIXTEEN or (
            content.encoding.startswith("bayer") and content.encoding[-2:] == "16"
        )
        if not is_wide and content.encoding not in DIRECT_8_BIT:
            return NOT_LOOKED_AT
        if pixels > most and looked_at >= _LEAST_LOOKED_AT:
            break
        looked_at += 1
        pixels += content.width * content.height
        if is_wide:
            wide = True
            values = content.data[: len(content.data) // 2 * 2].view(">u2" if content.is_bigendian else "<u2")
            largest = max(largest, int(values.max(initial=0)))
            empty[emptiness_of(values)] += 1
            continue
        sample = some_pixels(content.data, content.encoding, content.width, content.height, content.step)
        empty[emptiness_of(sample)] += 1
        if content.encoding in _GRAY and len(content.data) >= content.step * content.height > 0:
            rows = content.data[: content.step * content.height].reshape(content.height, content.step)
            mosaics[mosaic_of(rows[:, : content.width])] += 1
    likely = mosaics.most_common(1)[0][0] if mosaics else ()
    bits = significant_bits(largest) if wide and largest else 16
    return PictureFacts(looked_at, mosaics=likely, largest=largest, bits=bits, emptiness=_all_alike(empty, looked_at))


def _all_alike(empty: Counter[str], looked_at: int) -> str:
    """Return what pictures are that all show nothing, as most of them do; '' where one shows something."""
    if looked_at < _LEAST_EMPTY or empty[""] or empty.total() < looked_at:
        return ""
    return empty.most_common(1)[0][0]


def _spread(messages: list[Message]) -> list[Message]:
    """Order messages so that the first few are spread over all."""
    return [message for begin in range(3) for message in messages[begin::3]]


def _stated_mosaic(text: str) -> str:
    _, found, rest = text.partition("bayer_")
    return rest[:4] if found else ""


def _decoded(data: bytes) -> NDArray[Any] | None:
    try:
        picture: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return picture
