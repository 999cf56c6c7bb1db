# SPDX-License-Identifier: Apache-2.0
"""Queries of scenes, items and objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receiver_driver import Driver, make_scene

from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.query import parse_query

RECORD: dict[str, Any] = {
    "reference_id": "s1-lidar-0",
    "metadata": {"speed": 12.5, "frame": 7, "weather": "dry", "odd-key": 1, "flag": True},
    "scene": {"reference_id": "s1", "metadata": {"city": "Ulm"}},
    "annotations": [
        {"label": "car", "metadata": {"points": 10}},
        {"label": "van", "metadata": {"points": 200}},
    ],
}


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("metadata.speed > 12", True),
        ("metadata.speed > 12.5", False),
        ("metadata.speed >= 12.5", True),
        ("metadata.speed < 5 OR metadata.frame = 7", True),
        ("metadata.speed < 5 AND metadata.frame = 7", False),
        ("metadata.speed < 5 AND metadata.frame = 6 OR metadata.frame = 7", True),
        ("metadata.speed < 5 AND (metadata.frame = 6 OR metadata.frame = 7)", False),
        ("metadata.frame % 2 = 1", True),
        ("metadata.frame + 1 % 2 - 2 = 6", True),
        ("-metadata.frame < -6", True),
        ('metadata.weather = "dry"', True),
        ('metadata.weather != "dry"', False),
        ('metadata.weather >= "d"', True),
        ('metadata.frame = "7"', False),
        ("metadata.weather = 7", False),
        ("metadata.none = 7", False),
        ("metadata.none != 7", False),
        ("metadata.flag = 1", False),
        ("metadata.odd-key = 1", True),
        ("metadata.frame % 0 = 1", False),
        ('scene.metadata.city = "Ulm" AND scene.reference_id = "s1"', True),
        ('reference_id = "s1-lidar-0"', True),
        ("annotations.count = 2", True),
        ("annotations.count > 6", False),
        ('annotations.label = "van"', True),
        ("annotations.metadata.points > 100", True),
        ("annotations.metadata.points > 500", False),
        ("((metadata.frame)) = ((7))", True),
    ],
)
def test_a_query_says_what_fits(query: str, fits: bool) -> None:
    says = parse_query(query)
    assert says is not None
    assert says(RECORD) is fits


@pytest.mark.parametrize(
    "query",
    [
        "metadata.speed >",
        "annotations.count bad syntax",
        "(metadata.speed > 1",
        "metadata.speed > 1)",
        "AND",
        "metadata.speed > 1 AND",
        "metadata.speed ; 1",
        '"open',
        "(" * 60 + "1" + ")" * 60,
        "-" * 60 + "1 = 1",
        "metadata.a = 1 OR " * 300 + "1 = 1",
        "1+" * 1000 + "1",
        5,
    ],
)
def test_a_query_that_cannot_be_understood_is_refused(query: object) -> None:
    with pytest.raises(Refusal, match="query"):
        parse_query(query)


@given(st.text(alphabet='()<>=!%+-." aAND OR1metadata', max_size=60))
def test_whatever_is_asked_is_answered_or_refused(query: str) -> None:
    try:
        says = parse_query(query)
    except Refusal:
        return
    assert says is None or says(RECORD) in (True, False)


def test_a_query_over_many_values_ends_soon() -> None:
    many = {"annotations": [{"metadata": {"n": number}} for number in range(1000)]}
    says = parse_query(" + ".join(["annotations.metadata.n"] * 20) + " = -1")
    assert says is not None
    assert says(many) is False
    says = parse_query("1+" * 97 + "1 = 98")
    assert says is not None
    assert says(RECORD)


def test_scenes_items_and_objects_are_chosen_by_queries(driver: Driver) -> None:
    dataset = driver.create()
    scenes = [make_scene(f"s{number}", frames=2) for number in range(4)]
    for number, scene in enumerate(scenes):
        scene["metadata"] = {"speed": number}
    driver.upload(dataset, *scenes)
    position = {"x": 1, "y": 2, "z": 3}
    labels = [
        {
            "label": "car",
            "type": "cuboid",
            "geometry": {"position": position, "dimensions": position, "yaw": 0},
            "reference_id": "s2-lidar-1",
            "annotation_id": f"a{number}",
            "metadata": {"points": number},
        }
        for number in range(3)
    ]
    driver.call("POST", f"dataset/{dataset}/annotate", {"update": False, "annotations": labels})

    def ask(route: str, query: str, **more: Any) -> list[dict[str, Any]]:
        found, token = [], None
        while True:
            document = {"pageToken": token, "pageSize": 3, "query": query, **more}
            answer = driver.call("POST", f"dataset/{dataset}/{route}", document).json()
            found += answer["items"] if "items" in answer else [row["item"] for row in answer["data"]]
            token = answer["nextPageToken"]
            if token is None:
                return found

    def names(route: str, query: str) -> list[str]:
        return [entry["reference_id"] for entry in ask(route, query)]

    assert names("queryScenesPage", "metadata.speed % 2 = 1") == ["s1", "s3"]
    assert names("queryScenesPage", "annotations.count > 0") == ["s2"]
    assert names("queryItemsPage", 'scene.metadata.speed > 2 AND metadata.weather = "dry"') == [
        "s3-front-0",
        "s3-front-1",
    ]
    assert names("exportForTrainingPage", "annotations.metadata.points >= 2") == ["s2-lidar-1"]
    chosen = ask("queryObjectsPage", "metadata.points > 0", patch_mode="ground_truth_only")
    assert [label["annotation_id"] for label in chosen] == ["a1", "a2"]
    assert json.dumps(chosen[0]) == json.dumps(labels[1])
