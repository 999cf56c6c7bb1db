# SPDX-License-Identifier: Apache-2.0
"""Two ways to read points: by the layout that our encoder gives them, and by a JSON parser whatever their form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.formats.point_json import encode_cloud, encode_points
from nucleus_bridge.formats.point_reading import KEYS, PointTable, read_any_form, read_cloud, read_own_form

CALLED = {"intensity": "i", "device": "d", "time_ns": "t", "is_ground": "is_ground"}
HAND_WRITTEN = (
    (
        '{"points":[{"x":  1.250,"y": -2.000,"z":  0.125,"i":0.500,"d":0,"t":1700000000100000000,"is_ground": true},'
        '{"x":-31.007,"y":100.999,"z": -0.000,"i":1.000,"d":1,"t":1700000000199999999,"is_ground":false}],'
        '"timestamp":17}'
    ),
    '{"points":[{"x":12.000,"y":0.100,"z":7.000,"i":0.001}],"timestamp":17}',
)


def document(given_columns: dict[str, np.ndarray]) -> bytes:
    pose = {"device_position": np.zeros(3), "device_heading_xyzw": np.array([0.0, 0.0, 0.0, 1.0])}
    return b"".join(encode_cloud(encode_points(**given_columns), **pose, gps=None, timestamp_ns=17))


@st.composite
def columns(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """What the encoder takes, each number as its text will say it."""
    count = draw(st.integers(1, 6))
    scale = draw(st.sampled_from([10, 1_000, 100_000, 99_999_000]))

    def some(numbers: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(numbers, min_size=count, max_size=count)))

    made = {"xyz": np.stack([some(st.integers(-scale, scale)) for _ in "xyz"], axis=1) / 1000.0}
    if draw(st.booleans()):
        made["intensity"] = (some(st.integers(0, 1000)) / 1000.0).astype(np.float32)
    if draw(st.booleans()):
        made["device"] = some(st.integers(0, 255)).astype(np.uint8)
    if draw(st.booleans()):
        start = draw(st.sampled_from([0, 5, 999_999_999, 1_700_000_000_000_000_000, 2**62]))
        made["time_ns"] = start + some(st.integers(0, draw(st.sampled_from([0, 9, 10**8, 10**13]))))
    if draw(st.booleans()):
        made["is_ground"] = some(st.integers(0, 1)).astype(np.bool_)
    return made


def assert_same(points: PointTable, others: PointTable) -> None:
    assert points.total == others.total
    assert list(points.numbers) == list(others.numbers)
    assert list(points.columns) == list(others.columns)
    for key, column in points.columns.items():
        assert column.dtype == others.columns[key].dtype
        np.testing.assert_array_equal(column, others.columns[key])


@settings(deadline=None, max_examples=300)
@given(columns())
def test_both_ways_return_what_the_encoder_was_given(given_columns: dict[str, np.ndarray]) -> None:
    text = document(given_columns)
    quick = read_own_form(text)
    assert quick is not None
    said, points = quick
    assert said.value == {**json.loads(text), "points": []}
    assert not points.faults
    for name, key in CALLED.items():
        if name in given_columns:
            np.testing.assert_array_equal(points.columns[key].astype(given_columns[name].dtype), given_columns[name])
    np.testing.assert_array_equal(np.stack([points.columns[axis] for axis in "xyz"], axis=1), given_columns["xyz"])
    thorough, others = read_any_form(text)
    assert not others.faults
    assert_same(points, others)
    assert said.duplicate_keys == thorough.duplicate_keys == []


def test_many_blocks_of_points_are_read_alike() -> None:
    random = np.random.default_rng(0)
    count = 20_000
    text = document({
        "xyz": random.normal(0.0, 300.0, (count, 3)),
        "intensity": random.random(count).astype(np.float32),
        "device": random.integers(0, 12, count).astype(np.uint8),
        "time_ns": 1_700_000_000_950_000_000 + random.integers(0, 10**8, count),
        "is_ground": random.random(count) < 0.4,
    })  # fmt: skip
    quick = read_own_form(text)
    assert quick is not None
    assert_same(quick[1], read_any_form(text)[1])


def good_texts() -> list[str]:
    one = {"xyz": np.array([[1.25, -2.0, 100.125], [-31.007, 0.999, -0.5]])}
    more = {"intensity": np.array([0.5, 1.0], np.float32), "device": np.array([0, 12], np.uint8)}
    times = {"time_ns": np.array([1_700_000_000_100_000_000, 1_700_000_000_199_999_999])}
    return [document(one).decode(), document({**one, **more, **times, "is_ground": np.array([True, False])}).decode()]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([*good_texts(), *HAND_WRITTEN]), st.data())
def test_what_is_read_by_its_layout_is_faultless_and_the_same_for_a_parser(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    inserted = data.draw(st.text(st.sampled_from('0123456789.-+eE{}[],:" xyzidt_truefalsNI\n'), max_size=3))
    damaged = (text[:start] + inserted + text[end:]).encode()
    quick = read_own_form(damaged)
    if quick is None:
        return
    said, others = read_any_form(damaged)
    assert not others.faults
    assert_same(quick[1], others)
    assert isinstance(said.value, dict)
    assert quick[0].value == {**said.value, "points": []}
    assert quick[0].duplicate_keys == said.duplicate_keys


@pytest.mark.parametrize("text", HAND_WRITTEN)
def test_points_of_any_other_form_are_read_by_the_parser(text: str) -> None:
    points = json.loads(text)["points"]
    _, table = read_cloud(text.encode())
    assert table.total == len(points)
    for key in KEYS:
        if key in points[0]:
            assert table.columns[key].tolist() == [point[key] for point in points]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"x": 1.0, "y": 2.0, "z": 3.0, "d": 256}, "numbered 0 to 255"),
    ({"x": 1e12, "y": 2.0, "z": 3.0}, "far too large"),
]


@pytest.mark.parametrize(("point", "match"), FAULTS)
def test_numbers_that_are_of_no_use_are_refused(point: dict[str, Any], match: str) -> None:
    from nucleus_bridge.errors import SceneError

    _, table = read_cloud(json.dumps({"points": [point]}).encode())
    with pytest.raises(SceneError, match=match):
        table.points()


def test_an_integer_too_large_for_a_time_is_not_taken_for_another_one() -> None:
    _, table = read_cloud(b'{"points":[{"x":1.000,"y":2.000,"z":3.000,"t":99999999999999999999}]}')
    assert table.columns["t"].tolist() == [2**63 - 1]
