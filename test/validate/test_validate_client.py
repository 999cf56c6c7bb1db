# SPDX-License-Identifier: Apache-2.0
"""What the service's own client refuses is a failure here, too."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from good_scene import DELETE, SCENE_ID, Recording, broken, check, cloud, edit, edit_params
from hypothesis import given, settings
from hypothesis import strategies as st
from random_edits import mutate

CLIENT = """
import json, sys
from nucleus import LidarScene
for line in sys.stdin:
    try:
        print(json.dumps(json.loads(LidarScene.from_json(json.loads(json.loads(line))).to_json())), flush=True)
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""

Client = Callable[[dict[str, Any]], Any]
"""Answers with the scene as it would be sent, or with a text that says why it is refused."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    python = os.environ.get("NUCLEUS_BRIDGE_CLIENT_PYTHON")
    if not python:
        pytest.skip("NUCLEUS_BRIDGE_CLIENT_PYTHON names no Python that has scale-nucleus")
    with subprocess.Popen(
        [python, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(scene: dict[str, Any]) -> Any:
            process.stdin.write(json.dumps(json.dumps(scene)) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


def twice_in_a_frame(scene: dict[str, Any]) -> None:
    scene["frames"][0]["rear"]["reference_id"] = scene["frames"][0]["front"]["reference_id"]


def twice_in_a_scene(scene: dict[str, Any]) -> None:
    scene["frames"][1]["front"]["reference_id"] = scene["frames"][0]["front"]["reference_id"]


def two_clouds(scene: dict[str, Any]) -> None:
    scene["frames"][0]["left"] = {**cloud(0), "reference_id": f"{SCENE_ID}-left-000000"}


def another_lidar(scene: dict[str, Any]) -> None:
    scene["frames"][1]["left"] = scene["frames"][1].pop("top")


def sensor_self(scene: dict[str, Any]) -> None:
    scene["frames"][0]["self"] = scene["frames"][0].pop("front")


def no_cloud(scene: dict[str, Any]) -> None:
    del scene["frames"][1]["top"]


def of(edit_one: Callable[[Any, str, object], None], path: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda scene: edit_one(scene, path, value)


REFUSED: list[Callable[[dict[str, Any]], None]] = [
    twice_in_a_frame,
    twice_in_a_scene,
    two_clouds,
    another_lidar,
    sensor_self,
    no_cloud,
    of(edit, "reference_id", DELETE),
    of(edit, "frames", []),
    of(edit, "frames", 3),
    of(edit, "frames/0", None),
    of(edit, "frames/0/top", "top/000000.json"),
    of(edit, "frames/0/front/reference_id", None),
    of(edit, "frames/0/front/reference_id", []),
    of(edit, "frames/0/front/url", DELETE),
    of(edit, "frames/0/front/url", "front/000000.jpeg"),
    of(edit, "frames/0/front/url", "front/000000.jpg?version=2"),
    of(edit, "frames/0/front/pointcloud_url", "top/000000.json"),
    of(edit, "frames/0/front/metadata", ["camera_params"]),
    *[
        of(edit_params, key, DELETE)
        for key in ("position", "heading", "fx", "fy", "cx", "cy", "position/x", "heading/w")
    ],
    of(edit_params, "position", [1.0, 2.0, 3.0]),
    of(edit_params, "heading", [0.0, 0.0, 0.0, 1.0]),
    *[of(edit_params, "camera_model", model) for model in ("omnidirectional", "cylindrical", "plumb_bob", "", 3)],
    of(edit_params, "fx", float("nan")),
    of(edit, "frames/0/front/metadata/camera_params/skew", float("inf")),
]

ACCOUNTS = {"manifest-counts", "manifest-sensors", "files-used"}
"""Rules that notice any change of structure, so that they prove nothing here."""


def broken_by_itself(scene: dict[str, Any]) -> set[str]:
    recording = Recording(scene=scene)
    with tempfile.TemporaryDirectory() as parent:
        return broken(check(recording.write(Path(parent)))) - ACCOUNTS


def test_the_client_reads_the_good_scene_and_would_send_it_unchanged(client: Client) -> None:
    scene = Recording().scene
    del scene["frames"][0]["rear"]["width"], scene["frames"][0]["rear"]["height"]  # it forgets them when it reads
    assert client(scene) == scene


@pytest.mark.parametrize("damage", REFUSED)
def test_what_the_client_refuses_is_a_failure(client: Client, damage: Callable[[dict[str, Any]], None]) -> None:
    scene = Recording().scene
    damage(scene)
    assert isinstance(client(scene), str)
    assert broken_by_itself(scene) != set()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_else_the_client_refuses_is_a_failure_too(client: Client, data: st.DataObject) -> None:
    scene = Recording().scene
    mutate(scene, data)
    answer = client(scene)
    assert isinstance(answer, dict) or broken_by_itself(scene) != set(), answer
