# SPDX-License-Identifier: Apache-2.0
"""Two ways to read a cloud: a regular expression over bytes of the promised form, a JSON parser for every form."""

from __future__ import annotations

import numpy as np
from good_scene import CLOUDS
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleus_bridge.validate.points import KEYS, Points, read_any_form, read_promised_form


@st.composite
def promised_clouds(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], tuple[str, ...], str]:
    """Points as integers (thousandths, where there are decimals), their keys, and the text of the cloud."""
    keys = ("x", "y", "z", *(key for key in KEYS[3:] if draw(st.booleans())))
    values = {
        **dict.fromkeys(("x", "y", "z"), st.integers(-99_999_999, 99_999_999)),
        "i": st.integers(0, 1000),
        "d": st.integers(0, 255),
        "t": st.integers(0, 2**62),
        "is_ground": st.integers(0, 1),
    }
    points = draw(st.lists(st.tuples(*(values[key] for key in keys)), min_size=1, max_size=5))
    padding = draw(st.integers(0, 12))
    texts = [
        ",".join(f'"{key}":{written(key, value, padding)}' for key, value in zip(keys, row, strict=True))
        for row in points
    ]
    body = "},{".join(texts)
    return points, keys, f'{{"points":[{{{body}}}],"timestamp":17}}'


def written(key: str, value: int, padding: int) -> str:
    if key == "is_ground":
        return ["false", "true"][value].rjust(padding)
    if key in "dt":
        return str(value).rjust(padding)
    return f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03d}".rjust(padding)


def assert_same(points: Points, others: Points) -> None:
    assert points.total == others.total
    assert list(points.numbers) == list(others.numbers)
    assert list(points.columns) == list(others.columns)
    for key, column in points.columns.items():
        np.testing.assert_array_equal(column, others.columns[key])


@given(promised_clouds())
def test_both_ways_of_reading_a_cloud_return_what_was_written(
    cloud_text: tuple[list[tuple[int, ...]], tuple[str, ...], str],
) -> None:
    rows, keys, text = cloud_text
    quick = read_promised_form(text.encode())
    assert quick is not None
    document, points = quick
    assert document.value == {"points": [], "timestamp": 17}
    assert not points.faults
    for column, key in enumerate(keys):
        scale = 1000 if key in ("x", "y", "z", "i") else 1
        np.testing.assert_array_equal(points.columns[key], [float(row[column]) / scale for row in rows])
    _, others = read_any_form(text.encode())
    assert not others.faults
    assert_same(points, others)


@settings(max_examples=400)
@given(st.sampled_from(CLOUDS), st.data())
def test_what_is_read_the_quick_way_is_faultless_the_thorough_way(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    inserted = data.draw(st.text(st.sampled_from('0123456789.-+eE{}[],:" xyzidt_truefalsNI\n'), max_size=3))
    damaged = (text[:start] + inserted + text[end:]).encode()
    quick = read_promised_form(damaged)
    if quick is None:
        return
    document, others = read_any_form(damaged)
    assert not others.faults
    assert_same(quick[1], others)
    assert isinstance(document.value, dict)
    assert quick[0].value == {**document.value, "points": []}
    assert quick[0].duplicate_keys == document.duplicate_keys
