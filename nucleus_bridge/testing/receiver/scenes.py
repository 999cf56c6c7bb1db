# SPDX-License-Identifier: Apache-2.0
"""Works off an upload: each line is checked, its items are read, and what is good becomes a scene."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from nucleus_bridge.errors import SceneError
from nucleus_bridge.testing.receiver.content import check_cloud, check_image
from nucleus_bridge.testing.receiver.datasets import Store, StoredScene
from nucleus_bridge.testing.receiver.jobs import COMPLETED, ERRORED_PARTIAL, ERRORED_USER, Job, with_error
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.resolve import ItemReader
from nucleus_bridge.testing.receiver.scene_rules import Item, SceneRules, check_scene, parse_scene, structure
from nucleus_bridge.testing.receiver.state import new_id

MAX_LINE_BYTES = 64 << 20
MAX_ITEM_FAILURES = 5

NEW, UPDATED, IGNORED = "new", "updated", "ignored"


class _InterruptedError(Exception):
    """The receiver is being stopped."""


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
        try:
            with self._store.upload_path(job.dataset_id, job.request_id).open("rb") as upload:
                job = self._take_lines(job, upload, report)
        except (FileNotFoundError, Refusal):
            return replace(with_error(job, "the dataset was deleted"), status=ERRORED_USER)
        except _InterruptedError:
            return job
        if not job.total_steps:
            job = with_error(job, "the upload holds no scene")
        good = job.new_scenes + job.updated_scenes + job.ignored_scenes
        if good and not job.scenes_errored:
            return replace(job, status=COMPLETED)
        return replace(job, status=ERRORED_PARTIAL if good else ERRORED_USER)

    def _take_lines(self, job: Job, upload: BinaryIO, report: Callable[[Job], None]) -> Job:
        seen: set[str] = set()
        job = replace(job, total_steps=sum(1 for _ in _lines(upload)))
        upload.seek(0)
        for number, line in enumerate(_lines(upload), start=1):
            job = replace(self._take_line(job, number, line, seen), completed_steps=number)
            report(job)
        return job

    def _take_line(self, job: Job, number: int, line: bytes, seen: set[str]) -> Job:
        place = f"line {number}"
        try:
            scene = _parse_line(line)
            place = f"scene {scene['reference_id']!r}"
            outcome, note = self._take_scene(job, scene, seen)
        except (SceneError, Refusal) as error:
            return with_error(replace(job, scenes_errored=job.scenes_errored + 1), f"{place}: {error}")
        if note:
            job = with_error(job, f"{place}: {note}")
        counter = {NEW: "new_scenes", UPDATED: "updated_scenes", IGNORED: "ignored_scenes"}[outcome]
        return replace(job, **{counter: getattr(job, counter) + 1})

    def _take_scene(self, job: Job, scene: Mapping[str, Any], seen: set[str]) -> tuple[str, str]:
        if scene["reference_id"] in seen:
            raise SceneError("the reference_id appears twice in one upload")
        seen.add(scene["reference_id"])
        items = check_scene(scene, self._rules)
        with self._store.lock:
            known = self._store.find_scene(job.dataset_id, scene["reference_id"])
            if known is not None:
                return self._take_known(job, known, scene)
            self._store.check_fits(job.dataset_id, scene)
        self._read_items(items)
        if self._stopping.is_set():
            raise _InterruptedError
        stored = StoredScene(new_id("scn"), scene["reference_id"], job.job_id, NEW, scene)
        self._store.put_scene(job.dataset_id, stored)
        return NEW, ""

    def _take_known(self, job: Job, known: StoredScene, scene: Mapping[str, Any]) -> tuple[str, str]:
        if known.job_id == job.job_id:
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
                raise _InterruptedError
            try:
                if item.kind == "pointcloud":
                    check_cloud(self._reader.read(item.url))
                else:
                    check_image(self._reader.chunks(item.url))
            except SceneError as error:
                failures.append(f"{item.place}: {error}")
            if len(failures) == MAX_ITEM_FAILURES:
                break
        if failures:
            raise SceneError("; ".join(failures))


def _parse_line(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise SceneError(f"a scene may have at most {MAX_LINE_BYTES} bytes")
    return parse_scene(line)


def _updated_item(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Replace an item's metadata and camera; the content behind its URL stays what it was."""
    kept = {key: value for key, value in old.items() if key not in ("metadata", "camera_params")}
    return {**kept, **{key: new[key] for key in ("metadata", "camera_params") if key in new}}


def _lines(upload: BinaryIO) -> Iterator[bytes]:
    """Yield the lines; of one that is too long only the first MAX_LINE_BYTES + 1 bytes."""
    while line := upload.readline(MAX_LINE_BYTES + 1):
        yield line
        while not line.endswith(b"\n") and (line := upload.readline(MAX_LINE_BYTES)):
            pass
