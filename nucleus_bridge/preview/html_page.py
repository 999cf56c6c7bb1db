# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows a scene: no server, no network, nothing beside the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleus_bridge.calibration.check import MOST_FRAMES, CalibrationCheck, Verdict, verdicts_together
from nucleus_bridge.calibration.looks import looked_at_width
from nucleus_bridge.calibration.scans import Scan
from nucleus_bridge.formats.content import Points, SceneFrame
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.model import GpsPose
from nucleus_bridge.preview.checks import SceneChecks, calibration_check
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
from nucleus_bridge.preview.silhouettes import Outlines, with_feet
from nucleus_bridge.preview.template import Pieces, encoded, filled, write_page
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
TOGETHER_FRAMES = 100
"""Scenes of one recording are judged together until they have so many frames."""

Progress = Callable[[float], None]


def preview_page(scene: SceneReader, progress: Progress) -> str:
    """Make the page of a scene; each of its files is read once.

    Raises:
        SceneError: A file of the scene is missing or damaged.
    """
    ((_, page, _),) = pages([scene], progress)
    return b"".join(page).decode()


@dataclass
class _Gathered:
    """What goes into a page, but for the verdicts on the cameras."""

    scene: SceneReader
    checks: SceneChecks
    deskew: DeskewCheck
    tracks: Tracks
    frames: list[dict[str, Any]]
    large: list[Pieces]

    def page(self, verdicts: Sequence[Verdict]) -> tuple[Pieces, dict[str, Any]]:
        """Return the page, and what is said of the scene."""
        scene, found = self.scene, self.checks.results(verdicts)
        found["sharpness"] = asdict(self.deskew.results())
        first = _shown_first(self.frames)
        parts = [*self.large[first : first + 1], *self.large[:first], *self.large[first + 1 :]]
        manifest = json.loads(replace(scene.manifest, files=(), poses={}).to_json())
        document = {
            "manifest": {name: value for name, value in manifest.items() if name not in ("files", "poses")},
            "lidar": scene.lidar,
            "cameras": list(scene.cameras),
            "checks": found,
            "tracks": self.tracks.results(),
            "bytes": sum(file.bytes for file in scene.manifest.files),
            "frames": self.frames,
            "first": first,
        }
        return filled("preview.html", SCRIPTS, scene.manifest.reference_id, encoded(document), parts), found


def _shown_first(frames: Sequence[Mapping[str, Any]]) -> int:
    """Return the frame with which the page opens: the first of those with the most images."""
    return max(range(len(frames)), key=lambda index: len(frames[index]["images"]), default=0)


def pages(
    scenes: Sequence[SceneReader],
    progress: Progress,
    *,
    full_images: bool = False,
    measures: bool = True,
    deep: bool = False,
    beside: Path | None = None,
) -> Iterator[tuple[SceneReader, Pieces, dict[str, Any]]]:
    """Make the pages of scenes, in their order and in pieces, and what ``SceneChecks`` says of each.

    Cameras of short scenes of one recording are judged together where they are mounted alike.

    Args:
        scenes: The scenes.
        progress: Is told how far it is, 0 to 1.
        full_images: Whether pictures go into the page at their full size.
        measures: Whether the calibration of cameras is measured.
        deep: Whether that is done on all frames rather than on some.
        beside: The folder that the pages will lie in: there they find the files of the pictures that are shrunk.

    Raises:
        SceneError: A file of a scene is missing or damaged.
    """
    cv2.setNumThreads(1)  # for pictures so small, other threads cost more than they save
    frames, read = max(1, sum(map(len, scenes))), 0
    for group in [[scene] for scene in scenes] if deep else _together(scenes):
        gathered: list[_Gathered] = []
        most, outlines = (None if deep else MOST_FRAMES) if measures else 0, Outlines()
        for scene in group:
            if gathered:
                check = gathered[-1].checks.edges.for_next_scene()
            else:
                check = calibration_check(scene, sum(map(len, group)), most)
            outlines = outlines.for_next_scene()
            before = read

            def so_far(count: int, before: int = before) -> None:
                progress((before + count) / frames)

            gathered.append(_gathered(scene, check, outlines, so_far, full_images=full_images, beside=beside))
            read += len(scene)
        checks = [one.checks for one in gathered]
        verdicts = verdicts_together([one.edges for one in checks], [one.mounts() for one in checks])
        for number, found in enumerate(verdicts):
            page, said = gathered[number].page(found)
            gathered[number].frames.clear()
            gathered[number].large.clear()
            yield group[number], page, said


def _together(scenes: Sequence[SceneReader]) -> Iterator[list[SceneReader]]:
    """Yield groups of scenes, one after the other, of one recording and not much longer than need be."""
    group: list[SceneReader] = []
    for scene in scenes:
        if group and (sum(map(len, group)) >= TOGETHER_FRAMES or _origin(scene) != _origin(group[0])):
            yield group
            group = []
        group.append(scene)
    if group:
        yield group


def _origin(scene: SceneReader) -> tuple[object, ...]:
    """Return what scenes of one recording have in common."""
    manifest = scene.manifest
    recording = manifest.reference_id.rpartition("-")[0]
    return recording, manifest.config_digest, manifest.device_frame, manifest.world_frame, dict(manifest.sensors)


def _gathered(
    scene: SceneReader,
    edges: CalibrationCheck,
    outlines: Outlines,
    progress: Callable[[int], None],
    *,
    full_images: bool,
    beside: Path | None,
) -> _Gathered:
    """Read a scene, each of its files once."""
    most = int(min(MAX_POINTS, CLOUD_BYTES / POINT_BYTES / max(1, len(scene))))
    width = picture_width(len(scene) * len(scene.cameras))
    checks = SceneChecks(scene, edges)
    judged, deskew = _judged(len(scene)), DeskewCheck(scene)
    tracks = Tracks(scene.manifest)
    frames: list[dict[str, Any]] = []
    large: list[Pieces] = []
    keeps = False
    for index in range(len(scene)):
        has_edges = index in judged
        compares = edges.wants_next() and (has_edges or edges.is_deep)
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
                wanted = 0 if is_kept else header.width if full_images else width
                least = max(wanted, looked_at_width(image.model, header.width)) if compares else wanted
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
            **({"edges": _edges(outlines, frame, edges.scanner.found_in(frame))} if has_edges else {}),
            "images": packed,
        }
        large.append(_large_part(index, record))
        frames.append(record)
        progress(index + 1)
    return _Gathered(scene, checks, deskew, tracks, frames, large)


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
    """Choose the frames whose edges the bench compares, and of which some are measured: every n-th, or all."""
    stride = max(1, -(-count // JUDGED_FRAMES))
    return frozenset(range(1 if stride > 1 else 0, count, stride))  # how the device moves is known from the second on


def _edges(outlines: Outlines, frame: SceneFrame, scans: Sequence[Scan]) -> dict[str, Any]:
    """Pack the outlines of what stands in a frame, which the page compares with edges of the images.

    Where its edges were found already, to measure the cameras, the feet of walls are among them.
    """
    found = with_feet(outlines.of(frame, MAX_EDGES), scans)
    return {
        "points": pack_cloud(Points(found.points, found.weights.astype(np.float32)), 2 * MAX_EDGES),
        "beyond": pack_cloud(Points(found.beyond), 2 * MAX_EDGES),
    }


def _large_part(index: int, record: Mapping[str, Any]) -> Pieces:
    """Take what is large out of a frame's record; return it as an element of the page, which is read when it is needed.

    All of it is base64, which need not be looked through.
    """
    edges = record.get("edges", {})
    texts = [("cloud", record["cloud"].pop("data")), *((name, edge.pop("data")) for name, edge in edges.items())]
    images = [(name, image.pop("jpeg")) for name, image in record["images"].items()]
    return [
        f'<script type="application/json" id="frame-{index}">{{'.encode(),
        *(piece for name, text in texts for piece in (f'"{name}":"'.encode(), text, b'",')),
        b'"images":{',
        *(
            piece
            for number, (name, text) in enumerate(images)
            for piece in (f'{"," * (number > 0)}{encoded(name)}:"'.encode(), text, b'"')
        ),
        b"}}</script>\n",
    ]


def _gps(gps: GpsPose) -> dict[str, float]:
    return {"lat": gps.latitude, "lon": gps.longitude, "bearing": gps.bearing}


def write_previews(
    scenes: Sequence[tuple[SceneReader, Path]],
    progress: Progress,
    *,
    full_images: bool = False,
    measures: bool = True,
    deep: bool = False,
) -> Iterator[dict[str, Any]]:
    """Write the pages of scenes as ``pages`` makes them, and yield what ``SceneChecks`` says of each.

    Raises:
        SceneError: A file of a scene is missing or damaged.
        OutputError: A page cannot be written.
    """
    folders = {path.parent for _, path in scenes}
    made = pages(
        [scene for scene, _ in scenes],
        progress,
        full_images=full_images,
        measures=measures,
        deep=deep,
        beside=folders.pop() if len(folders) == 1 else None,
    )
    for (_, path), (_, page, checks) in zip(scenes, made, strict=True):
        write_page(path, page)
        yield checks


def write_preview(scene: SceneReader, path: Path, progress: Progress) -> dict[str, Any]:
    """Write the page of one scene, and return what ``SceneChecks`` says of it.

    Raises:
        SceneError: A file of the scene is missing or damaged.
        OutputError: The page cannot be written.
    """
    (checks,) = write_previews([(scene, path)], progress)
    return checks
