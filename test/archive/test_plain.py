# SPDX-License-Identifier: Apache-2.0
"""What is kept of a chunk comes back as it was, bit by bit."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nucleus_bridge.archive.chunks import STORED, Source
from nucleus_bridge.archive.plain import from_json, to_json
from nucleus_bridge.model import CameraModel, RadarPoints, Trajectory, Transform

REALS = st.floats(allow_nan=False, allow_infinity=False)


def matrices(columns: int) -> st.SearchStrategy[Any]:
    return arrays.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(columns)), elements=REALS)


def vectors(size: int) -> st.SearchStrategy[Any]:
    return arrays.arrays(np.float64, size, elements=REALS)


VALUES = st.one_of(
    st.builds(Transform, vectors(3), vectors(4)),
    st.builds(Trajectory, arrays.arrays(np.int64, 3), matrices(3), matrices(4)),
    st.builds(RadarPoints, st.text(), st.integers(), st.text(), matrices(3), st.none() | matrices(3), st.none()),
    st.builds(Source, st.text(), *[st.integers()] * 5, st.booleans()),
    st.builds(
        CameraModel,
        *(st.just("fisheye"), st.integers(), st.integers(), REALS, REALS, REALS, REALS),
        distortion=st.dictionaries(st.text("k123", min_size=1), REALS),
    ),
    st.tuples(REALS, st.integers(), st.text(), st.none(), st.booleans()),
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, item.name), getattr(other, item.name)) for item in fields(one)
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1.0, one) == math.copysign(1.0, other)
    return type(one) is type(other) and one == other


@given(VALUES)
def test_everything_comes_back_exactly(value: Any) -> None:
    assert same(value, from_json(to_json(value), STORED))


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{".class":"Popen","args":[]}', b'{".class":"Source"}', b'{".array":1}']
)
def test_what_was_not_kept_here_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"kept part|JSON|Expecting|property"):
        from_json(content, STORED)
