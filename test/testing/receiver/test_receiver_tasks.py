# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks: what they need, and that a unique_id is taken once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from receiver_driver import CAMERA, CLOUD, Driver


def task(**changes: Any) -> dict[str, Any]:
    document = {
        "attachments": ["s3://bucket/cloud.json", "s3://bucket/frame.json"],
        "attachment_type": "json",
        "labels": ["car"],
        "project": "p",
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


@pytest.fixture
def frames(bucket: Path) -> Path:
    image = {**CAMERA, "camera_model": "omnidirectional", "xi": 1.1, "image_url": "s3://bucket/image.jpg"}
    (bucket / "frame.json").write_text(json.dumps({**CLOUD, "images": [image], "radar_points": []}))
    return bucket


def send(driver: Driver, document: Any, **options: Any) -> requests.Response:
    url = f"{driver.receiver.origin}/v1/task/lidarannotation"
    return requests.post(url, json=document, timeout=60, **{"auth": ("live_scale", ""), **options})


def test_a_task_is_made_kept_and_read(serve: Callable[..., Driver], frames: Path) -> None:
    driver = serve()
    answer = send(driver, task(unique_id="drive-1"))
    assert answer.status_code == 200
    made = answer.json()
    assert (made["type"], made["status"], made["unique_id"]) == ("lidarannotation", "pending", "drive-1")
    assert made["params"] == task()
    for restarted in (False, True):
        current = serve() if restarted else driver
        url = f"{current.receiver.origin}/v1/task/{made['task_id']}"
        assert requests.get(url, auth=("live_scale", ""), timeout=60).json() == made
    assert frames


def test_a_unique_id_is_taken_once_also_after_a_restart(serve: Callable[..., Driver], frames: Path) -> None:
    driver = serve()
    first = send(driver, task(unique_id="drive-1")).json()
    for restarted in (False, True):
        current = serve() if restarted else driver
        again = send(current, task(unique_id="drive-1"))
        assert (again.status_code, again.json()["status_code"]) == (409, 409)
        taken = f'The unique_id ("drive-1") is already used for a different task ({first["task_id"]}).'
        assert again.json()["error"] == taken
    other = send(current, task(unique_id="drive-2")).json()
    assert other["task_id"] != first["task_id"]
    assert frames


def test_a_unique_id_sent_many_times_at_once_makes_one_task(driver: Driver, frames: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(driver, task(unique_id="drive-1")), range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 15
    (made,) = [answer.json()["task_id"] for answer in answers if answer.status_code == 200]
    assert all(made in answer.json()["error"] for answer in answers if answer.status_code == 409)
    assert frames


def test_tasks_without_unique_id_are_all_different(driver: Driver, frames: Path) -> None:
    assert send(driver, task()).json()["task_id"] != send(driver, task()).json()["task_id"]
    assert frames


def test_tasks_have_keys_of_their_own(serve: Callable[..., Driver], frames: Path) -> None:
    driver = serve(api_keys={"test_nucleus"}, task_api_keys={"live_scale"})
    assert send(driver, task()).status_code == 200
    assert send(driver, task(), auth=("test_nucleus", "")).status_code == 401
    assert send(driver, task(), auth=None, headers={"x-limited-access-key": "live_scale"}).status_code == 401
    assert driver.call("GET", "dataset/details", {}, auth=("live_scale", "")).status_code == 401
    assert frames


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attachments": None}, "attachments"),
        ({"attachments": []}, "attachments"),
        ({"attachments": "s3://bucket/cloud.json"}, "attachments"),
        ({"attachments": ["s3://bucket/cloud.json"] * 1001}, "attachments"),
        ({"attachments": [5]}, "attachment 0: url is missing"),
        ({"attachments": ["s3://bucket/cloud.json", "s3://bucket/none.json"]}, "none.json cannot be read"),
        ({"attachments": ["file:///etc/passwd"]}, "scheme 'file'"),
        ({"attachments": ["s3://bucket/image.jpg"]}, "attachment 0: the point cloud is not UTF-8"),
        ({"attachments": ["s3://bucket/empty.pb"], "attachment_type": "protobuf"}, "attachment 0 is empty"),
        ({"attachments": ["s3://bucket/wrong.json"]}, "attachment 0, image 0: camera_params.fx"),
        ({"attachments": ["s3://bucket/images.json"]}, "images must be an array"),
        ({"attachments": ["s3://bucket/gone.json"]}, "attachment 0, image 0: s3://bucket/none.jpg cannot be read"),
        ({"attachments": ["s3://bucket/cloud_as_image.json"]}, "attachment 0, image 0: the image is not a JPEG"),
        ({"attachment_type": "sfs"}, "attachment_type"),
        ({"metadata": ["a"]}, "metadata must be an object"),
        ({"labels": None}, "labels"),
        ({"labels": []}, "labels"),
        ({"unique_id": 5}, "unique_id"),
    ],
)
def test_a_task_that_lacks_something_is_400(driver: Driver, frames: Path, changes: dict[str, Any], reason: str) -> None:
    (frames / "empty.pb").write_bytes(b"")
    image = {**CAMERA, "fx": None, "image_url": "s3://bucket/image.jpg"}
    (frames / "wrong.json").write_text(json.dumps({**CLOUD, "images": [image]}))
    (frames / "images.json").write_text(json.dumps({**CLOUD, "images": image}))
    for name, target in (("gone", "none.jpg"), ("cloud_as_image", "cloud.json")):
        image = {**CAMERA, "image_url": f"s3://bucket/{target}"}
        (frames / f"{name}.json").write_text(json.dumps({**CLOUD, "images": [image]}))
    answer = send(driver, task(**changes))
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_protobuf_attachments_are_read_but_not_parsed(driver: Driver, frames: Path) -> None:
    (frames / "frame.pb").write_bytes(b"\x0a\x0f")
    document = task(attachments=["s3://bucket/frame.pb"], attachment_type="protobuf")
    assert send(driver, document).status_code == 200


def test_the_attachment_type_is_json_unless_said(driver: Driver, frames: Path) -> None:
    assert send(driver, task(attachment_type=None)).status_code == 200
    assert frames


def tasks(driver: Driver, query: str = "", **options: Any) -> requests.Response:
    url = f"{driver.receiver.origin}/v1/tasks{query}"
    return requests.get(url, timeout=60, **{"auth": ("live_scale", ""), **options})


def test_tasks_are_listed_oldest_first_and_found_by_their_unique_id(driver: Driver, frames: Path) -> None:
    assert tasks(driver).json()["docs"] == []
    made = [send(driver, task(unique_id=f"drive-{n}", metadata={"n": n})).json() for n in range(3)]
    listed = tasks(driver).json()
    assert (listed["docs"], listed["total"], listed["has_more"]) == (made, 3, False)
    assert tasks(driver, "?unique_id=drive-1").json()["docs"] == [made[1]]
    assert made[1]["metadata"] == {"n": 1}
    assert tasks(driver, "?unique_id=drive").json()["docs"] == []
    assert tasks(driver, "?project=p&status=pending").json()["docs"] == made
    assert tasks(driver, "?project=q").json()["docs"] == []
    part = tasks(driver, "?limit=1&offset=1").json()
    assert (part["docs"], part["has_more"]) == ([made[1]], True)
    assert frames


def test_lists_of_tasks_need_a_key_and_sensible_bounds(serve: Callable[..., Driver]) -> None:
    driver = serve(task_api_keys={"live_scale"})
    assert tasks(driver, auth=("other", "")).status_code == 401
    for query in ("?limit=0", "?limit=101", "?limit=x", "?offset=-1"):
        assert tasks(driver, query).status_code == 400
    assert requests.post(f"{driver.receiver.origin}/v1/tasks", auth=("live_scale", ""), timeout=60).status_code == 405


def test_the_index_shows_the_tasks_escaped(driver: Driver, frames: Path) -> None:
    made = send(driver, task(unique_id="<b>drive", project="<i>p")).json()
    page = requests.get(driver.receiver.origin, timeout=60).text
    assert f"<td>&lt;b&gt;drive<td>{made['task_id']}<td>2<td>&lt;i&gt;p<td>pending" in page
    assert frames


def test_other_kinds_of_tasks_are_not_there(driver: Driver) -> None:
    url = f"{driver.receiver.origin}/v1/task/"
    assert requests.post(url + "categorization", json={}, auth=("k", ""), timeout=60).status_code == 404
    assert requests.get(url + "task_none", auth=("k", ""), timeout=60).status_code == 404
