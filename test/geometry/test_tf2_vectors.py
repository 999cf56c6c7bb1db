# SPDX-License-Identifier: Apache-2.0
"""Lookups against the answers of tf2's own BufferCore."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from random_poses import same_rotation

from nucleus_bridge.errors import ConnectivityError, ExtrapolationError, TransformError, UnknownFrameError
from nucleus_bridge.geometry import TransformTree

ERRORS = {
    "ConnectivityException": ConnectivityError,
    "LookupException": UnknownFrameError,
    "ExtrapolationException": ExtrapolationError,
}
VECTORS = Path(__file__).parents[1] / "vectors" / "tf2_lookups.json"
TREES = json.loads(VECTORS.read_text(encoding="utf-8"))["trees"]


def loaded(samples, order=1, **limits):
    tree = TransformTree(**limits)
    for kind in ("static", "dynamic"):
        for sample in samples[kind][::order]:
            tree.add(
                sample["parent"],
                sample["child"],
                sample["stamp_ns"],
                sample["translation"],
                sample["rotation_xyzw"],
                static=kind == "static",
            )
    return tree


@pytest.mark.parametrize("samples", TREES, ids=[tree["name"] for tree in TREES])
@pytest.mark.parametrize("order", [1, -1], ids=["as recorded", "backwards"])
def test_every_lookup_agrees_with_tf2(samples, order):
    tree = loaded(samples, order)
    assert len(samples["lookups"]) == 250
    for asked in samples["lookups"]:
        question = (asked["target"], asked["source"], asked["stamp_ns"])
        if "error" in asked:
            with pytest.raises(TransformError) as caught:
                tree.lookup(*question)
            assert type(caught.value) is ERRORS[asked["error"]], question
        else:
            pose = tree.lookup(*question)
            np.testing.assert_allclose(pose.translation, asked["translation"], rtol=0, atol=1e-9)
            assert same_rotation(pose.rotation_xyzw, np.array(asked["rotation_xyzw"]), 1e-9)


@pytest.mark.parametrize("samples", TREES, ids=[tree["name"] for tree in TREES])
def test_availability_agrees_with_tf2(samples):
    tree = loaded(samples)
    for asked in samples["lookups"]:
        refusal = tree.availability(asked["target"], asked["source"], asked["stamp_ns"], asked["stamp_ns"])
        expected = ERRORS[asked["error"]] if "error" in asked else type(None)
        assert type(refusal) is expected, asked
