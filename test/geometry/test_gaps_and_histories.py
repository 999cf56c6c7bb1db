# SPDX-License-Identifier: Apache-2.0
"""Nothing is interpolated over a gap, and a fixed transform that changes holds from its stamp on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus_bridge.errors import TransformGapError
from nucleus_bridge.geometry import TransformTree

S = 1_000_000_000
T0 = 1_700_000_000 * S
STILL = (0.0, 0.0, 0.0, 1.0)


def moving(stamps: list[int], gap_ns: int | None) -> TransformTree:
    tree = TransformTree(gap_ns=gap_ns)
    for stamp in stamps:
        tree.add("map", "base", stamp, ((stamp - T0) / S, 0.0, 0.0), STILL)
    return tree


def test_a_gap_is_long_and_longer_than_three_times_the_interval_before() -> None:
    stamps = [T0, T0 + S // 20, T0 + S // 10, T0 + 2 * S, T0 + 2 * S + S // 20]
    tree = moving(stamps, S)
    with pytest.raises(TransformGapError) as raised:
        tree.lookup("map", "base", T0 + S)
    assert (raised.value.child, raised.value.begin_ns, raised.value.end_ns) == ("base", T0 + S // 10, T0 + 2 * S)
    for stamp in stamps:
        assert tree.lookup("map", "base", stamp).translation[0] == pytest.approx((stamp - T0) / S)
    assert isinstance(tree.availability("map", "base", T0 + S // 20, T0 + 2 * S), TransformGapError)
    assert moving(stamps, None).lookup("map", "base", T0 + S).translation[0] == pytest.approx(1.0)


def test_slow_steady_transforms_are_interpolated() -> None:
    tree = moving([T0 + 2 * n * S for n in range(5)], S)
    assert tree.lookup("map", "base", T0 + 3 * S).translation[0] == pytest.approx(3.0)


@given(order=st.permutations(range(4)))
def test_the_last_fixed_transform_before_a_time_holds_whatever_order_they_come_in(order: list[int]) -> None:
    tree = TransformTree(static_history=True)
    for number in order:
        tree.add("base", "camera", T0 + 3 * number * S, (float(number), 0.0, 0.0), STILL, static=True)
    at = {-5 * S: 0.0, S: 0.0, 3 * S: 1.0, 8 * S: 2.0, 100 * S: 3.0}
    assert {d: tree.lookup("base", "camera", T0 + d).translation[0] for d in at} == at


def test_without_a_history_the_newest_fixed_transform_holds_for_all_time() -> None:
    tree = TransformTree()
    for number in range(2):
        tree.add("base", "camera", T0 + number * S, (float(number), 0.0, 0.0), STILL, static=True)
    assert tree.lookup("base", "camera", T0).translation[0] == 1.0
