# SPDX-License-Identifier: Apache-2.0
"""Many clients at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from receiver_driver import Driver, counts, make_scene

from nucleus_bridge.testing.receiver import Fault

CLIENTS = 20


def test_twenty_clients_upload_into_one_dataset(driver: Driver) -> None:
    dataset = driver.create()

    def client(number: int) -> dict[str, int]:
        own = Driver(driver.receiver, key=f"key-{number}")
        job = own.upload(dataset, *(make_scene(f"s{number}-{scene}") for scene in range(3)))
        assert own.call("GET", f"dataset/{dataset}/scene/s{number}-2").json()["reference_id"] == f"s{number}-2"
        return counts(job)

    with ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(client, range(CLIENTS)))
    assert results == [{"new_scenes": 3}] * CLIENTS
    assert sorted(driver.references(dataset)) == sorted(f"s{n}-{scene}" for n in range(CLIENTS) for scene in range(3))
    assert driver.call("GET", f"dataset/{dataset}/size", {}).json() == {"count": CLIENTS * 3 * 4}


def test_twenty_clients_that_send_the_same_scene_make_it_once(driver: Driver) -> None:
    dataset = driver.create()
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = list(pool.map(lambda _: driver.upload(dataset, make_scene()), range(CLIENTS)))
    assert sorted(map(str, map(counts, jobs))) == sorted(
        ["{'new_scenes': 1}"] + ["{'ignored_scenes': 1}"] * (CLIENTS - 1)
    )
    assert driver.references(dataset) == ["s1"]


def test_twenty_clients_make_and_delete_datasets_of_their_own(driver: Driver) -> None:
    def client(number: int) -> bool:
        dataset = driver.create(name=f"own-{number}")
        job = driver.upload(dataset, make_scene())
        assert driver.call("DELETE", f"dataset/{dataset}/scene/s1", {}).status_code == 200
        assert driver.call("DELETE", f"dataset/{dataset}", {}).status_code == 200
        return counts(job) == {"new_scenes": 1}

    with ThreadPoolExecutor(CLIENTS) as pool:
        assert list(pool.map(client, range(CLIENTS))) == [True] * CLIENTS
    assert driver.call("GET", "dataset/details", {}).json() == []


def test_faults_are_counted_right_under_load(serve: Callable[..., Driver]) -> None:
    driver = serve(faults=[Fault("server_error", 0.2), Fault("unavailable", 0.2)], seed=7)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda _: driver.call("GET", "dataset/details", {}).status_code, range(200)))
    assert driver.receiver.fault_counts == {"server_error": answers.count(500), "unavailable": answers.count(503)}
    assert len(driver.receiver.requests) == 200


def test_a_put_repeated_at_once_leaves_one_whole_upload(driver: Driver) -> None:
    dataset, request_id = driver.create(), "0" * 32
    url = driver.sign(dataset, request_id)
    bodies = [(json.dumps(make_scene(f"s{number}", frames=50)) + "\n").encode() for number in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        statuses = list(pool.map(lambda body: requests.put(url, data=body, timeout=60).status_code, bodies))
    assert statuses == [200] * CLIENTS
    kept = driver.receiver.directory / "datasets" / dataset / "uploads" / f"{request_id}.ndjson"
    assert kept.read_bytes() in bodies
