# SPDX-License-Identifier: Apache-2.0
"""Makes a task of each stored scene; one that cannot be made yet waits by itself, without holding up the others."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nucleus_bridge.config import UploadConfig
from nucleus_bridge.config.task_template import TaskTemplate
from nucleus_bridge.errors import ConfigError, RejectedError, UnavailableError, UploadError
from nucleus_bridge.spool.failpoints import failpoint
from nucleus_bridge.spool.state import SceneState, StateBook, StateRecord
from nucleus_bridge.upload.destination import Changed, FrameKeys
from nucleus_bridge.upload.doubt import Doubt
from nucleus_bridge.upload.http import concerns_all
from nucleus_bridge.upload.retry import TransientError
from nucleus_bridge.upload.tasks.client import ENDED, TaskClient, is_task_of, other_type, project_of, said_of_task
from nucleus_bridge.upload.tasks.frames import task_upload

_LATE_LOOKS = 5
_TAKEN, _NO_ROUTE = 409, (404, 405)


@dataclass
class _Pending:
    """One scene on its way to a task."""

    record: StateRecord
    frames: FrameKeys
    due: float
    failures: int = 0
    failing_since: float | None = None
    late_looks: int = 0


class TaskSubmitter:
    """Takes stored scenes from a queue; runs in a thread of its own.

    Scenes that are refused are held until one is taken: when several are refused alike and none is taken, it is the
    template that is wrong, and no scene shall suffer for it. ``is_last`` tells that none comes behind those that were
    handed in; what is refused then is the scene's own fault.
    """

    def __init__(  # noqa: PLR0913 - it stands between all of them
        self,
        client: TaskClient,
        book: StateBook,
        settings: UploadConfig,
        template: TaskTemplate,
        *,
        urls: Callable[[Sequence[str]], list[str]],
        changed: Changed,
        is_last: Callable[[], bool],
    ) -> None:
        self._client = client
        self._book = book
        self._settings = settings
        self._template = template
        self._urls = urls
        self._changed = changed
        self._is_last = is_last
        self._incoming: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._pending: list[_Pending] = []
        self._doubt = Doubt(self._settle_failure, self._blame)
        self._held_until = 0.0
        self._closed = False

    def add(self, record: StateRecord, frames: FrameKeys = ()) -> None:
        """Hand in a scene that is stored, with the keys of its frames, or one whose task was made."""
        self._incoming.put(_Pending(record, frames, 0.0))

    def close(self) -> None:
        """End after what was handed in."""
        self._incoming.put(None)

    def run(self) -> None:
        """Work until closed and everything has ended.

        Raises:
            AuthError: The key is refused.
            ConfigError: The service refuses the template.
        """
        while not (self._closed and not self._pending and not self._doubt):
            self._client.retry.check()
            is_last = self._is_last()  # asked before they are taken in
            self._take_in()
            for pending in [pending for pending in self._pending if self._due(pending) <= time.monotonic()]:
                self._client.retry.check()
                if self._due(pending) <= time.monotonic():  # another one may have been told to wait meanwhile
                    self._go_on(pending)
            if (is_last or self._closed) and not self._pending:
                self._doubt.close()

    def _due(self, pending: _Pending) -> float:
        return max(pending.due, self._held_until)

    def _take_in(self) -> None:
        """Wait for the next scene or the next look at one, whichever is first."""
        pause = min([0.25, *(max(0.0, self._due(pending) - time.monotonic()) for pending in self._pending)])
        try:
            pending = self._incoming.get(timeout=pause)
            while True:
                if pending is None:
                    self._closed = True
                else:
                    self._pending.append(pending)
                pending = self._incoming.get_nowait()
        except queue.Empty:
            return

    def _go_on(self, pending: _Pending) -> None:
        """Make the task, or look whether it is there."""
        try:
            if pending.record.state is SceneState.SUBMITTED:
                self._look(pending)
            else:
                self._make(pending)
        except TransientError as error:
            self._wait_longer(pending, error)
        except UnavailableError as error:
            self._end(pending, SceneState.FAILED, error=str(error))
        else:
            pending.failures, pending.failing_since = 0, None

    def _make(self, pending: _Pending) -> None:
        record = pending.record
        request = self._template.request(
            record.reference_id, self._urls(pending.frames), task_upload(record.format).form, record.content
        )
        try:
            task_id = self._client.create(request)
        except RejectedError as error:
            if error.status == _TAKEN:
                self._settle_taken(pending, error)
            elif error.status in _NO_ROUTE:
                message = f"{self._client.endpoint}: takes no annotation tasks ({error})"
                raise ConfigError(f"{message}; check upload.task_endpoint and SCALE_ENDPOINT") from None
            elif concerns_all(error.status):
                raise UploadError(f"no task can be made, and every scene is left as it is: {error}") from None
            else:
                self._doubt_about(pending, str(error))
            return
        failpoint("task_made")
        self._doubt.clear()
        pending.record = self._write(record, SceneState.SUBMITTED, task_id=task_id, attempts=record.attempts + 1)

    def _settle_taken(self, pending: _Pending, refusal: RejectedError) -> None:
        """There is a task of this scene's id: ours from an earlier try, or another one."""
        record = pending.record
        task = self._client.find_taken(record.reference_id, refusal)
        if task is None:
            why = f"the service has a task of the unique_id {record.reference_id} and does not show it"
            self._end(pending, SceneState.FAILED, error=f"{why}: {refusal}")
        elif not is_task_of(task, record):
            why = f"task {task['task_id']} has the unique_id {record.reference_id} and was made of another scene"
            remedy = "cancel it and clear its unique_id, or use another scene.prefix"
            self._end(pending, SceneState.CONFLICT, error=f"{why}; {remedy}", **_of(task))
        elif found := other_type(task, self._template.type):
            why = f"task {task['task_id']} was made of it as {found}, not {self._template.type}"
            remedy = "cancel it and clear its unique_id, or use another scene.prefix: an account has one task of an id"
            self._end(pending, SceneState.CONFLICT, error=f"{why}; {remedy}", **_of(task))
        elif (project := project_of(task)) and self._template.project not in ("", project):
            why = f"task {task['task_id']} was made of it in project {project!r}, not {self._template.project!r}"
            remedy = "cancel it and clear its unique_id to have it made there"
            self._end(pending, SceneState.CONFLICT, error=f"{why}; {remedy}", **_of(task))
        else:
            self._settle(pending, task)

    def _look(self, pending: _Pending) -> None:
        task = self._client.task(pending.record.task_id)
        if task is not None:
            self._settle(pending, task)
            return
        pending.late_looks += 1  # what was taken in may show a little later
        pending.due = time.monotonic() + self._settings.poll_interval_s
        if pending.late_looks > _LATE_LOOKS:
            text = f"the service does not know task {pending.record.task_id}, which it has made"
            self._end(pending, SceneState.FAILED, error=text)

    def _settle(self, pending: _Pending, task: Mapping[str, Any]) -> None:
        failpoint("task_seen")
        name, status = task["task_id"], task["status"]
        if status == "error":
            self._doubt_about(pending, f"task {name} {ENDED[status]}{said_of_task(task)}")
        elif status in ENDED:
            why = f"task {name} {ENDED[status]}; clear its unique_id to have another one made"
            self._end(pending, SceneState.FAILED, error=why, **_of(task))
        else:
            self._end(pending, SceneState.DONE, **_of(task))
            self._doubt.clear()

    def _doubt_about(self, pending: _Pending, reason: str) -> None:
        """Hold a refusal until it is clear whether it is the scene's or the template's fault."""
        self._pending.remove(pending)
        self._doubt.add(self._write(pending.record, SceneState.STORED, error=reason), SceneState.QUARANTINED, reason)

    def _settle_failure(self, record: StateRecord, state: SceneState, reason: str) -> None:
        del state
        self._changed(self._book.quarantine(record, reason))

    def _blame(self, count: int, reason: str) -> ConfigError:
        message = f"task template {self._template.path}: the first {count} scenes were all refused with it"
        return ConfigError(f"{message}, they are left as they are; the last: {reason}")

    def _wait_longer(self, pending: _Pending, error: TransientError) -> None:
        now, limit = time.monotonic(), self._settings.give_up_after_s
        pending.failing_since = pending.failing_since or now
        seconds = self._client.retry.backoff(pending.failures, error.retry_after_s)
        pending.failures += 1
        pending.due = now + seconds
        if error.retry_after_s is not None:  # what is asked of one is asked of all
            self._held_until = max(self._held_until, pending.due)
        if limit and pending.due - pending.failing_since > limit:
            spent = f"given up after {pending.failures} attempts in {now - pending.failing_since:.0f} s"
            self._end(pending, SceneState.FAILED, error=f"{error}; {spent}")
            return
        self._client.retry.told(str(error), seconds)

    def _end(self, pending: _Pending, state: SceneState, **changes: object) -> None:
        self._pending.remove(pending)
        self._write(pending.record, state, **changes)

    def _write(self, record: StateRecord, state: SceneState, **changes: object) -> StateRecord:
        record = self._book.write(record, state, **changes)
        self._changed(record)
        return record


def _of(task: Mapping[str, Any]) -> dict[str, str]:
    return {"task_id": task["task_id"], "task_status": task["status"]}
