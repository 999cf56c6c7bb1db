# SPDX-License-Identifier: Apache-2.0
"""By default the receiver takes what the service is known to take; strict refuses what a writer hardly means."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from receiver_driver import CAMERA, CLOUD, Driver, counts, make_scene

ZERO = {"x": 0, "y": 0, "z": 0, "w": 0}
"""The service's documented default of a device's heading, which is not a rotation."""
POINTS: list[dict[str, Any]] = [{"x": 1, "y": 2, "z": 3, "i": 0.5, "d": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}]
CLOUDS: dict[str, dict[str, Any]] = {
    "a heading that is not of unit length": {**CLOUD, "device_heading": {"x": 0.6, "y": -0.6, "z": 0.3, "w": 0.6}},
    "the documented default heading": {**CLOUD, "device_heading": ZERO},
    "no pose of the device": {key: CLOUD[key] for key in ("points", "timestamp")},
    "i on some points": {**CLOUD, "points": POINTS},
    "whole numbers as floats": {**CLOUD, "points": [{**POINTS[0], "t": 1.5e18}], "timestamp": 1.5e18},
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_only_strict_refuses_a_cloud_that_the_service_takes(
    serve: Callable[..., Driver], bucket: Path, name: str, strict: bool
) -> None:
    (bucket / "cloud.json").write_text(json.dumps(CLOUDS[name]))
    driver = serve(strict=strict)
    expected = {"scenes_errored": 1} if strict else {"new_scenes": 1}
    assert counts(driver.upload(driver.create(), make_scene())) == expected


@pytest.mark.parametrize("strict", [False, True])
def test_only_strict_refuses_a_camera_whose_heading_is_not_of_unit_length(
    serve: Callable[..., Driver], strict: bool
) -> None:
    driver, scene = serve(strict=strict), make_scene()
    item = scene["frames"][0]["front"]
    for camera in (item["camera_params"], item["metadata"]["camera_params"]):
        camera["heading"] = {"w": 0.6, "x": -0.6, "y": 0.3, "z": -0.3}
    expected = {"scenes_errored": 1} if strict else {"new_scenes": 1}
    assert counts(driver.upload(driver.create(), scene)) == expected


@pytest.mark.parametrize("strict", [False, True])
def test_only_strict_reads_the_items_of_a_dataset_in_privacy_mode(serve: Callable[..., Driver], strict: bool) -> None:
    driver = serve(strict=strict)
    dataset = driver.create(use_privacy_mode=True)
    expected = {"scenes_errored": 1} if strict else {"new_scenes": 1}
    assert counts(driver.upload(dataset, make_scene(base="https://inside.example.invalid"))) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"device_heading": {"x": 0, "y": 0, "z": 0, "w": "1"}},
        {"device_heading": [0, 0, 0, 1]},
        {"device_position": {"x": 0, "y": 0}},
        {"points": [{"x": 1, "y": 2}]},
        {"points": [{"x": 1, "y": 2, "z": "3"}]},
        {"points": [{"x": 1, "y": 2, "z": 3, "i": 1.5}]},
        {"points": [{"x": 1, "y": 2, "z": 3, "d": -1}]},
        {"points": [{"x": 1, "y": 2, "z": 3, "is_ground": 1}]},
    ],
)
def test_what_is_not_a_cloud_is_refused_all_the_same(driver: Driver, bucket: Path, change: dict[str, Any]) -> None:
    (bucket / "cloud.json").write_text(json.dumps({**CLOUD, **change}))
    assert counts(driver.upload(driver.create(), make_scene())) == {"scenes_errored": 1}


@pytest.mark.parametrize("strict", [False, True])
def test_new_camera_parameters_are_judged_as_those_of_an_upload(serve: Callable[..., Driver], strict: bool) -> None:
    driver = serve(strict=strict)
    dataset = driver.create()
    driver.upload(dataset, make_scene())
    camera = {**copy.deepcopy(CAMERA), "heading": {"w": 0.6, "x": -0.6, "y": 0.3, "z": -0.3}}
    entry = {"reference_id": "s1-front-0", "metadata": {"camera_params": camera}, "camera_params": camera}
    answer = driver.call("POST", f"dataset/{dataset}/metadata?async=0", {"level": "item", "metadata": [entry]})
    assert answer.status_code == (400 if strict else 200)
