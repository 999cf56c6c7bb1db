# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows a scene: no server, no network, nothing beside the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleus_bridge.formats.content import Points, SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.model import GpsPose
from nucleus_bridge.preview.checks import SceneChecks
from nucleus_bridge.preview.deskewed import DeskewCheck
from nucleus_bridge.preview.pack import (
    FULL_QUALITY,
    KEPT_BYTES,
    QUALITY,
    Pixels,
    can_keep,
    decoded,
    file_beside,
    look_at,
    pack_cloud,
    pack_picture,
    picture_width,
    shrunk,
)
from nucleus_bridge.preview.silhouettes import Outlines
from nucleus_bridge.preview.template import encoded, filled, write_page
from nucleus_bridge.preview.tracks import Tracks

SCRIPTS = (
    "palette.js",
    "arrival.js",
    "poses.js",
    "projection.js",
    "overlay.js",
    "spread.js",
    "gl_painter.js",
    "soft_painter.js",
    "cloud_view.js",
    "nodes.js",
    "plots.js",
    "cameras.js",
    "score.js",
    "bench.js",
    "labels.js",
    "tracks.js",
    "main.js",
)
CLOUD_BYTES = 12_000_000
MAX_POINTS = 40_000
JUDGED_FRAMES = 12
"""The bench compares the edges of so many frames, spread over the scene."""
MAX_EDGES = 3_000
"""The most outlines of a frame that go into the page."""
POINT_BYTES = 8 * 4 / 3
COMPARED_WIDTH = 640
"""Pictures whose edges are compared with the cloud's are not made narrower than this."""

Progress = Callable[[float], None]


def preview_page(scene: SceneReader, progress: Progress) -> str:
    """Make the page of a scene; each of its files is read once.

    Raises:
        SceneError: A file of the scene is missing or damaged.
    """
    return page_and_checks(scene, progress)[0]


def page_and_checks(
    scene: SceneReader,
    progress: Progress,
    *,
    full_images: bool = False,
    measures: bool = True,
    beside: Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """Make the page of a scene, and return it with what ``SceneChecks`` says of the scene.

    Args:
        scene: The scene.
        progress: Is told how far it is, 0 to 1.
        full_images: Whether pictures go into the page at their full size.
        measures: Whether the calibration of cameras is measured, which takes longer than all the rest.
        beside: The folder that the page will lie in; from there it finds the files of pictures that are shrunk in it.

    Raises:
        SceneError: A file of the scene is missing or damaged.
    """
    cv2.setNumThreads(1)  # for pictures so small, other threads cost more than they save
    most = int(min(MAX_POINTS, CLOUD_BYTES / POINT_BYTES / max(1, len(scene))))
    width = picture_width(len(scene) * len(scene.cameras))
    checks = SceneChecks(scene, measures=measures)
    judged, outlines, deskew = _judged(len(scene)), Outlines(), DeskewCheck(scene)
    tracks = Tracks(scene.manifest)
    frames: list[dict[str, Any]] = []
    large: list[str] = []
    keeps = False
    for index in range(len(scene)):
        compares, has_edges = checks.edges.wants_next(), index in judged
        frame = scene.frame(index, None if compares or has_edges else most)
        contents = [scene.image(image) for image in frame.images]
        if index == 0:
            keeps = full_images or sum(map(len, contents)) * len(scene) <= KEPT_BYTES
        packed: dict[str, Any] = {}
        compared: dict[str, Pixels] = {}
        widths: dict[str, int] = {}
        for image, content in zip(frame.images, contents, strict=True):
            header = look_at(content, image)
            is_kept = keeps and can_keep(content, header)
            jpeg = content
            if compares or not is_kept:
                wanted = header.width if full_images else width
                least = max(wanted, COMPARED_WIDTH) if compares else wanted
                pixels = decoded(content, header, image, least, gray=is_kept)
                if compares:
                    compared[image.camera], widths[image.camera] = pixels, header.width
                if not is_kept:
                    jpeg = shrunk(pixels, header, wanted, FULL_QUALITY if full_images else QUALITY)
            picture = packed[image.camera] = pack_picture(jpeg, header, image)
            if beside is not None and not is_kept and not full_images:
                picture["file"] = file_beside(content, header, scene.folder / image.path, beside)
        checks.add(frame, compared, widths)
        outlines.passed(frame)
        tracks.add(frame)
        deskew.add(frame, measured=has_edges)
        record = {
            **_pose_record(frame),
            "cloud": pack_cloud(frame.points, most),
            **({"edges": _edges(outlines, frame)} if has_edges else {}),
            "images": packed,
        }
        large.append(_large_part(index, record))
        frames.append(record)
        progress(0.9 * (index + 1) / len(scene))
    found = checks.results(lambda share: progress(0.9 + 0.1 * share))
    found["sharpness"] = asdict(deskew.results())
    manifest = json.loads(scene.manifest.to_json())
    document = {
        "manifest": {name: value for name, value in manifest.items() if name not in ("files", "poses")},
        "lidar": scene.lidar,
        "cameras": list(scene.cameras),
        "checks": found,
        "tracks": tracks.results(),
        "bytes": sum(file.bytes for file in scene.manifest.files),
        "frames": frames,
    }
    progress(1.0)
    return filled("preview.html", SCRIPTS, scene.manifest.reference_id, [encoded(document)], large), found


def _pose_record(frame: SceneFrame) -> dict[str, Any]:
    """Return what the page needs of a frame besides clouds and pictures; the stamp as text, as JavaScript needs it."""
    return {
        "stamp_ns": str(frame.timestamp_ns),
        "position": frame.position.tolist(),
        "heading": frame.heading_xyzw.tolist(),
        "gps": None if frame.gps is None else _gps(frame.gps),
        "points": len(frame.points) + frame.left_out,
    }


def _judged(count: int) -> frozenset[int]:
    """Choose the frames whose edges the bench compares: every n-th but the first, or the only one."""
    return frozenset(range(min(1, count - 1), count, max(1, -(-count // JUDGED_FRAMES)))) if count else frozenset()


def _edges(outlines: Outlines, frame: SceneFrame) -> dict[str, Any]:
    """Pack the outlines of what stands in a frame, which the page compares with edges of the images."""
    found = outlines.of(frame, MAX_EDGES)
    return {
        "points": pack_cloud(Points(found.points, found.weights.astype(np.float32)), MAX_EDGES),
        "beyond": pack_cloud(Points(found.beyond), MAX_EDGES),
    }


def _large_part(index: int, record: Mapping[str, Any]) -> str:
    """Take what is large out of a frame's record; return it as an element of the page, which is read when it is needed.

    All of it is base64, which need not be looked through.
    """
    edges = record.get("edges", {})
    texts = [("cloud", record["cloud"].pop("data")), *((name, edge.pop("data")) for name, edge in edges.items())]
    images = ",".join(f'{encoded(name)}:"{image.pop("jpeg")}"' for name, image in record["images"].items())
    rest = ",".join(f'"{name}":"{text}"' for name, text in texts)
    return f'<script type="application/json" id="frame-{index}">{{{rest},"images":{{{images}}}}}</script>\n'


def _gps(gps: GpsPose) -> dict[str, float]:
    return {"lat": gps.latitude, "lon": gps.longitude, "bearing": gps.bearing}


def write_preview(
    scene: SceneReader, path: Path, progress: Progress, *, full_images: bool = False, measures: bool = True
) -> dict[str, Any]:
    """Write the page of a scene, as ``page_and_checks`` makes it, and return what ``SceneChecks`` says of the scene.

    Raises:
        SceneError: A file of the scene is missing or damaged.
        OutputError: The page cannot be written.
    """
    page, checks = page_and_checks(scene, progress, full_images=full_images, measures=measures, beside=path.parent)
    write_page(path, page)
    return checks
