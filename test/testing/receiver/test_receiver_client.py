# SPDX-License-Identifier: Apache-2.0
"""The service's own client, in its own environment, takes the receiver for the service."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from receiver_driver import CAMERA, Driver
from test_receiver_resolve import Quiet, http_server

from nucleus_bridge.testing.receiver import Fault

PROGRAM = Path(__file__).with_name("receiver_client_program.py")


@pytest.fixture
def run_client(client_python: Path, bucket: Path) -> Callable[..., dict[str, Any]]:
    """Run one step of the program against a receiver, with the items served over HTTP."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    for name in ("NUCLEUS_API_KEY", "NUCLEUS_ENDPOINT", "NUCLEUS_LIMITED_ACCESS_KEY", "S3_ENDPOINT"):
        environment.pop(name, None)

    def run(driver: Driver, step: str, **request: Any) -> dict[str, Any]:
        with http_server(partial(Quiet, directory=str(bucket))) as base:
            request = {"endpoint": driver.receiver.url, "key": "test_key", "base": base, "camera": CAMERA, **request}
            finished = subprocess.run(
                [str(client_python), str(PROGRAM), step],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=120,
                env=environment,
                check=False,
            )
        assert finished.returncode == 0, finished.stderr
        answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
        return answer

    return run


def test_the_real_client_uploads_reads_updates_and_deletes(
    driver: Driver, run_client: Callable[..., dict[str, Any]]
) -> None:
    said = run_client(driver, "life_of_a_scene")
    assert (said["status"]["status"], said["errors"]) == ("Completed", [])
    assert said["equal"]
    assert said["payload_equal"]
    assert said["of_item"] == "s2"
    assert said["scenes"] == [["s1", "lidar", {"vehicle": "v1"}], ["s2", "lidar", {"vehicle": "v1"}]]
    assert said["queried"] == ["s1", "s2"]
    assert said["item"] == 2
    assert said["found"] == ["drives", True, False, 10]
    assert said["info"] == [10, "drives"]
    assert said["datasets"] == ["drives"]
    assert (said["again"]["ignored_scenes"], said["again"]["new_scenes"]) == (1, 0)
    assert (said["update"]["updated_scenes"], said["update"]["new_scenes"]) == (1, 0)
    assert said["updated"] == {"driver": "d"}
    assert said["merged"]
    assert said["jobs"]
    assert said["same_job"] == ["uploadLidarScene", True]
    assert said["left"] == ["s2"]
    assert said["missing"] == 404
    assert said["datasets_left"] == []


def test_the_real_client_reads_the_labels_and_predictions_that_it_sent(
    driver: Driver, run_client: Callable[..., dict[str, Any]]
) -> None:
    said = run_client(driver, "life_of_labels")
    assert (said["sent"]["annotations_processed"], said["again"]["ignored"]) == (5, 4)
    assert said["items"] == [f"s1-{kind}{number}" for kind in "ip" for number in range(3)]
    assert said["equal"] == [True] * 3
    assert said["box"]
    assert said["mask"]
    assert said["of_item"]
    assert (said["tracks"], said["objects"]) == (["t1"], 5)
    assert (said["predicted"], said["ignored"]) == (3, 3)
    assert said["export"]
    assert said["by_item"]
    assert said["one"] == 0.5
    assert said["models"] == [["net", "net-1", {"epochs": 5}]]
    assert said["left"] == 2
    assert said["deleted"] == {"msg": "Model deletion running in an async job"}


def test_the_real_client_is_told_why_a_scene_failed(driver: Driver, run_client: Callable[..., dict[str, Any]]) -> None:
    said = run_client(driver, "failing_scene")
    assert "Errored_User" in said["raised"]
    assert said["scenes"] == 0
    assert "HTTP status 404" in said["errors"][0]


def test_the_real_client_is_refused_with_a_wrong_key(
    serve: Callable[..., Driver], run_client: Callable[..., dict[str, Any]]
) -> None:
    assert run_client(serve(api_keys={"another"}), "wrong_key") == {"status": 401}


def test_the_real_clients_limited_access_key_is_accepted(
    serve: Callable[..., Driver], run_client: Callable[..., dict[str, Any]]
) -> None:
    driver = serve(api_keys={"limited"})
    assert run_client(driver, "create", key="limited", credential="limited_access_key")["dataset_id"]


def test_the_real_client_refuses_a_dataset_of_images_by_itself(
    driver: Driver, run_client: Callable[..., dict[str, Any]]
) -> None:
    assert run_client(driver, "dataset_of_images") == {"raised": "ValueError"}


def test_the_real_client_outlives_three_times_unavailable(
    serve: Callable[..., Driver], run_client: Callable[..., dict[str, Any]]
) -> None:
    driver = serve(faults=[Fault("unavailable", times=3)])
    assert run_client(driver, "create")["dataset_id"]
    assert [status for _, _, status in driver.receiver.requests] == [503, 503, 503, 200]
