# SPDX-License-Identifier: Apache-2.0
"""Bytes are put under an upload URL, and a job makes scenes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests
from receiver_driver import REQUEST, Driver, counts, make_scene

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver import JobEnd, JobPace, parse_job_end


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


ENDS = (
    "Cancelled",
    "Errored",
    "Errored_User",
    "Errored_Server",
    "Errored_Partial",
    "Errored_Hanging",
    "Retried",
    "Odd",
)


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize(("share", "taken"), [(0.0, []), (0.5, ["s1", "s2"]), (1.0, ["s1", "s2", "s3"])])
def test_a_job_can_be_made_to_end_as_the_service_ends_jobs(
    serve: Callable[..., Driver], status: str, share: float, taken: list[str]
) -> None:
    driver = serve(job_ends=[JobEnd(status, share)])
    dataset = driver.create()
    job = driver.upload(dataset, *(make_scene(name, frames=1) for name in ("s1", "s2", "s3")))
    assert (job["status"], driver.references(dataset)) == (status, taken)
    assert ("final_error" in job["message"]) == status.startswith("Errored")
    left_out = [name for name in ("s1", "s2", "s3") if name not in taken]
    errors = driver.errors(job)
    assert [name for name in left_out if any(repr(name) in error for error in errors)] == (
        left_out if status.startswith("Errored") else []
    )
    again = driver.upload(dataset, *(make_scene(name, frames=1) for name in ("s1", "s2", "s3")))
    assert (again["status"], driver.references(dataset)) == ("Completed", ["s1", "s2", "s3"])


@pytest.mark.parametrize("status", ["Queued", "Running"])
def test_a_job_can_be_made_to_never_end(serve: Callable[..., Driver], status: str) -> None:
    driver = serve(job_ends=[JobEnd(status)])
    dataset = driver.create()
    job_id = driver.start_job(dataset, driver.put(dataset, json.dumps(make_scene()).encode()))
    next_id = driver.start_job(dataset, driver.put(dataset, json.dumps(make_scene("s2")).encode()))
    assert driver.wait(next_id)["status"] == "Completed"
    assert driver.call("GET", f"job/{job_id}", {}).json()["status"] == status
    again = serve()
    assert again.call("GET", f"job/{job_id}", {}).json()["status"] == status


def test_how_a_job_ended_outlives_a_restart(serve: Callable[..., Driver]) -> None:
    driver = serve(job_ends=[JobEnd("Errored_Hanging", 0.5)])
    dataset = driver.create()
    job = driver.upload(dataset, make_scene("s1"), make_scene("s2"))
    again = serve()
    assert again.call("GET", f"job/{job['job_id']}", {}).json()["status"] == "Errored_Hanging"
    assert len(again.errors(job)) == 1


@pytest.mark.parametrize("text", ["", "=0.5", "Cancelled=2", "Cancelled=some", "Errored Hanging", "1"])
def test_a_job_end_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="job end"):
        parse_job_end(text)


def test_a_job_end_is_written_with_its_share() -> None:
    assert parse_job_end("Errored_Partial=0.5") == JobEnd("Errored_Partial", 0.5)
    assert parse_job_end("Cancelled") == JobEnd("Cancelled", 0.0)


def test_metadata_of_more_than_500_objects_is_merged_by_a_job(driver: Driver) -> None:
    dataset = driver.create()
    driver.upload(dataset, *(make_scene(f"s{number}", frames=1) for number in range(3)))
    merges = [{"reference_id": f"s{number % 4}", "metadata": {"city": f"c{number}"}} for number in range(600)]
    document = {"level": "scene", "metadata": merges}
    assert driver.call("POST", f"dataset/{dataset}/metadata?async=0", document).status_code == 400
    info = driver.call("POST", f"dataset/{dataset}/metadata?async=1", document).json()
    job = driver.wait(info["job_id"])
    assert (job["job_type"], job["status"]) == ("metadataUpdate", "Completed")
    assert len(driver.errors(job)) == 150
    assert "has no scene 's3'" in driver.errors(job)[0]
    assert [scene["metadata"]["city"] for scene in driver.receiver.scenes(dataset)] == ["c596", "c597", "c598"]
