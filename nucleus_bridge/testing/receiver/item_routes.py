# SPDX-License-Identifier: Apache-2.0
"""The calls on items, clouds and images, alone and with their annotations, page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.jobs import ITEMS
from nucleus_bridge.testing.receiver.label_rules import KINDS, SEGMENTATION
from nucleus_bridge.testing.receiver.labels import GROUND_TRUTH
from nucleus_bridge.testing.receiver.messages import Refusal, Request, Response
from nucleus_bridge.testing.receiver.query import parse_query
from nucleus_bridge.testing.receiver.scene_routes import page_of, shown_item, start_upload_job
from nucleus_bridge.testing.receiver.scene_rules import sensor_items
from nucleus_bridge.testing.receiver.scenes import IGNORED, NEW, UPDATED
from nucleus_bridge.testing.receiver.service import Routes, Service
from nucleus_bridge.testing.receiver.state import derived_id

MAX_ITEM_PAGE = 100_000
MAX_EXPORT_PAGE = 1000
"""Rows of an export that come at once, whatever was asked for: the client asks for the next page all the same."""
MAX_QUERIED = 1000
"""Items that a query looks at for one page, which may be empty while more pages follow."""
MAX_SCENE_PAGE = 30
MAX_APPEND = 5000


def item_at(service: Service, dataset_id: str, index: str) -> dict[str, Any]:
    """Return an item by its place in the dataset, from 0.

    Raises:
        Refusal: 400, 404.
    """
    if not index.isdecimal():
        raise Refusal(400, f"{index!r} is not the number of an item")
    left = int(index)
    for entry in service.store.entries(dataset_id):
        if left < len(entry.items):
            return _find(service, dataset_id, entry.items[left])
        left -= len(entry.items)
    raise Refusal(404, f"dataset {dataset_id} has no item {index}")


def item_of_id(service: Service, dataset_id: str, dataset_item_id: str) -> dict[str, Any]:
    """Return an item by the id that we gave it.

    Raises:
        Refusal: 404.
    """
    reference_id = service.store.references_of(dataset_id, {dataset_item_id}).get(dataset_item_id)
    if reference_id is None:
        raise Refusal(404, f"dataset {dataset_id} has no item {dataset_item_id!r}")
    return _find(service, dataset_id, reference_id)


def _find(service: Service, dataset_id: str, reference_id: str) -> dict[str, Any]:
    scene = service.store.scene_of_item(dataset_id, reference_id)
    return next(item for _, _, item in sensor_items(scene.payload) if item["reference_id"] == reference_id)


def _shown(dataset_id: str, item: Mapping[str, Any]) -> dict[str, Any]:
    return {**shown_item(item), "dataset_item_id": derived_id("di", dataset_id, item["reference_id"])}


def _with_annotations(service: Service, dataset_id: str, item: Mapping[str, Any]) -> dict[str, Any]:
    reference_id = item["reference_id"]
    annotations = service.labels.of_items(dataset_id, GROUND_TRUTH, [reference_id])[reference_id]
    return {"item": _shown(dataset_id, item), "annotations": annotations}


def _by_reference(service: Service, _: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    return _with_annotations(service, dataset_id, _find(service, dataset_id, reference_id))


def _by_id(service: Service, _: Request, dataset_id: str, dataset_item_id: str) -> dict[str, Any]:
    return _with_annotations(service, dataset_id, item_of_id(service, dataset_id, dataset_item_id))


def _by_index(service: Service, _: Request, dataset_id: str, index: str) -> dict[str, Any]:
    return _with_annotations(service, dataset_id, item_at(service, dataset_id, index))


def _delete_item(service: Service, _: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    with service.store.lock:
        scene = service.store.scene_of_item(dataset_id, reference_id)
        if not service.store.dataset(dataset_id).is_scene:
            service.store.delete_scene(dataset_id, reference_id)
        elif service.store.item_kind(dataset_id, reference_id) == "pointcloud":
            raise Refusal(400, "a frame cannot be without its pointcloud; delete the scene instead")
        else:
            frames = [
                {sensor: item for sensor, item in frame.items() if item["reference_id"] != reference_id}
                for frame in scene.payload["frames"]
            ]
            service.store.put_scene(dataset_id, replace(scene, payload={**scene.payload, "frames": frames}))
    service.labels.delete(dataset_id, None, [reference_id])
    return {"reference_id": reference_id}


def _append(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    if service.store.dataset(dataset_id).is_scene:
        raise Refusal(400, f"dataset {dataset_id} was created with is_scene true and takes scenes only")
    if request.query.get("async", "0") != "0":
        return dict(start_upload_job(service, request, dataset_id, kind=ITEMS))
    if "multipart/form-data" in request.headers.get("Content-Type", ""):
        raise Refusal(400, "the local receiver takes no files, only items with URLs")
    document = request.json_object()
    items, update = document.get("items"), document.get("update", False)
    if not isinstance(items, list) or not 0 < len(items) <= MAX_APPEND or not isinstance(update, bool):
        raise Refusal(400, f"items must be an array of 1 to {MAX_APPEND} objects, update true or false")
    counts = dict.fromkeys((NEW, UPDATED, IGNORED), 0)
    failed = []
    for item in items:
        try:
            counts[service.intake.take_image(dataset_id, item if isinstance(item, dict) else {}, update=update)] += 1
        except SceneError as error:
            failed.append({**(item if isinstance(item, dict) else {}), "error": str(error)})
    answer = {"dataset_id": dataset_id, "upload_errors": len(failed)}
    answer.update({f"{outcome}_items": count for outcome, count in counts.items()})
    return {**answer, "error_payload": failed} if failed else answer


def _all_items(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    items, _token = service.store.items_after(dataset_id, "", MAX_ITEM_PAGE)
    return {"dataset_items": [_shown(dataset_id, item) for item in items]}


def _items_page(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    items, next_token = _page(service, dataset_id, request.json_object(), MAX_ITEM_PAGE)
    return {"items": [_shown(dataset_id, item) for item in items], "nextPageToken": next_token}


def _page(
    service: Service, dataset_id: str, document: Mapping[str, Any], largest: int
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of items, those of it that fit the request's query, and the token of the next page."""
    token, size = page_of(document, largest)
    fits = parse_query(document.get("query"))
    items, next_token = service.store.items_after(dataset_id, token, size if fits is None else min(size, MAX_QUERIED))
    if fits is None:
        return items, next_token
    found = service.labels.of_items(dataset_id, GROUND_TRUTH, [item["reference_id"] for item in items])
    scenes = {entry: scene for scene in service.store.entries(dataset_id) for entry in scene.items}
    chosen = []
    for item in items:
        reference_id = item["reference_id"]
        scene = scenes[reference_id]
        record = {
            "reference_id": reference_id,
            "metadata": item.get("metadata", {}),
            "scene": {"reference_id": scene.reference_id, "metadata": scene.metadata},
            "annotations": [label for labels in found[reference_id].values() for label in labels],
        }
        if fits(record):
            chosen.append(item)
    return chosen, next_token


def _export_rows(
    service: Service, dataset_id: str, items: Sequence[Mapping[str, Any]], *, newest_task_only: bool
) -> str:
    """Return, as a JSON array, a row an item: the item, and a list of each kind of label on it.

    What is kept as JSON is joined, not read and written again: most of an export is labels.
    """
    references = [item["reference_id"] for item in items]
    labels = service.labels.texts_of_items(dataset_id, GROUND_TRUTH, references, newest_task_only=newest_task_only)
    rows = []
    for item in items:
        found = labels[item["reference_id"]]
        parts = [f'"item":{json.dumps(_shown(dataset_id, item))}']
        parts += [f'"{kind}":[{",".join(found.get(kind, ()))}]' for kind in KINDS]
        if SEGMENTATION in found:
            parts.append(f'"{SEGMENTATION}":{found[SEGMENTATION][-1]}')
        rows.append(f"{{{','.join(parts)}}}")
    return f"[{','.join(rows)}]"


def _export_page(service: Service, request: Request, dataset_id: str) -> Response:
    document = request.json_object()
    items, next_token = _page(service, dataset_id, document, MAX_EXPORT_PAGE)
    newest_only = document.get("onlyMostRecentTask", True) is not False
    rows = _export_rows(service, dataset_id, items, newest_task_only=newest_only)
    return Response(200, f'{{"data":{rows},"nextPageToken":{json.dumps(next_token)}}}'.encode("ascii"))


def _export_all(service: Service, _: Request, dataset_id: str) -> Response:
    items, token = service.store.items_after(dataset_id, "", MAX_EXPORT_PAGE)
    if token is not None:
        raise Refusal(
            503, f"a dataset of more than {MAX_EXPORT_PAGE} items is exported by pages: exportForTrainingPage"
        )
    rows = _export_rows(service, dataset_id, items, newest_task_only=True)
    return Response(200, f'{{"exportedRows":{rows}}}'.encode("ascii"))


def _export_by_scene(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    """Export by scene and track; documented for 2D boxes alone, and what the service gives of cuboids is unknown."""
    document = request.json_object()
    token, size = page_of(document, MAX_SCENE_PAGE)
    newest_only = document.get("onlyMostRecentTask", True) is not False
    later = [entry for entry in service.store.entries(dataset_id) if entry.scene_id > token]
    rows = []
    for entry in later[:size]:
        found = service.labels.of_items(dataset_id, GROUND_TRUTH, entry.items, newest_task_only=newest_only)
        scene = {
            "id": entry.scene_id,
            "reference_id": entry.reference_id,
            "metadata": entry.metadata,
            "type": "lidar",
            "fileLocation": "",
        }
        payload = service.store.scene(dataset_id, entry.reference_id).payload
        frame_of = {item["reference_id"]: number for number, _, item in sensor_items(payload)}
        boxes = [(frame_of[item], item, box) for item in entry.items for box in found[item].get("box", [])]
        rows.append({"scene": scene, "annotations": _tracks_of(dataset_id, boxes)})
    return {"data": rows, "nextPageToken": later[size - 1].scene_id if len(later) > size else None}


def _tracks_of(dataset_id: str, boxes: Sequence[tuple[int, str, Mapping[str, Any]]]) -> dict[str, Any]:
    tracks: dict[str, Any] = {}
    for number, reference_id, box in boxes:
        metadata, geometry = box.get("metadata", {}), box["geometry"]
        ids = (box.get("track_reference_id"), metadata.get("track_reference_id"), metadata.get("track_id"))
        track_id = next((str(name) for name in ids if name), box["annotation_id"])
        track = tracks.setdefault(track_id, {"label": box["label"], "name": track_id, "frames": []})
        frame = {"key": str(number), "left": geometry["x"], "top": geometry["y"]}
        frame.update(width=geometry["width"], height=geometry["height"], metadata=metadata)
        track["frames"].append({**frame, "dataset_item_id": derived_id("di", dataset_id, reference_id)})
    return tracks


ROUTES: Routes = {
    ("GET", "dataset/{}/refloc/{}"): _by_reference,
    ("GET", "dataset/{}/loc/{}"): _by_id,
    ("GET", "dataset/{}/iloc/{}"): _by_index,
    ("DELETE", "dataset/{}/refloc/{}"): _delete_item,
    ("POST", "dataset/{}/append"): _append,
    ("GET", "dataset/{}/datasetItems"): _all_items,
    ("POST", "dataset/{}/itemsPage"): _items_page,
    ("POST", "dataset/{}/queryItemsPage"): _items_page,
    ("POST", "dataset/{}/exportForTrainingPage"): _export_page,
    ("GET", "dataset/{}/exportForTraining"): _export_all,
    ("POST", "dataset/{}/exportForTrainingByScene"): _export_by_scene,
}
