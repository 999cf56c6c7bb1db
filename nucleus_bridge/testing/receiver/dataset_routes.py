# SPDX-License-Identifier: Apache-2.0
"""The calls on datasets."""

from __future__ import annotations

from typing import Any

from nucleus_bridge.testing.receiver.datasets import Dataset
from nucleus_bridge.testing.receiver.label_routes import text_list
from nucleus_bridge.testing.receiver.messages import Refusal, Request
from nucleus_bridge.testing.receiver.service import Routes, Service
from nucleus_bridge.testing.receiver.state import new_id

_SCHEMAS = ("annotation_metadata_schema", "item_metadata_schema")
_CREATE_KEYS = ("name", "is_scene", "use_privacy_mode", *_SCHEMAS)


def _create(service: Service, request: Request) -> dict[str, Any]:
    document = request.json_object()
    missing = [key for key in _CREATE_KEYS if key not in document]
    if missing:
        raise Refusal(400, f"{', '.join(missing)} is missing")
    if not isinstance(document["name"], str) or not document["name"]:
        raise Refusal(400, "name must be a non-empty string")
    for key in ("is_scene", "use_privacy_mode"):
        if not isinstance(document[key], bool):
            raise Refusal(400, f"{key} must be true or false")
    for key in _SCHEMAS:
        if not isinstance(document[key], (dict, type(None))):
            raise Refusal(400, f"{key} must be an object or null")
    dataset = Dataset(dataset_id=new_id("ds"), **{key: document[key] for key in _CREATE_KEYS})
    service.store.create(dataset)
    return {"dataset_id": dataset.dataset_id}


def _details(service: Service, _: Request) -> list[dict[str, Any]]:
    return [
        {"id": dataset.dataset_id, "name": dataset.name, "is_public": False} for dataset in service.store.datasets()
    ]


def _name(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    return {"name": service.store.dataset(dataset_id).name}


def _is_scene(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    return {"is_scene": service.store.dataset(dataset_id).is_scene}


def _use_privacy_mode(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    return {"use_privacy_mode": service.store.dataset(dataset_id).use_privacy_mode}


def _info(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    dataset = service.store.dataset(dataset_id)
    return {
        "dataset_id": dataset_id,
        "name": dataset.name,
        "length": service.store.item_count(dataset_id),
        "model_run_ids": [run["model_run_id"] for run in service.labels.runs(dataset_id=dataset_id)],
        "slice_ids": [],
        "annotation_metadata_schema": dataset.annotation_metadata_schema,
        "item_metadata_schema": dataset.item_metadata_schema,
        "tags": service.labels.change_tags(dataset_id),
    }


def _size(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    return {"count": service.store.item_count(dataset_id)}


def _delete(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    service.store.delete(dataset_id)
    service.labels.forget_dataset(dataset_id)
    return {"message": "Beginning dataset deletion..."}


def _get_tags(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return {"tags": service.labels.change_tags(dataset_id)}


def _add_tags(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return {"tags": service.labels.change_tags(dataset_id, add=text_list(request, "tags"))}


def _remove_tags(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return {"tags": service.labels.change_tags(dataset_id, remove=text_list(request, "tags"))}


def _none(service: Service, _: Request, dataset_id: str) -> list[Any]:
    """List what a dataset of ours never has."""
    service.store.dataset(dataset_id)
    return []


def _scale_task_info(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    """List the annotation tasks of a dataset; ours have tasks of their own, which are not linked to datasets."""
    service.store.dataset(dataset_id)
    return {"exportedScaleTaskInfoRows": []}


ROUTES: Routes = {
    ("POST", "dataset/create"): _create,
    ("GET", "dataset/details"): _details,
    ("GET", "dataset/{}/name"): _name,
    ("GET", "dataset/{}/is_scene"): _is_scene,
    ("GET", "dataset/{}/use_privacy_mode"): _use_privacy_mode,
    ("GET", "dataset/{}/info"): _info,
    ("GET", "dataset/{}/size"): _size,
    ("DELETE", "dataset/{}"): _delete,
    ("GET", "dataset/{}/tags"): _get_tags,
    ("POST", "dataset/{}/tags"): _add_tags,
    ("DELETE", "dataset/{}/tags"): _remove_tags,
    ("GET", "dataset/{}/slices"): _none,
    ("GET", "{}/list_autotags"): _none,
    ("GET", "dataset/{}/exportScaleTaskInfo"): _scale_task_info,
}
