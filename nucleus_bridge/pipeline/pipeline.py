# SPDX-License-Identifier: Apache-2.0
"""The pipeline: decode, synchronise, pose, frame, scene. ``add(message)`` returns what is decided by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial

from nucleus_bridge.config import Config
from nucleus_bridge.decode.camera_info import decode_camera_info, load_calibration
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.image import decode_image
from nucleus_bridge.decode.navsat import decode_fix, decode_heading
from nucleus_bridge.decode.pointcloud2 import decode_sweep, has_points
from nucleus_bridge.decode.radar import decode_radar
from nucleus_bridge.decode.tf import TransformSample, decode_transforms
from nucleus_bridge.errors import CloudError, DecodeError, TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline.calibrations import Calibrations
from nucleus_bridge.pipeline.events import Event
from nucleus_bridge.pipeline.frame_builder import FrameBuilder, Wait
from nucleus_bridge.pipeline.gps import GpsTrack
from nucleus_bridge.pipeline.losses import LossLedger
from nucleus_bridge.pipeline.posing import Payload
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M, SceneBuilder
from nucleus_bridge.pipeline.synchroniser import StreamSpec, Synchroniser

TF_TOPICS = {"/tf": False, "/tf_static": True}
TF_CACHE_NS = 120_000_000_000
MIN_CLOCK_STEP_NS = 1_000_000_000

Handler = Callable[[Message], None]


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)


class Pipeline:
    """Turns messages into scenes; no I/O, no clock, no thread.

    The order in which topics interleave does not matter as long as nothing comes later than ``sync.wait_s``.
    """

    def __init__(self, config: Config) -> None:
        """Set up the stages.

        Raises:
            ConfigError: A calibration file cannot be used.
        """
        self.config = config
        self.ledger = LossLedger()
        wait_ns = round(config.sync.wait_s * 1e9)
        self._clock_step_ns = max(wait_ns, MIN_CLOCK_STEP_NS)
        self.tree = TransformTree(cache_ns=TF_CACHE_NS, reset_ns=self._clock_step_ns)
        self._reference = config.lidars[0]
        self._lidars = {lidar.name: lidar for lidar in config.lidars}
        self._topic_of = {lidar.name: lidar.topic for lidar in config.lidars}
        self._topic_of.update({camera.name: camera.image_topic for camera in config.cameras})
        self._topic_of.update({radar.name: radar.topic for radar in config.radars})
        self._calibrations = Calibrations()
        for camera in config.cameras:
            if camera.calibration_file:
                self._calibrations.fix(camera.name, load_calibration(config.base_dir / camera.calibration_file))
        self._gps = GpsTrack(has_fixes=bool(config.gps.topic), has_headings=bool(config.gps.heading_topic))
        specs = [StreamSpec(sensor.name, _ns(sensor.offset_ms), _ns(sensor.tolerance_ms)) for sensor in config.matched]
        self._sync: Synchroniser[Payload] = Synchroniser(
            self._reference.name, specs, wait_ns, config.scene.frame_stride, self._lost_sample
        )
        self._frames = FrameBuilder(config, self.tree, self._calibrations, self._gps, self._lost)
        self._scenes = SceneBuilder(config, self.ledger, self._lost)
        self._pending: list[Event] = []
        self._handlers = self._handlers_by_topic()

    @property
    def topics(self) -> Collection[str]:
        """Every topic this pipeline wants."""
        return self._handlers.keys()

    @property
    def bytes_held(self) -> int:
        """Size of the messages that wait for their frame."""
        return self._sync.bytes_held + self._frames.bytes_held

    @property
    def message_time_ns(self) -> int:
        """Newest stamp of any sensor, -1 before the first."""
        return self._sync.message_time_ns

    @property
    def oldest_waiting_ns(self) -> int | None:
        """Stamp of the oldest frame that is not decided, or None."""
        stamps = (self._frames.oldest_ns, self._sync.oldest_ns)
        return min((stamp for stamp in stamps if stamp is not None), default=None)

    def thin(self, every: int) -> None:
        """Keep only every so many-th frame from now on, for want of time; 1 keeps them all again."""
        self._sync.thinning = every

    def obstacle(self) -> str:
        """Say what the oldest matched frame waits for; empty when there is none."""
        return self._frames.obstacle()

    def take_longest_wait(self) -> Wait:
        """Return the longest wait of a frame that has ended since this was asked the last time."""
        return self._frames.take_longest_wait()

    def prime(self, messages: Iterable[Message]) -> None:
        """Take static transforms and calibrations ahead of time; of several the first is in force at the start."""
        counted, self.ledger = self.ledger, LossLedger()  # what is wrong with them is counted when they come again
        for message in reversed(list(messages)):
            self._handle(message)
        self.ledger = counted

    def add(self, message: Message) -> list[Event]:
        """Take one message; return what is decided by it, in order."""
        self._handle(message)
        self._advance()
        return self._take_events()

    def finish_scene(self, reason: str = "requested") -> list[Event]:
        """Close every frame with what is there and end the open scene."""
        self._flush(reason)
        return self._take_events()

    def finish(self) -> list[Event]:
        """End: nothing more will come."""
        return self.finish_scene("end_of_data")

    def restart(self, reason: str = "clock_jump") -> list[Event]:
        """End the open scene and start over after a step of the clock; static transforms and calibrations stay."""
        self._restart(reason)
        return self._take_events()

    def _handlers_by_topic(self) -> dict[str, list[Handler]]:
        config = self.config
        handlers: dict[str, list[Handler]] = {}

        def on(topic: str, handler: Handler) -> None:
            if topic:
                handlers.setdefault(topic, []).append(handler)

        for topic, static in TF_TOPICS.items():
            on(topic, partial(self._on_transforms, static))
        for camera in config.cameras:
            if not camera.calibration_file:
                on(camera.info_topic, partial(self._on_info, camera.name))
        on(config.gps.topic, self._on_fix)
        on(config.gps.heading_topic, self._on_heading)
        for lidar in config.lidars:
            on(lidar.topic, partial(self._on_sweep, lidar.name))
        for camera in config.cameras:
            on(camera.image_topic, partial(self._on_image, camera.name))
        for radar in config.radars:
            on(radar.topic, partial(self._on_radar, radar.name))
        return handlers

    def _handle(self, message: Message) -> None:
        for handler in self._handlers.get(message.topic, ()):
            try:
                handler(message)
            except (DecodeError, TransformError) as error:
                cause = error.cause if isinstance(error, DecodeError) else "bad_transform"
                self.ledger.count(message.topic, cause, _stamp(message), str(error))

    def _on_transforms(self, static: bool, message: Message) -> None:  # noqa: FBT001 - bound by partial
        for sample in decode_transforms(message):
            if not static and self._ends_the_past(sample):
                self._flush("clock_jump")
            try:
                self.tree.add(
                    sample.parent,
                    sample.child,
                    sample.stamp_ns,
                    sample.translation,
                    sample.rotation_xyzw,
                    static=static,
                )
            except TransformError as error:
                self.ledger.count(message.topic, "bad_transform", sample.stamp_ns, f"{message.topic}: {error}")

    def _ends_the_past(self, sample: TransformSample) -> bool:
        """Whether the poses that frames still wait for are gone once this sample is in."""
        if self.tree.would_restart(sample.child, sample.stamp_ns):
            return True
        return self.tree.has_leapt(sample.child) and self.oldest_waiting_ns is not None

    def _on_info(self, name: str, message: Message) -> None:
        self._calibrations.add(name, decode_camera_info(message))

    def _on_fix(self, message: Message) -> None:
        self._gps.add_fix(peek_header(message.data)[0], decode_fix(message))

    def _on_heading(self, message: Message) -> None:
        self._gps.add_heading(peek_header(message.data)[0], decode_heading(message))

    def _on_sweep(self, name: str, message: Message) -> None:
        lidar = self._lidars[name]
        sweep = decode_sweep(message, lidar)
        if not has_points(sweep, replace(lidar, max_range_m=min(lidar.max_range_m, MAX_COORDINATE_M))):
            raise CloudError(
                f"{message.topic} at stamp {sweep.stamp_ns}: no point is usable "
                f"(all are NaN, zero or outside {lidar.min_range_m} to {lidar.max_range_m} m)",
                cause="empty_cloud",
            )
        size = len(message.data)
        if lidar is not self._reference:
            self._sync.add(name, sweep.stamp_ns, size, sweep)
            return
        if sweep.stamp_ns < self._sync.newest_sweep_ns - self._clock_step_ns:
            self._restart("clock_jump", sweep.stamp_ns + self._clock_step_ns)
        self._sync.add_anchor(sweep.stamp_ns, sweep.last_ns, size, sweep)

    def _on_image(self, name: str, message: Message) -> None:
        image = decode_image(message)
        self._sync.add(name, image.stamp_ns, len(message.data), image)

    def _on_radar(self, name: str, message: Message) -> None:
        scan = decode_radar(message)
        self._sync.add(name, scan.stamp_ns, len(message.data), scan)

    def _advance(self) -> None:
        for match in self._sync.ready():
            self._frames.push(match)
        self._take_frames()
        while self.bytes_held > self.config.sync.max_bytes:
            if self._frames.has_frames:
                candidate = self._frames.pop_oldest(self._sync.message_time_ns)
                if candidate is not None:
                    self._pending.extend(self._scenes.add(candidate))
            elif self._sync.has_anchors:
                self._frames.push(self._sync.close_oldest())
            else:
                break

    def _take_frames(self, *, everything: bool = False) -> None:
        for candidate in self._frames.ready(self._sync.message_time_ns, everything=everything):
            self._pending.extend(self._scenes.add(candidate))

    def _flush(self, reason: str) -> None:
        for match in self._sync.ready(everything=True):
            self._frames.push(match)
        self._take_frames(everything=True)
        self._pending.extend(self._scenes.end(reason))

    def _restart(self, reason: str, newer_than_ns: int | None = None) -> None:
        """Start over; transforms from after the step of the clock may be there already and stay."""
        self._flush(reason)
        self._sync.restart()
        self._frames.restart()
        self._calibrations.restart()
        self._gps.restart()
        self.tree.clear_dynamic(newer_than_ns)

    def _take_events(self) -> list[Event]:
        events, self._pending = self._pending, []
        return events

    def _lost_sample(self, name: str, cause: str, stamp_ns: int) -> None:
        self._lost(name, cause, stamp_ns, "")

    def _lost(self, name: str, cause: str, stamp_ns: int, reason: str) -> None:
        self.ledger.count(self._topic_of[name], cause, stamp_ns, reason)


def _stamp(message: Message) -> int:
    """The stamp a loss is booked under: the header's where it can be read, else the log time."""
    try:
        return peek_header(message.data)[0] or message.log_ns
    except DecodeError:
        return message.log_ns


def events_of(pipeline: Pipeline, messages: Iterable[Message]) -> Iterator[Event]:
    """Feed all messages and end; yield what is decided on the way."""
    for message in messages:
        yield from pipeline.add(message)
    yield from pipeline.finish()
