# SPDX-License-Identifier: Apache-2.0
"""Merges metadata and camera parameters into scenes and items that a dataset holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.datasets import Store, StoredScene
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.scene_rules import CAMERA_MODELS, check_camera

LEVELS = ("scene", "item")


def check_merges(merges: object, level: object, *, strict: bool) -> list[dict[str, Any]]:
    """Check the body of a request to merge metadata and return its entries.

    Raises:
        Refusal: 400.
    """
    if not isinstance(merges, list) or level not in LEVELS:
        raise Refusal(400, "metadata must be an array of entries, level 'scene' or 'item'")
    for merge in merges:
        if not isinstance(merge, dict) or not isinstance(merge.get("reference_id"), str):
            raise Refusal(400, "an entry of metadata needs a reference_id")
        if not isinstance(merge.get("metadata"), dict):
            raise Refusal(400, f"{merge['reference_id']!r}: metadata must be an object")
        if "camera_params" in merge:
            try:
                check_camera(repr(merge["reference_id"]), merge["camera_params"], CAMERA_MODELS, strict=strict)
            except SceneError as error:
                raise Refusal(400, str(error)) from None
    return merges


def merge_metadata(
    store: Store, dataset_id: str, level: str, merges: Sequence[Mapping[str, Any]], *, partly: bool
) -> list[str]:
    """Merge checked entries: new keys are added, equal ones overwritten, others stay.

    Args:
        store: Holds the dataset.
        dataset_id: Of the dataset.
        level: One of LEVELS.
        merges: The entries.
        partly: Do what can be done and return what went wrong, instead of nothing at all when one entry is wrong.

    Raises:
        Refusal: 404 for the dataset; without ``partly`` also 404 or 400 for an entry.
    """
    errors: list[Refusal] = []
    changed: dict[str, tuple[StoredScene, dict[str, Any]]] = {}
    store.dataset(dataset_id)
    find, merged = (store.scene, _merged_scene) if level == "scene" else (store.scene_of_item, _merged_item)
    with store.lock:
        for merge in merges:
            try:
                scene = find(dataset_id, merge["reference_id"])
                _, payload = changed.get(scene.reference_id, (scene, scene.payload))
                new = merged(payload, merge)
                store.check_fits(dataset_id, new)
            except Refusal as refusal:
                errors.append(refusal)
            except SceneError as error:
                errors.append(Refusal(400, f"{merge['reference_id']}: {error}"))
            else:
                changed[scene.reference_id] = (scene, new)
        if errors and not partly:
            raise errors[0]
        for scene, payload in changed.values():
            store.put_scene(dataset_id, replace(scene, payload=payload))
    return [str(error) for error in errors]


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
