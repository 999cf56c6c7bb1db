# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks: the one kind that takes lidar frames, kept on disk."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.content import check_cloud, check_image
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.resolve import ItemReader
from nucleus_bridge.testing.receiver.scene_rules import CAMERA_MODELS, SceneRules, check_camera, check_url
from nucleus_bridge.testing.receiver.state import new_id, now_text, read_state, write_state

MAX_ATTACHMENTS = 1000
TASK_TYPE = "lidarannotation"
FILTERS = frozenset({"unique_id", "project", "batch", "status", "type"})
_FRAME_CAMERA_MODELS = CAMERA_MODELS | {"omnidirectional"}


class TaskBook:
    """All annotation tasks of a receiver."""

    def __init__(self, directory: Path, reader: ItemReader, rules: SceneRules) -> None:
        self._folder = directory / "tasks"
        self._folder.mkdir(exist_ok=True)
        self._reader = reader
        self._rules = rules
        self._lock = threading.Lock()
        self._tasks = {path.stem: read_state(path) for path in sorted(self._folder.glob("*.json"))}

    def create(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check and keep a new task, and return it.

        Raises:
            Refusal: 400 for what is missing or unreadable, 409 for a ``unique_id`` that is taken.
        """
        unique_id = params.get("unique_id")
        if unique_id is not None and not isinstance(unique_id, str):
            raise Refusal(400, "unique_id must be a string")
        self._check_unique(unique_id)
        try:
            self._check(params)
        except SceneError as error:
            raise Refusal(400, str(error)) from None
        task_id = new_id("task")
        task = {
            "task_id": task_id,
            "type": TASK_TYPE,
            "status": "pending",
            "created_at": now_text(),
            "unique_id": unique_id,
            "metadata": params.get("metadata", {}),
            "params": {key: value for key, value in params.items() if key not in ("unique_id", "metadata")},
        }
        with self._lock:
            self._check_unique(unique_id)
            write_state(self._folder / f"{task_id}.json", task)
            self._tasks[task_id] = task
        return task

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task.

        Raises:
            Refusal: 404.
        """
        task = self._tasks.get(task_id)
        if task is None:
            raise Refusal(404, f"there is no task {task_id!r}")
        return task

    def listed(self, wanted: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the tasks, oldest first; only those that have what is ``wanted`` of FILTERS."""
        filters = {name: value for name, value in (wanted or {}).items() if name in FILTERS}
        tasks = [self._tasks[task_id] for task_id in sorted(self._tasks)]
        return [
            task
            for task in tasks
            if all(task.get(name, task["params"].get(name)) == value for name, value in filters.items())
        ]

    def _check_unique(self, unique_id: str | None) -> None:
        if unique_id is None:
            return
        for task in list(self._tasks.values()):
            if task["unique_id"] == unique_id:
                details = {"task_id": task["task_id"]}
                raise Refusal(409, f"unique_id {unique_id!r} belongs to task {task['task_id']}", details)

    def _check(self, params: Mapping[str, Any]) -> None:
        attachments, labels = params.get("attachments"), params.get("labels")
        if not isinstance(attachments, list) or not 0 < len(attachments) <= MAX_ATTACHMENTS:
            raise SceneError(f"attachments must be an array of 1 to {MAX_ATTACHMENTS} URLs")
        if not isinstance(labels, list) or not labels:
            raise SceneError("labels must be an array with something in it")
        if not isinstance(params.get("metadata", {}), dict):
            raise SceneError("metadata must be an object")
        attachment_type = params.get("attachment_type", "json")
        if attachment_type not in ("json", "protobuf"):
            raise SceneError(f"attachment_type must be 'json' or 'protobuf', not {attachment_type!r}")
        for number, url in enumerate(attachments):
            place = f"attachment {number}"
            check_url(place, url, self._rules)
            content = self._reader.read(url)
            if not content:
                raise SceneError(f"{place} is empty")
            if attachment_type == "json":
                self._check_frame(place, content)

    def _check_frame(self, place: str, content: bytes) -> None:
        try:
            frame = check_cloud(content)
        except SceneError as error:
            raise SceneError(f"{place}: {error}") from None
        images = frame.get("images", [])
        if not isinstance(images, list):
            raise SceneError(f"{place}: images must be an array")
        for index, image in enumerate(images):
            where = f"{place}, image {index}"
            check_camera(where, image, _FRAME_CAMERA_MODELS)
            check_url(where, image.get("image_url"), self._rules)
            try:
                check_image(self._reader.chunks(image["image_url"]))
            except SceneError as error:
                raise SceneError(f"{where}: {error}") from None
