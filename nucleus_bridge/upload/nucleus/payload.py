# SPDX-License-Identifier: Apache-2.0
"""A scene as it is submitted to Nucleus: the sealed ``scene.json`` with URLs, and what identifies its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats.nucleus.payload import encode_payload
from nucleus_bridge.spool.manifest import MAX_MANIFEST_BYTES, SCENE_NAME, FileRecord, Manifest
from nucleus_bridge.spool.regular_file import read_scene_file
from nucleus_bridge.upload.store.objects import ObjectStore

CONTENT_KEY = "scene_content"
HALF_DIGITS = 32


def sent_scene(
    folder: Path,
    manifest: Manifest,
    urls: Callable[[list[str]], list[str]],
    added: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a scene as it is submitted: URLs in place of paths, and its content's digest in its metadata.

    Args:
        folder: The sealed scene.
        manifest: Its manifest.
        urls: Gives the items' URLs for their paths in the scene's folder.
        added: Further metadata, where the scene has no key of that name itself.

    Raises:
        SceneUnreadableError: The disk cannot read ``scene.json`` now.
        SceneError: ``scene.json`` is not what was sealed, or no scene.
    """
    payload = _sealed_payload(folder, manifest)
    files = {record.path: record for record in manifest.files}
    try:
        items = [item for frame in payload["frames"] for item in frame.values()]
        paths = [item["url"] for item in items]
        if unknown := [path for path in paths if path not in files]:
            raise SceneError(f"{folder / SCENE_NAME}: {unknown[0]!r} is not a file of the scene")
        payload["metadata"] = {**added, **payload.get("metadata", {}), CONTENT_KEY: scene_content(payload, files)}
        for item, url in zip(items, urls(paths), strict=True):
            item["url"] = url
        encode_payload(payload)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SceneError(f"{folder / SCENE_NAME}: is not a scene ({type(error).__name__}: {error})") from None
    return payload


def local_content(folder: Path, manifest: Manifest) -> str:
    """Return the digest of a sealed scene, as ``scene_content`` at its destination.

    Raises:
        SceneError: The scene is damaged.
    """
    return scene_content(_sealed_payload(folder, manifest), {record.path: record for record in manifest.files})


def item_urls(reference_id: str, paths: Sequence[str], *, store: ObjectStore, settings: UploadConfig) -> list[str]:
    """Return the URLs under which files of a scene are read; presigned ones start to expire now."""
    keys = [store.url.key(reference_id, path) for path in paths]
    base, life = settings.public_base_url, settings.url_expires_s
    return store.item_urls(keys, settings.url, public_base_url=base, expires_s=life)


def scene_content(payload: Mapping[str, Any], files: Mapping[str, FileRecord]) -> str:
    """Return the digest of a scene: 32 digits for its clouds and images, 32 for its cameras.

    The poses of the device stand in the clouds.

    Args:
        payload: ``scene.json`` as it was sealed, the URLs of the items being paths.
        files: The files of the manifest by path.
    """
    contents, cameras = [], []
    for number, sensor, item in items_of(payload):
        file = files[item["url"]]
        contents.append([number, sensor, item["reference_id"], file.bytes, file.sha256])
        cameras.append(item.get("metadata", {}).get("camera_params"))
    return f"{_digest(contents)}{_digest(cameras)}"


def items_of(scene: Mapping[str, Any]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Yield frame number, sensor and item of everything in a scene, in an order that is always the same."""
    for number, frame in enumerate(scene["frames"]):
        for sensor in sorted(frame):
            yield number, sensor, frame[sensor]


def _sealed_payload(folder: Path, manifest: Manifest) -> dict[str, Any]:
    path = folder / SCENE_NAME
    expected = next((record.sha256 for record in manifest.files if record.path == SCENE_NAME), None)
    if expected is None:
        raise SceneError(f"{folder}: holds no {SCENE_NAME}; scenes of format {manifest.format} are not for Nucleus")
    content = read_scene_file(path, MAX_MANIFEST_BYTES)
    if hashlib.sha256(content).hexdigest() != expected:
        raise SceneError(f"{path}: the file is not the one that was sealed (sha256 differs from the manifest)")
    payload: dict[str, Any] = json.loads(content)
    return payload


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HALF_DIGITS]
