# SPDX-License-Identifier: Apache-2.0
"""Each rehearsed fault, seen from the client's side, and what was done in spite of it."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable

import pytest
import requests
from receiver_driver import Driver, counts, make_scene

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver import FAULT_NAMES, Fault, parse_fault

CREATE = {
    "name": "n",
    "is_scene": True,
    "use_privacy_mode": False,
    "annotation_metadata_schema": None,
    "item_metadata_schema": None,
}


def datasets(driver: Driver) -> int:
    return len(driver.receiver._running.store.datasets())


@pytest.mark.parametrize(
    ("name", "status", "done"),
    [("rate_limited", 429, 0), ("server_error", 500, 0), ("unavailable", 503, 0), ("error_after_commit", 500, 1)],
)
def test_a_fault_answers_with_its_status(serve: Callable[..., Driver], name: str, status: int, done: int) -> None:
    driver = serve(faults=[Fault(name, times=1)])
    answer = driver.call("POST", "dataset/create", CREATE)
    assert (answer.status_code, "rehearsed fault" in answer.json()["error"]) == (status, True)
    assert datasets(driver) == done
    assert driver.call("POST", "dataset/create", CREATE).status_code == 200
    assert driver.receiver.fault_counts == {name: 1}


@pytest.mark.parametrize(("fault", "header"), [(Fault("rate_limited"), "1"), (Fault("rate_limited", seconds=7), "7")])
def test_rate_limited_says_when_to_come_back(serve: Callable[..., Driver], fault: Fault, header: str) -> None:
    answer = serve(faults=[fault]).call("GET", "dataset/details", {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, header)


def test_reset_ends_the_connection_without_an_answer(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("reset", times=2)])
    with pytest.raises(requests.ConnectionError, match="ConnectionResetError"):
        driver.call("GET", "dataset/details")
    with pytest.raises(requests.ConnectionError):
        driver.call("POST", "dataset/create", CREATE)
    assert datasets(driver) == 0
    assert [status for _, _, status in driver.receiver.requests] == [0, 0]
    assert driver.call("POST", "dataset/create", CREATE).status_code == 200


def test_cut_body_ends_in_the_middle_of_the_answer(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("cut_body", times=1)])
    connection = http.client.HTTPConnection("127.0.0.1", int(driver.receiver.origin.rpartition(":")[2]), timeout=60)
    headers = {"Authorization": "Basic " + base64.b64encode(b"test_key:").decode()}
    connection.request("POST", "/v1/nucleus/dataset/create", json.dumps(CREATE), headers)
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    connection.close()
    assert caught.value.partial.startswith(b'{"dataset_id')
    assert len(caught.value.partial) == int(answer.headers["Content-Length"]) // 2
    assert datasets(driver) == 1


def test_slow_body_comes_whole_but_late(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("slow_body", seconds=0.3)])
    began = time.monotonic()
    answer = driver.call("POST", "dataset/create", CREATE)
    assert answer.json()["dataset_id"]
    assert time.monotonic() - began >= 0.3
    assert answer.elapsed.total_seconds() < time.monotonic() - began  # its head came before its body


def test_stall_outlasts_the_clients_patience_and_the_work_is_done(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("stall", times=1, seconds=1.5)])
    with pytest.raises(requests.exceptions.ReadTimeout):
        driver.call("POST", "dataset/create", CREATE, timeout=0.1)
    deadline = time.monotonic() + 60
    while datasets(driver) == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert datasets(driver) == 1


def test_a_stall_does_not_keep_the_receiver_from_stopping(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("stall", times=1)])
    with pytest.raises(requests.exceptions.ReadTimeout):
        driver.call("GET", "dataset/details", {}, timeout=0.1)
    began = time.monotonic()
    driver.receiver.stop()
    assert time.monotonic() - began < Fault("stall").duration_s


def test_wrong_json_is_a_success_that_answers_something_else(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("wrong_json", match="dataset/create")])
    bodies = set()
    for _ in range(40):
        answer = driver.call("POST", "dataset/create", CREATE)
        assert answer.status_code == 200
        bodies.add(answer.content)
        try:
            document = answer.json()
        except ValueError:
            continue
        assert not (isinstance(document, dict) and "dataset_id" in document)
    assert len(bodies) == 5
    assert driver.call("GET", "dataset/details", {}).json()


def test_expired_url_strikes_the_upload_alone(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("expired_url", times=1)])
    dataset = driver.create()
    answer = requests.put(driver.sign(dataset, "0" * 32), data=b"x", timeout=60)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)
    assert counts(driver.upload(dataset, make_scene())) == {"new_scenes": 1}
    assert driver.receiver.fault_counts == {"expired_url": 1}


@pytest.mark.parametrize("name", ["slow_body", "cut_body", "wrong_json"])
def test_faults_of_the_answers_body_spare_the_upload(serve: Callable[..., Driver], name: str) -> None:
    driver = serve(faults=[Fault(name, match="/put/")])
    assert counts(driver.upload(driver.create(), make_scene())) == {"new_scenes": 1}
    assert driver.receiver.fault_counts == {}


@pytest.mark.parametrize(("name", "status"), [("server_error", 500), ("unavailable", 503), ("rate_limited", 429)])
def test_the_upload_can_be_struck_as_well(serve: Callable[..., Driver], name: str, status: int) -> None:
    driver = serve(faults=[Fault(name, match="PUT /put/", times=1)])
    dataset = driver.create()
    url = driver.sign(dataset, "0" * 32)
    body = (json.dumps(make_scene()) + "\n").encode() * 2000  # more than what fits into the system's buffers
    assert requests.put(url, data=body, timeout=60).status_code == status
    assert requests.put(url, data=body, timeout=60).status_code == 200


def test_a_job_started_twice_after_a_lost_answer_adds_its_scene_once(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("error_after_commit", match="upload_scenes", times=1)])
    dataset = driver.create()
    request_id = driver.put(dataset, (json.dumps(make_scene()) + "\n").encode())
    document = {"requestId": request_id, "update": False}
    assert driver.call("POST", f"{dataset}/upload_scenes?async=1", document).status_code == 500
    assert counts(driver.wait(driver.start_job(dataset, request_id))) == {"ignored_scenes": 1}
    assert driver.references(dataset) == ["s1"]


def test_pages_are_not_struck(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("server_error")])
    assert requests.get(driver.receiver.origin, timeout=60).status_code == 200


def run(driver: Driver, requests_made: int) -> list[int]:
    return [driver.call("GET", "dataset/details", {}).status_code for _ in range(requests_made)]


def test_the_same_seed_strikes_the_same_requests(serve: Callable[..., Driver]) -> None:
    faults = [Fault("server_error", 0.3), Fault("unavailable", 0.3)]
    one, two, other = (run(serve(faults=faults, seed=seed), 60) for seed in (1, 1, 2))
    assert one == two
    assert one != other
    assert set(one) == {200, 500, 503}


def test_one_fault_does_not_move_the_draws_of_another(serve: Callable[..., Driver]) -> None:
    alone = run(serve(faults=[Fault("server_error", 0.3), Fault("unavailable", 0.0)], seed=5), 60)
    driver = serve(faults=[Fault("server_error", 0.3, times=0), Fault("unavailable", 0.0)], seed=5)
    assert run(driver, 60) == [200] * 60
    both = run(serve(faults=[Fault("server_error", 0.3), Fault("unavailable", 0.5)], seed=5), 60)
    assert [status == 500 for status in both] == [status == 500 for status in alone]


def test_the_counts_are_what_was_seen(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("server_error", 0.4), Fault("unavailable", 0.4)], seed=3)
    seen = run(driver, 50)
    assert driver.receiver.fault_counts == {"server_error": seen.count(500), "unavailable": seen.count(503)}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        *((f"{name}=0.25", Fault(name, 0.25)) for name in FAULT_NAMES),
        ("stall=1:2.5", Fault("stall", 1.0, seconds=2.5)),
        ("reset=0", Fault("reset", 0.0)),
    ],
)
def test_a_fault_is_read_from_the_command_line(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("flood=0.1", "fault 'flood' is not known; there are rate_limited"),
        ("reset", "must be written name=rate"),
        ("reset=", "must be written name=rate"),
        ("reset=often", "must be written name=rate"),
        ("stall=1:long", "must be written name=rate"),
        ("reset=1.5", "within 0 and 1"),
        ("reset=-0.1", "within 0 and 1"),
        ("reset=nan", "within 0 and 1"),
        ("stall=1:-1", "within 0 and 86400"),
        ("stall=1:inf", "within 0 and 86400"),
    ],
)
def test_a_fault_that_cannot_be_meant_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_fault(text)
