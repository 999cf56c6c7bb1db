# SPDX-License-Identifier: Apache-2.0
"""Events to sealed scenes: hands frames to workers, keeps their order, seals what is complete."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from nucleus_bridge import warnings
from nucleus_bridge.config import Config
from nucleus_bridge.errors import BridgeError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.interface import SceneFormat, SceneStart, WholeScene
from nucleus_bridge.model import Frame
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.losses import Table, merge, ordered
from nucleus_bridge.pipeline.told_by_frames import Passage, ToldByFrames
from nucleus_bridge.render.frame import FrameJob, RenderedFrame, render_frame
from nucleus_bridge.render.ground import require_library
from nucleus_bridge.render.sensors import sensors_of
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.spool import FileRecord, Manifest, OpenScene, SceneFiles, SealedScene, Spool, sync_scene_files
from nucleus_bridge.version import SOFTWARE

Result = TypeVar("Result")

_WORKER_LOST = "a worker process ended unexpectedly, perhaps for lack of memory; try fewer --workers"


@dataclass(frozen=True)
class _Submitted:
    """What is known of a frame before it is rendered."""

    index: int
    stamps: dict[str, int]
    passage: Passage


@dataclass
class _Writing:
    """A scene on its way to the disk."""

    start: SceneStart
    target: OpenScene
    jobs: deque[tuple[_Submitted, Future[RenderedFrame]]] = field(default_factory=deque)
    entries: list[Any] = field(default_factory=list)
    files: list[FileRecord] = field(default_factory=list)
    stamps: list[dict[str, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    told: ToldByFrames = field(default_factory=ToldByFrames)
    sensors: dict[str, dict[str, Any]] = field(default_factory=dict)
    losses: Table = field(default_factory=dict)
    unusable: dict[str, int] = field(default_factory=dict)
    items: int = 0
    points: int = 0
    ended: SceneEnded | None = None


class SceneRecorder:
    """Writes scenes to a spool as the pipeline decides them.

    Attributes:
        verify_images: Whether every picture is decoded, so that damaged ones are lost rather than uploaded.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        executor: Executor,
        *,
        attendant: Executor | None = None,
        in_flight: int = 1,
        force: bool = False,
    ) -> None:
        """Set up.

        Args:
            config: The configuration.
            spool: Where scenes go; must have been created.
            executor: Renders the frames.
            attendant: Closes scenes and forces their files to the disk, which is mostly waiting; by default at once.
            in_flight: Frames given to the executor before the oldest is waited for.
            force: Replace a scene of the same id that has other content.

        Raises:
            ConfigError: A library that the configuration needs is not installed.
        """
        require_library(config)
        self._config = config
        self._format = registry.of(config.scene.format)
        self._spool = spool
        self._executor = executor
        self._attendant = attendant or InlineExecutor()
        self._in_flight = in_flight
        self._force = force
        self.verify_images = False
        self._scenes: deque[_Writing] = deque()
        self._ended: deque[tuple[Future[tuple[FileRecord, ...]], _Writing, SceneEnded]] = deque()
        self._flying = 0
        self.render_losses: Table = {}
        self.reasons: dict[str, str] = {}

    def handle(self, events: Iterable[Event]) -> list[SealedScene]:
        """Take events; return the scenes that were sealed meanwhile.

        Raises:
            BridgeError: A scene cannot be written or a worker died.
        """
        sealed: list[SealedScene] = []
        for event in events:
            if isinstance(event, SceneStarted):
                start = SceneStart(event.scene, self._config.cloud_sensor, options_of(self._config))
                self._scenes.append(_Writing(start, self._spool.open_scene(event.scene.reference_id)))
            elif isinstance(event, FrameReady):
                self._submit(self._scenes[-1], event)
            elif isinstance(event, SceneEnded):
                self._scenes[-1].ended = event
            sealed += self._collect(self._in_flight)
        return sealed

    def finish(self) -> list[SealedScene]:
        """Wait for every frame and seal every scene that has ended."""
        return [*self._collect(0), *self._sealed(wait=True)]

    def discard(self) -> None:
        """Remove what is unfinished."""
        for writing in self._scenes:
            for _, job in writing.jobs:
                job.cancel()
        for writing in self._scenes:
            for _, job in writing.jobs:
                if not job.cancelled():
                    job.exception()
            writing.target.discard()
        self._scenes.clear()
        for closed, writing, _ in self._ended:
            closed.exception()
            writing.target.discard()
        self._ended.clear()
        self._spool.discard_open()

    def _submit(self, writing: _Writing, event: FrameReady) -> None:
        job = FrameJob(writing.target.folder, self._format, writing.start, event.index, event.frame, self.verify_images)
        writing.sensors |= dict(sensors_of(event.frame, self._config, known=writing.sensors))
        try:
            future = self._executor.submit(render_frame, job, self._config)
        except BrokenExecutor:
            raise BridgeError(_WORKER_LOST) from None
        writing.jobs.append((_Submitted(event.index, _stamps_of(event.frame), Passage.of(event.frame)), future))
        self._flying += 1

    def _collect(self, in_flight: int) -> list[SealedScene]:
        """Take finished frames in order until at most ``in_flight`` are left, and seal what is complete."""
        while self._scenes:
            writing = self._scenes[0]
            while writing.jobs and (self._flying > in_flight or writing.jobs[0][1].done()):
                submitted, future = writing.jobs.popleft()
                self._flying -= 1
                self._take(writing, submitted, _result(future))
            if writing.jobs or writing.ended is None:
                break
            self._scenes.popleft()
            if writing.entries:
                whole = WholeScene(
                    writing.start,
                    writing.entries,
                    writing.files,
                    writing.sensors,
                    self._metadata(writing, writing.ended),
                    _of_items(writing, writing.ended),
                )
                closed = self._attendant.submit(close_scene, self._format, whole, writing.target.folder)
                self._ended.append((closed, writing, writing.ended))
            else:
                writing.target.discard()
        return self._sealed()

    def _sealed(self, *, wait: bool = False) -> list[SealedScene]:
        """Seal the next scenes whose files are safe, or all of them."""
        sealed: list[SealedScene] = []
        while self._ended and (wait or self._ended[0][0].done()):
            closed, writing, ended = self._ended.popleft()
            try:
                sealed.append(self._seal(writing, ended, _result(closed)))
            except BaseException:
                writing.target.discard()
                raise
        return sealed

    def _take(self, writing: _Writing, submitted: _Submitted, rendered: RenderedFrame) -> None:
        merge(writing.losses, rendered.losses)
        merge(self.render_losses, rendered.losses)
        for cause, reason in rendered.reasons.items():
            self.reasons.setdefault(cause, reason)
        if not rendered.points:
            loss = {self._config.lidars[0].topic: {"empty_cloud": 1}}
            merge(writing.losses, loss)
            merge(self.render_losses, loss)
            for record in rendered.files:
                writing.target.remove(record.path)
            return
        for name in rendered.unusable_images:
            writing.unusable[name] = writing.unusable.get(name, 0) + 1
        writing.entries.append(rendered.entry)
        writing.files.extend(rendered.files)
        writing.stamps.append(submitted.stamps)
        writing.numbers.append(submitted.index)
        writing.told.add(submitted.passage)
        writing.items += 1 + rendered.images
        writing.points += rendered.points
        for name, count in rendered.radar_points.items():
            writing.sensors[name]["points"] += count

    def _seal(self, writing: _Writing, ended: SceneEnded, files: tuple[FileRecord, ...]) -> SealedScene:
        scene = writing.start.scene
        losses = writing.losses
        merge(losses, ended.losses)
        missing: Table = {"": dict(ended.missing)}
        merge(missing, {"": writing.unusable})
        manifest = Manifest(
            reference_id=scene.reference_id,
            format=self._format.name,
            frames=len(writing.entries),
            items=writing.items,
            points=writing.points,
            first_stamp_ns=writing.stamps[0]["time_ns"],
            last_stamp_ns=writing.stamps[-1]["time_ns"],
            world_frame=scene.world_frame,
            device_frame=scene.device_frame,
            world_offset=dict(zip("xyz", scene.world_offset, strict=True)),
            sensors={name: writing.sensors[name] for name in sorted(writing.sensors)},
            sync={name: {"mean_ms": sums.mean_ms, "max_ms": sums.max_ms} for name, sums in ended.residuals.items()},
            missing=dict(sorted(missing[""].items())),
            losses=ordered(losses),
            end_reason=ended.reason,
            warnings=(*ended.warnings, *self._advice(writing, files)),
            config_digest=self._config.conversion_digest,
            software=SOFTWARE,
            files=files,
            metadata={} if self._format.holds_metadata else self._metadata(writing, ended),
            events=tuple(asdict(event) for event in ended.events),
            poses={**scene.poses, **ended.poses},
            stamps=tuple(writing.stamps),
        )
        folder = self._spool.seal(writing.target, manifest, replace_existing=self._force, files_are_synced=True)
        there = folder or self._spool.scene_folder(scene.reference_id)
        return SealedScene(there, Manifest.read(there), existed=folder is None)

    def _advice(self, writing: _Writing, files: Sequence[FileRecord]) -> Iterator[Mapping[str, str]]:
        """Yield a warning where a scene is larger than those who take it advise."""
        if (upload := self._format.upload) is None:
            return
        points, size = writing.points // len(writing.entries), sum(record.bytes for record in files)
        over_points = points if 0 < upload.advised_points < points else 0
        over_bytes = size if 0 < upload.advised_bytes < size else 0
        if over_points or over_bytes:
            yield warnings.scene_large(
                writing.start.scene.reference_id,
                over_points,
                upload.advised_points,
                over_bytes / 1e9,
                upload.advised_bytes / 1e9,
            ).as_json()

    def _metadata(self, writing: _Writing, ended: SceneEnded) -> dict[str, Any]:
        """Return the scene's metadata: as configured, told by frames and signals; its events are named.

        Poses that are estimated are marked.
        """
        marks = {"poses": "estimated"} if writing.start.scene.poses.get("estimated") else {}
        told = writing.told.metadata() if self._config.metadata_builtin else {}
        names = ",".join(dict.fromkeys(event.name for event in ended.events))
        return {
            **dict(self._config.metadata),
            **marks,
            **told,
            **ended.metadata,
            **({"events": names} if names else {}),
        }


def _of_items(writing: _Writing, ended: SceneEnded) -> list[Mapping[str, Any]]:
    """Return the metadata of the items of each frame that was kept; none where no signal has any."""
    return [ended.item_metadata[number] for number in writing.numbers] if ended.item_metadata else []


def _stamps_of(frame: Frame) -> dict[str, int]:
    """Return the stamp of a frame's reference sweep as recorded, and as corrected."""
    recorded_ns = frame.sweeps[0].sweep.recorded_ns if frame.sweeps else None
    return {"stamp_ns": frame.stamp_ns if recorded_ns is None else recorded_ns, "time_ns": frame.stamp_ns}


def close_scene(scene_format: SceneFormat, whole: WholeScene, folder: Path) -> tuple[FileRecord, ...]:
    """Write what completes a scene and force all of its files to the disk; returns them."""
    files = tuple(scene_format.close(whole, SceneFiles(folder)))
    sync_scene_files(folder, [record.path for record in files])
    return files


def options_of(config: Config) -> dict[str, Any]:
    """Return the settings of the group that is named like the format, none where there is no such group."""
    group = getattr(config, config.scene.format, None)
    return asdict(group) if is_dataclass(group) and not isinstance(group, type) else {}


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenExecutor:
        raise BridgeError(_WORKER_LOST) from None
    except OSError as error:
        raise BridgeError(f"cannot write {error.filename or 'the scene'}: {error.strerror}") from None
