# SPDX-License-Identifier: Apache-2.0
"""Takes scenes, and the images of datasets without scenes: each is checked, its content read, and what is good kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.content import check_cloud, check_image
from nucleus_bridge.testing.receiver.datasets import Store, StoredScene
from nucleus_bridge.testing.receiver.jobs import COMPLETED, ERRORED_PARTIAL, ERRORED_USER, ITEMS, Job, with_error
from nucleus_bridge.testing.receiver.lines import JobInterruptedError, Line, LineWork, parse_line, work_off
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.resolve import ItemReader
from nucleus_bridge.testing.receiver.scene_rules import Item, SceneRules, check_item, check_scene, structure
from nucleus_bridge.testing.receiver.state import new_id
from nucleus_bridge.testing.receiver.strict_json import is_text

MAX_ITEM_FAILURES = 5

NEW, UPDATED, IGNORED = "new", "updated", "ignored"
_SCENE_COUNTERS = {NEW: "new_scenes", UPDATED: "updated_scenes", IGNORED: "ignored_scenes"}


class SceneIntake:
    """Turns the lines of an upload into scenes of its dataset."""

    def __init__(self, store: Store, reader: ItemReader, rules: SceneRules, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._store = store
        self._reader = reader
        self._rules = rules

    def run(self, job: Job, report: Callable[[Job], None]) -> Job:
        """Work off a job and return it ended; unended when it was told to stop.

        What an earlier, interrupted run of the same job did is counted again, not done again.
        """
        seen: set[str] = set()

        def take(job: Job, lines: list[Line]) -> Job:
            for number, line in lines:
                job = self._take_line(job, number, line, seen)
            return job

        return work_off(job, self._store, LineWork(take, _ended), report, self._stopping)

    def take_image(self, dataset_id: str, image: Mapping[str, Any], *, update: bool, job_id: str = "") -> str:
        """Take one image of a dataset without scenes; it is kept as a scene of one frame, which is never shown.

        Returns:
            NEW, UPDATED or IGNORED.

        Raises:
            SceneError: It is not usable.
        """
        item = {key: value for key, value in image.items() if key not in ("image_url", "update", "upload_to_scale")}
        item.update(type="image", url=image.get("image_url"))
        checked = check_item("the image", item, self._rules)
        scene = {"reference_id": checked.reference_id, "frames": [{"image": item}]}
        return self._take(Job(job_id, dataset_id, "", update, ""), scene, (checked,))[0]

    def _take_line(self, job: Job, number: int, line: bytes, seen: set[str]) -> Job:
        place, note = f"line {number}", ""
        try:
            scene = parse_line(line)
            if is_text(scene.get("reference_id")):
                place = f"{'item' if job.kind == ITEMS else 'scene'} {scene['reference_id']!r}"
            if job.kind == ITEMS:
                outcome = self.take_image(job.dataset_id, scene, update=job.update, job_id=job.job_id)
            else:
                outcome, note = self._take_scene(job, scene, seen)
        except (SceneError, Refusal) as error:
            return with_error(replace(job, scenes_errored=job.scenes_errored + 1), f"{place}: {error}")
        if note:
            job = with_error(job, f"{place}: {note}")
        counter = _SCENE_COUNTERS[outcome]
        return replace(job, **{counter: getattr(job, counter) + 1})

    def _take_scene(self, job: Job, scene: Mapping[str, Any], seen: set[str]) -> tuple[str, str]:
        if scene.get("reference_id") in seen:
            raise SceneError("the reference_id appears twice in one upload")
        items = check_scene(scene, self._rules)
        seen.add(scene["reference_id"])
        return self._take(job, scene, items)

    def _take(self, job: Job, scene: Mapping[str, Any], items: tuple[Item, ...]) -> tuple[str, str]:
        with self._store.lock:
            known = self._store.find_scene(job.dataset_id, scene["reference_id"])
            if known is not None:
                return self._take_known(job, known, scene)
            self._store.check_fits(job.dataset_id, scene)
        if self._rules.strict or not self._store.dataset(job.dataset_id).use_privacy_mode:
            self._read_items(items)
        if self._stopping.is_set():
            raise JobInterruptedError
        stored = StoredScene(new_id("scn"), scene["reference_id"], job.job_id, NEW, scene)
        self._store.put_scene(job.dataset_id, stored)
        return NEW, ""

    def _take_known(self, job: Job, known: StoredScene, scene: Mapping[str, Any]) -> tuple[str, str]:
        if known.job_id and known.job_id == job.job_id:
            return known.outcome, ""
        if not job.update:
            return IGNORED, ""
        if structure(known.payload) != structure(scene):
            return IGNORED, "the update was ignored: its frames and items differ; delete the scene and upload it again"
        self._store.check_fits(job.dataset_id, scene)
        self._update(job, known, scene)
        return UPDATED, ""

    def _update(self, job: Job, known: StoredScene, scene: Mapping[str, Any]) -> None:
        frames = [
            {sensor: _updated_item(old, frame[sensor]) for sensor, old in old_frame.items()}
            for old_frame, frame in zip(known.payload["frames"], scene["frames"], strict=True)
        ]
        payload = {**known.payload, "frames": frames}
        payload.pop("metadata", None)
        if "metadata" in scene:
            payload["metadata"] = scene["metadata"]
        updated = replace(known, job_id=job.job_id, outcome=UPDATED, payload=payload)
        self._store.put_scene(job.dataset_id, updated)

    def _read_items(self, items: tuple[Item, ...]) -> None:
        failures: list[str] = []
        for item in items:
            if self._stopping.is_set():
                raise JobInterruptedError
            try:
                if item.kind == "pointcloud":
                    check_cloud(self._reader.read(item.url), strict=self._rules.strict)
                else:
                    check_image(self._reader.chunks(item.url))
            except SceneError as error:
                failures.append(f"{item.place}: {error}")
            if len(failures) == MAX_ITEM_FAILURES:
                break
        if failures:
            raise SceneError("; ".join(failures))


def _ended(job: Job) -> Job:
    if not job.total_steps:
        job = with_error(job, "the upload holds no scene")
    good = job.new_scenes + job.updated_scenes + job.ignored_scenes
    if good and not job.scenes_errored:
        return replace(job, status=COMPLETED)
    return replace(job, status=ERRORED_PARTIAL if good else ERRORED_USER)


def _updated_item(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Replace an item's metadata and camera; the content behind its URL stays what it was."""
    kept = {key: value for key, value in old.items() if key not in ("metadata", "camera_params")}
    return {**kept, **{key: new[key] for key in ("metadata", "camera_params") if key in new}}
