# SPDX-License-Identifier: Apache-2.0
"""The calls on models, their runs, and the predictions that those hold."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from nucleus_bridge.testing.receiver.item_routes import item_at, item_of_id
from nucleus_bridge.testing.receiver.label_routes import label_at, take_labels, text_list
from nucleus_bridge.testing.receiver.messages import Refusal, Request
from nucleus_bridge.testing.receiver.service import Routes, Service
from nucleus_bridge.testing.receiver.strict_json import is_text

MAX_EXPORT_ITEMS = 100_000


def _add_model(service: Service, request: Request) -> dict[str, str]:
    document = request.json_object()
    name, reference_id, metadata = document.get("name"), document.get("reference_id"), document.get("metadata") or {}
    if not is_text(name) or not is_text(reference_id) or not isinstance(metadata, dict):
        raise Refusal(400, "a model needs a name and a reference_id that are non-empty strings, metadata an object")
    model = {
        "name": name,
        "ref_id": reference_id,
        "metadata": metadata,
        "tags": document.get("tags") or [],
        "trained_slice_ids": document.get("trained_slice_ids") or [],
    }
    return {"model_id": service.labels.add_model(model)}


def _models(service: Service, _: Request) -> dict[str, Any]:
    return {"models": service.labels.models()}


def _model(service: Service, _: Request, model_id: str) -> dict[str, Any]:
    return service.labels.model(model_id)


def _delete_model(service: Service, _: Request, model_id: str) -> dict[str, str]:
    service.labels.delete_model(model_id)
    return {"msg": "Model deletion running in an async job"}


def _add_tags(service: Service, request: Request, model_id: str) -> dict[str, Any]:
    tags = list(dict.fromkeys([*service.labels.model(model_id)["tags"], *text_list(request, "tags")]))
    service.labels.set_model_tags(model_id, tags)
    return {"model_id": model_id, "tags": tags}


def _remove_tags(service: Service, request: Request, model_id: str) -> dict[str, Any]:
    known, doomed = service.labels.model(model_id)["tags"], set(text_list(request, "tags"))
    if not doomed & set(known):
        raise Refusal(400, "Deleted 0 tags from model. The specified tag(s) were not found.")
    tags = [tag for tag in known if tag not in doomed]
    service.labels.set_model_tags(model_id, tags)
    return {"model_id": model_id, "tags": tags}


def _make_run(service: Service, request: Request, dataset_id: str) -> dict[str, str]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    name, metadata = document.get("name"), document.get("metadata") or {}
    if not is_text(name) or not isinstance(metadata, dict):
        raise Refusal(400, "a run needs a name that is a non-empty string, metadata an object")
    for model in service.labels.models():
        if document.get("model_id") == model["id"] or document.get("reference_id") == model["ref_id"]:
            return {"model_run_id": service.labels.make_run(model["id"], dataset_id, name, metadata)}
    raise Refusal(404, "there is no model of that model_id or reference_id")


def _runs(service: Service, _: Request, dataset_id: str) -> list[str]:
    service.store.dataset(dataset_id)
    return [run["model_run_id"] for run in service.labels.runs(dataset_id=dataset_id)]


def _run_info(service: Service, _: Request, run_id: str) -> dict[str, Any]:
    run = service.labels.run(run_id)
    return {"model_id": run["model_id"], "name": run["name"], "status": "Completed", "metadata": run["metadata"]}


def _delete_run(service: Service, _: Request, run_id: str) -> dict[str, str]:
    service.labels.delete_run(run_id)
    return {"model_run_id": run_id}


def _commit_run(service: Service, _: Request, run_id: str) -> dict[str, str]:
    return {"model_run_id": service.labels.run(run_id)["model_run_id"]}


def _upload_for_model(service: Service, request: Request, dataset_id: str, model_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return take_labels(service, request, dataset_id, service.labels.make_run(model_id, dataset_id))


def _upload_for_run(service: Service, request: Request, run_id: str) -> dict[str, Any]:
    return take_labels(service, request, service.labels.run(run_id)["dataset_id"], run_id)


def _upload_for_run_on(service: Service, request: Request, dataset_id: str, run_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    if service.labels.run(run_id)["dataset_id"] != dataset_id:
        raise Refusal(400, f"run {run_id} is of another dataset")
    return take_labels(service, request, dataset_id, run_id)


def _of_item(service: Service, dataset_id: str, holder: str, reference_id: str) -> dict[str, Any]:
    if service.store.item_kind(dataset_id, reference_id) is None:
        raise Refusal(404, f"dataset {dataset_id} has no item {reference_id!r}")
    return {"annotations": service.labels.of_items(dataset_id, holder, [reference_id])[reference_id]}


def _all_of(service: Service, dataset_id: str, holder: str) -> dict[str, list[Any]]:
    items, _ = service.store.items_after(dataset_id, "", MAX_EXPORT_ITEMS)
    found: dict[str, list[Any]] = defaultdict(list)
    references = [item["reference_id"] for item in items]
    for labels in service.labels.of_items(dataset_id, holder, references).values():
        for kind, some in labels.items():
            found[kind] += some
    return found


def _model_by_reference(
    service: Service, _: Request, dataset_id: str, model_id: str, reference_id: str
) -> dict[str, Any]:
    return _of_item(service, dataset_id, service.labels.run_of(model_id, dataset_id), reference_id)


def _model_by_index(service: Service, _: Request, dataset_id: str, model_id: str, index: str) -> dict[str, Any]:
    reference_id = item_at(service, dataset_id, index)["reference_id"]
    return _of_item(service, dataset_id, service.labels.run_of(model_id, dataset_id), reference_id)


def _model_prediction(
    service: Service, _: Request, dataset_id: str, model_id: str, reference_id: str, annotation_id: str
) -> dict[str, Any]:
    run_id = service.labels.run_of(model_id, dataset_id)
    return label_at(service, dataset_id, run_id, reference_id, annotation_id)


def _model_export(service: Service, _: Request, dataset_id: str, model_id: str) -> dict[str, Any]:
    return _all_of(service, dataset_id, service.labels.run_of(model_id, dataset_id))


def _run_by_reference(service: Service, _: Request, run_id: str, reference_id: str) -> dict[str, Any]:
    return _of_item(service, service.labels.run(run_id)["dataset_id"], run_id, reference_id)


def _run_by_index(service: Service, _: Request, run_id: str, index: str) -> dict[str, Any]:
    dataset_id = service.labels.run(run_id)["dataset_id"]
    return _of_item(service, dataset_id, run_id, item_at(service, dataset_id, index)["reference_id"])


def _run_by_id(service: Service, _: Request, run_id: str, dataset_item_id: str) -> dict[str, Any]:
    dataset_id = service.labels.run(run_id)["dataset_id"]
    return _of_item(service, dataset_id, run_id, item_of_id(service, dataset_id, dataset_item_id)["reference_id"])


def _run_prediction(service: Service, _: Request, run_id: str, reference_id: str, annotation_id: str) -> dict[str, Any]:
    return label_at(service, service.labels.run(run_id)["dataset_id"], run_id, reference_id, annotation_id)


def _run_export(service: Service, _: Request, run_id: str) -> dict[str, Any]:
    return _all_of(service, service.labels.run(run_id)["dataset_id"], run_id)


ROUTES: Routes = {
    ("POST", "models/add"): _add_model,
    ("GET", "models"): _models,
    ("GET", "model/{}"): _model,
    ("DELETE", "model/{}"): _delete_model,
    ("POST", "model/{}/tag"): _add_tags,
    ("DELETE", "model/{}/tag"): _remove_tags,
    ("POST", "dataset/{}/modelRun/create"): _make_run,
    ("GET", "dataset/{}/model_runs"): _runs,
    ("GET", "modelRun/{}/info"): _run_info,
    ("DELETE", "modelRun/{}"): _delete_run,
    ("POST", "modelRun/{}/commit"): _commit_run,
    ("POST", "dataset/{}/model/{}/uploadPredictions"): _upload_for_model,
    ("POST", "modelRun/{}/predict"): _upload_for_run,
    ("POST", "modelRun/{}/uploadPredictions"): _upload_for_run,
    ("POST", "dataset/{}/modelRun/{}/uploadPredictions"): _upload_for_run_on,
    ("GET", "dataset/{}/model/{}/referenceId/{}"): _model_by_reference,
    ("GET", "dataset/{}/model/{}/iloc/{}"): _model_by_index,
    ("GET", "dataset/{}/model/{}/loc/{}/{}"): _model_prediction,
    ("GET", "dataset/{}/model/{}/export"): _model_export,
    ("GET", "modelRun/{}/refloc/{}"): _run_by_reference,
    ("GET", "modelRun/{}/iloc/{}"): _run_by_index,
    ("GET", "modelRun/{}/loc/{}"): _run_by_id,
    ("GET", "modelRun/{}/prediction/loc/{}/{}"): _run_prediction,
    ("GET", "modelRun/{}/ungrouped"): _run_export,
}
