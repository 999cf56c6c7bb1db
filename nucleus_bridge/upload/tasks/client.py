# SPDX-License-Identifier: Apache-2.0
"""The REST calls that annotation tasks need; each is one attempt, so that no task holds up the others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from nucleus_bridge.config.task_template import CONTENT_KEY, DEFAULT_TYPE, TaskType
from nucleus_bridge.errors import RejectedError, SceneError
from nucleus_bridge.spool.destination import TASK_ENDPOINT, TASK_ENDPOINT_VARIABLE
from nucleus_bridge.spool.state import StateRecord
from nucleus_bridge.upload.http import HttpChannel, check_endpoint, expect
from nucleus_bridge.upload.retry import Retry
from nucleus_bridge.upload.tasks.frames import task_upload

KEY_VARIABLE = "SCALE_API_KEY"
_NAMED_TASK = re.compile(r"\((\w+)\)")


def endpoint_from(configured: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the endpoint: the environment's, the configured one, or the public one.

    Raises:
        ConfigError: It cannot be used.
    """
    return check_endpoint(environment.get(TASK_ENDPOINT_VARIABLE, "").strip() or configured or TASK_ENDPOINT)


class TaskClient:
    """A client of one endpoint; one thread at a time.

    Every call raises AuthError when the key is refused, and TransientError for what may be otherwise next time.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        *,
        task_type: TaskType | None = None,
        timeout_s: float = 120.0,
        retry: Retry | None = None,
    ) -> None:
        self._task_type = task_type or DEFAULT_TYPE
        self.expected_type = task_type
        self.endpoint = check_endpoint(endpoint)
        self.retry = retry or Retry()
        self._http = HttpChannel(key, timeout_s, key_variable=KEY_VARIABLE, stop=self.retry.stop)

    def __repr__(self) -> str:
        return f"TaskClient({self.endpoint!r}, key=***)"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def check_key(self) -> None:
        """Make sure that the key is taken, by asking for something small."""
        self.retry.again(lambda: self._told("tasks?limit=1"))

    def create(self, request: Mapping[str, Any]) -> str:
        """Make a task and return its id.

        Raises:
            RejectedError: The task is refused; status 409 says that its ``unique_id`` is taken.
        """
        answer = self._http.call("POST", f"{self.endpoint}/task/{self._task_type}", request)
        return str(expect("task", answer, lambda a: a["task_id"] and isinstance(a["task_id"], str))["task_id"])

    def task(self, task_id: str) -> dict[str, Any] | None:
        """Return a task, or None when the service does not know it."""
        answer = self._told(f"task/{quote(task_id, safe='')}")
        return None if answer is None else _checked(answer)

    def result(self, url: str) -> bytes:
        """Return what a finished task answers; the key goes to the service's own host alone.

        Raises:
            RejectedError: It is not there.
            TransientError: Anything that may be otherwise next time.
        """
        is_ours = urlsplit(url)[:2] == urlsplit(self.endpoint)[:2] and "/task/" in urlsplit(url).path
        return self.retry.again(lambda: self._http.read(url, with_key=is_ours))

    def find(self, unique_id: str) -> dict[str, Any] | None:
        """Return the task of a ``unique_id``, or None when there is none or the service does not say."""
        answer = self._told(f"tasks?{urlencode({'unique_id': unique_id})}")
        if answer is None:
            return None
        rows = expect("tasks", answer, lambda a: isinstance(a["docs"], list))["docs"]
        found = [_checked(row) for row in rows]
        return next((task for task in found if task.get("unique_id") == unique_id), None)

    def find_taken(self, unique_id: str, refusal: RejectedError) -> dict[str, Any] | None:
        """Return the task that a ``unique_id`` is taken by, also by the id that the refusal names."""
        if (found := self.find(unique_id)) is not None:
            return found
        named = refusal.answer.get("task_id")
        if not isinstance(named, str):
            in_brackets = _NAMED_TASK.findall(str(refusal.answer.get("error", "")))
            named = in_brackets[-1] if in_brackets else ""
        task = self.task(named) if named else None
        return task if task is not None and task.get("unique_id") in (None, unique_id) else None

    def _told(self, route: str) -> Any:  # noqa: ANN401 - JSON
        """Return what the service tells, or None when it knows of nothing there."""
        try:
            return self._http.call("GET", f"{self.endpoint}/{route}")
        except RejectedError:
            return None


ENDED = {"error": "ended in an error", "canceled": "was canceled"}
"""Statuses of tasks that nobody works on any more without a result."""


def _checked(answer: object) -> dict[str, Any]:
    task: dict[str, Any] = expect(
        "task", answer, lambda a: isinstance(a["task_id"], str) and isinstance(a["status"], str)
    )
    return task


def is_task_of(task: Mapping[str, Any], record: StateRecord) -> bool:
    """Whether a task was made of a scene: by the digest in its metadata, or else by the names of its frames."""
    content = _content_of(task)
    if content is not None:
        return bool(content == record.content)
    attachments = _params(task).get("attachments")
    if not isinstance(attachments, list):
        return True  # it does not say
    return _lists_the_frames(attachments, record)


def other_type(task: Mapping[str, Any], expected: str | None) -> str:
    """Return the type of a task that is of another one than expected; empty when it does not say."""
    found = task.get("type")
    return found if isinstance(found, str) and expected and found != expected else ""


def is_proven_task(task: Mapping[str, Any], record: StateRecord) -> bool:
    """Whether a task surely holds a scene, complete, so that the spool may let the scene go."""
    attachments = _params(task).get("attachments")
    shows_all = isinstance(attachments, list) and _lists_the_frames(attachments, record)
    return _content_of(task) == record.content and shows_all and task["status"] not in ENDED


def project_of(task: Mapping[str, Any]) -> str:
    """Return the project that a task belongs to; empty when it does not say."""
    project = task.get("project") or _params(task).get("project")
    return project if isinstance(project, str) else ""


def _params(task: Mapping[str, Any]) -> Mapping[str, Any]:
    params = task.get("params")
    return params if isinstance(params, Mapping) else {}


def _content_of(task: Mapping[str, Any]) -> object:
    metadata = task.get("metadata") or _params(task).get("metadata")
    return metadata.get(CONTENT_KEY) if isinstance(metadata, Mapping) else None


def _lists_the_frames(attachments: list[object], record: StateRecord) -> bool:
    try:
        paths = task_upload(record.format).attachments(record.frames)
    except SceneError:
        return False
    wanted = [PurePosixPath(record.reference_id, path).with_suffix("") for path in paths]
    return len(attachments) == len(wanted) and all(map(_is_of_frame, map(str, attachments), wanted))


def said_of_task(task: Mapping[str, Any]) -> str:
    """Return what a task says of its error, behind a colon."""
    response = task.get("response")
    said = response.get("error") if isinstance(response, Mapping) else task.get("error")
    return f": {' '.join(str(said).split())[:500]}" if said else ""


def _is_of_frame(url: str, frame: PurePosixPath) -> bool:
    """Whether a URL leads to an attachment as it was sent: a frame's name holds the digest of its content, too."""
    path = PurePosixPath(unquote(urlsplit(url).path))
    parts = (*path.parts[:-1], PurePosixPath(path.name.partition("-")[0]).stem)
    return parts[-len(frame.parts) :] == frame.parts
