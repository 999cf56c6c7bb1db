# SPDX-License-Identifier: Apache-2.0
"""Sends the files of one scene to the object store.

The manifest goes first and is the claim on the keys of the scene's clouds and images: whoever finds another manifest
there, with other clouds or images, stops before a single file is sent. A scene may be there in several formats, which
have a claim each and share the images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from nucleus_bridge.errors import SceneError, StoreConflictError, StoreError
from nucleus_bridge.formats import registry
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SCENE_NAME,
    FileRecord,
    Manifest,
)
from nucleus_bridge.spool.regular_file import read_scene_file
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
        """Whether the store holds every cloud and image of a scene, each looked at with its checksum."""
        sizes = self._store.sizes(manifest.reference_id)
        records = list(filter(is_item, manifest.files))
        if claim_name(manifest.format) not in sizes or any(sizes.get(file.path) != file.bytes for file in records):
            return False
        key = partial(self._store.url.key, manifest.reference_id)
        return all(self.together([partial(self._store.holds, key(file.path), file) for file in records]))

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
        content = read_scene_file(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
        if not self._store.put_bytes(key, content):
            self._compare_claims(key, content, manifest)
        failpoint("claimed")
        self._store.sweep(manifest.reference_id)
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
        if stored != content and not _lists_the_same_items(stored, manifest):
            raise StoreConflictError(
                f"{self._store.url.native(key)}: another scene of this id, with other clouds or images, is in the "
                "store; it is never overwritten: use another scene.prefix or store prefix, or remove it there"
            )

    def _send_file(self, folder: Path, manifest: Manifest, record: FileRecord, present: Mapping[str, int]) -> None:
        self._store.retry.check()
        key = self._store.url.key(manifest.reference_id, record.path)
        if present.get(record.path) == record.bytes and self._store.holds(key, record):
            self._told(manifest.reference_id, record.bytes, True)
            return
        if not is_item(record) and record.path in present:
            return  # that of an earlier state of the scene; the claim is about clouds and images
        if record.path in present and not self._store.is_cut(key, record):
            raise StoreConflictError(
                f"{self._store.url.native(key)}: other content is there already; it is never overwritten: "
                "remove it there, or use another scene.prefix or store prefix"
            )
        sent = self._store.put_file(key, folder / record.path, record, absent=record.path not in present)
        failpoint("file_sent")
        self._told(manifest.reference_id, record.bytes, not sent)


def is_item(record: FileRecord) -> bool:
    """Whether a file is a cloud or an image: what the claim and a look at the store are about."""
    return record.path != SCENE_NAME


def _lists_the_same_items(stored: bytes, manifest: Manifest) -> bool:
    try:
        files = [FileRecord(entry["path"], entry["bytes"], entry["sha256"]) for entry in json.loads(stored)["files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return list(filter(is_item, files)) == list(filter(is_item, manifest.files))
