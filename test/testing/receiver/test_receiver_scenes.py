# SPDX-License-Identifier: Apache-2.0
"""What an upload must look like to become scenes, and what a repeated one changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from receiver_driver import CLOUD, Driver, counts, make_scene

from nucleus_bridge.testing.receiver import SceneRules

Change = Callable[[dict[str, Any]], Any]


def camera(scene: dict[str, Any], **changes: Any) -> None:
    """Change both copies of the first frame's camera."""
    item = scene["frames"][0]["front"]
    for params in (item["metadata"]["camera_params"], item["camera_params"]):
        params.update(changes)


def without_key(scene: dict[str, Any], key: str) -> None:
    item = scene["frames"][0]["front"]
    for params in (item["metadata"]["camera_params"], item["camera_params"]):
        del params[key]


def first(scene: dict[str, Any], sensor: str) -> dict[str, Any]:
    item: dict[str, Any] = scene["frames"][0][sensor]
    return item


BROKEN: dict[str, tuple[Change, str]] = {
    "no reference": (lambda s: s.pop("reference_id"), "reference_id"),
    "empty reference": (lambda s: s.update(reference_id=""), "reference_id"),
    "no frames": (lambda s: s.update(frames=[]), "at least 1 frame"),
    "frames are not an array": (lambda s: s.update(frames={"0": s["frames"][0]}), "at least 1 frame"),
    "empty frame": (lambda s: s["frames"].append({}), "frame 2"),
    "frame without cloud": (lambda s: s["frames"][1].pop("lidar"), "frame 1 must have exactly 1 pointcloud, not 0"),
    "two clouds in a frame": (
        lambda s: s["frames"][1].update(rear={**first(s, "lidar"), "reference_id": "other"}),
        "frame 1 must have exactly 1 pointcloud, not 2",
    ),
    "cloud renamed on the way": (lambda s: s["frames"][1].update(top=s["frames"][1].pop("lidar")), "same name"),
    "item repeated": (
        lambda s: s["frames"][1]["front"].update(reference_id=first(s, "front")["reference_id"]),
        "frame 1, sensor 'front', item 's1-front-0'",
    ),
    "item without reference": (lambda s: first(s, "lidar").pop("reference_id"), "sensor 'lidar': an item needs"),
    "item of unknown type": (lambda s: first(s, "front").update(type="video"), "type must be"),
    "item without url": (lambda s: first(s, "front").pop("url"), "url is missing"),
    "url without scheme": (lambda s: first(s, "front").update(url="image.jpg"), "no URL"),
    "url with a space": (lambda s: first(s, "front").update(url="s3://bucket/image jpg"), "no URL"),
    "broken url": (lambda s: first(s, "front").update(url="http://[::1/image.jpg"), "no URL"),
    "local file": (lambda s: first(s, "front").update(url="file:///etc/passwd"), "scheme 'file'"),
    "azure": (lambda s: first(s, "front").update(url="az://account/container/image.jpg"), "scheme 'az'"),
    "gcs": (lambda s: first(s, "front").update(url="gcs://bucket/image.jpg"), "scheme 'gcs'"),
    "embedding on a cloud": (lambda s: first(s, "lidar").update(embedding_info={"index_id": "i"}), "embedding"),
    "item metadata is not an object": (lambda s: first(s, "lidar").update(metadata=[]), "metadata must be an object"),
    "scene metadata is not an object": (lambda s: s.update(metadata="v1"), "metadata must be an object"),
    "camera only in metadata": (lambda s: first(s, "front").pop("camera_params"), "the item itself lacks"),
    "camera only in item": (lambda s: first(s, "front")["metadata"].pop("camera_params"), "metadata lacks"),
    "camera copies differ": (lambda s: first(s, "front")["camera_params"].update(fx=1.0), "camera_params.fx differs"),
    "camera pose differs": (
        lambda s: first(s, "front")["camera_params"]["position"].update(x=9.0),
        "camera_params.position differs",
    ),
    "coefficient dropped from item": (lambda s: first(s, "front")["camera_params"].pop("k1"), "camera_params.k1"),
    **{f"camera without {key}": (lambda s, k=key: without_key(s, k), key) for key in ("fx", "fy", "cx", "cy")},
    **{f"camera without {key}": (lambda s, k=key: without_key(s, k), key) for key in ("position", "heading")},
    "position is an array": (lambda s: camera(s, position=[0, 0, 0]), "camera_params.position must be an object"),
    "heading is not a rotation": (
        lambda s: camera(s, heading={"x": 0, "y": 0, "z": 0, "w": 0}),
        "must be a unit quaternion",
    ),
    "focal length is text": (lambda s: camera(s, fx="900"), "camera_params.fx must be a number"),
    "focal length is true": (lambda s: camera(s, fx=True), "camera_params.fx must be a number"),
    "omnidirectional camera": (lambda s: camera(s, camera_model="omnidirectional"), "camera_model 'omnidirectional'"),
    "plumb_bob camera": (lambda s: camera(s, camera_model="plumb_bob"), "camera_model 'plumb_bob'"),
    "number is NaN": (lambda s: camera(s, cx=float("nan")), "NaN"),
    "number is infinite": (lambda s: camera(s, cx=float("inf")), "Infinity"),
    "number beyond doubles": (lambda s: s["metadata"].update(huge=10**400), "not finite"),
    "no such object": (lambda s: first(s, "lidar").update(url="s3://bucket/none.json"), "cannot be read: no such file"),
    "bucket not mapped": (lambda s: first(s, "lidar").update(url="s3://other/cloud.json"), "no mapping"),
    "scheme without resolver": (lambda s: first(s, "lidar").update(url="gs://bucket/cloud.json"), "read gs://"),
    "out of the folder": (lambda s: first(s, "lidar").update(url="s3://bucket/../kept/lock"), "no such file"),
    "image that is a cloud": (lambda s: first(s, "front").update(url="s3://bucket/cloud.json"), "not a JPEG or PNG"),
    "cloud that is an image": (lambda s: first(s, "lidar").update(url="s3://bucket/image.jpg"), "not UTF-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_scene_that_breaks_a_rule_is_refused_and_the_good_one_beside_it_taken(
    serve: Callable[..., Driver], case: str
) -> None:
    driver = serve(strict=True)
    change, reason = BROKEN[case]
    bad = make_scene("s1")
    change(bad)
    dataset = driver.create()
    job = driver.upload(dataset, bad, make_scene("good"))
    assert job["status"] == "Errored_Partial"
    assert counts(job) == {"new_scenes": 1, "scenes_errored": 1}
    (error,) = driver.errors(job)
    assert reason in error
    assert driver.references(dataset) == ["good"]


def test_a_good_scene_is_kept_as_it_was_sent(driver: Driver) -> None:
    dataset, scene = driver.create(), make_scene()
    job = driver.upload(dataset, scene)
    assert (job["status"], counts(job), driver.errors(job)) == ("Completed", {"new_scenes": 1}, [])
    assert driver.receiver.scenes(dataset) == [scene]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["frames"][1].pop("front"),
        lambda s: s.pop("metadata"),
        lambda s: without_key(s, "camera_model"),
        lambda s: camera(s, camera_model="fisheye", k3=0.1, k4=-0.1),
        lambda s: first(s, "front")["metadata"]["camera_params"].update(xi=1.2, k5=0.1, timestamp=15),
        lambda s: first(s, "front")["camera_params"].update(k2=0.0),
        lambda s: [first(s, "front").pop("camera_params"), first(s, "front")["metadata"].pop("camera_params")],
    ],
)
def test_what_the_service_allows_is_taken(driver: Driver, change: Change) -> None:
    scene = make_scene()
    change(scene)
    job = driver.upload(driver.create(), scene)
    assert driver.errors(job) == []
    assert job["status"] == "Completed"


def test_only_bad_scenes_are_the_users_error(driver: Driver) -> None:
    scene = make_scene()
    scene["frames"] = []
    job = driver.upload(driver.create(), scene)
    assert job["status"] == "Errored_User"
    assert job["message"]["scene_upload_progress"]["errors"] == driver.errors(job)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "holds no scene"),
        (b"{\n", "line 1: the line is not JSON"),
        (b"[]\n", "line 1: the line is not a JSON object"),
        (b"\n", "line 1"),
        (b'{"reference_id": "\xff"}\n', "not UTF-8"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n", "nested"),
        (b"[" * 100 + b"]" * 100 + b"\n", "nested deeper than 64"),
        (b'{"n": ' + b"9" * 6000 + b"}\n", "line 1"),
    ],
)
def test_an_upload_that_is_not_ndjson_ends_in_the_users_error(driver: Driver, body: bytes, reason: str) -> None:
    dataset = driver.create()
    job = driver.wait(driver.start_job(dataset, driver.put(dataset, body)))
    assert job["status"] == "Errored_User"
    assert reason in driver.errors(job)[0]


def test_a_line_that_is_too_long_is_one_error(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleus_bridge.testing.receiver.lines.MAX_LINE_BYTES", 3000)
    job = driver.upload(driver.create(), make_scene("long", frames=20), make_scene("good", frames=1))
    assert counts(job) == {"new_scenes": 1, "scenes_errored": 1}
    assert driver.errors(job) == ["line 1: a line may have at most 3000 bytes"]
    assert (job["completed_steps"], job["total_steps"]) == (2, 2)


def test_the_last_line_may_lack_its_newline(driver: Driver) -> None:
    dataset = driver.create()
    job = driver.wait(driver.start_job(dataset, driver.put(dataset, json.dumps(make_scene()).encode())))
    assert counts(job) == {"new_scenes": 1}


@pytest.mark.parametrize(("items", "taken"), [(300, True), (301, False)])
def test_at_most_300_items_make_a_scene(driver: Driver, items: int, taken: bool) -> None:
    scene = make_scene(frames=150)
    if items == 301:
        scene["frames"][7]["rear"] = {**scene["frames"][7]["front"], "reference_id": "one too many"}
    job = driver.upload(driver.create(), scene)
    assert counts(job) == ({"new_scenes": 1} if taken else {"scenes_errored": 1})
    assert taken or "301 items" in driver.errors(job)[0]


def test_the_item_limit_and_the_schemes_can_be_chosen(serve: Callable[..., Driver], bucket: Path) -> None:
    def local(url: str) -> bytes:
        return (bucket / url.rpartition("/")[2]).read_bytes()

    driver = serve(rules=SceneRules(max_items=3, extra_url_schemes=("az",)), resolvers={"az": local})
    dataset = driver.create()
    assert counts(driver.upload(dataset, make_scene("a", frames=1, base="az://account"))) == {"new_scenes": 1}
    assert counts(driver.upload(dataset, make_scene("b", frames=2, base="az://account"))) == {"scenes_errored": 1}


def test_item_references_are_unique_in_the_dataset_but_not_across_datasets(driver: Driver) -> None:
    dataset, other = driver.create(), driver.create(name="other")
    driver.upload(dataset, make_scene("s1"))
    thief = make_scene("s2")
    thief["frames"][1]["lidar"]["reference_id"] = "s1-lidar-0"
    job = driver.upload(dataset, thief)
    assert job["status"] == "Errored_User"
    assert "'s1-lidar-0'" in driver.errors(job)[0]
    assert driver.upload(other, make_scene("s1"))["status"] == "Completed"


def test_item_references_are_free_again_after_their_scene_was_deleted(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    assert driver.call("DELETE", f"dataset/{dataset}/scene/s1", {}).status_code == 200
    again = make_scene("s2")
    again["frames"][0]["lidar"]["reference_id"] = "s1-lidar-0"
    assert counts(driver.upload(dataset, again)) == {"new_scenes": 1}


def test_metadata_is_of_one_kind_in_a_dataset(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene("s1"))
    other = make_scene("s2")
    other["metadata"]["vehicle"] = 1
    job = driver.upload(dataset, other)
    assert job["status"] == "Errored_User"
    assert "'vehicle' is a number here and a string elsewhere" in driver.errors(job)[0]
    driver.call("DELETE", f"dataset/{dataset}/scene/s1", {})
    assert driver.upload(dataset, other)["status"] == "Completed"


def test_a_reference_twice_in_one_upload_is_an_error(driver: Driver) -> None:
    job = driver.upload(driver.create(), make_scene("s1"), make_scene("s1"), update=True)
    assert counts(job) == {"new_scenes": 1, "scenes_errored": 1}
    assert "twice" in driver.errors(job)[0]


def test_a_scene_that_exists_is_ignored_without_update(driver: Driver) -> None:
    dataset, scene = driver.create(), make_scene()
    driver.upload(dataset, scene)
    changed = make_scene()
    changed["metadata"] = {"vehicle": "v2"}
    job = driver.upload(dataset, changed)
    assert (job["status"], counts(job), driver.errors(job)) == ("Completed", {"ignored_scenes": 1}, [])
    assert driver.receiver.scenes(dataset) == [scene]


def test_an_update_of_the_same_structure_replaces_metadata_and_cameras(driver: Driver) -> None:
    dataset, scene = driver.create(), make_scene()
    driver.upload(dataset, scene)
    changed = make_scene(base="s3://elsewhere")
    changed["metadata"] = {"driver": "d1"}
    first(changed, "front")["metadata"].pop("weather")
    camera(changed, fx=950.0)
    job = driver.upload(dataset, changed, update=True)
    assert (job["status"], counts(job)) == ("Completed", {"updated_scenes": 1})
    expected = copy.deepcopy(changed)
    for frame, old in zip(expected["frames"], scene["frames"], strict=True):
        for sensor in frame:
            frame[sensor]["url"] = old[sensor]["url"]
    assert driver.receiver.scenes(dataset) == [expected]


def test_an_update_without_metadata_removes_what_was_there(driver: Driver) -> None:
    dataset, scene = driver.create(), make_scene()
    driver.upload(dataset, scene)
    bare = make_scene()
    del bare["metadata"]
    driver.upload(dataset, bare, update=True)
    assert "metadata" not in driver.receiver.scenes(dataset)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["frames"].pop(),
        lambda s: s["frames"][1].pop("front"),
        lambda s: s["frames"].reverse(),
        lambda s: first(s, "front").update(reference_id="new one"),
        lambda s: s["frames"][0].update(rear={**first(s, "front"), "reference_id": "rear"}),
    ],
)
def test_an_update_of_another_structure_is_ignored_and_reported(driver: Driver, change: Change) -> None:
    dataset, scene = driver.create(), make_scene()
    driver.upload(dataset, scene)
    changed = make_scene()
    change(changed)
    job = driver.upload(dataset, changed, update=True)
    assert (job["status"], counts(job)) == ("Completed", {"ignored_scenes": 1})
    assert "delete the scene" in job["message"]["scene_upload_progress"]["errors"][0]
    assert driver.receiver.scenes(dataset) == [scene]


def test_an_update_of_a_scene_that_is_new_creates_it(driver: Driver) -> None:
    assert counts(driver.upload(driver.create(), make_scene(), update=True)) == {"new_scenes": 1}


def test_a_job_repeated_for_the_same_request_changes_nothing(driver: Driver) -> None:
    dataset = driver.create()
    request_id = driver.put(dataset, (json.dumps(make_scene()) + "\n").encode())
    assert counts(driver.wait(driver.start_job(dataset, request_id))) == {"new_scenes": 1}
    assert counts(driver.wait(driver.start_job(dataset, request_id))) == {"ignored_scenes": 1}


def test_reading_ends_after_a_few_items_that_cannot_be_read(driver: Driver, bucket: Path) -> None:
    (bucket / "cloud.json").unlink()
    job = driver.upload(driver.create(), make_scene(frames=50))
    assert driver.errors(job)[0].count("cannot be read") == 5


def test_messages_do_not_show_the_signature_of_an_url(driver: Driver) -> None:
    scene = make_scene()
    first(scene, "front")["url"] = "http://127.0.0.1:9/image.jpg?X-Amz-Signature=secret"
    (error,) = driver.errors(driver.upload(driver.create(), scene))
    assert "http://127.0.0.1:9/image.jpg cannot be read" in error
    assert "secret" not in error


def test_an_item_larger_than_the_limit_is_refused(driver: Driver, bucket: Path) -> None:
    reader_limit = driver.receiver.limits.max_item_bytes
    with (bucket / "cloud.json").open("r+b") as file:
        file.truncate(reader_limit + 1)
    (error,) = driver.errors(driver.upload(driver.create(), make_scene(frames=1)))
    assert f"more than {reader_limit} bytes" in error


def test_a_dataset_of_images_takes_no_scenes(driver: Driver) -> None:
    dataset = driver.create(is_scene=False)
    request_id = driver.put(dataset, b"{}\n")
    answer = driver.call("POST", f"{dataset}/upload_scenes?async=1", {"requestId": request_id, "update": False})
    assert answer.status_code == 400
    assert "is_scene" in answer.json()["error"]


def test_clouds_are_read_whole_and_checked(driver: Driver, bucket: Path) -> None:
    cloud = copy.deepcopy(CLOUD)
    cloud["points"][1]["i"] = 255  # type: ignore[index]
    (bucket / "cloud.json").write_text(json.dumps(cloud))
    (error,) = driver.errors(driver.upload(driver.create(), make_scene(frames=1)))
    assert "frame 0, sensor 'lidar', item 's1-lidar-0': points: i 255 must be within 0 and 1" in error
