# SPDX-License-Identifier: Apache-2.0
"""Every call besides the scene upload itself: keys, datasets, upload URLs, jobs, reading back, pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests
from receiver_driver import Driver, counts, make_scene

from nucleus_bridge.errors import InputError
from nucleus_bridge.receiver import JobPace

REQUEST = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    "options",
    [
        {"auth": None},
        {"auth": ("", "")},
        {"auth": ("test_key", "password")},
        {"auth": None, "headers": {"Authorization": "Bearer test_key"}},
        {"auth": None, "headers": {"Authorization": "Basic !!!"}},
        {"auth": None, "headers": {"Authorization": "Basic dGVzdF9rZXk="}},  # test_key without a colon
        {"auth": None, "headers": {"Authorization": "Basic"}},
        {"auth": None, "headers": {"x-limited-access-key": ""}},
    ],
)
def test_a_call_without_a_key_is_401(driver: Driver, options: dict[str, Any]) -> None:
    answer = driver.call("GET", "dataset/details", {}, **options)
    assert answer.status_code == 401
    assert "key" in answer.json()["error"]
    assert driver.call("GET", "no/such/route", {}, **options).status_code == 401


def test_a_limited_access_key_is_as_good_as_a_key(serve: Callable[..., Driver]) -> None:
    driver = serve(api_keys={"live_limited"})
    for key, status in (("live_limited", 200), ("live_other", 401)):
        headers = {"x-limited-access-key": key}
        assert driver.call("GET", "dataset/details", {}, auth=None, headers=headers).status_code == status


def test_only_the_given_keys_are_accepted_until_revoked(serve: Callable[..., Driver]) -> None:
    driver = serve(api_keys={"one", "two"})
    assert driver.call("GET", "dataset/details", {}).status_code == 401
    assert driver.call("GET", "dataset/details", {}, auth=("one", "")).status_code == 200
    driver.receiver.revoke("one")
    assert driver.call("GET", "dataset/details", {}, auth=("one", "")).status_code == 401
    assert driver.call("GET", "dataset/details", {}, auth=("two", "")).status_code == 200


def test_any_key_is_accepted_by_default_until_revoked(driver: Driver) -> None:
    assert driver.call("GET", "dataset/details", {}).status_code == 200
    driver.receiver.revoke("test_key")
    assert driver.call("GET", "dataset/details", {}).status_code == 401


def test_a_dataset_tells_what_it_was_created_with(driver: Driver) -> None:
    schema = {"weather": {"type": "category"}}
    dataset = driver.create(name="Höhe", use_privacy_mode=True, item_metadata_schema=schema)
    assert dataset.startswith("ds_")

    def ask(what: str) -> Any:
        return driver.call("GET", f"dataset/{dataset}/{what}", {}).json()

    assert ask("name") == {"name": "Höhe"}
    assert ask("is_scene") == {"is_scene": True}
    assert ask("use_privacy_mode") == {"use_privacy_mode": True}
    assert ask("size") == {"count": 0}
    driver.upload(dataset, make_scene(frames=3))
    assert ask("size") == {"count": 6}
    info = ask("info")
    assert (info["dataset_id"], info["name"], info["length"]) == (dataset, "Höhe", 6)
    assert (info["item_metadata_schema"], info["annotation_metadata_schema"]) == (schema, None)
    assert (info["slice_ids"], info["model_run_ids"]) == ([], [])


def test_datasets_of_one_name_are_different_datasets(driver: Driver) -> None:
    first, second = driver.create(), driver.create()
    details = driver.call("GET", "dataset/details", {}).json()
    assert details == [{"id": dataset, "name": "drives", "is_public": False} for dataset in (first, second)]


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": 5}, {"is_scene": "yes"}, {"use_privacy_mode": None}, {"item_metadata_schema": []}],
)
def test_a_dataset_is_not_created_from_wrong_values(driver: Driver, changes: dict[str, Any]) -> None:
    document = {
        "name": "n",
        "is_scene": True,
        "use_privacy_mode": False,
        "annotation_metadata_schema": None,
        "item_metadata_schema": None,
    }
    answer = driver.call("POST", "dataset/create", {**document, **changes})
    assert (answer.status_code, next(iter(changes)) in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    "missing", ["name", "is_scene", "use_privacy_mode", "annotation_metadata_schema", "item_metadata_schema"]
)
def test_a_dataset_needs_all_five_keys(driver: Driver, missing: str) -> None:
    document = dict.fromkeys(
        ["name", "is_scene", "use_privacy_mode", "annotation_metadata_schema", "item_metadata_schema"]
    )
    del document[missing]
    answer = driver.call("POST", "dataset/create", document)
    assert (answer.status_code, answer.json()["error"]) == (400, f"{missing} is missing")


def test_a_deleted_dataset_is_gone_with_its_scenes(driver: Driver) -> None:
    dataset, other = driver.create(), driver.create(name="other")
    driver.upload(dataset, make_scene())
    assert driver.call("DELETE", f"dataset/{dataset}", {}).status_code == 200
    for route in ("name", "scenes_list", "scene/s1", f"signedUrl/{REQUEST}", "refloc/s1-lidar-0"):
        assert driver.call("GET", f"dataset/{dataset}/{route}", {}).status_code == 404
    assert driver.call("DELETE", f"dataset/{dataset}", {}).status_code == 404
    assert [entry["id"] for entry in driver.call("GET", "dataset/details", {}).json()] == [other]
    assert not list((driver.receiver.directory / "datasets").glob(f"*{dataset}*"))
    with pytest.raises(InputError, match=dataset):
        driver.receiver.scenes(dataset)


@pytest.mark.parametrize("request_id", ["1234", REQUEST.upper(), REQUEST + "0", "g" * 32, "%2e%2e", "..%2f" * 8])
def test_a_request_id_is_32_hexadecimal_digits(driver: Driver, request_id: str) -> None:
    answer = driver.call("GET", f"dataset/{driver.create()}/signedUrl/{request_id}", {})
    assert answer.status_code == 400


def test_an_upload_url_needs_no_key_and_keeps_every_byte(driver: Driver) -> None:
    dataset = driver.create()
    url = driver.sign(dataset, REQUEST)
    body = bytes(range(256)) * 1000
    answer = requests.put(url, data=body, timeout=60)
    assert (answer.status_code, answer.content) == (200, b"")
    kept = driver.receiver.directory / "datasets" / dataset / "uploads" / f"{REQUEST}.ndjson"
    assert kept.read_bytes() == body
    requests.put(url, data=b"again", timeout=60)
    assert kept.read_bytes() == b"again"
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_the_clients_question_for_an_s3_endpoint_is_ignored(driver: Driver) -> None:
    route = f"dataset/{driver.create()}/signedUrl/{REQUEST}?s3Endpoint=http%3A//127.0.0.1%3A9"
    assert driver.call("GET", route, {}).json()["signed_url"].startswith(driver.receiver.origin)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.partition("?")[0], "SignatureDoesNotMatch"),
        (lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("X-Expires=", "X-Expires=9"), "SignatureDoesNotMatch"),
        (lambda url: url.replace(REQUEST, REQUEST[::-1]), "SignatureDoesNotMatch"),
    ],
)
def test_a_changed_upload_url_is_403(driver: Driver, change: Callable[[str], str], reason: str) -> None:
    answer = requests.put(change(driver.sign(driver.create(), REQUEST)), data=b"x", timeout=60)
    assert answer.status_code == 403
    assert reason in answer.text


def test_an_upload_url_expires(serve: Callable[..., Driver]) -> None:
    driver = serve(signed_url_expires_s=0.0)
    answer = requests.put(driver.sign(driver.create(), REQUEST), data=b"x", timeout=60)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


def test_an_upload_with_a_content_type_is_403(driver: Driver) -> None:
    url = driver.sign(driver.create(), REQUEST)
    answer = requests.put(url, data=b"x", headers={"Content-Type": "application/json"}, timeout=60)
    assert answer.status_code == 403
    assert requests.put(url, data=b"x", timeout=60).status_code == 200


def test_an_upload_url_is_for_putting_only(driver: Driver) -> None:
    assert requests.get(driver.sign(driver.create(), REQUEST), timeout=60).status_code == 405


@pytest.mark.parametrize(
    ("route", "document", "reason"),
    [
        ("{}/upload_scenes?async=1", {"requestId": REQUEST, "update": False}, "nothing was put"),
        ("{}/upload_scenes?async=1", {"requestId": "../../signing_key", "update": False}, "32 hexadecimal"),
        ("{}/upload_scenes?async=1", {"requestId": REQUEST, "update": 1}, "update true or false"),
        ("{}/upload_scenes?async=1", {"update": False}, "requestId"),
        ("{}/upload_scenes", {"requestId": REQUEST, "update": False}, "async=1"),
        ("{}/upload_scenes", {"scenes": [], "update": False}, "async=1"),
    ],
)
def test_a_job_is_not_started_from_wrong_values(
    driver: Driver, route: str, document: Mapping[str, Any], reason: str
) -> None:
    answer = driver.call("POST", route.format(driver.create()), document)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert driver.call("POST", "jobs/", {"show_completed": True}).json() == []


def test_an_upload_of_one_dataset_is_unknown_in_another(driver: Driver) -> None:
    request_id = driver.put(driver.create(), b"{}\n")
    answer = driver.call("POST", f"{driver.create()}/upload_scenes?async=1", {"requestId": request_id, "update": False})
    assert answer.status_code == 400


def test_a_job_passes_through_its_states_at_the_chosen_pace(serve: Callable[..., Driver]) -> None:
    driver = serve(pace=JobPace(queued_polls=2, running_polls=3))
    dataset = driver.create()
    job_id = driver.start_job(dataset, driver.put(dataset, (json.dumps(make_scene()) + "\n").encode()))
    deadline, states = time.monotonic() + 60, []
    while (not states or states[-1] != "Completed") and time.monotonic() < deadline:
        answer = driver.call("GET", f"job/{job_id}", {}).json()
        states.append(answer["status"])
        assert answer["job_last_known_status"] == answer["status"]
        if answer["status"] == "Queued":
            assert (answer["completed_steps"], counts(answer)) == (0, {})
    assert states[:5] == ["Queued"] * 2 + ["Running"] * 3
    assert states[-1] == "Completed"
    assert set(states[5:-1]) <= {"Running"}


def test_a_job_can_be_slow_by_time(serve: Callable[..., Driver]) -> None:
    driver = serve(pace=JobPace(queued_s=3600.0))
    dataset = driver.create()
    job_id = driver.start_job(dataset, driver.put(dataset, b"{}\n"))
    assert driver.call("GET", f"job/{job_id}", {}).json()["status"] == "Queued"


def test_a_jobs_answers_have_the_keys_of_the_service(driver: Driver) -> None:
    dataset = driver.create()
    job = driver.upload(dataset, make_scene())
    info = {"job_id", "job_last_known_status", "job_type", "job_creation_time"}
    assert set(job) == info | {"status", "message", "job_progress", "completed_steps", "total_steps"}
    assert job["job_progress"] == "1.00"
    assert (job["completed_steps"], job["total_steps"], job["job_type"]) == (1, 1, "uploadLidarScene")
    assert job["message"] == {
        "scene_upload_progress": {
            "errors": [],
            "dataset_id": dataset,
            "new_scenes": 1,
            "ignored_scenes": 0,
            "scenes_errored": 0,
            "updated_scenes": 0,
        }
    }
    assert set(driver.call("GET", f"job/{job['job_id']}/info", {}).json()) == info


def test_a_job_without_scenes_has_no_progress(driver: Driver) -> None:
    assert driver.upload(driver.create())["job_progress"] == "NaN"


def test_jobs_are_listed_by_the_filters(driver: Driver) -> None:
    one, two = driver.create(), driver.create()
    jobs = [driver.upload(one, make_scene())["job_id"], driver.upload(two)["job_id"], driver.upload(two)["job_id"]]

    def listed(**filters: Any) -> list[str]:
        return [job["job_id"] for job in driver.call("POST", "jobs/", {"show_completed": True, **filters}).json()]

    assert listed() == jobs[::-1]
    assert listed(limit=1) == jobs[-1:]
    assert listed(dataset_id=one) == jobs[:1]
    assert listed(show_completed=False) == jobs[:0:-1]
    assert listed(job_types=["uploadLidarScene"]) == jobs[::-1]
    assert listed(job_types=["uploadVideoScene"]) == []
    assert listed(from_date="2020-01-01", to_date="9999-01-01T00:00:00Z") == jobs[::-1]
    assert listed(from_date="9999-01-01") == []
    for wrong in ({"limit": 0}, {"limit": 50_001}, {"limit": "all"}, {"from_date": "soon"}, {"to_date": 5}):
        assert driver.call("POST", "jobs/", wrong).status_code == 400


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


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "dataset/{}/scene/none"),
        ("GET", "dataset/{}/scene/s1?from_item=1"),
        ("GET", "dataset/{}/scene/s1-front-0"),
        ("GET", "dataset/{}/refloc/none"),
        ("DELETE", "dataset/{}/scene/none"),
        ("DELETE", "dataset/{}/refloc/none"),
        ("GET", "job/none"),
        ("GET", "job/none/errors"),
        ("GET", "job/none/info"),
        ("GET", "dataset/none/name"),
        ("GET", "nothing/here"),
        ("GET", "/dataset/details"),
        ("POST", "dataset/{}/upload_scenes?async=1"),
        ("POST", "none/upload_scenes?async=1"),
    ],
)
def test_what_is_missing_is_404_in_json(driver: Driver, method: str, route: str) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    answer = driver.call(method, route.format(dataset), {})
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_another_method_is_405(driver: Driver) -> None:
    answer = driver.call("PUT", "jobs/", {})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert driver.call("HEAD", "dataset/details").status_code == 405


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
    for wrong in ({"query": 'scene.reference_id = "s1"'}, {"query": "", "pageSize": 0}, {"query": "", "pageToken": 7}):
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


def test_the_index_lists_everything_escaped(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda _: b"")
    dataset = driver.create(name="<script>alert(1)</script>")
    driver.upload(dataset, make_scene('"><img src=x>'), make_scene("\ud800"))
    answer = requests.get(driver.receiver.origin, timeout=60)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.text
    assert "<img" not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert f'href="/review/{dataset}/%22%3E%3Cimg%20src%3Dx%3E"' in answer.text


def test_the_review_page_is_made_from_the_payload(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda payload: f"<p>{payload['reference_id']}".encode())
    dataset = driver.create()
    driver.upload(dataset, make_scene("a b"))
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/a%20b", timeout=60).text == "<p>a b"
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/c", timeout=60).status_code == 404


def test_a_review_page_that_fails_is_500_without_a_traceback(serve: Callable[..., Driver]) -> None:
    driver = serve(review_page=lambda payload: payload["nothing"])
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    answer = requests.get(f"{driver.receiver.origin}/review/{dataset}/s1", timeout=60)
    assert answer.status_code == 500
    assert "KeyError" not in answer.text
    assert "Traceback" not in answer.text


def test_without_a_page_maker_there_are_no_review_pages(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    assert "href" not in requests.get(driver.receiver.origin, timeout=60).text
    assert requests.get(f"{driver.receiver.origin}/review/{dataset}/s1", timeout=60).status_code == 404


def test_requests_are_remembered_in_order(driver: Driver) -> None:
    dataset = driver.create()
    driver.call("GET", "job/none?x=1")
    assert driver.receiver.requests == [
        ("POST", "/v1/nucleus/dataset/create", 200),
        ("GET", "/v1/nucleus/job/none", 404),
    ]
    assert dataset
