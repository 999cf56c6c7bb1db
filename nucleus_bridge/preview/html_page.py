# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows a scene: no server, no network, nothing beside the file."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import OutputError
from nucleus_bridge.preview.checks import checks_of
from nucleus_bridge.preview.pack import pack_cloud, pack_picture, picture_width
from nucleus_bridge.preview.scene import Cloud, SceneFolder

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("projection.js", "cloud_view.js", "cameras.js", "plots.js", "main.js")
CLOUD_BYTES = 12_000_000
MAX_POINTS = 40_000
POINT_BYTES = 8 * 4 / 3

Progress = Callable[[float], None]


def preview_page(scene: SceneFolder, progress: Progress) -> str:
    """Make the page of a scene.

    Raises:
        SceneError: A file of the scene is missing or damaged.
    """
    most = int(min(MAX_POINTS, CLOUD_BYTES / POINT_BYTES / max(1, len(scene))))
    width = picture_width(len(scene) * len(scene.cameras))
    frames: list[dict[str, Any]] = []
    clouds: list[Cloud] = []
    for index in range(len(scene)):
        cloud = scene.cloud(index)
        clouds.append(cloud)
        pictures = {name: pack_picture(picture, width) for name, picture in scene.pictures(index)}
        frames.append({
            "stamp_ns": str(cloud.stamp_ns),
            "position": cloud.position.tolist(),
            "heading": cloud.heading_xyzw.tolist(),
            "gps": cloud.gps,
            "points": len(cloud.xyz),
            "cloud": pack_cloud(cloud, most),
            "images": pictures,
        })  # fmt: skip
        progress(0.8 * (index + 1) / len(scene))
    document = {
        "manifest": json.loads(scene.manifest.to_json()),
        "lidar": scene.lidar,
        "cameras": scene.cameras,
        "frames": frames,
        "checks": checks_of(scene, clouds, lambda share: progress(0.8 + 0.2 * share)),
    }
    document["manifest"].pop("files")
    document["bytes"] = sum(record.bytes for record in scene.manifest.files)
    progress(1.0)
    return _page(scene.manifest.reference_id, document)


def write_preview(scene: SceneFolder, path: Path, progress: Progress) -> None:
    """Write the page of a scene.

    Raises:
        SceneError: A file of the scene is missing or damaged.
        OutputError: The page cannot be written.
    """
    write_page(path, preview_page(scene, progress))


def index_page(scenes: list[tuple[SceneFolder, str]]) -> str:
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


def _page(title: str, document: dict[str, Any]) -> str:
    # "<" never appears inside the data, so nothing in it can end its element.
    data = json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": (PAGE / "preview.css").read_text(encoding="utf-8"),
        "DATA": data,
        "SCRIPT": f"(() => {{\n'use strict';\n{script}\n}})();",
    }
    pieces = (PAGE / "preview.html").read_text(encoding="utf-8").split("@@")
    return "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
