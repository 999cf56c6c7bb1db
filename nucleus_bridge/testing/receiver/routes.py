# SPDX-License-Identifier: Apache-2.0
"""Which request is answered by what; credentials are checked here, before anything else."""

from __future__ import annotations

import re
import secrets
from typing import Any

from nucleus_bridge.spool import durable
from nucleus_bridge.testing.receiver import dataset_routes, pages, scene_routes
from nucleus_bridge.testing.receiver.access import store_refusal
from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response, json_response
from nucleus_bridge.testing.receiver.service import Route, Service

_MAX_LISTED_TASKS = 100
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def dispatch(service: Service, request: Request) -> Response:
    """Answer one request.

    Raises:
        Refusal: It is answered with an error.
    """
    path = request.segments
    if path[:2] == ("v1", "nucleus"):
        service.access.check_nucleus(request.headers)
        return json_response(_call(_NUCLEUS, path[2:], service, request))
    if path[:2] in (("v1", "task"), ("v1", "tasks")):
        service.access.check_task(request.headers)
        return json_response(_call(_TASKS, path[1:], service, request))
    if len(path) == 3 and path[0] == "put":
        return _put_upload(service, request, path[1], path[2])
    page: Response = _call(_PAGES, path, service, request)
    return page


def _call(table: dict[tuple[str, str], Route], path: tuple[str, ...], service: Service, request: Request) -> Any:  # noqa: ANN401
    if len(path) > 1 and not path[-1]:
        path = path[:-1]
    allowed = []
    for (method, pattern), route in table.items():
        parts = tuple(pattern.split("/"))
        if len(parts) == len(path) and all(part in ("{}", name) for part, name in zip(parts, path, strict=True)):
            if method == request.method:
                return route(service, request, *(name for part, name in zip(parts, path, strict=True) if part == "{}"))
            allowed.append(method)
    if allowed:
        raise Refusal(405, f"{request.method} is not possible here", headers=(("Allow", ", ".join(allowed)),))
    raise Refusal(404, "there is nothing at this path")


def _sign_upload(service: Service, _: Request, dataset_id: str, request_id: str) -> dict[str, str]:
    service.store.dataset(dataset_id)
    _check_request_id(request_id)
    return {"signed_url": service.origin + service.access.signed_path(dataset_id, request_id)}


def _put_upload(service: Service, request: Request, dataset_id: str, request_id: str) -> Response:
    if request.method != "PUT":
        return store_refusal(405, "MethodNotAllowed", "The method is not allowed.")
    refusal = service.access.check_signed(dataset_id, request_id, request.query)
    if refusal is not None:
        return refusal
    if "Content-Type" in request.headers:
        return store_refusal(403, "SignatureDoesNotMatch", "Content-Type is not part of the signed request.")
    if request.body.length > request.limits.max_upload_bytes:
        return store_refusal(413, "EntityTooLarge", f"At most {request.limits.max_upload_bytes} bytes are taken.")
    target = service.store.upload_path(dataset_id, request_id)
    temporary = target.with_name(f".{request_id}.{secrets.token_hex(4)}.tmp")
    try:
        durable.write_file(temporary, request.body.chunks())
        durable.sync_file(temporary)
        temporary.replace(target)
        durable.sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return Response(200)


def _upload_scenes(service: Service, request: Request, dataset_id: str) -> dict[str, str]:
    dataset = service.store.dataset(dataset_id)
    document = request.json_object()
    if request.query.get("async") != "1":
        raise Refusal(400, "scenes are taken asynchronously only: add ?async=1")
    if not dataset.is_scene:
        raise Refusal(400, f"dataset {dataset_id} was created with is_scene false and takes no scenes")
    request_id, update = document.get("requestId"), document.get("update")
    if not isinstance(request_id, str) or not isinstance(update, bool):
        raise Refusal(400, "requestId must be a string and update true or false")
    _check_request_id(request_id)
    if not service.store.upload_path(dataset_id, request_id).exists():
        raise Refusal(400, f"nothing was put under requestId {request_id}")
    return service.jobs.info(service.jobs.create(dataset_id, request_id, update=update).job_id)


def _check_request_id(request_id: str) -> None:
    if not _REQUEST_ID.fullmatch(request_id):
        raise Refusal(400, "a request id must be 32 hexadecimal digits in lower case")


def _poll_job(service: Service, _: Request, job_id: str) -> dict[str, Any]:
    return service.jobs.poll(job_id)


def _job_errors(service: Service, _: Request, job_id: str) -> list[str]:
    return list(service.jobs.get(job_id).errors)


def _job_info(service: Service, _: Request, job_id: str) -> dict[str, str]:
    return service.jobs.info(job_id)


def _list_jobs(service: Service, request: Request) -> list[dict[str, str]]:
    return service.jobs.listed(request.json_object())


def _create_task(service: Service, request: Request) -> dict[str, Any]:
    return service.tasks.create(request.json_object())


def _get_task(service: Service, _: Request, task_id: str) -> dict[str, Any]:
    return service.tasks.get(task_id)


def _list_tasks(service: Service, request: Request) -> dict[str, Any]:
    found = service.tasks.listed(request.query)
    try:
        limit, offset = (int(request.query.get(name, default)) for name, default in (("limit", "100"), ("offset", "0")))
    except ValueError:
        limit = offset = -1
    if not (1 <= limit <= _MAX_LISTED_TASKS and offset >= 0):
        raise Refusal(400, f"limit must be 1 to {_MAX_LISTED_TASKS} and offset a whole number from 0")
    shown = found[offset : offset + limit]
    is_more = offset + limit < len(found)
    return {"docs": shown, "total": len(found), "limit": limit, "offset": offset, "has_more": is_more}


def _index(service: Service, _: Request) -> Response:
    return pages.index(service)


def _review(service: Service, _: Request, dataset_id: str, reference_id: str) -> Response:
    return pages.review(service, dataset_id, reference_id)


_NUCLEUS: dict[tuple[str, str], Route] = {
    **dataset_routes.ROUTES,
    **scene_routes.ROUTES,
    ("GET", "dataset/{}/signedUrl/{}"): _sign_upload,
    ("POST", "{}/upload_scenes"): _upload_scenes,
    ("GET", "job/{}"): _poll_job,
    ("GET", "job/{}/errors"): _job_errors,
    ("GET", "job/{}/info"): _job_info,
    ("POST", "jobs"): _list_jobs,
}
_TASKS: dict[tuple[str, str], Route] = {
    ("POST", "task/lidarannotation"): _create_task,
    ("GET", "task/{}"): _get_task,
    ("GET", "tasks"): _list_tasks,
}
_PAGES: dict[tuple[str, str], Route] = {
    ("GET", ""): _index,
    ("GET", "review/{}/{}"): _review,
}
