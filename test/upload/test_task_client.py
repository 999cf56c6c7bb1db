# SPDX-License-Identifier: Apache-2.0
"""The client for annotation tasks: where it goes, what it shows, and which task it takes for a scene's."""

from __future__ import annotations

from typing import Any

import pytest
from task_scenes import TASK_KEY, task_endpoint

from nucleus_bridge.errors import AuthError, ConfigError
from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.testing.receiver import Receiver
from nucleus_bridge.upload.tasks.client import TaskClient, endpoint_from, is_task_of

RECORD = StateRecord("drive-1", SceneState.STORED, "c0ffee", frames=2, format="sensor_fusion_json")


def test_no_repr_shows_the_key(receiver: Receiver) -> None:
    client = TaskClient(task_endpoint(receiver), TASK_KEY)
    for thing in (client, client._http, client._http._session):
        assert TASK_KEY not in repr(thing)


def test_the_endpoint_of_the_environment_wins_and_must_be_safe() -> None:
    assert endpoint_from("", {}) == "https://api.scale.com/v1"
    assert endpoint_from("https://a.example/v1/", {"NUCLEUS_ENDPOINT": "https://b.example"}) == "https://a.example/v1"
    assert endpoint_from("https://a.example", {"SCALE_ENDPOINT": "http://localhost:1/v1"}) == "http://localhost:1/v1"
    with pytest.raises(ConfigError, match="unencrypted"):
        endpoint_from("http://a.example/v1", {})


def test_a_service_that_does_not_list_tasks_is_fine_and_one_that_refuses_the_key_is_not(receiver: Receiver) -> None:
    client = TaskClient(receiver.url, TASK_KEY)  # which has no such routes
    client.check_key()
    assert client.find("drive-1") is None
    assert client.task("task_1") is None
    receiver.revoke(TASK_KEY)
    for call in (client.check_key, lambda: client.find("drive-1"), lambda: client.task("task_1")):
        with pytest.raises(AuthError, match="SCALE_API_KEY"):
            call()


def urls(*names: str, start: str = "s3://bucket/prefix") -> dict[str, Any]:
    return {"attachments": [f"{start}/{name}" for name in names]}


@pytest.mark.parametrize(
    ("task", "is_ours"),
    [
        ({"metadata": {"scene_content": "c0ffee"}, "params": urls("x")}, True),
        ({"metadata": {"scene_content": "other"}, "params": urls("drive-1/frames/000000-ab.json")}, False),
        ({"params": {"metadata": {"scene_content": "c0ffee"}}}, True),
        ({"params": urls("drive-1/frames/000000-ab.json", "drive-1/frames/000001-cd.json")}, True),
        ({"params": urls("drive-1/frames/000000-0.pb?a=1-2", "drive-1/frames/000001-1.pb?a=b/c-d")}, True),
        ({"params": urls("drive%2D1/frames/000000-0.pb", "drive-1/frames/000001-1.pb", start="https://h")}, True),
        ({"params": urls("drive-1/frames/000001-cd.json", "drive-1/frames/000000-ab.json")}, False),
        ({"params": urls("drive-1/frames/000000-ab.json")}, False),
        ({"params": urls("drive-2/frames/000000-ab.json", "drive-2/frames/000001-cd.json")}, False),
        ({"params": urls("", "drive-1")}, False),
        ({"metadata": None, "params": None}, True),
        ({}, True),
    ],
)
def test_a_task_is_a_scenes_by_its_digest_or_else_by_its_frames(task: dict[str, Any], is_ours: bool) -> None:
    assert is_task_of({"task_id": "task_1", "status": "pending", **task}, RECORD) is is_ours
