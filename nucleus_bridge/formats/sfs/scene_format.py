# SPDX-License-Identifier: Apache-2.0
"""Scale's sensor-fusion scene as a format: one file a scene, for its sensor-fusion and multi-stage tasks."""

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
    SceneTaskUpload,
    WholeScene,
)
from nucleus_bridge.formats.sfs import lenses
from nucleus_bridge.formats.sfs.container import write_tree
from nucleus_bridge.formats.sfs.parts import write_part
from nucleus_bridge.formats.sfs.scene_tree import LONGEST_NS, SCENE_FILE, SceneTree
from nucleus_bridge.model import CameraModel
from nucleus_bridge.spool.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from nucleus_bridge.formats.rules.findings import Findings
    from nucleus_bridge.formats.rules.folder import SceneFolder


class SfsFormat:
    """Scenes for Scale's sensor-fusion and multi-stage tasks."""

    name = "sfs"
    title = ".sfs scene"
    upload = SceneTaskUpload(
        "scene_task",
        "manifest.sfs.json",
        "sensor_fusion",
        SCENE_FILE,
        advised_points=100_000,
        advised_bytes=2_000_000_000,
    )
    holds_radar = True
    holds_annotations = True
    holds_one_calibration = True
    longest_ns = LONGEST_NS
    holds_metadata = True
    loses = "points are 32-bit floats, intensities have 8 bits and stamps of points are microseconds"

    @property
    def rules(self) -> Mapping[str, str]:
        """What ``check`` looks at."""
        from nucleus_bridge.formats.sfs.rules import SFS_RULES  # noqa: PLC0415 - not while rendering

        return SFS_RULES

    def expresses(self, model: CameraModel) -> bool:
        """Return whether it can say what a camera's intrinsics are."""
        return lenses.expresses(model)

    def image_path(self, camera: str, number: int, suffix: str) -> str:
        """Name an image's file, in which it waits for the scene to be closed."""
        return f"{camera}.{number:06d}{suffix}"

    def write_frame(self, start: SceneStart, frame: SceneFrame, folder: OpenFolder) -> FramePart:
        """Write the frame's arrays into a file in which they wait for the scene to be closed."""
        return write_part(start, frame, folder)

    def close(self, whole: WholeScene, folder: OpenFolder) -> Sequence[FileRecord]:
        """Put everything into one file."""
        scene = SceneTree(whole, folder.folder)
        videos, waiting = None, [record.path for record in whole.files]
        if whole.start.options.get("images", "files") == "video":
            from nucleus_bridge.formats.sfs.video import write_videos  # noqa: PLC0415 - an extra

            videos, paths = write_videos(scene, folder.folder)
            waiting += paths
        record = folder.write(SCENE_FILE, write_tree(scene.tree(videos)))
        for path in waiting:
            folder.remove(path)
        return (record,)

    def read(self, folder: Path, manifest: Manifest) -> SceneReader:
        """Open a sealed scene."""
        from nucleus_bridge.formats.sfs.reader import SfsReader  # noqa: PLC0415 - not while rendering

        return SfsReader(folder, manifest)

    def track(self, folder: Place, manifest: Manifest) -> Track:
        """Read where the device was from the file's header."""
        del manifest
        from nucleus_bridge.formats.sfs.reader import read_track  # noqa: PLC0415 - not while rendering

        return read_track(folder / SCENE_FILE)

    def check(
        self,
        folder: SceneFolder,
        manifest: Mapping[str, object],
        listed: Mapping[str, FileRecord],
        findings: Findings,
    ) -> None:
        """Check a sealed scene."""
        from nucleus_bridge.formats.sfs.rules import check_sfs  # noqa: PLC0415 - not while rendering

        check_sfs(folder, manifest, listed, findings)


SFS: SceneFormat = SfsFormat()
