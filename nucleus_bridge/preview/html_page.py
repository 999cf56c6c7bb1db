# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows a scene: no server, no network, nothing beside the file."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from nucleus_bridge.errors import OutputError
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.model import GpsPose
from nucleus_bridge.preview.checks import SceneChecks
from nucleus_bridge.preview.pack import (
    KEPT_BYTES,
    Pixels,
    can_keep,
    decoded,
    look_at,
    pack_cloud,
    pack_picture,
    picture_width,
    shrunk,
)

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("projection.js", "cloud_view.js", "cameras.js", "plots.js", "labels.js", "main.js")
CLOUD_BYTES = 12_000_000
MAX_POINTS = 40_000
POINT_BYTES = 8 * 4 / 3
COMPARED_WIDTH = 480
"""Pictures whose edges are compared with the cloud's are not made narrower than this."""

Progress = Callable[[float], None]


def preview_page(scene: SceneReader, progress: Progress) -> str:
    """Make the page of a scene; each of its files is read once.

    Raises:
        SceneError: A file of the scene is missing or damaged.
    """
    cv2.setNumThreads(1)  # for pictures so small, other threads cost more than they save
    most = int(min(MAX_POINTS, CLOUD_BYTES / POINT_BYTES / max(1, len(scene))))
    width = picture_width(len(scene) * len(scene.cameras))
    checks = SceneChecks(scene)
    frames: list[str] = []
    keeps = False
    for index in range(len(scene)):
        compares = checks.edges.wants_next()
        frame = scene.frame(index, None if compares else most)
        contents = [scene.image(image) for image in frame.images]
        if index == 0:
            keeps = sum(map(len, contents)) * len(scene) <= KEPT_BYTES
        packed: dict[str, Any] = {}
        compared: dict[str, Pixels] = {}
        widths: dict[str, int] = {}
        for image, content in zip(frame.images, contents, strict=True):
            header = look_at(content, image)
            is_compared = compares and checks.edges.wants(image.camera)
            is_kept = keeps and can_keep(content, header)
            jpeg = content
            if is_compared or not is_kept:
                least = max(width, COMPARED_WIDTH) if is_compared else width
                pixels = decoded(content, header, image, least, gray=is_kept)
                if is_compared:
                    compared[image.camera], widths[image.camera] = pixels, header.width
                if not is_kept:
                    jpeg = shrunk(pixels, header, width)
            packed[image.camera] = pack_picture(jpeg, header, image)
        checks.add(frame, compared, widths)
        record = {
            "stamp_ns": str(frame.timestamp_ns),
            "position": frame.position.tolist(),
            "heading": frame.heading_xyzw.tolist(),
            "gps": None if frame.gps is None else _gps(frame.gps),
            "points": len(frame.points) + frame.left_out,
        }
        cloud = _with_long_text(pack_cloud(frame.points, most), "data")
        images = ",".join(f"{_encoded(name)}:{_with_long_text(image, 'jpeg')}" for name, image in packed.items())
        frames.append(f'{_encoded(record)[:-1]},"cloud":{cloud},"images":{{{images}}}}}')
        progress(0.9 * (index + 1) / len(scene))
    document = {
        "manifest": json.loads(scene.manifest.to_json()),
        "lidar": scene.lidar,
        "cameras": list(scene.cameras),
        "checks": checks.results(lambda share: progress(0.9 + 0.1 * share)),
    }
    document["manifest"].pop("files")
    document["bytes"] = sum(file.bytes for file in scene.manifest.files)
    progress(1.0)
    head, *others = frames or [""]
    data = [f'{_encoded(document)[:-1]},"frames":[', head, *(part for frame in others for part in (",", frame)), "]}"]
    return _page(scene.manifest.reference_id, data)


def _encoded(value: object) -> str:
    """Return JSON in which "<" never appears, so that nothing in it can end its element of a page."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _with_long_text(record: Mapping[str, Any], key: str) -> str:
    """Return an object as JSON; the text under a key is base64, which need not be looked through."""
    rest = {name: value for name, value in record.items() if name != key}
    return f'{_encoded(rest)[:-1]},"{key}":"{record[key]}"}}'


def _gps(gps: GpsPose) -> dict[str, float]:
    return {"lat": gps.latitude, "lon": gps.longitude, "bearing": gps.bearing}


def write_preview(scene: SceneReader, path: Path, progress: Progress) -> None:
    """Write the page of a scene.

    Raises:
        SceneError: A file of the scene is missing or damaged.
        OutputError: The page cannot be written.
    """
    write_page(path, preview_page(scene, progress))


def index_page(scenes: list[tuple[SceneReader, str]]) -> str:
    """Make a page that links to the pages of scenes, given with their file names."""
    rows = "".join(
        f'<tr><td><a href="{html.escape(name)}">{html.escape(scene.manifest.reference_id)}</a></td>'
        f"<td>{scene.manifest.frames}</td><td>{scene.manifest.items}</td><td>{scene.manifest.points}</td>"
        f"<td>{(scene.manifest.last_stamp_ns - scene.manifest.first_stamp_ns) / 1e9:.1f} s</td>"
        f"<td>{html.escape(scene.manifest.end_reason)}</td></tr>"
        for scene, name in scenes
    )
    style = (PAGE / "preview.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Scenes</title>'
        f"<style>{style}</style></head><body class=index><h1>{len(scenes)} scenes</h1><table><thead><tr><th>scene</th>"
        "<th>frames</th><th>items</th><th>points</th><th>length</th><th>ended by</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def write_page(path: Path, text: str) -> None:
    """Write a page.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None


def _page(title: str, data: Sequence[str]) -> str:
    """Fill in the page; the data come in pieces, so that they are copied once."""
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts: dict[str, Sequence[str]] = {
        "TITLE": [html.escape(title)],
        "STYLE": [(PAGE / "preview.css").read_text(encoding="utf-8")],
        "DATA": data,
        "SCRIPT": [f"(() => {{\n'use strict';\n{script}\n}})();"],
    }
    pieces = (PAGE / "preview.html").read_text(encoding="utf-8").split("@@")
    return "".join(text for number, piece in enumerate(pieces) for text in (parts[piece] if number % 2 else [piece]))
