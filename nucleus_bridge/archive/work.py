# SPDX-License-Identifier: Apache-2.0
"""What a worker does for an archive: convert a recording, cut a long one into chunks, render one of those."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nucleus_bridge.archive.chunks import STORED, Chunk, NotDivisibleError, chunks_of, whole_events
from nucleus_bridge.archive.executors import check_stop
from nucleus_bridge.archive.output import Output, Workshop, open_output
from nucleus_bridge.archive.plain import from_json, to_json
from nucleus_bridge.config import Config
from nucleus_bridge.convert import Observer, convert_bag, damage_notes
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.losses import LossLedger, Table, merge
from nucleus_bridge.pipeline.selection import LookAheadError
from nucleus_bridge.recordings import Place, Recording, Scratch, digest_of, open_recording
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.room import RoomForScenes
from nucleus_bridge.render.workers import InlineExecutor
from nucleus_bridge.replay import primed_pipeline
from nucleus_bridge.spool import SealedScene
from nucleus_bridge.spool.conversions import Conversion, SceneSummary, warnings_of
from nucleus_bridge.spool.look_back import LookBack
from nucleus_bridge.version import __version__

PLAN = "plan.json"


@dataclass(frozen=True)
class Settings:
    """What holds for every recording of an archive.

    Attributes:
        config: The configuration.
        output: Folder or URL of the spool.
        force: Whether scenes of the same id that have other content are replaced.
        verify_images: Whether every picture is decoded.
        chunk_ns: Longer recordings are cut into chunks of at least this length; 0 for never.
        scratch: Folder for temporary copies; None for the system's.
        scratch_bytes: The most that the copies of one recording may take; 0 for what the disk takes.
        software: Version of the package that hands out the work.
    """

    config: Config
    output: str
    force: bool = False
    verify_images: bool = False
    chunk_ns: int = 0
    scratch: Path | None = None
    scratch_bytes: int = 0
    software: str = __version__


@dataclass(frozen=True)
class Job:
    """One recording, or one chunk of it."""

    settings: Settings
    bag: Place
    key: str
    chunk: int = 0


@dataclass(frozen=True)
class Failure:
    """Why something could not be done; ``is_input`` when the recording or a setting is at fault."""

    reason: str
    is_input: bool


@dataclass(frozen=True)
class Made:
    """What came of a recording or of a chunk, and which of its scenes were not there before."""

    conversion: Conversion
    new: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A recording that was cut into chunks, which are kept with the output.

    Attributes:
        chunks: How many.
        conversion: All that is known without its scenes.
    """

    chunks: int
    conversion: Conversion


@dataclass
class _Watch(Observer):
    """Ends a conversion when it is time to stop, and hands on what was sealed."""

    workshop: Workshop
    new: list[str] = field(default_factory=list)

    def progress(self, _done_ns: int, _total_ns: int) -> None:
        check_stop()

    def sealed(self, scene: SealedScene) -> None:
        if not scene.existed:
            self.new.append(scene.manifest.reference_id)
        self.workshop.sealed(scene)


def convert_or_plan(job: Job) -> Made | Plan | Failure:
    """Convert a recording, or cut it into chunks when it is long and has several scenes."""
    try:
        with _opened(job) as recording:
            if 0 < job.settings.chunk_ns < recording.end_ns - recording.start_ns:
                plan = _plan(job, recording)
                if plan is not None:
                    return plan
            return _convert(job, recording)
    except (BridgeError, OSError) as error:
        return _failure(error)


def render_chunk(job: Job) -> Made | Failure:
    """Render one chunk of a recording."""
    try:
        output = open_output(job.settings.output)
        done = output.part(job.key, _done_name(job.chunk))
        if done is not None and (conversion := Conversion.from_json(done)) is not None:
            return Made(conversion, ())
        chunk: Chunk = from_json(output.part(job.key, _name(job.chunk)) or b"", STORED)
        with _opened(job) as recording, output.workshop(job.settings.scratch) as workshop:
            made = _render(job, chunk, recording, workshop)
        if not made.conversion.lacks_room:
            output.keep_part(job.key, _done_name(job.chunk), made.conversion.to_json())
    except (BridgeError, OSError, ValueError) as error:
        return _failure(error)
    return made


@contextmanager
def _opened(job: Job) -> Iterator[Recording]:
    settings = job.settings
    if settings.software != __version__:
        raise BridgeError(f"the worker has nucleus_bridge {__version__}, not {settings.software}: install the same")
    check_stop()
    with open_recording(job.bag, Scratch(settings.scratch, max_bytes=settings.scratch_bytes)) as recording:
        yield recording


def _convert(job: Job, recording: Recording) -> Made:
    settings = job.settings
    output = open_output(settings.output)
    with output.workshop(settings.scratch) as workshop:
        watch = _Watch(workshop)
        report = convert_bag(
            recording,
            settings.config,
            workshop.spool.path,
            force=settings.force,
            verify_images=settings.verify_images,
            observer=watch,
        )
    if not report.conversion.lacks_room:
        output.note(job.key, report.conversion)
    return Made(report.conversion, tuple(watch.new))


def _plan(job: Job, recording: Recording) -> Plan | None:
    """Cut a recording into chunks; None when it does not come to two of them."""
    output = open_output(job.settings.output)
    if (kept := output.part(job.key, PLAN)) is not None:
        record = json.loads(kept)
        conversion = Conversion.from_json(record["conversion"])
        if conversion is not None:
            return Plan(record["chunks"], conversion)
    try:
        pipeline, count = _cut(job, recording, output, looks_ahead=True)
    except LookAheadError:
        output.drop_parts(job.key)
        pipeline, count = _cut(job, recording, output, looks_ahead=False)
    if count < 2:
        output.drop_parts(job.key)
        return None
    from nucleus_bridge.inspect.played import all_findings  # noqa: PLC0415 - its rules are wanted here alone

    ledger = pipeline.ledger
    found = tuple(finding.as_json() for finding in all_findings(pipeline, recording, ledger.totals, ledger.reasons))
    conversion = Conversion(
        str(job.bag),
        (),
        ledger.totals,
        ledger.reasons,
        damage_notes(recording.damage),
        findings=found,
        recording=job.bag.name,
        digest=digest_of(job.bag),
    )
    record = {"chunks": count, "conversion": conversion.to_json().decode()}
    output.keep_part(job.key, PLAN, json.dumps(record).encode())
    return Plan(count, conversion)


def _cut(job: Job, recording: Recording, output: Output, *, looks_ahead: bool) -> tuple[Pipeline, int]:
    """Keep the chunks of a recording with the output; return how many, 0 where it cannot be cut."""
    config = job.settings.config
    pipeline = primed_pipeline(recording, config, looks_ahead=looks_ahead)
    if pipeline.selection is not None:
        # In memory alone: what a sample was made of is known by the sample itself.
        pipeline.selection.hold = LookBack(Path(), config.look_back.max_bytes, config.look_back.max_bytes)
    count = 0
    try:
        for count, chunk in enumerate(chunks_of(recording, pipeline, job.settings.chunk_ns), 1):
            check_stop()
            output.keep_part(job.key, _name(count - 1), to_json(chunk))
    except NotDivisibleError:
        return pipeline, 0
    return pipeline, count


def _render(job: Job, chunk: Chunk, recording: Recording, workshop: Workshop) -> Made:
    settings = job.settings
    watch = _Watch(workshop)
    sealed: list[SealedScene] = []
    recorder = SceneRecorder(settings.config, workshop.spool, InlineExecutor(), in_flight=0, force=settings.force)
    recorder.verify_images = settings.verify_images
    ledger = LossLedger()
    room = RoomForScenes(workshop.spool, settings.config, ledger, force=settings.force)
    try:
        for event in room.admitted(whole_events(chunk, recording, settings.config)):
            check_stop()
            for scene in recorder.handle([event]):
                room.last_bytes = scene.bytes
                sealed.append(scene)
                watch.sealed(scene)
    finally:
        recorder.discard()
    losses: Table = {}
    merge(losses, recorder.render_losses)
    merge(losses, ledger.totals)
    scenes = tuple(SceneSummary.of(scene.manifest) for scene in sealed)
    warnings = warnings_of(scene.manifest for scene in sealed)
    conversion = Conversion(str(job.bag), scenes, losses, {**recorder.reasons, **ledger.reasons}, warnings=warnings)
    return Made(conversion, tuple(watch.new))


def _failure(error: Exception) -> Failure:
    if isinstance(error, OSError):
        return Failure(f"cannot read or write {error.filename or 'a file'}: {error.strerror or error}", is_input=False)
    return Failure(str(error), isinstance(error, InputError))


def _name(chunk: int) -> str:
    return f"{chunk:06d}.json"


def _done_name(chunk: int) -> str:
    return f"{chunk:06d}.done.json"
