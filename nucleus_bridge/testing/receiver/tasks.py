# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks with their projects and batches, kept on disk.

::

    DIR/tasks/<task id>.json                        what a client sent, and what became of it
    DIR/responses/<task id>/annotations.json        what a finished task answers: put it there and the task is completed
                            annotations.sfs         the same, as an annotated sensor-fusion scene
                            point_segmentations.json
    DIR/projects.json                               projects and batches

Ids of tasks are ours, so that no name of a file comes from a client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.spool import durable
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.state import (
    instant_text,
    new_task_id,
    now_text,
    parse_instant,
    read_state,
    write_state,
)
from nucleus_bridge.testing.receiver.strict_json import is_text
from nucleus_bridge.testing.receiver.task_rules import (
    RESPONSE_NAMES,
    ResponseName,
    TaskRules,
    TaskType,
    response_content,
)

_SUFFIXES = (".json", ".sfs")
_SHOWN_ALONE = ("unique_id", "metadata")
_SHOWN_TOO = ("project", "batch", "callback_url", "tags")
_LIMITED = ("task_id", "status", "metadata", "project")
_SAME = frozenset({"unique_id", "project", "batch", "status", "type"})
_TIMES = {
    "start_time": ("created_at", False),
    "end_time": ("created_at", True),
    "completed_after": ("completed_at", False),
    "completed_before": ("completed_at", True),
    "updated_after": ("updated_at", False),
    "updated_before": ("updated_at", True),
}
"""Filter of a list of tasks: the time it looks at, and whether it is the latest."""


class TaskBook:
    """All annotation tasks of a receiver."""

    def __init__(
        self, directory: Path, rules: TaskRules, signing_key: bytes, result_root: Callable[[str], str]
    ) -> None:
        self._folder = directory / "tasks"
        self._folder.mkdir(exist_ok=True)
        self._responses = directory / "responses"
        self._rules = rules
        self._signing_key = signing_key
        self._result_root = result_root
        self._lock = threading.RLock()
        self._tasks = {path.stem: read_state(path) for path in self._folder.glob("*.json")}
        self.groups = TaskGroups(directory / "projects.json")

    def create(self, kind: TaskType, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check and keep a new task, and return it.

        Raises:
            Refusal: 400 for what is missing or unreadable, 409 for a ``unique_id`` that is taken.
        """
        unique_id = params.get("unique_id")
        if unique_id is not None and not isinstance(unique_id, str):
            raise Refusal(400, "unique_id must be a string")
        self._check_unique(unique_id)
        try:
            self._rules.check(kind, params, self._is_finished)
        except SceneError as error:
            raise Refusal(400, str(error)) from None
        project = self.groups.check(params.get("project"), params.get("batch"))
        now = now_text()
        task = {
            "task_id": new_task_id(),
            "type": kind,
            "status": "pending",
            "created_at": now,
            "updated_at": now,
            "unique_id": unique_id,
            "metadata": params.get("metadata", {}),
            **{key: params[key] for key in _SHOWN_TOO if key in params},
            **({"project": project} if project else {}),
            "params": {key: value for key, value in params.items() if key not in _SHOWN_ALONE},
        }
        with self._lock:
            self._check_unique(unique_id)
            self._keep(task)
        return self._shown(task)

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task.

        Raises:
            Refusal: 404.
        """
        return self._shown(self._task(task_id))

    def listed(self, wanted: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Return the tasks, oldest first; only those that have what is ``wanted``, in the words of ``GET tasks``.

        Raises:
            Refusal: 400 for a time that cannot be understood.
        """
        wanted = wanted or {}
        same = {name: value for name, value in wanted.items() if name in _SAME}
        bounds = [(*_TIMES[name], _instant(name, value)) for name, value in wanted.items() if name in _TIMES]
        with self._lock:
            tasks = sorted(self._tasks.values(), key=lambda task: (task["created_at"], task["task_id"]))
        return [
            task
            for task in map(self._shown, tasks)
            if all(task.get(name, task["params"].get(name)) == value for name, value in same.items())
            and ("tags" not in wanted or wanted["tags"] in task.get("tags", []))
            and all(_is_within(task.get(key), bound, latest=latest) for key, latest, bound in bounds)
        ]

    def limited(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a task that ``limited_response`` asks for."""
        return {key: task.get(key) for key in _LIMITED}

    def cancel(self, task_id: str, *, clear_unique_id: bool) -> dict[str, Any]:
        """Cancel a pending task; it keeps its ``unique_id`` unless that is cleared.

        Raises:
            Refusal: 404, or 400 for a task that has ended.
        """
        with self._lock:
            task = self.get(task_id)
            if task["status"] != "pending":
                raise Refusal(400, f"task {task_id} is {task['status']} and cannot be canceled")
            cleared = {"unique_id": None} if clear_unique_id else {}
            return self._change(task_id, status="canceled", **cleared)

    def set_unique_id(self, task_id: str, unique_id: object) -> dict[str, Any]:
        """Give a task a ``unique_id``, or none.

        Raises:
            Refusal: 400, 404, 409 for one that is taken.
        """
        if unique_id is not None and not is_text(unique_id):
            raise Refusal(400, "unique_id must be a non-empty string")
        with self._lock:
            if self._task(task_id)["unique_id"] != unique_id:
                self._check_unique(unique_id)
            return self._change(task_id, unique_id=unique_id)

    def set_metadata(self, task_id: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a task's metadata.

        Raises:
            Refusal: 404.
        """
        return self._change(task_id, metadata=dict(metadata))

    def set_tags(self, task_id: str, tags: Iterable[str]) -> dict[str, Any]:
        """Replace a task's tags.

        Raises:
            Refusal: 404.
        """
        return self._change(task_id, tags=list(dict.fromkeys(tags)))

    def finish(self, task: str, responses: Mapping[ResponseName, object]) -> None:
        """Complete a task, named by its id or its ``unique_id``, with what it answers.

        Raises:
            InputError: There is no such task, or it does not answer such things.
        """
        known = self._named(task)
        frames = len(known["params"].get("attachments", []))
        files = [(name, *response_content(name, content, frames)) for name, content in responses.items()]
        folder = self._responses / known["task_id"]
        folder.mkdir(parents=True, exist_ok=True)
        for name, suffix, data in files:
            durable.replace_file(folder / f"{name}{suffix}", data)
        self._change(known["task_id"], status="completed", completed_at=now_text())

    def fail(self, task: str, reason: str) -> None:
        """End a task, named by its id or its ``unique_id``, in an error.

        Raises:
            InputError: There is no such task.
        """
        known = self._named(task)
        cleared = {"unique_id": None} if known["params"].get("clear_unique_id_on_error") is True else {}
        self._change(known["task_id"], status="error", response={"error": reason}, **cleared)

    def result(self, task_id: str, digest: str) -> tuple[str, bytes]:
        """Return the file suffix and the content of a part of a task's response.

        Raises:
            Refusal: 404.
        """
        self._task(task_id)
        for name, path in self._answers(task_id).items():
            if hmac.compare_digest(self._digest(task_id, name).encode(), digest.encode()):
                return path.suffix, path.read_bytes()
        raise Refusal(404, f"task {task_id} has no such result")

    def _named(self, task: str) -> dict[str, Any]:
        with self._lock:
            for known in self._tasks.values():
                if task in (known["task_id"], known["unique_id"]):
                    return known
        raise InputError(f"there is no task {task!r}, neither by id nor by unique_id")

    def _task(self, task_id: str) -> dict[str, Any]:
        with self._lock:
            task = self._tasks.get(task_id)
        if task is None:
            raise Refusal(404, f"there is no task {task_id!r}")
        return task

    def _is_finished(self, task_id: str) -> bool:
        return task_id in self._tasks and self.get(task_id)["status"] == "completed"

    def _change(self, task_id: str, **changes: object) -> dict[str, Any]:
        with self._lock:
            task = {**self._task(task_id), "updated_at": now_text(), **changes}
            self._keep(task)
        return self._shown(task)

    def _keep(self, task: dict[str, Any]) -> None:
        write_state(self._folder / f"{task['task_id']}.json", task)
        self._tasks[task["task_id"]] = task

    def _shown(self, task: Mapping[str, Any]) -> dict[str, Any]:
        shown = {"updated_at": task["created_at"], **task}
        if shown["status"] not in ("pending", "completed"):
            return shown
        task_id = task["task_id"]
        answers = self._answers(task_id)
        if answers:
            shown["status"] = "completed"
            finished = max(path.stat().st_mtime for path in answers.values())
            shown.setdefault("completed_at", instant_text(finished))
            shown["updated_at"] = max(shown["updated_at"], instant_text(finished))
            root = self._result_root(task_id)
            shown["response"] = {name: {"url": f"{root}/{self._digest(task_id, name)}"} for name in answers}
        return shown

    def _answers(self, task_id: str) -> dict[ResponseName, Path]:
        folder = self._responses / task_id
        if not folder.is_dir():
            return {}
        paths = {name: [folder / f"{name}{suffix}" for suffix in _SUFFIXES] for name in RESPONSE_NAMES}
        found = {name: [path for path in some if path.is_file()] for name, some in paths.items()}
        return {name: some[0] for name, some in found.items() if some}

    def _digest(self, task_id: str, name: ResponseName) -> str:
        digest = hmac.new(self._signing_key, f"result/{task_id}/{name}".encode(), hashlib.sha256).digest()
        return str(uuid.UUID(bytes=digest[:16]))

    def _check_unique(self, unique_id: str | None) -> None:
        if unique_id is None:
            return
        with self._lock:
            tasks = list(self._tasks.values())
        for task in tasks:
            if task["unique_id"] == unique_id:
                taken = f'The unique_id ("{unique_id}") is already used for a different task ({task["task_id"]}).'
                raise Refusal(409, taken)


class TaskGroups:
    """Projects, and the batches in them. While there are none, tasks may name any."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        kept = read_state(path) if path.exists() else {"projects": [], "batches": []}
        self._projects: dict[str, dict[str, Any]] = {project["name"]: project for project in kept["projects"]}
        self._batches: dict[str, dict[str, Any]] = {batch["name"]: batch for batch in kept["batches"]}

    def check(self, project: str | None, batch: str | None) -> str | None:
        """Check what a task names and return its project, which may be its batch's.

        Raises:
            Refusal: 400 for one that is not there, or does not fit.
        """
        if project and self._projects and project not in self._projects:
            raise Refusal(400, f"Project {project!r} does not exist.")
        if not batch or not self._batches:
            return project
        known = self._batches.get(batch)
        if known is None:
            raise Refusal(400, f"Batch {batch!r} does not exist.")
        if project and known["project"] != project:
            raise Refusal(400, f"Batch {batch!r} is of project {known['project']!r}, not {project!r}.")
        if known["status"] != "staging":
            raise Refusal(400, f"Batch {batch!r} is finalized and takes no more tasks.")
        return str(known["project"])

    def create_project(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new project.

        Raises:
            Refusal: 400, 409.
        """
        name, kind = document.get("name"), document.get("type")
        if not is_text(name) or not is_text(kind):
            raise Refusal(400, "a project needs a name and a type")
        project = {
            "name": name,
            "type": kind,
            "created_at": now_text(),
            "param_history": [{"version": 1, **(document.get("params") or {})}],
        }
        self._add(self._projects, project)
        return project

    def create_batch(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new batch of a project.

        Raises:
            Refusal: 400, 404 for the project, 409.
        """
        name, project = document.get("name"), document.get("project")
        if not is_text(name) or not is_text(project):
            raise Refusal(400, "a batch needs a name and a project")
        self.project(project)
        batch = {
            "name": name,
            "project": project,
            "status": "staging",
            "created_at": now_text(),
            "metadata": document.get("metadata") or {},
            "callback": document.get("callback") or "",
        }
        self._add(self._batches, batch)
        return batch

    def finalize(self, name: str) -> dict[str, Any]:
        """Close a batch: its tasks are begun, and it takes no more.

        Raises:
            Refusal: 404.
        """
        with self._lock:
            batch = {**self.batch(name), "status": "in_progress"}
            self._batches[name] = batch
            self._write()
        return batch

    def projects(self) -> list[dict[str, Any]]:
        """Return every project, oldest first."""
        return list(self._projects.values())

    def batches(self, project: str | None) -> list[dict[str, Any]]:
        """Return every batch, or those of a project, oldest first."""
        return [batch for batch in list(self._batches.values()) if project in (None, batch["project"])]

    def project(self, name: str) -> dict[str, Any]:
        """Return a project.

        Raises:
            Refusal: 404.
        """
        if name not in self._projects:
            raise Refusal(404, f"there is no project {name!r}")
        return self._projects[name]

    def batch(self, name: str) -> dict[str, Any]:
        """Return a batch.

        Raises:
            Refusal: 404.
        """
        if name not in self._batches:
            raise Refusal(404, f"there is no batch {name!r}")
        return self._batches[name]

    def _add(self, table: dict[str, dict[str, Any]], entry: dict[str, Any]) -> None:
        with self._lock:
            if entry["name"] in table:
                raise Refusal(409, f"the name {entry['name']!r} is taken")
            table[entry["name"]] = entry
            self._write()

    def _write(self) -> None:
        write_state(self._path, {"projects": [*self._projects.values()], "batches": [*self._batches.values()]})


def _instant(name: str, text: str) -> dt.datetime:
    try:
        return parse_instant(text)
    except ValueError:
        raise Refusal(400, f"{name} must be a time such as 2026-01-31 12:00:00.000000") from None


def _is_within(text: str | None, bound: dt.datetime, *, latest: bool) -> bool:
    if text is None:
        return False
    instant = parse_instant(text)
    return instant <= bound if latest else instant >= bound
