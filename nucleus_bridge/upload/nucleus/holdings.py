# SPDX-License-Identifier: Apache-2.0
"""What a Nucleus dataset holds of the scenes of a spool."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from nucleus_bridge.errors import RejectedError
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.manifest import SCENE_NAME, FileRecord
from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.upload.holdings import Difference
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.scene_files import same_structure

MISSING_SCENE = "missing scene"
DIFFERENT_SCENE = "different scene"
UNNOTED_SCENE = "unnoted scene"
LOST_JOB = "lost job"


class DatasetHoldings:
    """The scenes of one dataset."""

    kind: UploadKind = "dataset"

    def __init__(self, client: NucleusClient, dataset_id: str) -> None:
        self.name = f"dataset {dataset_id}"
        self._client = client
        self._dataset_id = dataset_id
        self._held: set[str] = set()

    def look(self) -> None:
        """List the scenes."""
        self._held = self._client.scene_references(self._dataset_id)

    def expected(self, files: Iterable[FileRecord], sizes: Mapping[str, int]) -> dict[str, FileRecord]:
        """Return what the object store should hold of a scene: its files."""
        del sizes
        return {file.path: file for file in files}

    def compare(self, record: StateRecord, folder: Path) -> Difference | None:
        """Compare what is held of a scene with its state and, if that is there still, its folder."""
        state, is_held = record.state, record.reference_id in self._held
        if state is SceneState.DONE and not is_held:
            return Difference(MISSING_SCENE, f"is done, but {self.name} does not hold it", SceneState.SEALED)
        if state is SceneState.DONE and self._differs(record, folder):
            return Difference(DIFFERENT_SCENE, f"{self.name} holds another scene of this id; delete it")
        if state in (SceneState.STORED, SceneState.SUBMITTED, SceneState.FAILED) and is_held:
            if self._differs(record, folder):
                text = f"{self.name} holds another scene of this id; the next upload sets it aside"
                return Difference(DIFFERENT_SCENE, text)
            return Difference(UNNOTED_SCENE, f"{self.name} holds it, which was not noted", SceneState.DONE)
        if state is SceneState.SUBMITTED and not self._job_is_known(record.job_id):
            text = f"the service does not know job {record.job_id!r} and does not hold the scene"
            return Difference(LOST_JOB, text, SceneState.STORED)
        return None

    def holds(self, reference_id: str) -> bool:
        """Whether the dataset has a scene of this id."""
        return reference_id in self._held

    def _differs(self, record: StateRecord, folder: Path) -> bool:
        try:
            sealed = json.loads((folder / SCENE_NAME).read_bytes())
        except (OSError, ValueError, RecursionError):
            return False  # deleted after its upload
        return not same_structure(sealed, self._client.get_scene(self._dataset_id, record.reference_id))

    def _job_is_known(self, job_id: str) -> bool:
        if not job_id:
            return False
        try:
            self._client.retry.again(lambda: self._client.job_status(job_id))
        except RejectedError:
            return False
        return True
