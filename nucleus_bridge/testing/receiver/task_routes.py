# SPDX-License-Identifier: Apache-2.0
"""The calls on annotation tasks, their projects, batches and results."""

from __future__ import annotations

from typing import Any

from nucleus_bridge.testing.receiver.access import store_refusal
from nucleus_bridge.testing.receiver.content import check_cloud
from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response
from nucleus_bridge.testing.receiver.service import Routes, Service, call_route
from nucleus_bridge.testing.receiver.strict_json import is_text
from nucleus_bridge.testing.receiver.task_rules import MAX_TAGS, TASK_TYPES

ROOMS = frozenset({"task", "tasks", "projects", "batches"})
"""What a path of the annotation side begins with, behind its version."""
_MAX_LISTED = 100


def answer(service: Service, request: Request) -> Response:
    """Answer a call of the annotation side; its errors repeat their status.

    Raises:
        Refusal: It is answered with an error.
    """
    try:
        service.access.check_task(request.headers)
        return call_route(_ROUTES, request.segments[1:], service, request)
    except Refusal as refusal:
        refusal.details["status_code"] = refusal.status
        raise


def public_result(service: Service, request: Request, task_id: str, digest: str) -> Response:
    """Answer with a result whose URL is its password, as the public bucket does: a key that comes along is an error."""
    if "Authorization" in request.headers:
        return store_refusal(400, "InvalidArgument", "Unsupported Authorization Type")
    return _result(service, request, task_id, digest)


def _result(service: Service, request: Request, task_id: str, digest: str) -> Response:
    if request.method != "GET":
        raise Refusal(405, f"{request.method} is not possible here", headers=(("Allow", "GET"),))
    suffix, content = service.tasks.result(task_id, digest)
    return Response(200, content, "application/json" if suffix == ".json" else "application/octet-stream")


def _create(service: Service, request: Request, kind: str) -> dict[str, Any]:
    for known in TASK_TYPES:
        if kind == known:
            return service.tasks.create(known, request.json_object())
    raise Refusal(404, f"tasks of type {kind!r} are not made here; there are {', '.join(TASK_TYPES)}")


def _get(service: Service, _: Request, task_id: str) -> dict[str, Any]:
    return service.tasks.get(task_id)


def _cancel(service: Service, request: Request, task_id: str) -> dict[str, Any]:
    return service.tasks.cancel(task_id, clear_unique_id=request.query.get("clear_unique_id") == "true")


def _set_unique_id(service: Service, request: Request, task_id: str) -> dict[str, Any]:
    unique_id = request.json_object().get("unique_id")
    if unique_id is None:
        raise Refusal(400, "unique_id is missing")
    return service.tasks.set_unique_id(task_id, unique_id)


def _clear_unique_id(service: Service, _: Request, task_id: str) -> dict[str, Any]:
    return service.tasks.set_unique_id(task_id, None)


def _set_metadata(service: Service, request: Request, task_id: str) -> dict[str, Any]:
    return service.tasks.set_metadata(task_id, request.json_object())


def _change_tags(service: Service, request: Request, task_id: str) -> dict[str, Any]:
    given = request.json_value()
    if not isinstance(given, list) or not all(map(is_text, given)):
        raise Refusal(400, "the body must be an array of non-empty strings")
    known = service.tasks.get(task_id).get("tags", [])
    tags = {
        "POST": given,
        "PUT": [*known, *given],
        "DELETE": [tag for tag in known if tag not in given],
    }[request.method]
    if len(set(tags)) > MAX_TAGS:
        raise Refusal(400, f"a task has at most {MAX_TAGS} tags")
    return service.tasks.set_tags(task_id, tags)


def _list(service: Service, request: Request) -> dict[str, Any]:
    found = service.tasks.listed(request.query)
    limit, offset = _bounds(request)
    shown = found[offset : offset + limit]
    if request.query.get("limited_response", "").lower() == "true":
        shown = [service.tasks.limited(task) for task in shown]
    is_more = offset + limit < len(found)
    page = {"docs": shown, "total": len(found), "limit": limit, "offset": offset, "has_more": is_more}
    return {**page, "next_token": str(offset + limit)} if is_more else page


def _bounds(request: Request) -> tuple[int, int]:
    begun = request.query.get("next_token") or request.query.get("offset", "0")
    try:
        limit, offset = int(request.query.get("limit", "100")), int(begun)
    except ValueError:
        limit = offset = -1
    if not (1 <= limit <= _MAX_LISTED and offset >= 0):
        raise Refusal(400, f"limit must be 1 to {_MAX_LISTED}, offset a whole number from 0, next_token one given out")
    return limit, offset


def _create_project(service: Service, request: Request) -> dict[str, Any]:
    return service.tasks.groups.create_project(request.json_object())


def _projects(service: Service, _: Request) -> list[dict[str, Any]]:
    return service.tasks.groups.projects()


def _project(service: Service, _: Request, name: str) -> dict[str, Any]:
    return service.tasks.groups.project(name)


def _create_batch(service: Service, request: Request) -> dict[str, Any]:
    return service.tasks.groups.create_batch(request.json_object())


def _batches(service: Service, request: Request) -> dict[str, Any]:
    found = service.tasks.groups.batches(request.query.get("project"))
    limit, offset = _bounds(request)
    page = {"docs": found[offset : offset + limit], "totalDocs": len(found), "limit": limit, "offset": offset}
    return {**page, "has_more": offset + limit < len(found)}


def _batch(service: Service, _: Request, name: str) -> dict[str, Any]:
    return service.tasks.groups.batch(name)


def _finalize_batch(service: Service, _: Request, name: str) -> dict[str, Any]:
    return service.tasks.groups.finalize(name)


def _batch_status(service: Service, _: Request, name: str) -> dict[str, Any]:
    counts: dict[str, Any] = {"status": service.tasks.groups.batch(name)["status"]}
    for task in service.tasks.listed({"batch": name}):
        counts[task["status"]] = counts.get(task["status"], 0) + 1
    return counts


def _frame_points(service: Service, _: Request, task_id: str, number: str) -> dict[str, Any]:
    attachments = service.tasks.get(task_id)["params"].get("attachments", [])
    if not number.isdecimal() or int(number) >= len(attachments):
        raise Refusal(404, f"task {task_id} has no frame {number}")
    cloud = check_cloud(service.reader.read(attachments[int(number)]), strict=False)
    return {"points": [{axis: point[axis] for axis in "xyzi" if axis in point} for point in cloud["points"]]}


_ROUTES: Routes = {
    ("POST", "task/{}"): _create,
    ("GET", "task/{}"): _get,
    ("GET", "task/{}/response_url/{}"): _result,
    ("POST", "task/{}/cancel"): _cancel,
    ("POST", "task/{}/unique_id"): _set_unique_id,
    ("DELETE", "task/{}/unique_id"): _clear_unique_id,
    ("POST", "task/{}/setMetadata"): _set_metadata,
    ("POST", "task/{}/tags"): _change_tags,
    ("PUT", "task/{}/tags"): _change_tags,
    ("DELETE", "task/{}/tags"): _change_tags,
    ("GET", "tasks"): _list,
    ("POST", "projects"): _create_project,
    ("GET", "projects"): _projects,
    ("GET", "projects/{}"): _project,
    ("POST", "batches"): _create_batch,
    ("GET", "batches"): _batches,
    ("GET", "batches/{}"): _batch,
    ("POST", "batches/{}/finalize"): _finalize_batch,
    ("GET", "batches/{}/status"): _batch_status,
}
NUCLEUS_ROUTES: Routes = {("GET", "task/{}/frame/{}"): _frame_points}
