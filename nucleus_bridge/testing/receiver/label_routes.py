# SPDX-License-Identifier: Apache-2.0
"""The calls on annotations, and on what names and joins them: tracks, taxonomies, classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nucleus_bridge.testing.receiver.jobs import ANNOTATIONS, DELETION, PREDICTIONS
from nucleus_bridge.testing.receiver.labels import GROUND_TRUTH
from nucleus_bridge.testing.receiver.messages import Refusal, Request
from nucleus_bridge.testing.receiver.query import parse_query
from nucleus_bridge.testing.receiver.scene_routes import page_of, start_job_on, start_upload_job
from nucleus_bridge.testing.receiver.service import Routes, Service
from nucleus_bridge.testing.receiver.strict_json import is_text

MAX_OBJECT_PAGE = 10_000


def take_labels(service: Service, request: Request, dataset_id: str, holder: str) -> dict[str, Any]:
    """Take the annotations, or the predictions of a run, that a request brings or whose upload it names."""
    kind, what = (ANNOTATIONS, "annotations") if holder == GROUND_TRUTH else (PREDICTIONS, "predictions")
    if request.query.get("async", "0") != "0":
        return dict(start_upload_job(service, request, dataset_id, kind=kind, holder=holder))
    if "multipart/form-data" in request.headers.get("Content-Type", ""):
        raise Refusal(400, "the local receiver takes no files, only masks with URLs")
    document = request.json_object()
    labels, masks = document.get("annotations", []), document.get("segmentations", [])
    update = document.get("update", False)
    if not isinstance(labels, list) or not isinstance(masks, list) or not isinstance(update, bool):
        raise Refusal(400, "annotations and segmentations must be arrays, update true or false")
    taken = service.label_intake.take(dataset_id, holder, [*labels, *masks], update=update)
    answer: dict[str, Any] = {
        "dataset_id": dataset_id,
        f"{what}_processed": taken.processed,
        f"{what}_ignored": taken.ignored,
    }
    if holder != GROUND_TRUTH:
        answer["model_run_id"] = holder
    return {**answer, "errors": list(taken.errors)} if taken.errors else answer


def text_list(request: Request, key: str) -> list[str]:
    """Return the array of texts that a request brings.

    Raises:
        Refusal: 400.
    """
    texts = request.json_object().get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, f"{key} must be an array of strings")
    return texts


def label_at(service: Service, dataset_id: str, holder: str, reference_id: str, annotation_id: str) -> dict[str, Any]:
    """Return the one label of an item that has an annotation id.

    Raises:
        Refusal: 404.
    """
    if service.store.item_kind(dataset_id, reference_id) is None:
        raise Refusal(404, f"dataset {dataset_id} has no item {reference_id!r}")
    found = service.labels.of_items(dataset_id, holder, [reference_id])[reference_id]
    for labels in found.values():
        for label in labels:
            if label.get("annotation_id") == annotation_id:
                return label
    raise Refusal(404, f"item {reference_id!r} has nothing with the annotation_id {annotation_id!r}")


def _annotate(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return take_labels(service, request, dataset_id, GROUND_TRUTH)


def _delete_annotations(service: Service, request: Request, dataset_id: str) -> dict[str, str]:
    service.store.dataset(dataset_id)
    references = text_list(request, "reference_ids")
    return start_job_on(service, dataset_id, DELETION, [{"reference_ids": references}])


def _get_annotation(
    service: Service, _: Request, dataset_id: str, reference_id: str, annotation_id: str
) -> dict[str, Any]:
    return label_at(service, dataset_id, GROUND_TRUTH, reference_id, annotation_id)


def _query_objects(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    token, size = page_of(document, MAX_OBJECT_PAGE)
    holders: dict[object, str | None] = {"ground_truth_only": GROUND_TRUTH, "predictions_only": None}
    mode = document.get("patch_mode")
    if mode not in holders or not (token or "0").isdecimal():
        raise Refusal(400, "patch_mode must be ground_truth_only or predictions_only, pageToken one that was given out")
    holder = holders[mode]
    if holder is None and document.get("model_run_id"):
        holder = service.labels.run(str(document["model_run_id"]))["model_run_id"]
    fits = parse_query(document.get("query"))
    found = service.labels.after(dataset_id, holder, int(token or 0), size)
    next_token = str(found[-1][0]) if len(found) == size else None
    chosen = [label for _, label in found if fits is None or fits({**label, "annotations": [label]})]
    return {"items": chosen, "nextPageToken": next_token}


def _class_labels(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return {"data": service.labels.names(dataset_id)}


def _tracks(service: Service, _: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    return {"tracks": service.labels.tracks(dataset_id)}


def _set_track(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    reference_id, metadata = document.get("reference_id"), document.get("metadata") or {}
    if not is_text(reference_id) or not isinstance(metadata, dict):
        raise Refusal(400, "reference_id must be a non-empty string and metadata an object")
    service.labels.set_track(dataset_id, reference_id, metadata, overwrite=document.get("overwrite") is True)
    return {"reference_id": reference_id, "dataset_id": dataset_id}


def _delete_tracks(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    service.labels.delete_tracks(dataset_id, text_list(request, "track_reference_ids"))
    return {}


def _add_taxonomy(service: Service, request: Request, dataset_id: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    document = request.json_object()
    name, kind, labels = document.get("taxonomy_name"), document.get("type"), document.get("labels")
    if not is_text(name) or kind not in ("category", "multicategory") or not _are_texts(labels):
        raise Refusal(400, "a taxonomy needs a taxonomy_name, a type (category or multicategory) and labels")
    update = document.get("update") is True
    is_new = service.labels.set_taxonomy(dataset_id, name, {"type": kind, "labels": labels}, update=update)
    status = {True: "Taxonomy created", None: "Taxonomy updated", False: "Taxonomy already exists"}[is_new]
    return {"dataset_id": dataset_id, "taxonomy_name": name, "status": status}


def _delete_taxonomy(service: Service, _: Request, dataset_id: str, name: str) -> dict[str, Any]:
    service.store.dataset(dataset_id)
    if not service.labels.delete_taxonomy(dataset_id, name):
        raise Refusal(404, f"dataset {dataset_id} has no taxonomy {name!r}")
    return {"dataset_id": dataset_id, "taxonomy_name": name, "status": "Taxonomy successfully deleted"}


def _are_texts(labels: Sequence[object] | None) -> bool:
    return isinstance(labels, list) and bool(labels) and all(map(is_text, labels))


ROUTES: Routes = {
    ("POST", "dataset/{}/annotate"): _annotate,
    ("DELETE", "annotation/{}"): _delete_annotations,
    ("GET", "dataset/{}/groundTruth/loc/{}/{}"): _get_annotation,
    ("POST", "dataset/{}/queryObjectsPage"): _query_objects,
    ("GET", "dataset/{}/class_labels"): _class_labels,
    ("GET", "dataset/{}/tracks"): _tracks,
    ("POST", "dataset/{}/tracks"): _set_track,
    ("DELETE", "dataset/{}/tracks"): _delete_tracks,
    ("POST", "dataset/{}/add_taxonomy"): _add_taxonomy,
    ("DELETE", "dataset/{}/taxonomy/{}"): _delete_taxonomy,
}
