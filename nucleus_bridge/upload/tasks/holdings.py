# SPDX-License-Identifier: Apache-2.0
"""Which annotation tasks the service has of the scenes of a spool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.upload.holdings import Difference
from nucleus_bridge.upload.tasks.client import ENDED, TaskClient, is_task_of, other_type, said_of_task
from nucleus_bridge.upload.tasks.frames import sent_frames

MISSING_TASK = "missing task"
DIFFERENT_TASK = "different task"
UNNOTED_TASK = "unnoted task"
LOST_TASK = "lost task"
ENDED_TASK = "ended task"

_WAITING = (SceneState.UNVERIFIED, SceneState.STORED, SceneState.SUBMITTED, SceneState.FAILED, SceneState.CONFLICT)


class TaskHoldings:
    """The tasks that one key may see."""

    name = "the service"

    def __init__(self, client: TaskClient, kind: UploadKind = "annotation_task") -> None:
        self._client = client
        self.kind = kind

    def look(self) -> None:
        """Make sure that the key is taken; each task is asked for by its scene."""
        self._client.check_key()

    def expected(self, files: Iterable[FileRecord], sizes: Mapping[str, int]) -> dict[str, FileRecord]:
        """Return what the object store should hold of a scene; its frames as they were sent, whatever their URLs."""
        sent = sent_frames(sizes)
        found = {}
        for file in files:
            for stored in sent.get(file.path, [file]):
                found[stored.path] = stored
        return found

    def compare(self, record: StateRecord, folder: Path) -> Difference | None:
        """Compare the task of a scene with the scene's state."""
        del folder
        task = self._task(record)
        if task is None:
            return _without_task(record)
        name = f"task {task['task_id']}"
        if not is_task_of(task, record):
            text = f"{name} has the scene's unique_id and was made of another scene; cancel it and clear its unique_id"
            return Difference(DIFFERENT_TASK, text, SceneState.CONFLICT, {"error": text}, remains=True)
        if found := other_type(task, self._client.expected_type):
            text = f"{name} was made of it as {found}, not {self._client.expected_type}"
            return Difference(DIFFERENT_TASK, text, SceneState.CONFLICT, {"error": text}, remains=True)
        if task["status"] in ENDED:
            text = f"{name} {ENDED[task['status']]}{said_of_task(task)}"
            noted = {"error": text, "task_status": task["status"]}
            return Difference(ENDED_TASK, text, SceneState.FAILED, noted, remains=True)
        if record.state in _WAITING:
            noted = {"task_id": task["task_id"], "task_status": task["status"]}
            return Difference(
                UNNOTED_TASK, f"{name} was made of it; the spool had no note of that", SceneState.DONE, noted
            )
        return None

    def holds(self, reference_id: str) -> bool:
        """Whether there is a task of a scene of this id."""
        return self._client.retry.again(lambda: self._client.find(reference_id)) is not None

    def _task(self, record: StateRecord) -> dict[str, Any] | None:
        again = self._client.retry.again
        known = again(lambda: self._client.task(record.task_id)) if record.task_id else None
        return known or again(lambda: self._client.find(record.reference_id))


def _without_task(record: StateRecord) -> Difference | None:
    if record.state is SceneState.DONE:
        return Difference(MISSING_TASK, "is done, but the service has no task of it", SceneState.SEALED)
    if record.state is SceneState.SUBMITTED:
        return Difference(LOST_TASK, f"the service does not know task {record.task_id!r}", SceneState.SEALED)
    return None
