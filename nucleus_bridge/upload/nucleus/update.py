# SPDX-License-Identifier: Apache-2.0
"""Renews metadata and cameras of a scene that the dataset holds, in place: the same clouds and images stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.comparison import Comparison


def renew_scene(client: NucleusClient, dataset_id: str, payload: Mapping[str, Any], found: Comparison) -> None:
    """Bring what the dataset says of a scene up to date; the scene's own metadata last, as it says what is there.

    Args:
        client: The service.
        dataset_id: The dataset.
        payload: The scene as it would be submitted.
        found: What the comparison found to differ.

    Raises:
        RejectedError: The service does not allow it.
        UnavailableError: It gives no answer.
    """
    entries = [
        {key: item[key] for key in ("reference_id", "metadata", "camera_params") if key in item}
        for frame in payload["frames"]
        for item in frame.values()
        if item["reference_id"] in found.items
    ]
    client.merge_metadata(dataset_id, "item", entries)
    scene = {"reference_id": payload["reference_id"], "metadata": payload["metadata"]}
    client.merge_metadata(dataset_id, "scene", [scene])
