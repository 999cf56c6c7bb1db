# SPDX-License-Identifier: Apache-2.0
"""Sends the files of a scene that becomes an annotation task: its images, and its frames with the images' URLs in them.

A frame file as it is sent depends on the URLs of its images, and those on the store, on ``upload.url`` and, when they
are signed, on the moment. So its key holds the digest of its content: whatever is sent again is the same object or
another one, never another content under the same key.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from nucleus_bridge.errors import SceneError, StoreConflictError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.interface import SceneTaskUpload, TaskUpload
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.manifest import FileRecord, Manifest
from nucleus_bridge.upload.destination import FrameKeys, Told
from nucleus_bridge.upload.pool import DaemonPool
from nucleus_bridge.upload.scene_files import SceneSender, claim_name
from nucleus_bridge.upload.sealed_file import PART_BYTES, checked_content
from nucleus_bridge.upload.store.objects import ObjectStore

LARGE_FRAMES_AT_ONCE = 2
_SENT_FRAME = re.compile(r"(.+)-([0-9a-f]{64})(\.[a-z]+)")

ItemUrls = Callable[[Sequence[str]], list[str]]


def split_files(manifest: Manifest) -> tuple[list[FileRecord], list[FileRecord]]:
    """Return the frames of a scene in order, and its other files; a scene that is one attachment has only these.

    Raises:
        SceneError: It is none, or lacks a frame.
    """
    try:
        upload = task_upload(manifest.format)
    except SceneError as error:
        raise SceneError(f"{manifest.reference_id}: {error}") from None
    files = {record.path: record for record in manifest.files}
    if isinstance(upload, SceneTaskUpload):
        if upload.path not in files:
            raise SceneError(f"{manifest.reference_id}: must hold {upload.path}")
        return [], list(files.values())
    frames = [files.pop(path) for number in range(manifest.frames) if (path := upload.frame_path(number)) in files]
    home = PurePosixPath(upload.frame_path(0)).parent
    if not frames or len(frames) != manifest.frames or any(PurePosixPath(path).parent == home for path in files):
        raise SceneError(f"{manifest.reference_id}: must hold {manifest.frames} frames, {upload.frame_path(0)} first")
    return frames, list(files.values())


def task_upload(scene_format: str) -> TaskUpload | SceneTaskUpload:
    """Return what has to be known of a format to make tasks of its scenes.

    Raises:
        SceneError: No task is made of them.
    """
    upload = registry.of(scene_format).upload
    if not isinstance(upload, (TaskUpload, SceneTaskUpload)):
        raise SceneError(f"is a scene of format {scene_format}, of which no task is made")
    return upload


def frame_to_send(folder: Path, manifest: Manifest, record: FileRecord, urls: ItemUrls) -> tuple[FileRecord, bytes]:
    """Return a frame as it is sent, and what it is then: its path holds the digest of its content.

    Args:
        folder: The sealed scene.
        manifest: Its manifest.
        record: One of its frames.
        urls: Gives the images' URLs for their paths in the scene's folder.

    Raises:
        SceneError: The frame is not what was sealed, or names an image that is none of the scene's.
    """
    document = checked_content(folder / record.path, record)
    upload = task_upload(manifest.format)
    if not isinstance(upload, TaskUpload):
        raise SceneError(f"{folder}: a scene of format {manifest.format} has no frames that are sent")
    try:
        named = set(upload.image_paths(document))
        paths = [file.path for file in manifest.files if file.path in named]
        content = upload.with_image_urls(document, dict(zip(paths, urls(paths), strict=True)))
    except SceneError as error:
        raise SceneError(f"{folder / record.path}: {error}") from None
    digest = hashlib.sha256(content).hexdigest()
    path = PurePosixPath(record.path)
    return FileRecord(f"{path.with_suffix('')}-{digest}{path.suffix}", len(content), digest), content


def sent_frames(sizes: Mapping[str, int]) -> dict[str, list[FileRecord]]:
    """Return which objects of a scene are frames as they were sent, by the frame's path in the scene's folder.

    Args:
        sizes: Path and size of every object of the scene.
    """
    found: dict[str, list[FileRecord]] = {}
    for path, size in sorted(sizes.items()):
        if match := _SENT_FRAME.fullmatch(path):
            found.setdefault(match[1] + match[3], []).append(FileRecord(path, size, match[2]))
    return found


class TaskSender:
    """Sends scenes; several may be sent at the same time through the same threads.

    Args:
        store: Where to.
        files: The threads.
        told: Is called with each file that is in the store.
        urls: Gives the URLs of images for their keys.
    """

    def __init__(self, store: ObjectStore, files: DaemonPool, told: Told, urls: ItemUrls) -> None:
        self._store = store
        self._told = told
        self._urls = urls
        self._sealed = SceneSender(store, files, told)
        self._large_frames = threading.BoundedSemaphore(LARGE_FRAMES_AT_ONCE)

    def send(self, folder: Path, manifest: Manifest) -> FrameKeys:
        """Put every file of a scene that is not in the store yet and return the keys of its attachments in order.

        Raises:
            SceneError: A file is missing or changed, or a frame names an image that is not there.
            StoreConflictError: Other content is under a key.
            UploadError: The store does not take it.
        """
        frames, others = split_files(manifest)
        present = self._sealed.claim(folder, manifest)
        self._sealed.send_files(folder, manifest, others, present)
        if not frames:
            attachments = task_upload(manifest.format).attachments(manifest.frames)
            return tuple(self._store.url.key(manifest.reference_id, path) for path in attachments)
        send = partial(self._send_frame, folder, manifest, present)
        return tuple(self._sealed.together([partial(send, record) for record in frames]))

    def verify(self, manifest: Manifest) -> bool:
        """Whether the store holds every file of a scene, each looked at; frames go by the digests in their names."""
        frames, others = split_files(manifest)
        sizes = self._store.sizes(manifest.reference_id)
        sent = sent_frames(sizes)
        if (
            claim_name(manifest.format) not in sizes
            or any(sizes.get(record.path) != record.bytes for record in others)
            or any(record.path not in sent for record in frames)
        ):
            return False
        key = partial(self._store.url.key, manifest.reference_id)
        stored = [*others, *(record for frame in frames for record in sent[frame.path])]
        return all(self._sealed.together([partial(self._store.holds, key(file.path), file) for file in stored]))

    def _send_frame(self, folder: Path, manifest: Manifest, present: Mapping[str, int], record: FileRecord) -> str:
        self._store.retry.check()
        key = partial(self._store.url.key, manifest.reference_id)
        if record.bytes <= PART_BYTES:
            sent = self._put_frame(folder, manifest, present, record)
        else:
            with self._large_frames:  # each is in memory twice
                sent = self._put_frame(folder, manifest, present, record)
        failpoint("frame_sent")
        return key(sent.path)

    def _put_frame(
        self, folder: Path, manifest: Manifest, present: Mapping[str, int], record: FileRecord
    ) -> FileRecord:
        key = partial(self._store.url.key, manifest.reference_id)
        sent, content = frame_to_send(folder, manifest, record, lambda paths: self._urls([key(path) for path in paths]))
        is_there = sent.path in present
        if is_there and not self._store.holds(key(sent.path), sent):
            raise StoreConflictError(
                f"{self._store.url.native(key(sent.path))}: is not what its name says; it is never overwritten: "
                "remove it there"
            )
        is_new = not is_there and self._store.put_content(key(sent.path), content, sent)
        self._told(manifest.reference_id, sent.bytes, not is_new)
        return sent
