# SPDX-License-Identifier: Apache-2.0
"""Scenes and items are read back, listed, deleted, and get new metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import requests
from receiver_driver import Driver, make_scene


def test_a_scene_is_read_back_with_urls_that_say_what_they_are(driver: Driver) -> None:
    dataset, scene = driver.create(), make_scene(frames=1)
    driver.upload(dataset, scene)
    answer = driver.call("GET", f"dataset/{dataset}/scene/s1").json()
    assert answer["metadata"] == scene["metadata"]
    (frame,) = answer["frames"]
    assert frame["lidar"]["pointcloud_url"] == "s3://bucket/cloud.json"
    assert frame["front"]["image_url"] == "s3://bucket/image.png"
    assert frame["front"]["metadata"] == scene["frames"][0]["front"]["metadata"]
    assert driver.call("GET", f"dataset/{dataset}/scene/s1-front-0?from_item=1").json() == answer


def test_scenes_are_listed_and_deleted_by_quoted_reference(driver: Driver) -> None:
    dataset, odd = driver.create(), "../a/b c?&%#ä"
    driver.upload(dataset, make_scene(odd), make_scene("s2"))
    listed = driver.call("GET", f"dataset/{dataset}/scenes_list", {}).json()["scenes"]
    assert [(entry["reference_id"], entry["type"], entry["id"][:4]) for entry in listed] == [
        (odd, "lidar", "scn_"),
        ("s2", "lidar", "scn_"),
    ]
    quoted = requests.utils.quote(odd, safe="")
    assert driver.call("GET", f"dataset/{dataset}/scene/{quoted}").json()["reference_id"] == odd
    assert driver.call("DELETE", f"dataset/{dataset}/scene/{quoted}", {}).status_code == 200
    assert driver.references(dataset) == ["s2"]
    assert driver.call("GET", f"dataset/{dataset}/size", {}).json() == {"count": 4}


def test_items_are_found_and_images_deleted(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    found = driver.call("GET", f"dataset/{dataset}/refloc/s1-front-1", {}).json()
    assert found["annotations"] == {}
    assert (found["item"]["reference_id"], found["item"]["image_url"]) == ("s1-front-1", "s3://bucket/image.jpg")
    assert driver.call("DELETE", f"dataset/{dataset}/refloc/s1-front-1", {}).status_code == 200
    assert driver.call("GET", f"dataset/{dataset}/refloc/s1-front-1", {}).status_code == 404
    (scene,) = driver.receiver.scenes(dataset)
    assert [list(frame) for frame in scene["frames"]] == [["lidar", "front"], ["lidar"]]


def test_a_cloud_is_not_taken_out_of_its_frame(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    assert driver.call("DELETE", f"dataset/{dataset}/refloc/s1-lidar-0", {}).status_code == 400
    assert driver.receiver.scenes(dataset) == [make_scene()]


def test_scenes_are_queried_page_by_page(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, *(make_scene(f"s{number}", frames=1) for number in range(5)))
    token, pages = None, []
    for _ in range(5):
        document = {"pageToken": token, "pageSize": 2, "query": ""}
        answer = driver.call("POST", f"dataset/{dataset}/queryScenesPage", document).json()
        pages.append([scene["reference_id"] for scene in answer["items"]])
        token = answer["nextPageToken"]
        if token is None:
            break
    assert pages == [["s0", "s1"], ["s2", "s3"], ["s4"]]
    for wrong in ({"query": "metadata.vehicle ="}, {"query": "", "pageSize": 0}, {"query": "", "pageToken": 7}):
        assert driver.call("POST", f"dataset/{dataset}/queryScenesPage", wrong).status_code == 400


def test_metadata_is_merged_into_scenes_and_items(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    merge = {"level": "scene", "metadata": [{"reference_id": "s1", "metadata": {"city": "B", "vehicle": "v2"}}]}
    assert driver.call("POST", f"dataset/{dataset}/metadata?async=0", merge).status_code == 200
    camera = {**make_scene()["frames"][0]["front"]["camera_params"], "fx": 5.0}
    entry = {"reference_id": "s1-front-0", "metadata": {"camera_params": camera}, "camera_params": camera}
    answer = driver.call("POST", f"dataset/{dataset}/metadata?async=0", {"level": "item", "metadata": [entry]})
    assert answer.status_code == 200
    (scene,) = driver.receiver.scenes(dataset)
    assert scene["metadata"] == {"vehicle": "v2", "city": "B"}
    item = scene["frames"][0]["front"]
    assert item["camera_params"] == item["metadata"]["camera_params"] == camera
    assert item["metadata"]["weather"] == "dry"


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"level": "scene", "metadata": [{"reference_id": "s2", "metadata": {}}]}, 404),
        ({"level": "item", "metadata": [{"reference_id": "s1", "metadata": {}}]}, 404),
        ({"level": "frame", "metadata": []}, 400),
        ({"level": "scene", "metadata": {}}, 400),
        ({"level": "scene", "metadata": [5]}, 400),
        ({"level": "scene", "metadata": [{"reference_id": "s1"}]}, 400),
        ({"level": "scene", "metadata": [{"reference_id": "s1", "metadata": {}}] * 501}, 400),
        ({"level": "item", "metadata": [{"reference_id": "s1", "metadata": {}, "camera_params": {}}]}, 400),
        ({"level": "item", "metadata": [{"reference_id": "s1-front-0", "metadata": {"weather": 5}}]}, 400),
    ],
)
def test_a_wrong_merge_changes_nothing(driver: Driver, document: Mapping[str, Any], status: int) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    good = {"reference_id": "s1", "metadata": {"city": "B"}}
    if isinstance(document["metadata"], list) and document["level"] == "scene":
        document = {**document, "metadata": [good, *document["metadata"]]}
    assert driver.call("POST", f"dataset/{dataset}/metadata?async=0", document).status_code == status
    assert driver.receiver.scenes(dataset) == [make_scene()]
