# SPDX-License-Identifier: Apache-2.0
"""Who may call, what is there to be called, and datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from receiver_driver import REQUEST, Driver, make_scene

from nucleus_bridge.errors import InputError


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


def test_requests_are_remembered_in_order(driver: Driver) -> None:
    dataset = driver.create()
    driver.call("GET", "job/none?x=1")
    assert driver.receiver.requests == [
        ("POST", "/v1/nucleus/dataset/create", 200),
        ("GET", "/v1/nucleus/job/none", 404),
    ]
    assert dataset
