# SPDX-License-Identifier: Apache-2.0
"""Nucleus scenes as a format: a cloud file and image files a frame, their items in one payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nucleus_bridge.formats.content import SceneFrame, Track
from nucleus_bridge.formats.interface import (
    FramePart,
    OpenFolder,
    Place,
    SceneFormat,
    SceneReader,
    SceneStart,
    Upload,
    WholeScene,
    image_path,
)
from nucleus_bridge.formats.nucleus.payload import (
    COEFFICIENTS,
    cloud_path,
    encode_payload,
    items_of,
    scene_payload,
    with_metadata,
)
from nucleus_bridge.formats.point_json import encode_cloud, encode_points
from nucleus_bridge.formats.reading import json_track
from nucleus_bridge.model import CameraModel
from nucleus_bridge.spool.manifest import MANIFEST_NAME, SCENE_NAME, FileRecord, Manifest

if TYPE_CHECKING:
    from nucleus_bridge.formats.rules.findings import Findings
    from nucleus_bridge.formats.rules.folder import SceneFolder


class NucleusFormat:
    """Scenes for a Nucleus dataset."""

    name = "nucleus"
    title = "Nucleus scene"
    upload = Upload("dataset", MANIFEST_NAME)
    holds_radar = False
    holds_annotations = False
    holds_metadata = True
    loses = ""

    @property
    def rules(self) -> Mapping[str, str]:
        """What ``check`` looks at."""
        from nucleus_bridge.formats.nucleus.rules import NUCLEUS_RULES  # noqa: PLC0415 - not while rendering

        return NUCLEUS_RULES

    def expresses(self, model: CameraModel) -> bool:
        """Return whether it can say what a camera's intrinsics are."""
        return model.model in COEFFICIENTS

    def image_path(self, camera: str, number: int, suffix: str) -> str:
        """Name an image's file."""
        return image_path(camera, number, suffix)

    def write_frame(self, start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
        """Write the cloud's file; the entry is the frame's items."""
        document = encode_cloud(
            encode_points(**frame.points.columns()),
            device_position=frame.position,
            device_heading_xyzw=frame.heading_xyzw,
            gps=frame.gps,
            timestamp_ns=frame.timestamp_ns,
        )
        path = cloud_path(start.cloud_sensor, frame.number)
        return FramePart((folder.write(path, document),), items_of(frame, start.scene.reference_id, start.cloud_sensor))

    def close(self, whole: WholeScene, folder: OpenFolder) -> Sequence[FileRecord]:
        """Write the payload."""
        entries = whole.entries
        if whole.item_metadata:
            told = zip(entries, whole.item_metadata, strict=True)
            entries = [with_metadata(items, metadata) for items, metadata in told]
        payload = scene_payload(whole.start.scene.reference_id, entries, whole.metadata)
        return (*whole.files, folder.write(SCENE_NAME, [encode_payload(payload)]))

    def read(self, folder: Path, manifest: Manifest) -> SceneReader:
        """Open a sealed scene."""
        from nucleus_bridge.formats.nucleus.reader import NucleusReader  # noqa: PLC0415 - not while rendering

        return NucleusReader(folder, manifest)

    def track(self, folder: Place, manifest: Manifest) -> Track:
        """Read where the device was."""
        paths = (record.path for record in manifest.files)
        return json_track(folder, [path for path in paths if path.endswith(".json") and path != SCENE_NAME])

    def check(
        self,
        folder: SceneFolder,
        manifest: Mapping[str, object],
        listed: Mapping[str, FileRecord],
        findings: Findings,
    ) -> None:
        """Check a sealed scene."""
        from nucleus_bridge.formats.nucleus.rules import check_nucleus  # noqa: PLC0415 - not while rendering

        check_nucleus(folder, manifest, listed, findings)


NUCLEUS: SceneFormat = NucleusFormat()
