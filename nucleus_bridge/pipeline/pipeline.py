# SPDX-License-Identifier: Apache-2.0
"""The pipeline: decode, synchronise, pose, frame, scene. ``add(message)`` returns what is decided by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import ClassVar

from nucleus_bridge.causes import Cause, EndReason
from nucleus_bridge.clock_steps import EDGES_IN_A_ROW, MESSAGES_IN_A_ROW, PICTURES_IN_A_ROW, Step
from nucleus_bridge.config import Config, LidarConfig
from nucleus_bridge.config.sources import EventConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.camera_info import CameraInfo, load_calibration
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.decode.image import COMPRESSED_IMAGE, IMAGE
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.decode.navsat import Fix, Heading, Missing
from nucleus_bridge.decode.point_time import LONGEST_SWEEP_NS
from nucleus_bridge.decode.pointcloud2 import has_points
from nucleus_bridge.errors import BridgeError, DecodeError, InputError, TransformError
from nucleus_bridge.geometry import TransformTree
from nucleus_bridge.model import Image, Message, Payload, Sweep
from nucleus_bridge.pipeline.calibrations import Calibrations
from nucleus_bridge.pipeline.compared import ComparedPoses
from nucleus_bridge.pipeline.epochs import Cut, Entry, Epochs, Series, entry_of
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded
from nucleus_bridge.pipeline.evidence import Evidence
from nucleus_bridge.pipeline.frame_builder import Candidate, FrameBuilder, Wait
from nucleus_bridge.pipeline.gps import GpsTrack
from nucleus_bridge.pipeline.losses import LossLedger
from nucleus_bridge.pipeline.notices import Notices
from nucleus_bridge.pipeline.posing import DEFERRED_S
from nucleus_bridge.pipeline.scene_builder import MAX_COORDINATE_M, SceneBuilder
from nucleus_bridge.pipeline.selection import Decided, Samples, Selection, Windows, contains, widened
from nucleus_bridge.pipeline.signals import Signals
from nucleus_bridge.pipeline.streams import Streams, Take, Watch
from nucleus_bridge.pipeline.synchroniser import StreamSpec, Synchroniser
from nucleus_bridge.pipeline.topics import Stream, WantedTopic, annotations_of, clock_step_ns, wanted_topics
from nucleus_bridge.poses import Edge, PoseSource, sources_of
from nucleus_bridge.poses.feed import PoseFeed
from nucleus_bridge.poses.sources import compared_of, record_of
from nucleus_bridge.warnings import Finding

TF_CACHE_NS = 120_000_000_000
LOOK_EVERY_NS = 50_000_000
"""Message time between two looks at frames that will wait for events anyway."""
EDGE_BYTES = 500
"""Memory of an edge that waits."""
STEP_REASON = "a clock was set back, and the stamp lies in the time that ran twice"
APART_REASON = "its clock was set back and that of the lidar was not, so that no sweep has its stamps"
ANNOTATION_TOLERANCE_NS = 60_000_000
"""Detections go with the sweep that their stamp is so near to: mostly it is the sweep's own."""

Handler = Callable[[Message], None]


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1e6)


class Pipeline:
    """Turns messages into scenes; no I/O, no clock, no thread.

    The order in which topics interleave does not matter as long as nothing comes later than ``sync.wait_s``.

    Each ``add`` returns what is decided by that message: a ``SceneStarted``, then a ``FrameReady`` a frame, then a
    ``SceneEnded``. ``finish`` returns what waits for more. Not safe to use from several threads at once.

    Examples:
        >>> from nucleus_bridge import load_config
        >>> from nucleus_bridge.pipeline import FrameReady
        >>> from nucleus_bridge.recordings import open_recording
        >>> pipeline = Pipeline(load_config("drive.yaml"))
        >>> with open_recording("drive") as recording:
        ...     events = [event for message in recording.messages(pipeline.topics) for event in pipeline.add(message)]
        >>> events += pipeline.finish()
        >>> type(events[0]).__name__, sum(isinstance(event, FrameReady) for event in events), type(events[-1]).__name__
        ('SceneStarted', 40, 'SceneEnded')
        >>> events[1].frame.sweeps[0].sweep.points.dtype.names
        ('x', 'y', 'z', 'intensity', 'ring', 'time')

    Attributes:
        config: The configuration.
        ledger: What was lost.
        tree: The transforms.
        sources: The sources of poses.
        wanted: Every topic that it asks for, in each of its roles.
        selection: Lets through the frames in the windows of events; None where all are kept.
        is_scout: Whether it looks for events alone and makes no frames.
        on_unexpected: Is informed of a message that fails with an error that nobody expected, which is then counted as
            ``damaged``; None: the error is raised.
    """

    is_scout: ClassVar[bool] = False

    def __init__(self, config: Config, *, takes_marks: bool = False) -> None:
        """Set up the stages.

        Args:
            config: The configuration.
            takes_marks: Whether ``mark`` may be called.

        Raises:
            ConfigError: A file that the configuration names cannot be used.
        """
        self.config = config
        self.ledger = LossLedger()
        self._is_priming = False
        wait_ns = round(config.sync.wait_s * 1e9)
        self._clock_step_ns = clock_step_ns(config)
        gap_ns = round(config.scene.max_gap_s * 1e9) or None
        self.tree = TransformTree(cache_ns=TF_CACHE_NS, gap_ns=gap_ns, static_history=True)
        self._notices = Notices(config, self.ledger)
        self._epochs = Epochs(self, wait_ns, config.sync.max_bytes, self._notices.note_step)
        self._series: dict[str, Series] = {}
        self.on_unexpected: Callable[[Message, Exception], None] | None = None
        self.evidence = Evidence()
        self.sources = sources = sources_of(config)
        self._poses = PoseFeed(sources, self.tree, self._count, (config.world_frame, config.device_frame))
        self.wanted = tuple(wanted_topics(config, sources))
        self._reference = config.lidars[0]
        self._usable = {lidar.name: _in_reach(lidar) for lidar in config.lidars}
        self._calibrations = Calibrations()
        for camera in config.cameras:
            if camera.calibration_file:
                self._calibrations.fix(
                    camera.name, load_calibration(config.base_dir / camera.calibration_file, camera.topic)
                )
        self._gps = GpsTrack(has_fixes=bool(config.gps.topic), has_headings=bool(config.gps.heading_topic))
        specs = [StreamSpec(sensor.name, _ns(sensor.offset_ms), _ns(sensor.tolerance_ms)) for sensor in config.matched]
        specs += [StreamSpec(source.name, 0, ANNOTATION_TOLERANCE_NS) for source in annotations_of(config)]
        self._sync: Synchroniser[Payload] = Synchroniser(
            self._reference.name, specs, wait_ns, config.scene.frame_stride, self._lost_sample
        )
        self._signals = Signals(config.metadata_from)
        self._compared = self._compared_poses()
        self._frames = FrameBuilder(config, self.tree, self._poses, self._calibrations, self._gps, self._lost)
        self._frames.wait_for(self._also_awaited)
        self.selection: Selection | None = None
        if config.scene.select == "events":
            self.selection = Selection(
                config,
                self.tree,
                self._leave_out_frame,
                self._late_event,
                takes_marks=takes_marks,
                is_scout=self.is_scout,
            )
        self._scenes = SceneBuilder(
            config,
            self.ledger,
            self._lost,
            record_of(sources),
            self.selection.events_between if self.selection is not None else None,
            self._signals,
        )
        if self._compared is not None:
            self._scenes.compare(self._compared)
        self._pending: list[Event] = []
        self._due_ns = -1
        self._near: Windows | None = None  # where frames are made, where that is known ahead
        self._streams = Streams(self._count, lambda: max(0, self.message_time_ns))
        self._roles = self._handlers_by_topic({source.name: source for source in sources})
        self._arrival_stamps = self._arrival_stamps_by_topic()

    def _compared_poses(self) -> ComparedPoses | None:
        """Return what notes the tracks of sources that are only compared; None where there are none.

        There are none, either, where frames are wanted later than the tree is sure to remember their poses.
        """
        sources = compared_of(self.config)
        is_late = (
            self.config.scene.select == "events" and self.config.look_back_s + self.config.sync.wait_s > DEFERRED_S
        )
        if not sources or self.is_scout or is_late:
            return None
        return ComparedPoses(self.config, sources, self.tree, self._poses.tellers)

    def _also_awaited(self, stamp_ns: int) -> str:
        """Say what else may still come that counts at a stamp."""
        return self._signals.unsettled(stamp_ns) or (
            self._compared.unsettled(stamp_ns) if self._compared is not None else ""
        )

    def _arrival_stamps_by_topic(self) -> dict[str, Callable[[Message], int]]:
        """Return what reads the stamp that a topic's order of arrival is judged by."""
        stamps: dict[str, Callable[[Message], int]] = {
            name: streams[0][0].arrival_stamp_ns for name, streams in self._streams.by_topic.items()
        }
        for topic in self.wanted:
            if topic.role in ("companion", "signal"):
                stamps.setdefault(topic.name, _no_stamp)
            elif topic.role == "event" and self.selection is not None:
                stamps.setdefault(topic.name, self.selection.stamp_of)
        return stamps

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is odd about the sources of poses and the order of messages, so far."""
        return (
            *self._poses.findings(),
            *self._notices.findings(self._sync.overtaken_ns),
            *self._frames.findings,
            *self._signals.findings(),
        )

    @property
    def unused(self) -> tuple[Finding, ...]:
        """The configured sensors of which no frame has anything, once all frames are made.

        Without any frame, sensors that only found no sweep near them are not to blame.
        """
        return self._notices.unused

    def define(self, topic: str, type_name: str, definition: str = "") -> None:
        """Say of which type the messages of a topic are, before the first one comes.

        Args:
            topic: The topic.
            type_name: Its interface type.
            definition: The type's definition as recordings embed it; "" where the type is one that is known.

        Raises:
            InputError: An event or a signal has a field that the type has not, or of which no fitting value comes.
        """
        if self.selection is not None:
            self.selection.define(topic, type_name, definition)
        wrong = None
        for wanted, _ in self._roles.get(topic, ()):
            if wanted.role == "signal":
                try:
                    self._signals.define(wanted.reader, type_name, definition)
                except InputError as error:
                    wrong = wrong or error
        if wrong is not None:
            raise wrong

    @property
    def topics(self) -> Collection[str]:
        """Every topic this pipeline wants."""
        return self._roles.keys()

    @property
    def bytes_held(self) -> int:
        """Size of the messages that wait for their frame."""
        return self._sync.bytes_held + self._frames.bytes_held + self._epochs.bytes_held

    @property
    def message_time_ns(self) -> int:
        """Newest stamp of any sensor, -1 before the first."""
        return self._sync.message_time_ns

    @property
    def oldest_waiting_ns(self) -> int | None:
        """Stamp of the oldest frame that waits for what it is made of, or None."""
        stamps = (self._frames.oldest_ns, self._sync.oldest_ns)
        return min((stamp for stamp in stamps if stamp is not None), default=None)

    def thin(self, every: int) -> None:
        """Keep only every n-th frame from now on, for want of time; 1 keeps them all again."""
        self._sync.thinning = every

    def obstacle(self) -> str:
        """Say what the oldest matched frame waits for; empty when there is none."""
        return self._frames.obstacle()

    def take_longest_wait(self) -> Wait:
        """Return the longest wait of a frame that has ended since this was asked the last time."""
        return self._frames.take_longest_wait()

    def watch(self, watch: Watch) -> None:
        """Report each sample as it is decoded."""
        self._streams.watch = watch

    def prime(self, messages: Iterable[Message]) -> None:
        """Take what holds for the whole recording ahead of time; of several messages the first holds at the start."""
        self._is_priming = True  # what is wrong with them is counted when they come again
        for message in reversed(list(messages)):
            for handler in self._handlers_of(message.topic):
                self._try(handler, message)
        self._is_priming = False

    def add(self, message: Message) -> list[Event]:
        """Take one message; return what is decided by it, in order."""
        self._arrive(message)
        if self._is_due():
            self.advance()
        return self._take_events()

    def finish_scene(self, reason: EndReason = "requested") -> list[Event]:
        """End the open scene at the last frame that is decided; what is undecided goes to the next scene."""
        undecided = (self.oldest_waiting_ns, self.selection.oldest_ns if self.selection is not None else None)
        before_ns = min((stamp_ns for stamp_ns in undecided if stamp_ns is not None), default=None)
        self._pending.extend(self._scenes.end(reason, before_ns=before_ns))
        return self._take_events()

    def mark(self, stamp_ns: int) -> None:
        """Take note of the event ``mark`` that somebody made at a stamp."""
        if self.selection is not None:
            self.selection.mark(stamp_ns)

    def look_ahead(self, windows: Windows) -> None:
        """Hold only frames that may lie in a window of an event."""
        if self.selection is not None:
            self.selection.ahead = windows
            self._frames.is_patient = True
            if self.config.scene.frame_stride == 1 and not self.config.scene.min_distance_m:
                self._near = self._with_samples(windows)

    def _with_samples(self, windows: Windows) -> Windows:
        """Return windows that also hold everything that a frame in them may be made of."""
        reach_ns = max((_ns(abs(sensor.offset_ms) + sensor.tolerance_ms) for sensor in self.config.matched), default=0)
        return widened(windows, LONGEST_SWEEP_NS + reach_ns)

    def passes_over(self, message: Message) -> bool:
        """Say whether no frame can want a message, by its stamp; its first bytes are enough.

        It is to be added all the same, be it that its first bytes are all that was read of it.
        """
        if self._near is None:
            return False
        roles = self._streams.of(message.topic)
        if len(roles) != 1 or len(self._roles[message.topic]) != 1:
            return False
        stream, _ = roles[0]
        if not stream.topic.is_sample:
            return False
        stamp_ns = stream.arrival_stamp_ns(message)
        return stamp_ns > 0 and not contains(self._near, stamp_ns) and stream.may_pass(message)

    def finish(self, reason: EndReason = "end_of_data") -> list[Event]:
        """End: nothing more will come; the open scene ends for ``reason``."""
        self._epochs.finish()
        self._streams.flush()
        self._flush(reason)
        return self._take_events()

    def lose(self, topic: str, cause: Cause, stamp_ns: int) -> list[Event]:
        """Count a message that will not come: nothing waits for it, and decoders that build on it start anew."""
        self._count(topic, cause, stamp_ns)
        for stream, _ in self._streams.of(topic):
            if stream.topic.is_sample:
                self._sync.miss(stream.topic.reader, stamp_ns)
        return self.interrupt("gap", topic)

    def interrupt(self, why: Reset, topic: str | None = None) -> list[Event]:
        """Tell the decoders of a topic, or of all, that what comes does not follow what came."""
        self._streams.reset(why, topic=topic)
        if topic is None:
            self._poses.reset(why)
        self.advance()
        return self._take_events()

    def set_back(self, now_ns: int, step_ns: int) -> list[Event]:
        """Take note that ROS time went back by ``step_ns`` to ``now_ns``, should stamps not say so already."""
        if self._sync.message_time_ns > now_ns + step_ns // 2:
            self._epochs.set_back(Step(now_ns, max(now_ns + step_ns, self._sync.message_time_ns)))
        return self._take_events()

    def suspend(self, series: Series) -> None:
        """Wait with frames that a message is for which may be of after a step of the clock."""
        for stream, _ in self._streams.of(series.name) if not series.is_edge else ():
            if stream.topic.is_sample:
                self._sync.suspend(stream.topic.reader, series.watch.oldest_held_ns)

    def leave_out(self, entry: Entry) -> None:
        """Count what cannot be told to be before or after a step of the clock."""
        self._count(entry.topic, "clock_step", entry.stamp_ns, STEP_REASON)

    def end_epoch(self, cuts: Iterable[Cut]) -> list[Entry]:
        """End the open scene and start over after a step of the clocks; return what is after it already.

        Static transforms and calibrations stay.
        """
        cuts = list(cuts)
        self._notices.note_cuts(cuts)
        later: list[Entry] = []
        for cut in cuts:
            if cut.series.is_edge:
                later += self._later_edges(cut)
            else:
                later += self._later_events(cut)
                for stream, take in self._streams.of(cut.series.name):
                    if stream.topic.is_sample:
                        later += self._later_samples(cut, stream.topic, take)
        self._restart("clock_jump")
        return later

    def _later_edges(self, cut: Cut) -> Iterator[Entry]:
        child = cut.series.name
        for stamp_ns, parent, pose in self.tree.take_after(child, cut.low_ns):
            x, y, z = pose.translation.tolist()
            qx, qy, qz, qw = pose.rotation_xyzw.tolist()
            if stamp_ns > cut.high_ns:  # of those in between no frame is made; they are many in a message
                edge = Edge(parent, child, stamp_ns, (x, y, z), (qx, qy, qz, qw), static=False)
                yield Entry(stamp_ns, 0, child, partial(self._poses.add, edge, child))

    def _later_samples(self, cut: Cut, topic: WantedTopic, take: Take) -> Iterator[Entry]:
        if topic.reader == self._reference.name:
            for match in self._frames.take_after(cut.low_ns):
                for name, sample in ((self._reference.name, match.anchor), *match.samples.items()):
                    self._lost(name, "clock_step", sample.stamp_ns, STEP_REASON)
        for taken in self._sync.take_after(topic.reader, cut.low_ns):
            entry = Entry(taken.stamp_ns, 0, topic.name, partial(take, topic, taken))
            if taken.stamp_ns > cut.high_ns:
                yield entry
            else:
                self.leave_out(entry)

    def _later_events(self, cut: Cut) -> Iterator[Entry]:
        taken = () if self.selection is None else self.selection.take_after(cut.series.name, cut.low_ns)
        for stamp_ns, take_again in taken:
            entry = Entry(stamp_ns, 0, cut.series.name, take_again)
            if stamp_ns > cut.high_ns:
                yield entry
            else:
                self.leave_out(entry)

    def _handlers_by_topic(self, sources: dict[str, PoseSource]) -> dict[str, list[tuple[WantedTopic, Handler]]]:
        handlers: dict[str, list[tuple[WantedTopic, Handler]]] = {}
        streams: dict[str, tuple[Stream, Take]] = {}
        takes: dict[str, Take] = {
            "cloud": self._take_sweep,
            "image": self._take_sample,
            "radar": self._take_sample,
            "calibration": self._take_calibration,
            "fix": self._take_fix,
            "heading": self._take_heading,
            "detections": self._take_sample,
        }
        for topic in self.wanted:
            if not self._reads(topic):
                continue
            handler: Handler
            if topic.role == "event":
                handler = partial(self._on_event, topic.settings)
            elif topic.role == "poses":
                handler = partial(self._on_edges, sources[topic.reader])
            elif topic.role == "companion":
                handler = partial(self._streams.tell, *streams[topic.reader])
            elif topic.role == "signal":
                handler = partial(self._signals.take, topic.reader)
            elif topic.role == "compared":
                if self._compared is None:
                    continue
                handler = partial(self._compared.hear, topic.reader)
            else:
                stream, take = self._streams.add(topic, takes[topic.kind])
                if topic.role == "sensor":
                    streams[topic.reader] = stream, take
                handler = partial(self._on_message, stream, take)
            handlers.setdefault(topic.name, []).append((topic, handler))
        return handlers

    def _reads(self, _topic: WantedTopic) -> bool:
        """Whether the messages of a topic that is asked for are taken here."""
        return True

    def _arrive(self, message: Message) -> None:
        """Take a message in the order of arrival, which tells what is before and what after a step of the clocks."""
        rest: list[Handler] = []
        is_noted = False
        for topic, handler in self._roles.get(message.topic, ()):
            if topic.role in ("poses", "signal", "compared"):
                self._try(handler, message)  # edges have stamps of their own; the others take care of steps themselves
            else:
                rest.append(handler)
                is_noted = is_noted or topic.role != "event"
        if not rest:
            return
        take = partial(self._handle, rest, message)
        stamp_ns = self._arrival_stamps[message.topic](message)
        if is_noted:
            self.evidence.note(message.topic, message.type_name, stamp_ns, message.log_ns)
            if message.type_name in (IMAGE, COMPRESSED_IMAGE):
                self.evidence.note_content(message.topic, message.data, stamp_ns)
        if stamp_ns <= 0:
            take()
            return
        self._epochs.take(self._series_of(message), entry_of(message, stamp_ns, take))

    def _series_of(self, message: Message) -> Series:
        series = self._series.get(message.topic)
        if series is None:
            streams = (stream for stream, _ in self._streams.of(message.topic))
            is_video = any(stream.in_decoding_order(message) for stream in streams)
            series = self._epochs.series(message.topic, "", PICTURES_IN_A_ROW if is_video else MESSAGES_IN_A_ROW)
            self._series[message.topic] = series
        return series

    def _handle(self, handlers: list[Handler], message: Message) -> None:
        for handler in handlers:
            self._try(handler, message)

    def _handlers_of(self, topic: str) -> Iterator[Handler]:
        yield from (handler for _, handler in self._roles.get(topic, ()))

    def _try(self, handler: Handler, message: Message) -> None:
        try:
            handler(message)
        except (DecodeError, TransformError) as error:
            cause = error.cause if isinstance(error, DecodeError) else "bad_transform"
            self._count(message.topic, cause, stamp_of(message), str(error))
        except (BridgeError, OSError, MemoryError):
            raise
        except Exception as error:
            if self.on_unexpected is None:
                raise
            self.on_unexpected(message, error)
            self._count(message.topic, "damaged", stamp_of(message), f"{type(error).__name__}: {error}")

    def _on_edges(self, source: PoseSource, message: Message) -> None:
        for edge in source.edges(message):
            if edge.static or self._is_priming:
                self._take_edge(source, message.topic, edge)
                continue
            series = self._epochs.series(message.topic, edge.child, EDGES_IN_A_ROW)
            self.evidence.note_edge(message.topic, edge, message.log_ns)
            take = partial(self._take_edge, source, message.topic, edge)
            self._epochs.take(series, Entry(edge.stamp_ns, EDGE_BYTES, message.topic, take))

    def _take_edge(self, source: PoseSource, named_by: str, given: Edge) -> None:
        edge = self._poses.placed(source, given, named_by)
        if not self._poses.admits(source.rank, edge, named_by):
            return
        if not edge.static and self._ends_the_past(edge):
            self._flush("clock_jump")
        self._poses.note_teller(source, edge)
        if edge.static and not self._is_priming:
            self.evidence.note_static(edge)
        self._poses.add(edge, named_by)

    def _on_event(self, event: EventConfig, message: Message) -> None:
        if self.selection is not None:
            self.selection.take(event, message)

    def _on_message(self, stream: Stream, take: Take, message: Message) -> None:
        if self.passes_over(message):
            self._pass_over(stream, message)
            return
        self._streams.take(stream, take, message)

    def _pass_over(self, stream: Stream, message: Message) -> None:
        """Take note of a message that is too far from every window of an event for a frame to want it."""
        name, stamp_ns = stream.topic.reader, stream.arrival_stamp_ns(message)
        self._notices.note_used((name,))
        if name == self._reference.name and self.selection is not None:
            self.selection.begin(stamp_ns)
            self.selection.pass_over(name, stamp_ns)
        else:
            self._lost(name, "no_event", stamp_ns, "")
        self._sync.pass_over(name, stamp_ns)

    def _count(self, topic: str, cause: Cause, stamp_ns: int, reason: str = "") -> None:
        if not self._is_priming:
            self.ledger.count(topic, cause, stamp_ns, reason)

    def _ends_the_past(self, edge: Edge) -> bool:
        """Whether the poses that frames still wait for are gone once this edge is in."""
        is_waiting = self.selection is not None and self.selection.oldest_ns is not None
        return self.tree.has_leapt(edge.child) and (is_waiting or self.oldest_waiting_ns is not None)

    def _take_calibration(self, topic: WantedTopic, info: CameraInfo) -> None:
        if not self._is_priming:
            self.evidence.note_calibration(topic.reader, info)
        self._calibrations.add(topic.reader, info)

    def _take_fix(self, topic: WantedTopic, fix: Fix | Missing) -> None:
        self._notices.fixes += 1
        is_fix = isinstance(fix, Fix) and not (fix.latitude == fix.longitude == 0.0)
        if self.selection is not None:
            self.selection.take_fix(topic.name, fix.stamp_ns, fix if isinstance(fix, Fix) and is_fix else None)
        if isinstance(fix, Fix) and fix.latitude == fix.longitude == 0.0:
            reason = f"{topic.name}: a fix at latitude 0, longitude 0 is what receivers say that have none"
            self._count(topic.name, "gps_implausible", fix.stamp_ns, reason)
            return
        if isinstance(fix, Fix):
            self.evidence.note_fix(fix)
        self._gps.add_fix(fix.stamp_ns, None if isinstance(fix, Missing) else fix)

    def _take_heading(self, _topic: WantedTopic, heading: Heading | Missing) -> None:
        self._gps.add_heading(heading.stamp_ns, None if isinstance(heading, Missing) else heading)

    def _take_sweep(self, topic: WantedTopic, sweep: Sweep) -> None:
        self.evidence.note_sweep(topic.name, sweep)
        lidar = self._usable[topic.reader]
        if not has_points(sweep, lidar):
            reason = (
                f"{topic.name} at stamp {sweep.stamp_ns}: no point is usable "
                f"(all are NaN, zero or outside {lidar.min_range_m} to {topic.settings.max_range_m} m)"
            )
            self._count(topic.name, "empty_cloud", sweep.stamp_ns, reason)
            return
        if topic.reader != self._reference.name:
            self._take_sample(topic, sweep)
            return
        if sweep.stamp_ns < self._sync.newest_sweep_ns - self._clock_step_ns:
            self._restart("clock_jump", told_by=topic)  # of a type whose messages have no stamps
        if self.selection is not None:
            self.selection.begin(sweep.stamp_ns)
        self._sync.add_anchor(sweep.stamp_ns, sweep.last_ns, sweep.nbytes, sweep)

    def _take_sample(self, topic: WantedTopic, sample: Payload) -> None:
        if isinstance(sample, Image):
            self.evidence.note_picture(topic.reader, sample)
        self._sync.add(topic.reader, sample.stamp_ns, sample.nbytes, sample)

    def advance(self) -> None:
        """Decide what can be decided."""
        if self._sync.message_time_ns >= 0:
            self._poses.advance(self._sync.message_time_ns)
            if self._compared is not None:
                self._compared.advance(self._sync.message_time_ns)
        for match in self._sync.ready():
            self._frames.push(match)
        self._take_frames()
        while self.bytes_held > self.config.sync.max_bytes:
            if self._frames.has_frames:
                candidate = self._frames.pop_oldest(self._sync.message_time_ns)
                if candidate is not None:
                    self._take_frame(candidate)
            elif self._sync.has_anchors:
                self._frames.push(self._sync.close_oldest())
            else:
                break
        if self.selection is not None and self._sync.message_time_ns >= 0:
            self._take_decided(self.selection.advance(self._sync.message_time_ns, self.oldest_waiting_ns))

    def _is_due(self) -> bool:
        """Whether it is time to look at what can be decided: where frames wait for events, only now and then."""
        now_ns = self._sync.message_time_ns
        if self.selection is None or now_ns >= self._due_ns or self.bytes_held > self.config.sync.max_bytes:
            self._due_ns = now_ns + LOOK_EVERY_NS
            return True
        return False

    def _take_frames(self, *, everything: bool = False) -> None:
        for candidate in self._frames.ready(self._sync.message_time_ns, everything=everything):
            self._take_frame(candidate)

    def _take_frame(self, candidate: Candidate) -> None:
        if self.selection is None:
            self._pending.extend(self._scenes.add(candidate))
            return
        self._notices.note_used(name for name, _ in candidate.frame.samples)
        self.selection.push(candidate)

    def _take_decided(self, decided: Iterable[Decided]) -> None:
        """Take the frames whose turn has come, in the windows of events and outside of them."""
        for one in decided:
            if one.candidate is None:
                self._pending.extend(self._scenes.end("window_end", before_ns=one.stamp_ns))
            else:
                self._take_wanted(one.candidate, begins=one.begins)
            if self.selection is not None:
                first_ns = self._scenes.first_stamp_ns
                self.selection.forget(one.stamp_ns if first_ns is None else first_ns)

    def _take_wanted(self, candidate: Candidate, *, begins: bool) -> None:
        try:
            whole = replace(candidate, frame=self._frames.complete(candidate.frame))
        except TransformError as error:
            self._leave_out_frame(tuple(candidate.frame.samples), "no_transform", str(error))
            return
        self._pending.extend(self._scenes.add(whole, begins=begins))

    def _leave_out_frame(self, samples: Samples, cause: Cause, reason: str) -> None:
        for name, stamp_ns in samples:
            self._lost(name, cause, stamp_ns, reason)

    def _late_event(self, topic: str, stamp_ns: int) -> None:
        reason = f"{topic} came later than sync.wait_s, {self.config.sync.wait_s:g} s, too late for an event"
        self._count(topic, "late", stamp_ns, reason)

    def _flush(self, reason: EndReason) -> None:
        for match in self._sync.ready(everything=True):
            self._frames.push(match)
        self._take_frames(everything=True)
        if self.selection is not None:
            self._take_decided(self.selection.finish(self._sync.message_time_ns))
        self._pending.extend(self._scenes.end(reason))
        if self.selection is not None:
            self.selection.restart()

    def _restart(self, reason: EndReason, told_by: WantedTopic | None = None) -> None:
        """Start over; the topic that showed the step is past it: what its decoder holds came after it."""
        self._streams.reset("clock_step", told_by=told_by)
        self._flush(reason)
        self._sync.restart()
        self._due_ns = -1
        self._frames.restart()
        self._calibrations.restart()
        self._gps.restart()
        self._signals.restart()
        if self._compared is not None:
            self._compared.restart()
        self._poses.reset("clock_step")
        self.tree.clear_dynamic()

    def _take_events(self) -> list[Event]:
        events, self._pending = self._pending, []
        for number, event in enumerate(events):
            if isinstance(event, FrameReady):
                self._notices.note_used(name for name, _ in event.frame.samples)
                self.evidence.note_frame(event.frame)
            elif isinstance(event, SceneEnded):
                found = self._notices.of_scene(event.losses, self._sync.overtaken_ns)
                events[number] = replace(event, warnings=found)
        return events

    def _lost_sample(self, name: str, cause: Cause, stamp_ns: int) -> None:
        reason = ""
        if cause == "no_frame" and self._notices.is_apart(name):
            cause, reason = "clock_step", APART_REASON
        elif cause == "late":
            reason = self._notices.note_late(name, self._sync.message_time_ns - stamp_ns)
        self._lost(name, cause, stamp_ns, reason)

    def _lost(self, name: str, cause: Cause, stamp_ns: int, reason: str) -> None:
        self._count(self._notices.topic_of[name], cause, stamp_ns, reason)


def _in_reach(lidar: LidarConfig) -> LidarConfig:
    """Points beyond what a scene's coordinates can be are not a reason to keep a sweep."""
    return replace(lidar, max_range_m=min(lidar.max_range_m, MAX_COORDINATE_M))


def _no_stamp(_message: Message) -> int:
    return 0


def stamp_of(message: Message) -> int:
    """Return the stamp a loss is booked under: the message's own where it can be read, else the log time."""
    peek = next((interface.peek for interface in registry.interfaces_of(message.type_name)), peek_header)
    try:
        return (peek(message.data)[0] if peek else 0) or message.log_ns
    except DecodeError:
        return message.log_ns


def events_of(pipeline: Pipeline, messages: Iterable[Message]) -> Iterator[Event]:
    """Feed all messages and end; yield what is decided on the way."""
    for message in messages:
        yield from pipeline.add(message)
    yield from pipeline.finish()
