# SPDX-License-Identifier: Apache-2.0
"""What a Nucleus dataset holds of the scenes of a spool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nucleus_bridge.errors import RejectedError, SceneError
from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.manifest import FileRecord, Manifest
from nucleus_bridge.spool.state import SceneState, StateRecord
from nucleus_bridge.upload.holdings import Difference
from nucleus_bridge.upload.nucleus.client import NucleusClient
from nucleus_bridge.upload.nucleus.comparison import Comparison, Match, compare_scenes
from nucleus_bridge.upload.nucleus.payload import sent_scene
from nucleus_bridge.upload.scene_files import is_item

MISSING_SCENE = "missing scene"
DIFFERENT_SCENE = "different scene"
DIFFERENT_METADATA = "different metadata"
INCOMPLETE_SCENE = "incomplete scene"
UNNOTED_SCENE = "unnoted scene"
LOST_JOB = "lost job"

_WAITING = (SceneState.UNVERIFIED, SceneState.STORED, SceneState.SUBMITTED, SceneState.FAILED)
_SETTLED = (SceneState.DONE, SceneState.DIFFERS, SceneState.CONFLICT)

ItemUrls = Callable[[str, list[str]], list[str]]


def _paths(_reference_id: str, paths: list[str]) -> list[str]:
    """Return no URLs, so that those that the service shows are not compared."""
    return paths


class DatasetHoldings:
    """The scenes of one dataset."""

    kind: UploadKind = "dataset"

    def __init__(self, client: NucleusClient, dataset_id: str, urls: ItemUrls = _paths) -> None:
        self.name = f"dataset {dataset_id}"
        self._client = client
        self._dataset_id = dataset_id
        self._urls = urls
        self._held: set[str] = set()

    def look(self) -> None:
        """List the scenes."""
        self._held = self._client.scene_references(self._dataset_id)

    def expected(self, files: Iterable[FileRecord], sizes: Mapping[str, int]) -> dict[str, FileRecord]:
        """Return what the object store should hold of a scene: its clouds and images."""
        del sizes
        return {file.path: file for file in files if is_item(file)}

    def compare(self, record: StateRecord, folder: Path) -> Difference | None:
        """Compare what is held of a scene with its state and, if that is there still, its folder."""
        state, is_held = record.state, record.reference_id in self._held
        if state in _SETTLED and not is_held:
            return Difference(MISSING_SCENE, f"is {state.value}, but {self.name} does not hold it", SceneState.SEALED)
        if is_held and state in (*_SETTLED, *_WAITING):
            return self._difference(record, folder)
        if state is SceneState.SUBMITTED and not self._job_is_known(record.job_id):
            text = f"the service does not know job {record.job_id!r} and does not hold the scene"
            return Difference(LOST_JOB, text, SceneState.STORED)
        return None

    def _difference(self, record: StateRecord, folder: Path) -> Difference | None:
        found = self._compared(record, folder)
        text = f"{self.name} {found.text}"
        if found.match is Match.CONFLICT:
            remedy = "delete it there, or convert into another spool with another scene.prefix"
            return Difference(DIFFERENT_SCENE, f"{text}; {remedy}", SceneState.CONFLICT, {"error": text}, remains=True)
        if found.match is Match.DIFFERS:
            remedy = "upload --update renews them in place"
            return Difference(
                DIFFERENT_METADATA, f"{text}; {remedy}", SceneState.DIFFERS, {"error": text}, remains=True
            )
        if found.match is Match.INCOMPLETE:
            return Difference(INCOMPLETE_SCENE, f"{text}; delete it there and upload again", SceneState.SEALED)
        if record.state is SceneState.DONE:
            return None
        return Difference(UNNOTED_SCENE, f"{self.name} holds it; the spool had no note of that", SceneState.DONE)

    def holds(self, reference_id: str) -> bool:
        """Whether the dataset has a scene of this id."""
        return reference_id in self._held

    def _compared(self, record: StateRecord, folder: Path) -> Comparison:
        """Compare the scene itself; of one that was deleted after its upload only that it is there."""
        try:
            manifest = Manifest.read(folder)
            payload = sent_scene(folder, manifest, lambda paths: self._urls(record.reference_id, paths))
        except SceneError:
            return Comparison(Match.EQUAL)
        try:
            return compare_scenes(payload, self._client.get_scene(self._dataset_id, record.reference_id))
        except RejectedError as error:
            return Comparison(Match.INCOMPLETE, f"lists the scene and does not show it ({error})")

    def _job_is_known(self, job_id: str) -> bool:
        if not job_id:
            return False
        try:
            self._client.retry.again(lambda: self._client.job_status(job_id))
        except RejectedError:
            return False
        return True
