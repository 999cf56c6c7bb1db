# SPDX-License-Identifier: Apache-2.0
"""A recording to sealed scenes: bag, pipeline, workers and spool put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nucleus_bridge import warnings
from nucleus_bridge.around import read_around
from nucleus_bridge.causes import faults
from nucleus_bridge.config import Config, load_config, with_format, with_given
from nucleus_bridge.errors import BridgeError, InputError, SceneError
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.losses import Table, merge, ordered
from nucleus_bridge.pipeline.selection import LookAheadError
from nucleus_bridge.recordings import Damage, Place, Recording, digest_of, marks_of, open_recording
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.room import RoomForScenes, look_back_of
from nucleus_bridge.render.workers import attendant_for, crew_for
from nucleus_bridge.replay import Gaps, primed_pipeline
from nucleus_bridge.spool import SealedScene, Spool, conversions
from nucleus_bridge.spool.conversions import Conversion, DamageNote, SceneSummary
from nucleus_bridge.warnings import Finding, Weight

MEMORY_FOR_CONVERT = 4
"""Only frames that an event wants wait here, so that more of them may be in memory than in a vehicle."""


class NoSceneError(InputError):
    """No scene comes of a recording.

    Attributes:
        findings: What explains it.
    """

    def __init__(self, text: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(text)
        self.findings = findings


@dataclass(frozen=True)
class ConversionReport:
    """What came of one recording.

    Attributes:
        bag: The recording.
        scenes: Scenes made or found to be there already, in order.
        losses: Everything that did not reach a scene, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        damage: Parts of the recording that could not be read.
        skipped: Whether the recording had been converted before, with the same configuration.
        findings: What is odd about its sources of poses, and what of it is missing or damaged.
        digest: Of the recording; see ``recordings.digest_of``.
    """

    bag: Place
    scenes: tuple[SealedScene, ...]
    losses: Table = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()
    skipped: bool = False
    findings: tuple[Finding, ...] = ()
    digest: str = ""

    @property
    def faults(self) -> int:
        """Messages and points lost by fault rather than by choice."""
        return faults(self.losses)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost by fault."""
        return not (
            self.faults or any(damage.loses_messages for damage in self.damage) or warnings.is_incomplete(self.findings)
        )

    @property
    def conversion(self) -> Conversion:
        """What is kept of it."""
        return Conversion(
            str(self.bag.resolve()),
            tuple(SceneSummary.of(scene.manifest) for scene in self.scenes),
            self.losses,
            self.reasons,
            damage_notes(self.damage),
            conversions.warnings_of(scene.manifest for scene in self.scenes),
            conversions.each_once(
                (
                    *(finding.as_json() for finding in self.findings),
                    *(finding for scene in self.scenes for finding in scene.manifest.warnings),
                )
            ),
            self.bag.name,
            self.digest,
        )


def damage_notes(damage: Iterable[Damage]) -> tuple[DamageNote, ...]:
    """Return what is kept of damage."""
    return tuple(DamageNote(str(part.path), part.what, part.offset, part.loses_messages) for part in damage)


class Observer:
    """Follows a conversion; this one does nothing.

    Examples:
        >>> class Names(Observer):
        ...     def sealed(self, scene):
        ...         print(scene.manifest.reference_id)
        >>> report = convert_bag("drive", "drive.yaml", "observed", observer=Names())
        demo-20231114T221320.000000000Z
    """

    def progress(self, done_ns: int, total_ns: int) -> None:
        """Called with the time that is covered so far and in all, in ns of log time."""

    def sealed(self, scene: SealedScene) -> None:
        """Called for each scene when it is safe on disk."""


def convert_bag(  # noqa: PLR0913 - what a caller may want to say
    bag: Recording | Place | str,
    config: Config | Path | str,
    output: Path | str,
    *,
    format: str | None = None,  # noqa: A002 - as the command line calls it
    workers: int = 1,
    force: bool = False,
    verify_images: bool = False,
    observer: Observer | None = None,
    around: Path | str | None = None,
) -> ConversionReport:
    """Convert a rosbag2 recording to sealed scenes.

    Args:
        bag: A rosbag2 folder, a bare .mcap, .db3 or .bag file, several as ``Merged``, or a recording that is open.
        config: A configuration, or the path of a parameter file.
        output: The spool; made when it is not there.
        format: ``nucleus``, ``sensor_fusion_json`` or ``sensor_fusion_protobuf``; by default the configuration's
            ``scene.format``.
        workers: Processes that render frames, this one among them; the bytes are the same for any number.
        force: Replace scenes of the same id that have other content.
        verify_images: Decode every picture, as one that was cut may have all its markers; damaged ones are lost.
        observer: Is called with scenes and with progress.
        around: A file of times around which frames are kept, besides the events that the configuration selects by.

    Returns:
        The scenes, and every loss by topic and cause. A recording that was converted before with the same
        configuration is skipped; its scenes are returned.

    Raises:
        InputError: The bag, the configuration or the output cannot be used, or no scene comes of them.
        BridgeError: The work failed on the way; scenes sealed before stay.

    Examples:
        >>> from nucleus_bridge import convert_bag
        >>> report = convert_bag("drive", "drive.yaml", "spool")
        >>> [(scene.manifest.reference_id, scene.manifest.frames) for scene in report.scenes]
        [('demo-20231114T221320.000000000Z', 40)]
        >>> report.losses, report.complete
        ({}, True)
    """
    if not isinstance(config, Config):
        config = load_config(config)
    if format is not None:
        config = with_format(config, format)
    if around is not None:
        config = with_given(config, read_around(Path(around), config))
    observer = observer or Observer()
    spool = Spool(Path(output))
    path = bag.path if isinstance(bag, Recording) else Path(bag) if isinstance(bag, str) else bag
    key = conversions.key(marks_of(path), config.conversion_digest, config.scene.format)
    if not (force or verify_images) and (report := _done_before(path, spool, key)) is not None:
        return report
    with bag if isinstance(bag, Recording) else open_recording(path) as recording:
        pipeline = primed_pipeline(recording, config)
        spool.create()
        how = _How(workers, force, verify_images)
        try:
            scenes, recorder = _run(recording, pipeline, spool, how, observer)
        except LookAheadError:
            pipeline = primed_pipeline(recording, config, looks_ahead=False)
            scenes, recorder = _run(recording, pipeline, spool, how, observer)
        losses: Table = {}
        merge(losses, pipeline.ledger.totals)
        merge(losses, recorder.render_losses)
        reasons = {**recorder.reasons, **pipeline.ledger.reasons}
        report = ConversionReport(
            path,
            tuple(scenes),
            ordered(losses),
            reasons,
            tuple(recording.damage),
            findings=_findings(pipeline, recording, losses, reasons),
            digest=digest_of(path),
        )
        if not scenes and not is_empty_by_choice(pipeline, losses):
            raise NoSceneError(no_scene(report, config), report.findings)
        if not report.conversion.lacks_room:
            conversions.note(spool, key, report.conversion)
    return report


def _findings(
    pipeline: Pipeline, recording: Recording, losses: Table, reasons: Mapping[str, str]
) -> tuple[Finding, ...]:
    from nucleus_bridge.inspect.played import all_findings  # noqa: PLC0415 - its rules are wanted at the end alone

    return all_findings(pipeline, recording, losses, reasons)


def _done_before(path: Place, spool: Spool, key: str) -> ConversionReport | None:
    """Return what an earlier conversion made, if all of it is still in the spool."""
    done = conversions.find(spool, key)
    if done is None:
        return None
    try:
        scenes = [SealedScene.read(spool.scene_folder(scene.reference_id)) for scene in done.scenes]
    except SceneError:
        return None
    damage = [Damage(Path(part.file), part.what, part.offset, None, part.loses_messages) for part in done.damage]
    losses = {topic: dict(causes) for topic, causes in done.losses.items()}
    incomplete = tuple(Finding.from_json(finding) for finding in done.findings if warnings.says_incomplete(finding))
    report = ConversionReport(path, tuple(scenes), losses, dict(done.reasons), tuple(damage), skipped=True)
    return replace(report, findings=incomplete, digest=done.digest)


@dataclass(frozen=True)
class _How:
    """How a conversion is done."""

    workers: int
    force: bool
    verify_images: bool


def _run(
    recording: Recording, pipeline: Pipeline, spool: Spool, how: _How, observer: Observer
) -> tuple[list[SealedScene], SceneRecorder]:
    scenes: list[SealedScene] = []
    with crew_for(how.workers) as crew, attendant_for(how.workers) as attendant:
        in_flight = 8 * how.workers if how.workers > 1 else 0
        recorder = SceneRecorder(
            pipeline.config, spool, crew, attendant=attendant, in_flight=in_flight, force=how.force
        )
        recorder.verify_images = how.verify_images
        if pipeline.selection is not None:
            pipeline.selection.hold = look_back_of(pipeline.config, spool, in_memory=MEMORY_FOR_CONVERT)
        room = RoomForScenes(spool, pipeline.config, pipeline.ledger, force=how.force)

        def keep(sealed: Iterable[SealedScene]) -> None:
            for scene in sealed:
                room.last_bytes = scene.bytes
                scenes.append(scene)
                observer.sealed(scene)

        try:
            total = recording.end_ns - recording.start_ns
            gaps = Gaps(recording, pipeline)
            for message in recording.messages(pipeline.topics, passes_over=pipeline.passes_over):
                for event in room.admitted([*gaps.before(message), *pipeline.add(message)]):
                    keep(recorder.handle([event]))
                observer.progress(message.log_ns - recording.start_ns, total)
            for event in room.admitted(pipeline.finish()):
                keep(recorder.handle([event]))
            keep(recorder.finish())
            observer.progress(total, total)
        except OSError as error:
            raise BridgeError(f"cannot write {error.filename or spool.path}: {error.strerror}") from None
        finally:
            recorder.discard()
    return scenes, recorder


def is_empty_by_choice(pipeline: Pipeline, losses: Table) -> bool:
    """Say whether there is no scene because no frame lies in a window of an event."""
    return pipeline.selection is not None and any("no_event" in causes for causes in losses.values())


def no_scene(report: ConversionReport, config: Config) -> str:
    """Explain why not a single scene came out."""
    lidar = config.lidars[0]
    causes = report.losses.get(lidar.topic, {})
    lines = [f"{report.bag}: no scene could be made"]
    if not causes:
        lines.append(f"no message on {lidar.topic}")
    for cause, count in sorted(causes.items(), key=lambda entry: -entry[1]):
        reason = report.reasons.get(cause, "")
        lines.append(
            f"{count} {'sweep' if count == 1 else 'sweeps'} on {lidar.topic} lost by {cause}"
            + (f" ({reason})" if reason else "")
        )
    if causes.keys() & {"unknown_frame", "unconnected_frames"}:
        lines.append(
            f"set world_frame (now {config.world_frame!r}) and device_frame (now {config.device_frame!r}) "
            "to frames that the recording connects with the lidar's"
        )
    lines += [
        str(finding)
        for finding in report.findings
        if finding.weight is not Weight.NOTE and not warnings.lose_parts([finding])
    ]
    if report.damage:
        lines.append(f"the recording is damaged: {report.damage[0]}")
    return "; ".join(lines)
