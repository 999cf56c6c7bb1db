# SPDX-License-Identifier: Apache-2.0
"""Random changes of structure, anywhere in a document as JSON has it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from good_scene import SCENE_ID
from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**63, 10**308, 10**400, -0.0, 1e-320, 1.5, float("nan"), float("inf"), -float("inf")])
    | st.sampled_from(["", "a", "1.0", "\ud800", "\x00", "../x", "top/000000.json", "image", "fisheye", SCENE_ID])
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(entries):
        yield document, key
        if isinstance(value, (dict, list)):
            yield from places(value)


def mutate(document: Any, data: st.DataObject) -> None:
    """Replace, remove, rename or double something anywhere in a document."""
    container, key = data.draw(st.sampled_from(list(places(document))))
    action = data.draw(st.sampled_from(["replace", "remove", "copy", "add"]))
    if action == "remove":
        del container[key]
    elif action == "replace":
        container[key] = data.draw(VALUES)
    else:
        value = copy.deepcopy(container[key]) if action == "copy" else data.draw(VALUES)
        if isinstance(container, dict):
            other = data.draw(st.sampled_from(sorted(container)) | st.text(max_size=4) | st.just("self"))
            container[other] = value
        else:
            container.append(value)
