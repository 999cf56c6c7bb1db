# SPDX-License-Identifier: Apache-2.0
"""Sends the files of one scene to the object store, and makes the payload whose URLs point at them.

The manifest goes first and is the claim on the scene's keys: whoever finds another manifest there has other content
under the same reference id and stops before a single file is sent. A scene may be there in several formats, which have
a claim each and share the images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nucleus_bridge.errors import SceneError, StoreConflictError, StoreError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.nucleus.payload import encode_payload
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, FileRecord, Manifest
from nucleus_bridge.upload.destination import FrameKeys, Told
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.store.objects import ObjectStore

Result = TypeVar("Result")


def claim_name(scene_format: str) -> str:
    """Return the name that a scene's manifest has in the store, by the scene's format."""
    upload = registry.of(scene_format).upload if scene_format in registry.names() else None
    return upload.claim if upload else f"manifest.{scene_format}.json"


class SceneSender:
    """Sends scenes; several may be sent at the same time through the same threads."""

    def __init__(self, store: ObjectStore, files: DaemonPool, told: Told) -> None:
        self._store = store
        self._files = files
        self._told = told

    def send(self, folder: Path, manifest: Manifest) -> FrameKeys:
        """Put every file of a scene that is not in the store yet.

        Raises:
            SceneError: A file is missing or changed.
            StoreConflictError: Other content is under a key.
            UploadError: The store does not take it.
        """
        present = self.claim(folder, manifest)
        self.send_files(folder, manifest, manifest.files, present)
        return ()

    def verify(self, manifest: Manifest) -> bool:
        """Whether the store holds every file of a scene, by its listing."""
        sizes = self._store.sizes(manifest.reference_id)
        return claim_name(manifest.format) in sizes and all(
            sizes.get(record.path) == record.bytes for record in manifest.files
        )

    def claim(self, folder: Path, manifest: Manifest) -> dict[str, int]:
        """Put the manifest and return path and size of what is in the store already.

        Raises:
            SceneError: The manifest cannot be read.
            StoreConflictError: Another scene's manifest is there.
            UploadError: The store does not take it.
        """
        if manifest.reference_id != folder.name:
            raise SceneError(f"{folder / MANIFEST_NAME}: is the manifest of {manifest.reference_id!r:.200}")
        key = self._store.url.key(manifest.reference_id, claim_name(manifest.format))
        try:
            content = (folder / MANIFEST_NAME).read_bytes()
        except OSError as error:
            raise SceneError(f"{folder / MANIFEST_NAME}: cannot be read: {error.strerror}") from None
        if not self._store.put_bytes(key, content):
            self._compare_claims(key, content, manifest)
        failpoint("claimed")
        return self._store.sizes(manifest.reference_id)

    def send_files(
        self, folder: Path, manifest: Manifest, files: Iterable[FileRecord], present: Mapping[str, int]
    ) -> None:
        """Put files of a scene of which ``present`` does not say that they are there.

        Raises:
            SceneError: A file is missing or changed.
            StoreConflictError: Other content is under a key.
            UploadError: The store does not take it.
        """
        self.together([partial(self._send_file, folder, manifest, record, present) for record in files])

    def together(self, work: Sequence[Callable[[], Result]]) -> list[Result]:
        """Have work done by the threads and return the results in order; the first error ends it all."""
        futures: list[Future[Result]] = [self._files.submit(part) for part in work]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _compare_claims(self, key: str, content: bytes, manifest: Manifest) -> None:
        stored = self._store.get_bytes(key)
        if stored is None:
            raise StoreError(f"{self._store.url.native(key)}: vanished while it was looked at")
        if stored != content and not _lists_the_same_files(stored, manifest):
            raise StoreConflictError(
                f"{self._store.url.native(key)}: another scene of this id, with other content, is in the store; it is "
                "never overwritten: use another scene.prefix or store prefix, or remove it there"
            )

    def _send_file(self, folder: Path, manifest: Manifest, record: FileRecord, present: Mapping[str, int]) -> None:
        self._store.retry.check()
        key = self._store.url.key(manifest.reference_id, record.path)
        if present.get(record.path) == record.bytes and self._store.holds(key, record):
            self._told(manifest.reference_id, record.bytes, True)
            return
        if record.path in present:
            raise StoreConflictError(
                f"{self._store.url.native(key)}: other content is there already; it is never overwritten: "
                "remove it there, or use another scene.prefix or store prefix"
            )
        sent = self._store.put_file(key, folder / record.path, record, absent=True)
        failpoint("file_sent")
        self._told(manifest.reference_id, record.bytes, not sent)


def _lists_the_same_files(stored: bytes, manifest: Manifest) -> bool:
    try:
        files = [(entry["path"], entry["bytes"], entry["sha256"]) for entry in json.loads(stored)["files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return files == [(record.path, record.bytes, record.sha256) for record in manifest.files]


def scene_line(folder: Path, manifest: Manifest, urls: Callable[[list[str]], list[str]]) -> bytes:
    """Return the scene's line of a submission.

    Args:
        folder: The sealed scene.
        manifest: Its manifest.
        urls: Gives the items' URLs for their paths in the scene's folder.

    Raises:
        SceneError: ``scene.json`` is not what was sealed, or no scene.
    """
    payload = _payload(folder, manifest)
    listed = {record.path for record in manifest.files}
    try:
        items = [item for frame in payload["frames"] for item in frame.values()]
        paths = [item["url"] for item in items]
        if unknown := [path for path in paths if path not in listed]:
            raise SceneError(f"{folder / SCENE_NAME}: {unknown[0]!r} is no file of the scene")
        for item, url in zip(items, urls(paths)):  # noqa: B905 - one URL a path
            item["url"] = url
        return encode_payload(payload)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SceneError(f"{folder / SCENE_NAME}: is no scene ({type(error).__name__}: {error})") from None


def _payload(folder: Path, manifest: Manifest) -> dict[str, Any]:
    path = folder / SCENE_NAME
    expected = next((record.sha256 for record in manifest.files if record.path == SCENE_NAME), None)
    if expected is None:
        raise SceneError(f"{folder}: holds no {SCENE_NAME}; scenes of format {manifest.format} are not for Nucleus")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SceneError(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise SceneError(f"{path}: the file is not the one that was sealed (sha256 differs from the manifest)")
    payload: dict[str, Any] = json.loads(content)
    return payload


def same_structure(sent: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether a scene that the service holds has the same frames, sensors and items as one of ours."""

    def items(scene: dict[str, Any]) -> list[dict[str, str]]:
        return [
            {sensor: item.get("ref_id") or item["reference_id"] for sensor, item in frame.items()}
            for frame in scene["frames"]
        ]

    try:
        return sent["reference_id"] == held["reference_id"] and items(sent) == items(held)
    except (KeyError, TypeError, AttributeError):
        return False
