# SPDX-License-Identifier: Apache-2.0
"""The calls on scenes and items that are in a dataset already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.datasets import StoredScene
from nucleus_bridge.testing.receiver.messages import Refusal, Request
from nucleus_bridge.testing.receiver.scene_rules import CAMERA_MODELS, check_camera, sensor_items
from nucleus_bridge.testing.receiver.service import Route, Service

MAX_PAGE = 50
MAX_MERGES = 500


def _scenes_list(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
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
    service.store.delete_scene(dataset_id, reference_id)
    return {"reference_id": reference_id}


def _query_scenes(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    document = request.json_object()
    if document.get("query"):
        raise Refusal(400, "the local receiver evaluates no queries; an empty one lists every scene")
    token, size = document.get("pageToken") or "", document.get("pageSize", MAX_PAGE)
    if not isinstance(token, str) or type(size) is not int or size < 1:
        raise Refusal(400, "pageToken must be one that was given out, pageSize a positive integer")
    later = [entry for entry in service.store.entries(dataset_id) if entry.scene_id > token]
    page = later[: min(size, MAX_PAGE)]
    scenes = [service.store.find_scene(dataset_id, entry.reference_id) for entry in page]
    return {
        "items": [_shown_scene(scene) for scene in scenes if scene is not None],
        "nextPageToken": page[-1].scene_id if len(page) < len(later) else None,
    }


def _get_item(service: Service, _request: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    scene = service.store.scene_of_item(dataset_id, reference_id)
    item = next(item for _, _, item in sensor_items(scene.payload) if item["reference_id"] == reference_id)
    return {"item": _shown_item(item), "annotations": {}}


def _delete_item(service: Service, _request: Request, dataset_id: str, reference_id: str) -> dict[str, Any]:
    with service.store.lock:
        scene = service.store.scene_of_item(dataset_id, reference_id)
        for _, _, item in sensor_items(scene.payload):
            if item["reference_id"] == reference_id and item["type"] == "pointcloud":
                raise Refusal(400, "a frame cannot be without its pointcloud; delete the scene instead")
        frames = [
            {sensor: item for sensor, item in frame.items() if item["reference_id"] != reference_id}
            for frame in scene.payload["frames"]
        ]
        service.store.put_scene(dataset_id, replace(scene, payload={**scene.payload, "frames": frames}))
    return {"reference_id": reference_id}


def _merge_metadata(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    merges, level = document.get("metadata"), document.get("level")
    if request.query.get("async", "0") != "0":
        raise Refusal(400, "the local receiver merges metadata synchronously only: use async=0")
    if not isinstance(merges, list) or len(merges) > MAX_MERGES or level not in ("scene", "item"):
        raise Refusal(400, f"metadata must be an array of at most {MAX_MERGES} entries, level 'scene' or 'item'")
    for merge in merges:
        _check_merge(merge)
    with service.store.lock:
        find = service.store.scene if level == "scene" else service.store.scene_of_item
        for merge in merges:
            find(dataset_id, merge["reference_id"])
        for merge in merges:
            scene = find(dataset_id, merge["reference_id"])
            payload = _merged_scene(scene.payload, merge) if level == "scene" else _merged_item(scene.payload, merge)
            try:
                service.store.check_fits(dataset_id, payload)
            except SceneError as error:
                raise Refusal(400, str(error)) from None
            service.store.put_scene(dataset_id, replace(scene, payload=payload))
    return {"dataset_id": dataset_id, "updated": len(merges)}


def _check_merge(merge: object) -> None:
    if not isinstance(merge, dict) or not isinstance(merge.get("reference_id"), str):
        raise Refusal(400, "an entry of metadata needs a reference_id")
    if not isinstance(merge.get("metadata"), dict):
        raise Refusal(400, f"{merge['reference_id']!r}: metadata must be an object")
    if "camera_params" in merge:
        try:
            check_camera(repr(merge["reference_id"]), merge["camera_params"], CAMERA_MODELS)
        except SceneError as error:
            raise Refusal(400, str(error)) from None


def _merged_scene(payload: Mapping[str, Any], merge: Mapping[str, Any]) -> dict[str, Any]:
    return {**payload, "metadata": {**payload.get("metadata", {}), **merge["metadata"]}}


def _merged_item(payload: Mapping[str, Any], merge: Mapping[str, Any]) -> dict[str, Any]:
    def merged(item: Mapping[str, Any]) -> Mapping[str, Any]:
        if item["reference_id"] != merge["reference_id"]:
            return item
        cameras = {key: merge[key] for key in ("camera_params",) if key in merge}
        return {**item, "metadata": {**item.get("metadata", {}), **merge["metadata"]}, **cameras}

    frames = [{sensor: merged(item) for sensor, item in frame.items()} for frame in payload["frames"]]
    return {**payload, "frames": frames}


def _shown_scene(scene: StoredScene) -> dict[str, Any]:
    frames = [{sensor: _shown_item(item) for sensor, item in frame.items()} for frame in scene.payload["frames"]]
    shown = {"id": scene.scene_id, "reference_id": scene.reference_id, "frames": frames}
    shown.update({key: scene.payload[key] for key in ("metadata", "tracks") if key in scene.payload})
    return shown


def _shown_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item the way it is read back: its URL's key says what it is."""
    kind = "pointcloud_url" if item["type"] == "pointcloud" else "image_url"
    kept = {key: item[key] for key in ("reference_id", "type", "camera_params", "width", "height") if key in item}
    return {**kept, "metadata": item.get("metadata", {}), kind: item["url"]}


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "dataset/{}/scenes_list"): _scenes_list,
    ("GET", "dataset/{}/scene/{}"): _get_scene,
    ("DELETE", "dataset/{}/scene/{}"): _delete_scene,
    ("POST", "dataset/{}/queryScenesPage"): _query_scenes,
    ("GET", "dataset/{}/refloc/{}"): _get_item,
    ("DELETE", "dataset/{}/refloc/{}"): _delete_item,
    ("POST", "dataset/{}/metadata"): _merge_metadata,
}
