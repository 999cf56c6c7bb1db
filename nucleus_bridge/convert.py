# SPDX-License-Identifier: Apache-2.0
"""A recording to sealed scenes: bag, pipeline, workers and spool put together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nucleus_bridge.bag import Bag, Damage, open_bag
from nucleus_bridge.config import Config, load_config
from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.losses import Table, faults, merge, ordered
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.workers import executor_for
from nucleus_bridge.spool import SealedScene, Spool, conversions

CLOUD = ("sensor_msgs/msg/PointCloud2",)
IMAGE = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
INFO = ("sensor_msgs/msg/CameraInfo",)
FIX = ("sensor_msgs/msg/NavSatFix",)
IMU = ("sensor_msgs/msg/Imu",)
RADAR = ("sensor_msgs/msg/PointCloud2", "radar_msgs/msg/RadarScan")


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
    """

    bag: Path
    scenes: tuple[SealedScene, ...]
    losses: Table = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()
    skipped: bool = False

    @property
    def faults(self) -> int:
        """Messages and points lost by fault rather than by choice."""
        return faults(self.losses)

    @property
    def complete(self) -> bool:
        """Whether nothing was lost by fault."""
        return not self.faults and not any(damage.loses_messages for damage in self.damage)


class Observer:
    """Told how a conversion gets on; this one does nothing."""

    def progress(self, done_ns: int, total_ns: int) -> None:
        """Told the time covered so far, in ns of log time."""

    def sealed(self, scene: SealedScene) -> None:
        """Told of each scene when it is safe."""


def convert_bag(
    bag: Path | str,
    config: Config | Path | str,
    output: Path | str,
    *,
    workers: int = 1,
    force: bool = False,
    observer: Observer | None = None,
) -> ConversionReport:
    """Convert a rosbag2 recording to sealed Nucleus scenes.

    Args:
        bag: A rosbag2 folder, or a bare .mcap or .db3 file.
        config: A configuration, or the path of a parameter file.
        output: The spool; made when it is not there.
        workers: Processes that render frames; the bytes are the same for any number.
        force: Replace scenes of the same id that have other content.
        observer: Told of progress.

    Raises:
        InputError: The bag, the configuration or the output cannot be used, or no scene comes of them.
        BridgeError: The work failed on the way; scenes sealed before stay.
    """
    bag, output = Path(bag), Path(output)
    if not isinstance(config, Config):
        config = load_config(config)
    observer = observer or Observer()
    with open_bag(bag) as recording:
        spool = Spool(output)
        spool.create()
        key = conversions.key(recording.files, config)
        if not force and (done := conversions.find(spool, key)) is not None:
            return ConversionReport(bag, tuple(done.scenes), done.losses, done.reasons, skipped=True)
        check_topics(recording, config)
        pipeline = Pipeline(config)
        pipeline.prime(_ahead(recording, config))
        scenes, recorder = _run(recording, pipeline, spool, workers, force=force, observer=observer)
        losses: Table = {}
        merge(losses, pipeline.ledger.totals)
        merge(losses, recorder.render_losses)
        reasons = {**recorder.reasons, **pipeline.ledger.reasons}
        report = ConversionReport(bag, tuple(scenes), ordered(losses), reasons, tuple(recording.damage))
        if not scenes:
            raise InputError(no_scene(report, pipeline))
        if not report.damage:
            conversions.note(spool, key, report.scenes, report.losses, report.reasons)
    return report


def _run(
    recording: Bag, pipeline: Pipeline, spool: Spool, workers: int, *, force: bool, observer: Observer
) -> tuple[list[SealedScene], SceneRecorder]:
    scenes: list[SealedScene] = []
    with executor_for(workers) as executor:
        recorder = SceneRecorder(
            pipeline.config, spool, executor, in_flight=3 * workers if workers > 1 else 0, force=force
        )

        def keep(sealed: Iterable[SealedScene]) -> None:
            for scene in sealed:
                scenes.append(scene)
                observer.sealed(scene)

        try:
            total = recording.end_ns - recording.start_ns
            for message in recording.messages(pipeline.topics):
                keep(recorder.handle(pipeline.add(message)))
                observer.progress(message.log_ns - recording.start_ns, total)
            keep(recorder.handle(pipeline.finish()))
            keep(recorder.finish())
            observer.progress(total, total)
        except OSError as error:
            raise BridgeError(f"cannot write {error.filename or spool.path}: {error.strerror}") from None
        finally:
            recorder.discard()
    return scenes, recorder


def _ahead(recording: Bag, config: Config) -> list[Message]:
    """Messages that hold for the whole recording wherever they were logged."""
    infos = [camera.info_topic for camera in config.cameras if camera.info_topic and not camera.calibration_file]
    return [*recording.messages(["/tf_static"]), *recording.first_messages(infos).values()]


def check_topics(recording: Bag, config: Config) -> None:
    """Check that every configured topic is in the recording with a type that fits.

    Raises:
        InputError: Naming the parameter, the topic and what the recording has instead.
    """
    types = {topic.name: topic.type_name for topic in recording.topics}
    for parameter, topic, allowed in _wanted(config):
        if topic and types.get(topic) not in allowed:
            raise InputError(_topic_problem(recording.path, parameter, topic, types, allowed))


def _wanted(config: Config) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for lidar in config.lidars:
        yield f"lidars.{lidar.name}.topic", lidar.topic, CLOUD
    for camera in config.cameras:
        yield f"cameras.{camera.name}.image_topic", camera.image_topic, IMAGE
        if not camera.calibration_file:
            yield f"cameras.{camera.name}.info_topic", camera.info_topic, INFO
    for radar in config.radars:
        yield f"radars.{radar.name}.topic", radar.topic, RADAR
    yield "gps.topic", config.gps.topic, FIX
    yield "gps.heading_topic", config.gps.heading_topic, IMU


def _topic_problem(path: Path, parameter: str, topic: str, types: dict[str, str], allowed: tuple[str, ...]) -> str:
    fitting = sorted(name for name, type_name in types.items() if type_name in allowed)
    there, wanted = ", ".join(fitting) or "none", " or ".join(allowed)
    if topic in types:
        return f"{parameter}: {topic} in {path} is {types[topic]}, not {wanted}; topics of that type: {there}"
    return f"{parameter}: {topic} is not in {path}; topics of type {wanted}: {there}"


def no_scene(report: ConversionReport, pipeline: Pipeline) -> str:
    """Explain why not a single scene came out."""
    lidar = pipeline.config.lidars[0]
    causes = report.losses.get(lidar.topic, {})
    lines = [f"{report.bag}: no scene could be made"]
    if not causes:
        lines.append(f"no message on {lidar.topic}")
    for cause, count in sorted(causes.items(), key=lambda entry: -entry[1]):
        reason = report.reasons.get(cause, "")
        lines.append(f"{count} sweeps on {lidar.topic} lost by {cause}" + (f" ({reason})" if reason else ""))
    if causes.keys() & {"unknown_frame", "unconnected_frames"}:
        config = pipeline.config
        lines.append(
            f"set world_frame (now {config.world_frame!r}) and device_frame (now {config.device_frame!r}) "
            "to frames that the recording connects with the lidar's"
        )
    if report.damage:
        lines.append(f"the recording is damaged: {report.damage[0]}")
    return "; ".join(lines)
