# SPDX-License-Identifier: Apache-2.0
"""The calls on scenes: their uploads and jobs, and those that are in a dataset already."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from nucleus_bridge.spool import durable
from nucleus_bridge.testing.receiver.access import store_refusal
from nucleus_bridge.testing.receiver.datasets import SceneEntry, StoredScene
from nucleus_bridge.testing.receiver.jobs import METADATA, SCENES
from nucleus_bridge.testing.receiver.labels import GROUND_TRUTH
from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response
from nucleus_bridge.testing.receiver.metadata import check_merges, merge_metadata
from nucleus_bridge.testing.receiver.query import parse_query
from nucleus_bridge.testing.receiver.service import Routes, Service

MAX_PAGE = 50
MAX_MERGES = 500
_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def put_upload(service: Service, request: Request, dataset_id: str, request_id: str) -> Response:
    """Keep what is put to a signed URL, the way an object store does."""
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


def start_upload_job(
    service: Service, request: Request, dataset_id: str, *, kind: str, holder: str = ""
) -> dict[str, str]:
    """Queue the job of an upload that was put before; the request names it.

    Raises:
        Refusal: 400, 404.
    """
    document = request.json_object()
    request_id, update = document.get("requestId"), document.get("update")
    if not isinstance(request_id, str) or not isinstance(update, bool):
        raise Refusal(400, "requestId must be a string and update true or false")
    _check_request_id(request_id)
    if not service.store.upload_path(dataset_id, request_id).exists():
        raise Refusal(400, f"nothing was put under requestId {request_id}")
    job = service.jobs.create(dataset_id, request_id, update=update, kind=kind, holder=holder)
    return service.jobs.info(job.job_id)


def start_job_on(service: Service, dataset_id: str, kind: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Queue a job whose work came with the request itself."""
    request_id = secrets.token_hex(16)
    content = "".join(json.dumps(line) + "\n" for line in lines).encode("ascii")
    durable.replace_file(service.store.upload_path(dataset_id, request_id), content)
    return service.jobs.info(service.jobs.create(dataset_id, request_id, kind=kind).job_id)


def page_of(document: Mapping[str, Any], largest: int) -> tuple[str, int]:
    """Return the token (empty for the first page) and the size of the page that a request asks for.

    Raises:
        Refusal: 400.
    """
    token, size = document.get("pageToken") or "", document.get("pageSize", largest)
    if not isinstance(token, str) or type(size) is not int or size < 1:
        raise Refusal(400, "pageToken must be one that was given out, pageSize a positive integer")
    return token, min(size, largest)


def _sign_upload(service: Service, _: Request, dataset_id: str, request_id: str) -> dict[str, str]:
    service.store.dataset(dataset_id)
    _check_request_id(request_id)
    return {"signed_url": service.origin + service.access.signed_path(dataset_id, request_id)}


def _upload_scenes(service: Service, request: Request, dataset_id: str) -> dict[str, str]:
    dataset = service.store.dataset(dataset_id)
    if request.query.get("async") != "1":
        raise Refusal(400, "scenes are taken asynchronously only: add ?async=1")
    if not dataset.is_scene:
        raise Refusal(400, f"dataset {dataset_id} was created with is_scene false and takes no scenes")
    return start_upload_job(service, request, dataset_id, kind=SCENES)


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


def _scenes_list(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    if not service.store.dataset(dataset_id).is_scene:
        return {"scenes": []}
    return {
        "scenes": [
            {"id": entry.scene_id, "reference_id": entry.reference_id, "type": "lidar", "metadata": entry.metadata}
            for entry in service.store.entries(dataset_id)
        ]
    }


def _get_scene(service: Service, request: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    if request.query.get("from_item") == "1":
        return _shown_scene(service.store.scene_of_item(dataset_id, reference_id))
    return _shown_scene(service.store.scene(dataset_id, reference_id))


def _delete_scene(service: Service, _: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    with service.store.lock:
        items = [entry.items for entry in service.store.entries(dataset_id) if entry.reference_id == reference_id]
        service.store.delete_scene(dataset_id, reference_id)
    service.labels.delete(dataset_id, None, [reference_id, *(item for some in items for item in some)])
    return {"reference_id": reference_id}


def _query_scenes(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    document = request.json_object()
    token, size = page_of(document, MAX_PAGE)
    fits = parse_query(document.get("query"))
    later = [entry for entry in service.store.entries(dataset_id) if entry.scene_id > token]
    page = later[:size]
    chosen = [entry for entry in page if fits is None or fits(_record(service, dataset_id, entry))]
    scenes = [service.store.find_scene(dataset_id, entry.reference_id) for entry in chosen]
    return {
        "items": [_shown_scene(scene) for scene in scenes if scene is not None],
        "nextPageToken": page[-1].scene_id if len(page) < len(later) else None,
    }


def _record(service: Service, dataset_id: str, entry: SceneEntry) -> dict[str, Any]:
    """Return what a query can look at of a scene."""
    scene = {"reference_id": entry.reference_id, "metadata": entry.metadata}
    found = service.labels.of_items(dataset_id, GROUND_TRUTH, entry.items)
    labels = [label for kinds in found.values() for some in kinds.values() for label in some]
    return {**scene, "scene": scene, "annotations": labels}


def _merge_metadata(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    merges = check_merges(document.get("metadata"), document.get("level"), strict=service.rules.strict)
    if request.query.get("async", "0") != "0":
        lines = [{"level": document["level"], "merge": merge} for merge in merges]
        return dict(start_job_on(service, dataset_id, METADATA, lines))
    if len(merges) > MAX_MERGES:
        raise Refusal(400, f"metadata may have at most {MAX_MERGES} entries at once; add ?async=1 for more")
    merge_metadata(service.store, dataset_id, document["level"], merges, partly=False)
    return {"dataset_id": dataset_id, "updated": len(merges)}


def _shown_scene(scene: StoredScene) -> dict[str, Any]:
    frames = [{sensor: shown_item(item) for sensor, item in frame.items()} for frame in scene.payload["frames"]]
    shown = {"id": scene.scene_id, "reference_id": scene.reference_id, "frames": frames}
    shown.update({key: scene.payload[key] for key in ("metadata", "tracks") if key in scene.payload})
    return shown


def shown_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item the way it is read back: its URL's key says what it is."""
    kind = "pointcloud_url" if item["type"] == "pointcloud" else "image_url"
    kept = {key: item[key] for key in ("reference_id", "type", "camera_params", "width", "height") if key in item}
    return {**kept, "metadata": item.get("metadata", {}), kind: item["url"]}


ROUTES: Routes = {
    ("GET", "dataset/{}/signedUrl/{}"): _sign_upload,
    ("POST", "{}/upload_scenes"): _upload_scenes,
    ("GET", "job/{}"): _poll_job,
    ("GET", "job/{}/errors"): _job_errors,
    ("GET", "job/{}/info"): _job_info,
    ("POST", "jobs"): _list_jobs,
    ("GET", "dataset/{}/scenes_list"): _scenes_list,
    ("GET", "dataset/{}/scene/{}"): _get_scene,
    ("DELETE", "dataset/{}/scene/{}"): _delete_scene,
    ("POST", "dataset/{}/queryScenesPage"): _query_scenes,
    ("POST", "dataset/{}/metadata"): _merge_metadata,
}
