# SPDX-License-Identifier: Apache-2.0
"""The review page of a scene that was uploaded, made from its payload and the objects that its items point to."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.preview.html_page import preview_page
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME

Read = Callable[[str], bytes]
"""Reads what a URL points to."""


def received_page(payload: Mapping[str, Any], read: Read) -> bytes:
    """Make the page of an uploaded scene.

    Args:
        payload: The scene as it was submitted.
        read: Reads items and, beside them, the manifest that uploads put there.

    Raises:
        SceneError: An item's URL is not one that an upload of this package gives.
    """
    with tempfile.TemporaryDirectory(prefix="review-") as name:
        folder = Path(name)
        frames, base = [], ""
        for frame in payload["frames"]:
            local = {}
            for sensor, item in frame.items():
                base, path = _split(item["url"])
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_bytes(read(item["url"]))
                local[sensor] = {**item, "url": path}
            frames.append(local)
        (folder / MANIFEST_NAME).write_bytes(read(f"{base}/{MANIFEST_NAME}"))
        (folder / SCENE_NAME).write_text(json.dumps({**payload, "frames": frames}), encoding="utf-8")
        return preview_page(open_scene(folder), _no_progress).encode()


def _split(url: str) -> tuple[str, str]:
    """Split an item's URL into the scene's place and the path below it, ``<sensor>/<number><suffix>``."""
    base, sensor, file = ("", "", *url.rsplit("/", 2))[-3:]
    if not base or any(part in ("", ".", "..") or "?" in part or "\0" in part for part in (sensor, file)):
        raise SceneError(f"item URL {url!r} does not end in <sensor>/<file>; there is no review page for such scenes")
    return base, f"{sensor}/{file}"


def _no_progress(_share: float) -> None:
    """Show nothing."""
