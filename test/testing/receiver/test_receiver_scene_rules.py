# SPDX-License-Identifier: Apache-2.0
"""However a scene is mangled, it is taken or refused, and nothing else happens."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receiver_driver import make_scene

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver import SceneRules
from nucleus_bridge.testing.receiver.datasets import Dataset, Store
from nucleus_bridge.testing.receiver.lines import parse_line
from nucleus_bridge.testing.receiver.scene_rules import check_scene, structure
from nucleus_bridge.testing.receiver.state import new_id

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("pointcloud"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything inside."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


PLACES = list(places(make_scene()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    folder: Path = tmp_path_factory.mktemp("store")
    kept, dataset_id = Store(folder), new_id("ds")
    kept.create(Dataset(dataset_id, "n", True, False, None, None))
    return kept, dataset_id


@settings(max_examples=400, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), JUNK | st.just("remove")), min_size=1, max_size=3))
def test_a_mangled_scene_is_taken_or_refused(store: tuple[Store, str], changes: list[tuple[Any, Any]]) -> None:
    scene = copy.deepcopy(make_scene())
    for path, junk in changes:
        node: Any = scene
        try:
            for key in path[:-1]:
                node = node[key]
            if junk == "remove":
                del node[path[-1]]
            else:
                node[path[-1]] = junk
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change removed what this one was for
    try:
        parsed = parse_line(json.dumps(scene).encode())
        items = check_scene(parsed, SceneRules())
        store[0].check_fits(store[1], parsed)
    except SceneError:
        return
    assert len(items) == sum(len(frame) for frame in structure(parsed))
    assert sum(item.kind == "pointcloud" for item in items) == len(parsed["frames"])
    assert len({item.reference_id for item in items}) == len(items)
