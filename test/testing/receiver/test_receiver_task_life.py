# SPDX-License-Identifier: Apache-2.0
"""Annotation tasks from their request to their end: types, cancelling, ids, projects, results."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from receiver_driver import CLOUD, Driver

from nucleus_bridge.errors import InputError

KEY = ("live_scale", "")
CUBOID = {
    "uuid": "7C1F0A52-3D44-4E0B-9A61-0E5B1D2C3F41",
    "camera_used": 0,
    "label": "car",
    "position": {"x": 20, "y": 3, "z": 0.8},
    "dimensions": {"x": 1.9, "y": 4.5, "z": 1.6},
    "yaw": -1.570796,
    "stationary": False,
    "attributes": {"occlusion": "none"},
}
SFS = json.dumps({"version": "1.0", "sensors": [{"id": "top", "type": "lidar"}]}).encode() + b"\0\0\0\0points"


def request(driver: Driver, method: str, route: str, document: Any = None, **options: Any) -> requests.Response:
    url = f"{driver.receiver.origin}/v1/{route}"
    return requests.request(method, url, json=document, timeout=60, **{"auth": KEY, **options})


def make(driver: Driver, unique_id: str | None = None, **changes: Any) -> dict[str, Any]:
    document = {"attachments": ["s3://bucket/cloud.json"] * 2, "labels": ["car"], "unique_id": unique_id, **changes}
    answer = request(driver, "POST", "task/lidarannotation", document)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def fusion_task(**changes: Any) -> dict[str, Any]:
    document = {
        "attachments": ["s3://bucket/scene.sfs"],
        "scene_format": "sensor_fusion",
        "project": "p",
        "instruction": "Draw.",
        "annotation_definition": [{"label": "car"}],
        "callback_url": "https://example.org/done",
        "is_frameless": False,
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


@pytest.fixture
def scene(bucket: Path) -> Path:
    (bucket / "scene.sfs").write_bytes(SFS)
    return bucket


def test_a_scene_file_becomes_a_sensor_fusion_or_multistage_task(driver: Driver, scene: Path) -> None:
    for kind in ("sensorfusion", "multistage"):
        made = request(driver, "POST", f"task/{kind}", fusion_task()).json()
        assert (made["type"], made["status"], made["project"]) == (kind, "pending", "p")
        assert made["params"] == fusion_task()
    split = fusion_task(scene_format="split_base64", attachments=["s3://bucket/cloud.json"] * 3)
    assert request(driver, "POST", "task/multistage", split).status_code == 200
    assert scene


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("sensorfusion", {"scene_format": '"sensor_fusion"'}, "scene_format"),
        ("sensorfusion", {"scene_format": "split_base64"}, "scene_format"),
        ("sensorfusion", {"project": None}, "project"),
        ("sensorfusion", {"instruction": None, "callback_url": None}, "instruction, callback_url"),
        ("sensorfusion", {"is_frameless": None}, "is_frameless"),
        ("sensorfusion", {"annotation_definition": []}, "annotation_definition"),
        ("sensorfusion", {"attachments": ["s3://bucket/scene.sfs"] * 2}, "one .sfs URL, not 2"),
        ("sensorfusion", {"attachments": ["s3://bucket/cloud.json"]}, "not a sensor-fusion scene"),
        ("sensorfusion", {"attachments": ["s3://bucket/none.sfs"]}, "cannot be read"),
        ("multistage", {"project": None}, "project"),
        ("multistage", {"tags": ["a"] * 6}, "at most 5"),
        ("lidarsegmentation", {"lidar_task": "none"}, "completed task"),
        ("lidarsegmentation", {}, "labels"),
    ],
)
def test_a_task_that_lacks_what_its_type_needs_is_400(
    driver: Driver, scene: Path, kind: str, changes: dict[str, Any], reason: str
) -> None:
    answer = request(driver, "POST", f"task/{kind}", fusion_task(**changes))
    assert (answer.status_code, answer.json()["status_code"]) == (400, 400)
    assert reason in answer.json()["error"]
    assert scene


def test_a_cancelled_task_keeps_its_unique_id_until_that_is_cleared(driver: Driver) -> None:
    task = make(driver, "drive-1")
    cancelled = request(driver, "POST", f"task/{task['task_id']}/cancel").json()
    assert (cancelled["status"], cancelled["unique_id"]) == ("canceled", "drive-1")
    again = {"attachments": ["s3://bucket/cloud.json"], "labels": ["car"], "unique_id": "drive-1"}
    assert request(driver, "POST", "task/lidarannotation", again).status_code == 409
    assert request(driver, "POST", f"task/{task['task_id']}/cancel").status_code == 400
    cleared = request(driver, "DELETE", f"task/{task['task_id']}/unique_id").json()
    assert cleared["unique_id"] is None
    assert request(driver, "POST", "task/lidarannotation", again).status_code == 200
    other = make(driver, "drive-2")
    assert request(driver, "POST", f"task/{other['task_id']}/cancel?clear_unique_id=true").json()["unique_id"] is None
    assert make(driver, "drive-2")["task_id"] != other["task_id"]


def test_a_unique_id_moves_between_tasks_and_never_is_two_of_them(driver: Driver) -> None:
    first, second = make(driver, "a"), make(driver, "b")
    route = f"task/{second['task_id']}/unique_id"
    taken = request(driver, "POST", route, {"unique_id": "a"})
    assert taken.status_code == 409
    assert first["task_id"] in taken.json()["error"]
    assert request(driver, "POST", route, {"unique_id": "c"}).json()["unique_id"] == "c"
    assert request(driver, "POST", route, {"unique_id": "c"}).status_code == 200
    assert make(driver, "b")["unique_id"] == "b"
    assert request(driver, "POST", route, {}).status_code == 400


def test_metadata_and_tags_of_a_task_are_changed(serve: Callable[..., Driver]) -> None:
    driver = serve()
    task = make(driver, "a", metadata={"n": 1}, tags=["x"])
    route = f"task/{task['task_id']}"
    assert request(driver, "POST", f"{route}/setMetadata", {"m": 2}).json()["metadata"] == {"m": 2}
    assert request(driver, "PUT", f"{route}/tags", ["y", "x"]).json()["tags"] == ["x", "y"]
    assert request(driver, "DELETE", f"{route}/tags", ["x"]).json()["tags"] == ["y"]
    assert request(driver, "POST", f"{route}/tags", ["z", "z"]).json()["tags"] == ["z"]
    assert request(driver, "PUT", f"{route}/tags", list("abcdef")).status_code == 400
    assert request(driver, "PUT", f"{route}/tags", {"a": 1}).status_code == 400
    kept = request(serve(), "GET", route).json()
    assert (kept["metadata"], kept["tags"]) == ({"m": 2}, ["z"])
    assert kept["updated_at"] > kept["created_at"]


def test_tasks_are_listed_by_token_time_and_tag(driver: Driver) -> None:
    made = [make(driver, f"drive-{number}", tags=[f"t{number % 2}"]) for number in range(5)]
    names, token = [], ""
    while True:
        page = request(driver, "GET", f"tasks?limit=2&next_token={token}").json()
        names += [task["unique_id"] for task in page["docs"]]
        token = page.get("next_token", "")
        if not page["has_more"]:
            break
    assert names == [f"drive-{number}" for number in range(5)]
    listed = request(driver, "GET", "tasks?tags=t1").json()["docs"]
    assert [task["unique_id"] for task in listed] == ["drive-1", "drive-3"]
    assert request(driver, "GET", "tasks?start_time=2999-01-01 00:00:00.000000").json()["total"] == 0
    assert request(driver, "GET", "tasks?end_time=2999-01-01 00:00:00.000000").json()["total"] == 5
    assert request(driver, "GET", "tasks?completed_after=2020-01-01").json()["total"] == 0
    assert request(driver, "GET", "tasks?start_time=soon").status_code == 400
    limited = request(driver, "GET", "tasks?limited_response=true&limit=1").json()["docs"]
    assert limited == [{key: made[0].get(key) for key in ("task_id", "status", "metadata", "project")}]


def test_projects_bind_tasks_once_there_are_some(serve: Callable[..., Driver]) -> None:
    driver = serve()
    make(driver, project="anything", batch="at all")
    assert request(driver, "POST", "projects", {"name": "streets", "type": "lidarannotation"}).status_code == 200
    assert request(driver, "POST", "projects", {"name": "streets", "type": "lidarannotation"}).status_code == 409
    assert request(driver, "POST", "batches", {"name": "week 18", "project": "none"}).status_code == 404
    assert request(driver, "POST", "batches", {"name": "week 18", "project": "streets"}).json()["status"] == "staging"
    driver = serve()
    document = {"attachments": ["s3://bucket/cloud.json"], "labels": ["car"]}
    for wrong in ({"project": "roads"}, {"batch": "none"}):
        answer = request(driver, "POST", "task/lidarannotation", {**document, **wrong})
        assert (answer.status_code, "does not exist" in answer.json()["error"]) == (400, True)
    assert make(driver, batch="week 18")["project"] == "streets"
    assert request(driver, "GET", "batches/week%2018/status").json() == {"status": "staging", "pending": 1}
    assert request(driver, "POST", "batches/week%2018/finalize").json()["status"] == "in_progress"
    late = request(driver, "POST", "task/lidarannotation", {**document, "batch": "week 18"})
    assert (late.status_code, "finalized" in late.json()["error"]) == (400, True)
    assert [project["name"] for project in request(driver, "GET", "projects").json()] == ["streets"]
    assert request(driver, "GET", "projects/none").status_code == 404
    assert request(driver, "GET", "batches?project=streets").json()["totalDocs"] == 1


def test_a_finished_task_gives_out_its_result_without_the_key(driver: Driver) -> None:
    task = make(driver, "drive-1")
    frames = [{"cuboids": [CUBOID]}, {"cuboids": []}]
    driver.receiver.finish_task("drive-1", annotations=frames)
    done = request(driver, "GET", f"task/{task['task_id']}").json()
    assert (done["status"], sorted(done["response"])) == ("completed", ["annotations"])
    assert done["completed_at"] >= done["created_at"]
    assert request(driver, "GET", "tasks?status=completed&completed_after=2020-01-01").json()["docs"] == [done]
    url = done["response"]["annotations"]["url"]
    assert requests.get(url, timeout=60).json() == frames
    leaked = requests.get(url, auth=KEY, timeout=60)
    assert (leaked.status_code, "Unsupported Authorization" in leaked.text) == (400, True)
    assert requests.get(url[:-1] + ("0" if url[-1] != "0" else "1"), timeout=60).status_code == 404
    assert requests.post(url, timeout=60).status_code == 405


def test_results_can_need_the_key(serve: Callable[..., Driver]) -> None:
    driver = serve(secure_results=True, task_api_keys={"live_scale"})
    task = make(driver, "drive-1")
    driver.receiver.finish_task(task["task_id"], annotations=[{"cuboids": []}] * 2)
    url = request(driver, "GET", f"task/{task['task_id']}").json()["response"]["annotations"]["url"]
    assert f"/v1/task/{task['task_id']}/response_url/" in url
    assert requests.get(url, timeout=60).status_code == 401
    assert requests.get(url, auth=KEY, timeout=60).json() == [{"cuboids": []}] * 2


def test_a_file_in_the_folder_completes_a_task_also_after_a_restart(serve: Callable[..., Driver]) -> None:
    driver = serve()
    task = make(driver, "drive-1")
    folder = driver.receiver.directory / "responses" / task["task_id"]
    folder.mkdir(parents=True)
    (folder / "annotations.sfs").write_bytes(SFS)
    (folder / "notes.txt").write_text("not an answer")
    for restarted in (False, True):
        current = serve() if restarted else driver
        done = request(current, "GET", f"task/{task['task_id']}").json()
        assert (done["status"], list(done["response"])) == ("completed", ["annotations"])
        answer = requests.get(done["response"]["annotations"]["url"], timeout=60)
        assert (answer.content, answer.headers["Content-Type"]) == (SFS, "application/octet-stream")


def test_labels_of_points_can_start_from_a_finished_task(driver: Driver) -> None:
    task = make(driver, "drive-1")
    document = {"lidar_task": task["task_id"], "labels": ["car"]}
    assert request(driver, "POST", "task/lidarsegmentation", document).status_code == 400
    driver.receiver.finish_task("drive-1", annotations=[{"cuboids": []}] * 2)
    made = request(driver, "POST", "task/lidarsegmentation", document).json()
    with pytest.raises(InputError, match="point_objects"):
        driver.receiver.finish_task(made["task_id"], point_segmentations={"objects": [], "point_objects": [[1, 2]]})
    whole = make(driver, "drive-2")
    points = {"objects": [{"label": "car", "index": 1}], "point_objects": [[1, 0], [0, 0]]}
    driver.receiver.finish_task("drive-2", annotations=[{"cuboids": []}] * 2, point_segmentations=points)
    response = request(driver, "GET", f"task/{whole['task_id']}").json()["response"]
    assert requests.get(response["point_segmentations"]["url"], timeout=60).json() == points


@pytest.mark.parametrize(
    ("responses", "reason"),
    [
        ({}, "not nothing"),
        ({"labels": []}, "not labels"),
        ({"annotations": [{"cuboids": []}]}, "one entry a frame, 2, not 1"),
        ({"annotations": [{"cuboids": [{**CUBOID, "yaw": None}]}, {}]}, "yaw"),
        ({"annotations": [{"cuboids": [{**CUBOID, "uuid": ""}]}, {}]}, "uuid"),
        ({"annotations": [{"cuboids": [{**CUBOID, "dimensions": [1, 2, 3]}]}, {}]}, "dimensions"),
        ({"annotations": b"{}\0"}, "not a sensor-fusion scene"),
        ({"annotations": b"<html>"}, "annotations: is not JSON"),
    ],
)
def test_a_task_does_not_answer_just_anything(driver: Driver, responses: dict[str, Any], reason: str) -> None:
    task = make(driver, "drive-1")
    with pytest.raises(InputError, match=reason):
        driver.receiver.finish_task("drive-1", **responses)
    assert request(driver, "GET", f"task/{task['task_id']}").json()["status"] == "pending"
    with pytest.raises(InputError, match="there is no task 'none'"):
        driver.receiver.finish_task("none", annotations=[])


def test_a_task_that_ends_in_an_error_frees_its_unique_id_when_told_to(driver: Driver) -> None:
    make(driver, "a")
    freed = make(driver, "b", clear_unique_id_on_error=True)
    for name in ("a", "b"):
        driver.receiver.fail_task(name, "the attachments cannot be read")
    first, second = request(driver, "GET", "tasks?status=error").json()["docs"]
    assert (first["unique_id"], first["response"]) == ("a", {"error": "the attachments cannot be read"})
    assert (second["task_id"], second["unique_id"]) == (freed["task_id"], None)


def test_the_points_of_a_tasks_frame_are_read_by_the_other_side(driver: Driver) -> None:
    task = make(driver, "a")
    points: Any = CLOUD["points"]
    expected = [{axis: point[axis] for axis in "xyzi"} for point in points]
    assert driver.call("GET", f"task/{task['task_id']}/frame/1").json() == {"points": expected}
    assert driver.call("GET", f"task/{task['task_id']}/frame/2").status_code == 404


def test_tasks_of_earlier_receivers_are_served(serve: Callable[..., Driver]) -> None:
    driver = serve()
    driver.receiver.stop()
    earlier = {
        "task_id": "task_18f0c1a2b3c4d5e6deadbeef",
        "type": "lidarannotation",
        "status": "pending",
        "created_at": "2026-01-01T00:00:00.000Z",
        "unique_id": "drive-0",
        "metadata": {},
        "params": {"attachments": ["s3://bucket/cloud.json"], "labels": ["car"], "project": "p"},
    }
    (driver.receiver.directory / "tasks" / f"{earlier['task_id']}.json").write_text(json.dumps(earlier))
    again = serve()
    make(again, "drive-1")
    listed = request(again, "GET", "tasks").json()["docs"]
    assert [task["unique_id"] for task in listed] == ["drive-0", "drive-1"]
    assert {key: listed[0][key] for key in earlier} == earlier
    again.receiver.finish_task("drive-0", annotations=[{"cuboids": []}])
    assert request(again, "GET", f"task/{earlier['task_id']}").json()["status"] == "completed"


PROGRAM = """
import json, sys
from scaleapi import ScaleClient
from scaleapi.exceptions import ScaleDuplicateResource
from scaleapi.tasks import TaskStatus, TaskType
client = ScaleClient("live_scale", api_instance_url=sys.argv[1])
said = {}
project = client.create_project("streets", TaskType.LidarAnnotation, {"instruction": "Draw."})
batch = client.create_batch("streets", "week 18")
request = {"attachments": ["s3://bucket/cloud.json"], "labels": ["car"], "batch": batch.name, "unique_id": "drive-1"}
task = client.create_task(TaskType.LidarAnnotation, **request)
said["made"] = [task.status, task.project, task.unique_id]
try:
    client.create_task(TaskType.LidarAnnotation, **request)
except ScaleDuplicateResource as error:
    said["twice"] = [error.code, task.id in str(error)]
said["listed"] = [found.id == task.id for found in client.get_tasks("streets", status=TaskStatus.Pending)]
said["counted"] = client.get_tasks_count("streets")
task.set_tags(["a"])
task.add_tags(["b", "c"])
task.delete_tags(["b"])
task.set_metadata({"n": 1})
task.refresh()
said["changed"] = [task.tags, task.metadata]
said["batch"] = [client.batch_status("week 18")["pending"], client.finalize_batch("week 18").status]
said["cancelled"] = client.cancel_task(task.id, clear_unique_id=True).status
said["instruction"] = client.get_project("streets").instruction
print(json.dumps(said))
"""


def test_the_annotation_sides_own_client_takes_the_receiver_for_the_service(driver: Driver) -> None:
    python = os.environ.get("NUCLEUS_BRIDGE_LIDAR_IO_PYTHON", "")
    if not python:
        pytest.skip("NUCLEUS_BRIDGE_LIDAR_IO_PYTHON is not set: no environment with scaleapi")
    variables = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    finished = subprocess.run(
        [python, "-c", PROGRAM, f"{driver.receiver.origin}/v1"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**variables, "PYTHONPATH": ""},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == {
        "made": ["pending", "streets", "drive-1"],
        "twice": [409, True],
        "listed": [True],
        "counted": 1,
        "changed": [["a", "c"], {"n": 1}],
        "batch": [1, "in_progress"],
        "cancelled": "canceled",
        "instruction": "Draw.",
    }
