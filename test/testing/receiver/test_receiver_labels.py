# SPDX-License-Identifier: Apache-2.0
"""Annotations and predictions: what is taken, what counts as the same, how it is read back, and what survives."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from receiver_driver import Driver, make_scene

from nucleus_bridge.errors import InputError

LISTED = {"box", "polygon", "line", "keypoints", "category", "multicategory", "cuboid"}


def cuboid(annotation_id: str | None = "a1", item: str = "s1-lidar-0", **changes: Any) -> dict[str, Any]:
    document = {
        "label": "car",
        "type": "cuboid",
        "geometry": {
            "position": {"x": 20.0, "y": 3.0, "z": 0.8},
            "dimensions": {"x": 1.9, "y": 4.5, "z": 1.6},
            "yaw": -1.5,
        },
        "reference_id": item,
        "annotation_id": annotation_id,
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


def box(annotation_id: str = "b1", item: str = "s1-front-0", **changes: Any) -> dict[str, Any]:
    geometry = {"x": 10, "y": 20, "width": 30, "height": 40.5}
    document = {"label": "car", "type": "box", "geometry": geometry, "reference_id": item}
    return {**document, "annotation_id": annotation_id, **changes}


def mask(item: str = "s1-front-0", **changes: Any) -> dict[str, Any]:
    segments = [{"label": "road", "index": 1}]
    document = {"type": "mask", "mask_url": "s3://bucket/mask.png", "annotations": segments, "reference_id": item}
    return {**document, **changes}


def category(item: str, label: str = "day") -> dict[str, Any]:
    return {"label": label, "type": "category", "geometry": {}, "reference_id": item, "metadata": {}}


@pytest.fixture
def dataset(driver: Driver) -> str:
    created = driver.create()
    driver.upload(created, make_scene("s1"), make_scene("s2"))
    return created


def annotate(driver: Driver, dataset: str, *labels: Any, update: bool = False) -> dict[str, Any]:
    document = {
        "update": update,
        "annotations": [label for label in labels if label.get("type") != "mask"],
        "segmentations": [label for label in labels if label.get("type") == "mask"],
    }
    answer = driver.call("POST", f"dataset/{dataset}/annotate", document)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def annotations_of(driver: Driver, dataset: str, item: str) -> dict[str, Any]:
    return dict(driver.call("GET", f"dataset/{dataset}/refloc/{item}").json()["annotations"])


def export(driver: Driver, dataset: str, **document: Any) -> list[dict[str, Any]]:
    rows, token = [], None
    while True:
        page = {"pageToken": token, "pageSize": 3, "query": None, "chip": False, "onlyMostRecentTask": True, **document}
        answer = driver.call("POST", f"dataset/{dataset}/exportForTrainingPage", page).json()
        rows += answer["data"]
        token = answer["nextPageToken"]
        if not token:
            return rows


def test_every_kind_of_label_is_read_back_as_it_was_sent(driver: Driver, dataset: str) -> None:
    on_image = [
        box(),
        {**box("p1"), "type": "polygon", "geometry": {"vertices": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}},
        {**box("l1"), "type": "line", "geometry": {"vertices": [{"x": 1, "y": 2}]}},
        {
            **box("k1"),
            "type": "keypoints",
            "geometry": {"keypoints": [{"x": 1, "y": 2, "visible": True}, {"visible": False}], "names": ["a", "b"]},
        },
        category("s1-front-0"),
        {**category("s1-front-0"), "type": "multicategory", "labels": ["wet", "dark"]},
        mask(annotation_id="m1"),
    ]
    assert annotate(driver, dataset, *on_image, cuboid()) == {
        "dataset_id": dataset,
        "annotations_processed": 8,
        "annotations_ignored": 0,
    }
    found = annotations_of(driver, dataset, "s1-front-0")
    assert {kind: labels[0] for kind, labels in found.items()} == {
        {"mask": "segmentation"}.get(label["type"], label["type"]): label for label in on_image
    }
    assert annotations_of(driver, dataset, "s1-lidar-0") == {"cuboid": [cuboid()]}


@pytest.mark.parametrize("update", [False, True])
def test_the_same_annotation_is_ignored_or_overwritten(driver: Driver, dataset: str, update: bool) -> None:
    annotate(driver, dataset, cuboid(), cuboid("a2"))
    changed = cuboid(label="truck")
    answer = annotate(driver, dataset, changed, update=update)
    assert (answer["annotations_processed"], answer["annotations_ignored"]) == ((1, 0) if update else (0, 1))
    kept = annotations_of(driver, dataset, "s1-lidar-0")["cuboid"]
    assert kept == [changed if update else cuboid(), cuboid("a2")]


def test_the_same_annotation_of_another_task_or_item_is_another_one(driver: Driver, dataset: str) -> None:
    labels = [cuboid(), cuboid(task_id="t1"), cuboid(task_id="t2"), cuboid(item="s1-lidar-1")]
    assert annotate(driver, dataset, *labels)["annotations_processed"] == 4
    assert len(annotations_of(driver, dataset, "s1-lidar-0")["cuboid"]) == 3
    rows = {row["item"]["reference_id"]: row["cuboid"] for row in export(driver, dataset)}
    assert rows["s1-lidar-0"] == [cuboid(), cuboid(task_id="t2")]
    every = {row["item"]["reference_id"]: row["cuboid"] for row in export(driver, dataset, onlyMostRecentTask=False)}
    assert every["s1-lidar-0"] == labels[:3]


def test_without_an_annotation_id_every_repeat_is_another_one(driver: Driver, dataset: str) -> None:
    for _ in range(2):
        assert annotate(driver, dataset, cuboid(None))["annotations_processed"] == 1
    kept = annotations_of(driver, dataset, "s1-lidar-0")["cuboid"]
    assert len({label["annotation_id"] for label in kept}) == len(kept) == 2


def test_an_image_has_one_mask_and_one_category_of_a_taxonomy(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, mask(), category("s1-front-0"))
    again = annotate(driver, dataset, mask(annotation_id="other"), category("s1-front-0", "night"))
    assert again["annotations_ignored"] == 2
    annotate(driver, dataset, category("s1-front-0", "night"), update=True)
    assert [label["label"] for label in annotations_of(driver, dataset, "s1-front-0")["category"]] == ["night"]


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (cuboid(item="none"), "Item with id none doesn't exist."),
        (cuboid(item="s1"), "Item with id s1 doesn't exist."),
        (cuboid(item="s1-front-0"), "on a pointcloud only"),
        (box(item="s1-lidar-0"), "on an image only"),
        (mask(item="s1-lidar-0"), "on an image only"),
        (cuboid(type="sphere"), "type 'sphere' is not one of"),
        (cuboid(label=""), "label"),
        (cuboid(geometry=None), "geometry must be an object"),
        (
            cuboid(geometry={"position": {"x": 1, "y": 2, "z": 3}, "dimensions": {"x": 1, "y": 2}, "yaw": 0}),
            "dimensions",
        ),
        (cuboid(geometry={**cuboid()["geometry"], "yaw": "0"}), "yaw"),
        (cuboid(geometry={**cuboid()["geometry"], "dimensions": {"x": -1, "y": 2, "z": 3}}), "negative"),
        (cuboid(reference_id=5), "reference_id"),
        ({**cuboid(), "annotation_id": 5}, "annotation_id"),
        (cuboid(metadata=[]), "metadata must be an object"),
        (cuboid(confidence=0.5), "no confidence"),
        (box(geometry={"x": 1, "y": 2, "width": -3, "height": 4}), "negative"),
        (box(type="polygon", geometry={"vertices": [{"x": 1}]}), r"vertices\[0\]"),
        (box(type="keypoints", geometry={"keypoints": [], "names": ["a"]}), "as many names"),
        (box(type="multicategory", labels=[]), "labels"),
        (mask(mask_url="file:///etc/passwd"), "scheme 'file'"),
        (mask(annotations=[{"label": "road", "index": 1.5}]), "whole index"),
    ],
)
def test_a_wrong_label_is_an_error_of_its_own_and_the_good_one_kept(
    driver: Driver, dataset: str, label: dict[str, Any], reason: str
) -> None:
    answer = annotate(driver, dataset, label, cuboid("good"))
    (error,) = answer["errors"]
    said = json.loads(error)
    assert re.search(reason, said["error"]), said
    assert said["annotation"]["referenceId"] == label.get("reference_id")
    assert (answer["annotations_processed"], answer["annotations_ignored"]) == (1, 0)
    assert [kept["annotation_id"] for kept in annotations_of(driver, dataset, "s1-lidar-0")["cuboid"]] == ["good"]


def test_metadata_of_annotations_has_one_kind_a_key_apart_from_that_of_items(driver: Driver, dataset: str) -> None:
    answer = annotate(driver, dataset, cuboid(metadata={"number": "two"}), cuboid("a2", metadata={"number": 2}))
    assert "'number' is a number here and a string elsewhere" in json.loads(answer["errors"][0])["error"]
    assert answer["annotations_processed"] == 1


def test_labels_come_as_a_job_and_bad_ones_leave_it_completed(driver: Driver, dataset: str) -> None:
    lines = [cuboid(), cuboid("a2", item="none"), box()]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode() + b"{\n"
    request = {"requestId": driver.put(dataset, body), "update": False}
    info = driver.call("POST", f"dataset/{dataset}/annotate?async=1", request).json()
    assert info["job_type"] == "uploadAnnotations"
    job = driver.wait(info["job_id"])
    assert job["status"] == "Completed"
    counts = {"total": 4, "errored": 2, "ignored": 0, "processed": 2, "datasetId": dataset}
    assert job["message"] == {"annotation_upload": counts}
    errors = driver.errors(job)
    assert len(errors) == 2
    assert any("Item with id none doesn't exist." in error for error in errors)
    again = driver.wait(driver.call("POST", f"dataset/{dataset}/annotate?async=1", request).json()["job_id"])
    assert again["message"]["annotation_upload"]["ignored"] == 2


def test_a_job_of_bad_labels_alone_is_the_users_error(driver: Driver, dataset: str) -> None:
    request = {"requestId": driver.put(dataset, json.dumps(cuboid(item="none")).encode()), "update": False}
    job = driver.wait(driver.call("POST", f"dataset/{dataset}/annotate?async=1", request).json()["job_id"])
    assert job["status"] == "Errored_User"


def test_a_job_that_a_stop_interrupts_goes_on_and_keeps_every_label_once(serve: Callable[..., Driver]) -> None:
    driver = serve()
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    body = "".join(json.dumps(cuboid(None, label=f"car {number}")) + "\n" for number in range(3000)).encode()
    request = {"requestId": driver.put(dataset, body), "update": False}
    job_id = driver.call("POST", f"dataset/{dataset}/annotate?async=1", request).json()["job_id"]
    driver.receiver.stop()
    again = serve()
    job = again.wait(job_id)
    assert (job["status"], job["message"]["annotation_upload"]["processed"]) == ("Completed", 3000)
    kept = annotations_of(again, dataset, "s1-lidar-0")["cuboid"]
    assert [label["label"] for label in kept] == [f"car {number}" for number in range(3000)]


def test_a_category_can_be_on_a_scene_and_is_not_shown_on_its_items(driver: Driver, dataset: str) -> None:
    assert annotate(driver, dataset, category("s1"))["annotations_processed"] == 1
    assert annotate(driver, dataset, category("s1", "night"))["annotations_ignored"] == 1
    assert not any(row["category"] for row in export(driver, dataset))


def test_an_export_has_a_row_an_item_with_a_list_of_every_kind(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, cuboid(item="s2-lidar-1"), box(item="s1-front-1"), mask("s2-front-0"))
    rows = export(driver, dataset)
    items = [
        f"{scene}-{sensor}-{number}" for scene in ("s1", "s2") for number in (0, 1) for sensor in ("lidar", "front")
    ]
    assert [row["item"]["reference_id"] for row in rows] == items
    labelled = {
        row["item"]["reference_id"]: {key: value for key, value in row.items() if key != "item" and value}
        for row in rows
    }
    assert {item: found for item, found in labelled.items() if found} == {
        "s2-lidar-1": {"cuboid": [cuboid(item="s2-lidar-1")]},
        "s1-front-1": {"box": [box(item="s1-front-1")]},
        "s2-front-0": {"segmentation": labelled["s2-front-0"]["segmentation"]},
    }
    assert all(row.keys() >= LISTED for row in rows)
    whole = driver.call("GET", f"dataset/{dataset}/exportForTraining").json()["exportedRows"]
    assert whole == rows
    item = next(row["item"] for row in rows if row["item"]["reference_id"] == "s1-lidar-0")
    assert item["dataset_item_id"].startswith("di_")
    by_id = driver.call("GET", f"dataset/{dataset}/loc/{item['dataset_item_id']}").json()
    assert by_id == driver.call("GET", f"dataset/{dataset}/refloc/s1-lidar-0").json()
    assert by_id == driver.call("GET", f"dataset/{dataset}/iloc/0").json()


def test_boxes_are_exported_by_scene_and_track(driver: Driver, dataset: str) -> None:
    annotate(
        driver,
        dataset,
        box("b0", item="s1-front-0", track_reference_id="t1"),
        box("b1", item="s1-front-1", track_reference_id="t1"),
        box("b2", item="s2-front-1"),
        cuboid(),
    )
    document = {"pageToken": None, "pageSize": 1, "sliceId": None, "onlyMostRecentTask": True}
    first = driver.call("POST", f"dataset/{dataset}/exportForTrainingByScene", document).json()
    document["pageToken"] = first["nextPageToken"]
    second = driver.call("POST", f"dataset/{dataset}/exportForTrainingByScene", document).json()
    assert second["nextPageToken"] is None
    assert [row["scene"]["reference_id"] for row in first["data"] + second["data"]] == ["s1", "s2"]
    (track,) = first["data"][0]["annotations"].items()
    assert track[0] == "t1"
    assert [(frame["key"], frame["left"], frame["height"]) for frame in track[1]["frames"]] == [
        ("0", 10, 40.5),
        ("1", 10, 40.5),
    ]
    assert list(second["data"][0]["annotations"]) == ["b2"]


def test_annotations_are_deleted_by_item_or_all(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, cuboid(), box(), cuboid(item="s2-lidar-0"))

    def delete(references: list[str]) -> str:
        document = {"keep_history": True, "reference_ids": references}
        job = driver.call("DELETE", f"annotation/{dataset}", document).json()
        assert job["job_type"] == "annotationDeletion"
        return str(driver.wait(job["job_id"])["status"])

    assert delete(["s1-lidar-0"]) == "Completed"
    left = [row["item"]["reference_id"] for row in export(driver, dataset) if row["cuboid"] or row["box"]]
    assert left == ["s1-front-0", "s2-lidar-0"]
    assert delete([]) == "Completed"
    assert not any(row["cuboid"] or row["box"] for row in export(driver, dataset))


def test_what_is_on_a_scene_goes_with_it(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, cuboid(), box())
    driver.call("DELETE", f"dataset/{dataset}/scene/s1", {})
    driver.upload(dataset, make_scene("s1"))
    assert annotations_of(driver, dataset, "s1-lidar-0") == {}
    annotate(driver, dataset, box())
    driver.call("DELETE", f"dataset/{dataset}/refloc/s1-front-0", {})
    query = {"pageToken": None, "pageSize": 10, "query": "", "patch_mode": "ground_truth_only"}
    assert driver.call("POST", f"dataset/{dataset}/queryObjectsPage", query).json()["items"] == []


def test_objects_are_queried_page_by_page(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, *(cuboid(f"a{number}") for number in range(5)))
    token, pages = None, []
    while not pages or token:
        document = {"pageToken": token, "pageSize": 2, "query": "", "patch_mode": "ground_truth_only"}
        answer = driver.call("POST", f"dataset/{dataset}/queryObjectsPage", document).json()
        pages.append([label["annotation_id"] for label in answer["items"]])
        token = answer["nextPageToken"]
    assert pages == [["a0", "a1"], ["a2", "a3"], ["a4"]]


def test_tracks_come_from_labels_and_unlink_them_when_deleted(driver: Driver, dataset: str) -> None:
    annotate(driver, dataset, cuboid(track_reference_id="t1"), cuboid("a2", track_reference_id="t2"))
    route = f"dataset/{dataset}/tracks"
    driver.call("POST", route, {"reference_id": "t1", "metadata": {"a": 1}, "overwrite": False})
    driver.call("POST", route, {"reference_id": "t1", "metadata": {"b": 2}, "overwrite": False})
    driver.call("POST", route, {"reference_id": "t2", "metadata": {"a": 1}, "overwrite": False})
    driver.call("POST", route, {"reference_id": "t2", "metadata": {"b": 2}, "overwrite": True})
    assert driver.call("GET", route).json()["tracks"] == [
        {"reference_id": "t1", "dataset_id": dataset, "metadata": {"a": 1, "b": 2}},
        {"reference_id": "t2", "dataset_id": dataset, "metadata": {"b": 2}},
    ]
    driver.call("DELETE", route, {"track_reference_ids": ["t1"]})
    assert [track["reference_id"] for track in driver.call("GET", route).json()["tracks"]] == ["t2"]
    kept = annotations_of(driver, dataset, "s1-lidar-0")["cuboid"]
    assert [label.get("track_reference_id") for label in kept] == [None, "t2"]


@pytest.fixture
def model(driver: Driver) -> str:
    document = {"name": "net", "reference_id": "net-1", "metadata": {"epochs": 5}}
    return str(driver.call("POST", "models/add", document).json()["model_id"])


def test_predictions_are_held_by_model_apart_from_annotations(driver: Driver, dataset: str, model: str) -> None:
    annotate(driver, dataset, cuboid())
    predictions = [cuboid(confidence=0.5, class_pdf={"car": 0.75, "truck": 0.25}), box("b1", confidence=1)]
    route = f"dataset/{dataset}/model/{model}"
    answer = driver.call("POST", f"{route}/uploadPredictions", {"update": False, "annotations": predictions}).json()
    run = answer["model_run_id"]
    assert answer == {
        "dataset_id": dataset,
        "model_run_id": run,
        "predictions_processed": 2,
        "predictions_ignored": 0,
    }
    again = driver.call("POST", f"{route}/uploadPredictions", {"update": False, "annotations": predictions}).json()
    assert (again["model_run_id"], again["predictions_ignored"]) == (run, 2)
    assert driver.call("GET", f"{route}/export").json() == {"cuboid": predictions[:1], "box": predictions[1:]}
    by_item = {"annotations": {"cuboid": predictions[:1]}}
    for same in ("referenceId/s1-lidar-0", "iloc/0"):
        assert driver.call("GET", f"{route}/{same}").json() == by_item
    assert driver.call("GET", f"{route}/loc/s1-lidar-0/a1").json() == predictions[0]
    assert driver.call("GET", f"modelRun/{run}/refloc/s1-lidar-0").json() == by_item
    assert driver.call("GET", f"dataset/{dataset}/model_runs").json() == [run]
    assert annotations_of(driver, dataset, "s1-lidar-0") == {"cuboid": [cuboid()]}
    assert driver.call("GET", f"dataset/{dataset}/groundTruth/loc/s1-lidar-0/a1").json() == cuboid()
    assert driver.call("GET", f"dataset/{dataset}/groundTruth/loc/s1-lidar-0/a9").status_code == 404


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"confidence": 1.5}, "confidence"),
        ({"class_pdf": {"car": 0.5}}, "sum up to 1"),
        ({"class_pdf": []}, "class_pdf"),
    ],
)
def test_a_prediction_without_sense_is_an_error(
    driver: Driver, dataset: str, model: str, changes: dict[str, Any], reason: str
) -> None:
    document = {"update": False, "annotations": [cuboid(**{"confidence": 0.5, **changes})]}
    answer = driver.call("POST", f"dataset/{dataset}/model/{model}/uploadPredictions", document).json()
    assert answer["predictions_processed"] == 0
    assert reason in answer["errors"][0]


def test_predictions_come_as_a_job(driver: Driver, dataset: str, model: str) -> None:
    request_id = driver.put(dataset, json.dumps(cuboid(confidence=0.5)).encode())
    route = f"dataset/{dataset}/model/{model}/uploadPredictions?async=1"
    info = driver.call("POST", route, {"requestId": request_id, "update": False, "trained_slice_id": None}).json()
    job = driver.wait(info["job_id"])
    assert (job["status"], job["job_type"]) == ("Completed", "uploadPredictions")
    assert job["message"]["prediction_upload"]["processed"] == 1


def test_a_models_reference_id_is_taken_once_and_its_end_takes_its_predictions(
    driver: Driver, dataset: str, model: str
) -> None:
    again = driver.call("POST", "models/add", {"name": "other", "reference_id": "net-1"})
    assert (again.status_code, "net-1" in again.json()["error"]) == (400, True)
    document = {"update": False, "annotations": [cuboid(confidence=0.5)]}
    run = driver.call("POST", f"dataset/{dataset}/model/{model}/uploadPredictions", document).json()["model_run_id"]
    assert driver.call("GET", f"model/{run}").json()["id"] == model
    assert driver.call("DELETE", f"model/{model}", {}).status_code == 200
    assert driver.call("GET", f"modelRun/{run}/info").status_code == 404
    assert driver.call("GET", "models/").json() == {"models": []}
    query = {"pageToken": None, "pageSize": 10, "query": "", "patch_mode": "predictions_only"}
    assert driver.call("POST", f"dataset/{dataset}/queryObjectsPage", query).json()["items"] == []


def test_labels_survive_a_restart_and_go_with_their_dataset(serve: Callable[..., Driver]) -> None:
    driver = serve()
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    annotate(driver, dataset, cuboid(), box())
    rows = export(driver, dataset)
    again = serve()
    assert export(again, dataset) == rows
    again.call("DELETE", f"dataset/{dataset}", {})
    again.receiver.stop()
    with sqlite3.connect(again.receiver.directory / "labels.sqlite3") as kept:
        assert kept.execute("SELECT COUNT(*) FROM labels").fetchone() == (0,)


def test_a_damaged_file_of_labels_is_named(serve: Callable[..., Driver]) -> None:
    driver = serve()
    driver.receiver.stop()
    for path in driver.receiver.directory.glob("labels.sqlite3*"):
        path.unlink()
    (driver.receiver.directory / "labels.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match=r"labels\.sqlite3: not the labels of a receiver"):
        serve()


@pytest.mark.parametrize(
    ("method", "route", "document"),
    [
        ("POST", "dataset/none/annotate", {"annotations": []}),
        ("DELETE", "annotation/none", {"reference_ids": []}),
        ("POST", "dataset/none/exportForTrainingPage", {}),
        ("GET", "dataset/none/tracks", {}),
        ("GET", "model/none", {}),
        ("GET", "modelRun/run_none/info", {}),
        ("POST", "dataset/{}/model/none/uploadPredictions", {"annotations": []}),
        ("GET", "dataset/{}/refloc/none", {}),
        ("GET", "dataset/{}/loc/di_none", {}),
        ("GET", "dataset/{}/iloc/99", {}),
        ("DELETE", "dataset/{}/taxonomy/none", {}),
    ],
)
def test_labels_of_what_is_not_there_are_404(
    driver: Driver, dataset: str, method: str, route: str, document: Any
) -> None:
    assert driver.call(method, route.format(dataset), document).status_code == 404


@pytest.mark.parametrize(
    ("route", "document"),
    [
        ("annotate", {"annotations": {}}),
        ("annotate", {"update": "yes"}),
        ("exportForTrainingPage", {"pageToken": "scn_1"}),
        ("exportForTrainingPage", {"pageSize": 0}),
        ("exportForTrainingPage", {"query": "annotations.count bad syntax"}),
        ("queryObjectsPage", {"patch_mode": "iou"}),
        ("queryObjectsPage", {"patch_mode": "ground_truth_only", "pageToken": "x"}),
        ("tracks", {"reference_id": ""}),
        ("add_taxonomy", {"taxonomy_name": "t", "type": "box", "labels": ["a"]}),
    ],
)
def test_a_wrong_request_about_labels_is_400(driver: Driver, dataset: str, route: str, document: Any) -> None:
    answer = driver.call("POST", f"dataset/{dataset}/{route}", document)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


HALF = "\ud800"


def test_half_of_a_character_is_refused_and_harms_nothing(driver: Driver, dataset: str, model: str) -> None:
    scene = make_scene(HALF, frames=1)
    driver.upload(dataset, scene)
    labels = [
        cuboid(HALF),
        cuboid(task_id=HALF),
        cuboid(track_reference_id=HALF),
        cuboid(metadata={HALF: 1}),
        cuboid(item=f"{HALF}-lidar-0"),
    ]
    answer = annotate(driver, dataset, *labels, cuboid("good", label=HALF, metadata={"key": HALF}))
    assert (len(answer["errors"]), answer["annotations_processed"]) == (5, 1)
    assert len(export(driver, dataset)) == 10
    for route, document in (
        ("models/add", {"name": "n", "reference_id": HALF}),
        (f"dataset/{dataset}/tracks", {"reference_id": HALF}),
        (f"dataset/{dataset}/tags", {"tags": [HALF]}),
        (f"dataset/{dataset}/add_taxonomy", {"taxonomy_name": HALF, "type": "category", "labels": ["a"]}),
    ):
        refused = driver.call("POST", route, document)
        assert (refused.status_code, "half of a character" in refused.json()["error"]) == (400, True)
    document = {"keep_history": True, "reference_ids": [HALF]}
    job = driver.wait(driver.call("DELETE", f"annotation/{dataset}", document).json()["job_id"])
    assert job["status"] == "Completed"
