# SPDX-License-Identifier: Apache-2.0
"""The page of many scenes: a table that is sorted and filtered in the browser, and a map of the drive."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.causes import is_expected
from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.content import some_of
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.preview.pack import decoded, look_at, shrunk
from nucleus_bridge.preview.template import encoded, filled

SCRIPTS = ("palette.js", "nodes.js", "index.js")
PICTURE_WIDTH = 200
TRACK_POSITIONS = 200
"""The most positions of a scene on the map."""


def index_page(scenes: Sequence[tuple[SceneReader, str, Mapping[str, Any]]]) -> str:
    """Make a page that links to the pages of scenes, given with their file names and what was seen of them.

    Raises:
        SceneError: A file of a scene is missing or damaged.
    """
    rows = [_row(scene, name, checks) for scene, name, checks in scenes]
    title = f"{len(rows)} {'scene' if len(rows) == 1 else 'scenes'}"
    return b"".join(filled("index.html", SCRIPTS, title, encoded(rows))).decode()


def _row(scene: SceneReader, page: str, checks: Mapping[str, Any]) -> dict[str, Any]:
    manifest = scene.manifest
    seen = checks["warnings"]
    return {
        "id": manifest.reference_id,
        "page": page,
        "start_ns": str(manifest.first_stamp_ns),
        "seconds": (manifest.last_stamp_ns - manifest.first_stamp_ns) / 1e9,
        "frames": manifest.frames,
        "items": manifest.items,
        "points": manifest.points,
        "end_reason": manifest.end_reason,
        "world_frame": manifest.world_frame,
        "losses": _losses(scene),
        "warnings": Counter(str(warning.get("code") or "other") for warning in seen),
        "texts": sorted({str(warning["text"]) for warning in seen if warning.get("text")}),
        "cameras": list(scene.cameras),
        "calibration": checks.get("calibration", {}),
        "track": _track(scene),
        "picture": _picture(scene),
    }


def _losses(scene: SceneReader) -> dict[str, int]:
    """Count what was lost and is a fault, by cause."""
    lost: Counter[str] = Counter()
    for causes in scene.manifest.losses.values():
        lost.update({cause: count for cause, count in causes.items() if count and not is_expected(cause)})
    return lost


def _track(scene: SceneReader) -> list[list[float]]:
    """Return where the device was in the world, in metres; thinned out."""
    try:
        positions = registry.of(scene.manifest.format).track(scene.folder, scene.manifest).positions
    except OSError as error:
        raise SceneError(f"{scene.folder}: its track cannot be read: {error.strerror}") from None
    offset = scene.manifest.world_offset
    if len(positions) > TRACK_POSITIONS:
        positions = (*(positions[number] for number in some_of(len(positions), TRACK_POSITIONS - 1)), positions[-1])
    return [[round(x + offset["x"], 2), round(y + offset["y"], 2)] for x, y, _ in positions]


def _picture(scene: SceneReader) -> str:
    """Return a small JPEG of the middle of a scene, in base64; '' where there is none."""
    if not len(scene):
        return ""
    frame = scene.frame(len(scene) // 2, 1)
    if not frame.images:
        return ""
    image = frame.images[0]
    content = scene.image(image)
    header = look_at(content, image)
    small = shrunk(decoded(content, header, image, PICTURE_WIDTH), header, PICTURE_WIDTH)
    return base64.b64encode(small).decode()
