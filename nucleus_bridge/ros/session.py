# SPDX-License-Identifier: Apache-2.0
"""From received bytes to sealed scenes: a queue bounded in bytes, and one thread that feeds pipeline and spool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty

from nucleus_bridge.causes import Cause, EndReason
from nucleus_bridge.config import Config
from nucleus_bridge.config.sources import MARK
from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.errors import BridgeError, DecodeError, SceneExistsError
from nucleus_bridge.inspect.evidence import findings_of
from nucleus_bridge.inspect.standing import once
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.events import Event, FrameReady, Residual, SceneEnded, SceneStarted
from nucleus_bridge.pipeline.frame_builder import Wait
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.render import SceneRecorder
from nucleus_bridge.render.room import arrived_where_configured, look_back_of
from nucleus_bridge.ros.inbox import Answer, ClockStep, End, FinishScene, Inbox, Item, Lost, Mark
from nucleus_bridge.spool import SealedScene, Spool
from nucleus_bridge.spool.marks import MARKS_NAME, note_mark
from nucleus_bridge.spool.quota import Quota, Room
from nucleus_bridge.warnings import Finding

THINNED, THINNED_MORE = 2, 4
FRAMES_IN_FLIGHT_PER_WORKER = 3
_REPORT_PERIOD_S = 0.1
_ASK_AGAIN_S = 0.5
_SLICE_S = 0.1
_JUDGE_PERIOD_S = 10.0


@dataclass(frozen=True)
class LookBackState:
    """What waits for an event.

    Attributes:
        armed: The events that are looked for.
        reach_s: How far back of the newest frame an event would find all of them.
        memory_bytes: What waits in memory.
        disk_bytes: What waits on the disk.
    """

    armed: tuple[str, ...]
    reach_s: float
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Progress:
    """How the recording gets on; a snapshot that any thread may read.

    Attributes:
        frames: Frames that went into scenes.
        scenes: Scenes sealed.
        open_scene: Reference id of the open scene, or "".
        open_frames: Frames of the open scene.
        losses: Everything lost so far, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        residuals: Synchronisation residuals of the last scene that ended, by sensor.
        waited_s: Message time that the oldest undecided frame has been waiting.
        obstacle: What the oldest matched frame waits for, or "".
        longest_wait_s: Message time of the longest wait since the last report, ended or not.
        longest_obstacle: What that frame waited for, or "".
        pipeline_bytes: Messages that wait for their frame.
        booked: Of the losses, those that were counted where messages come in.
        spool_full: Why the newest scene has no room in the spool, or "".
        findings: What contradicts itself in what was received, as far as it is known.
        look_back: What waits for an event; None where all frames are kept.
        broken: Topics whose latest message failed in a way that nobody expected, and how.
    """

    frames: int = 0
    scenes: int = 0
    open_scene: str = ""
    open_frames: int = 0
    losses: Table = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    residuals: dict[str, Residual] = field(default_factory=dict)
    waited_s: float = 0.0
    obstacle: str = ""
    longest_wait_s: float = 0.0
    longest_obstacle: str = ""
    pipeline_bytes: int = 0
    booked: Table = field(default_factory=dict)
    spool_full: str = ""
    findings: tuple[Finding, ...] = ()
    look_back: LookBackState | None = None
    broken: Mapping[str, str] = field(default_factory=dict)


class Session:
    """Takes messages from one thread and makes scenes of them in another.

    Attributes:
        inbox: Where messages are handed over.
        progress: The latest snapshot.
        failure: Why the recording cannot go on, or "".
        log_step_ns: By how much times of reception may be too early: the steps of a simulated clock.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        executor: Executor,
        sealed: Callable[[SealedScene], None],
        decided: Callable[[Event], None] = lambda _: None,
    ) -> None:
        """Set up.

        Args:
            config: The configuration.
            spool: Where scenes go; must have been created.
            executor: Renders the frames.
            sealed: Is called with each scene when it is safe, in the recording's thread.
            decided: Is called with each event of the pipeline, in the recording's thread.

        Raises:
            ConfigError: A calibration file cannot be used.
        """
        self.progress = Progress()
        self.failure = ""
        self.log_step_ns = 0
        self.inbox = Inbox(config.queue.max_bytes)
        self._thin_at = config.queue.thin_at
        self._every = 1
        self._sealed = sealed
        self._decided = decided
        self._spool = spool
        self._quota = Quota(spool, config.spool, is_uploaded=arrived_where_configured(config.upload))
        self._pipeline = Pipeline(config, takes_marks=True)
        self._pipeline.on_unexpected = self._on_unexpected
        self._broken: dict[str, str] = {}
        self._look_back = look_back_of(config, spool)
        if self._pipeline.selection is not None:
            self._pipeline.selection.hold = self._look_back
        self._topic_of = {sensor.name: sensor.topic for sensor in config.sensors}
        in_flight = FRAMES_IN_FLIGHT_PER_WORKER * config.queue.workers
        self._scenes = SceneRecorder(config, spool, executor, in_flight=in_flight)
        self._booked: Table = {}
        self._longest = Wait()
        self._told: Progress | None = None
        self._stopping = threading.Event()
        self._end_reason: EndReason = "end_of_data"
        self._time_left_s = 0.0
        self._looked_s = 0.0
        self._ended = False
        self._frames = 0
        self._sealed_scenes = 0
        self._open = ""
        self._open_frames = 0
        self._residuals: dict[str, Residual] = {}
        self._next_report = 0.0
        self._judged: tuple[Finding, ...] = ()
        self._next_judgement = 0.0
        self._scene_bytes = 0
        self._spool_full = ""
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)

    @property
    def wanted(self) -> Sequence[WantedTopic]:
        """Every topic that is wanted, in each of its roles."""
        return self._pipeline.wanted

    def define(self, topic: str, type_name: str, definition: str) -> None:
        """Say what type a topic has, before its first message.

        Raises:
            ConfigError: A field of an event is not in the type, or its condition does not fit.
            InputError: A field of a signal is not in the type, or has no single value.
        """
        self._pipeline.define(topic, type_name, definition)

    def mark(self, stamp_ns: int, done: Callable[[Answer], None]) -> None:
        """Make the event ``mark``; ``done`` is told its id once it is written down, in the recording's thread."""
        self.inbox.put(Mark(stamp_ns, done))
        if self._ended:
            self._answer_rest()

    def take_progress(self) -> Progress:
        """Return the latest snapshot to be told, for the callbacks' thread; the longest wait counts anew after it.

        Losses stand in it at once, also while the recording's thread waits for room on the disk.
        """
        self._told = told = self.progress
        losses = {topic: dict(causes) for topic, causes in told.losses.items()}
        merge(losses, self.inbox.losses)
        merge(losses, {t: {c: -count for c, count in causes.items()} for t, causes in told.booked.items()})
        return replace(told, losses=losses)

    def apply(self, config: Config) -> None:
        """Take the values of live parameters."""
        self.inbox.max_bytes = config.queue.max_bytes
        self._thin_at = config.queue.thin_at
        self._quota = Quota(self._spool, config.spool, is_uploaded=arrived_where_configured(config.upload))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def clock_jumped(self, now_ns: int, step_ns: int) -> None:
        """Start over after what was handed over before: the clock went back by ``step_ns`` to ``now_ns``."""
        self.inbox.put(ClockStep(now_ns, step_ns))

    def finish_scene(self, done: Callable[[Answer], None]) -> None:
        """End the open scene; ``done`` is told what came of it, in the recording's thread.

        While the spool has no room nothing can be sealed: it is told so at once, and nothing is ended.
        """
        if full := self.progress.spool_full:
            done(Answer(success=False, text=f"no scene is ended, since new ones have no room: {full}"))
            return
        self.inbox.put(FinishScene(done))
        if self._ended:
            self._answer_rest()

    def stop(self, within_s: float, reason: EndReason = "end_of_data") -> bool:
        """Seal the open scene, which ends for a reason, and end; return whether all was over in time.

        What is still in the queue when half the time is over is dropped and counted as ``stopping``. A machine that
        stands still uses up no time.
        """
        self._end_reason = reason
        self._time_left_s, self._looked_s = within_s / 2, time.monotonic()
        self._stopping.set()
        self.inbox.put(End())
        for _ in range(round(within_s / _SLICE_S)):
            self._thread.join(_SLICE_S)
            if not self._thread.is_alive():
                return True
        return False

    def _is_too_late(self) -> bool:
        """Whether the time for working off the queue is over."""
        if not self._stopping.is_set():
            return False
        now = time.monotonic()
        self._time_left_s -= min(now - self._looked_s, _SLICE_S)
        self._looked_s = now
        return self._time_left_s <= 0

    def _run(self) -> None:
        try:
            while True:
                item = self._next()
                if isinstance(item, End):
                    break
                self._take(item)
            self._handle(self._pipeline.finish(self._end_reason))
            self._seal_rest()
            self._next_judgement = 0.0
        except BridgeError as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"cannot write {error.filename or 'the scene'}: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - whatever it is, the node has to say so and stop
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._scenes.discard()
            self._report()
            self._ended = True
            self._answer_rest()

    def _answer_rest(self) -> None:
        """Answer requests that came after the end."""
        with suppress(Empty):
            while True:
                item = self.inbox.get_nowait()
                if isinstance(item, FinishScene | Mark):
                    item.done(Answer(success=False, text="the recording has ended"))

    def _next(self) -> Item:
        now = time.monotonic()
        if now >= self._next_report:
            self._report()
            self._next_report = now + _REPORT_PERIOD_S
        try:
            return self.inbox.get_nowait()
        except Empty:
            self._report()
            return self.inbox.get()

    def _take(self, item: Item) -> None:
        if isinstance(item, Message):
            if self._is_too_late():
                self._lose(item.topic, "stopping", item.data)
            else:
                self._thin()
                self._broken.pop(item.topic, None)
                self._handle(self._pipeline.add(item))
            self.inbox.looked_at(item)
        elif isinstance(item, Lost):
            self._lose(item.topic, item.cause, item.head)
            merge(self._booked, {item.topic: {item.cause: 1}})
        elif isinstance(item, ClockStep):
            self._handle(self._pipeline.set_back(item.now_ns, item.step_ns))
        elif isinstance(item, FinishScene):
            self._finish_scene(item)
        elif isinstance(item, Mark):
            self._mark(item)

    def _on_unexpected(self, message: Message, error: Exception) -> None:
        """Let a topic fail alone: its message is counted as damaged, and the next one is tried."""
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        self._broken[message.topic] = f"a message cannot be used, the other topics are recorded: {text}"

    def _thin(self) -> None:
        """Keep fewer frames while the queue is long, and all of them again once it is short."""
        fill = self.inbox.queued_bytes / self.inbox.max_bytes
        every = self._every
        if self._thin_at >= 1.0 or fill <= self._thin_at / 2:
            every = 1
        elif fill > (1.0 + self._thin_at) / 2:
            every = THINNED_MORE
        elif fill > self._thin_at:
            every = max(every, THINNED)
        if every != self._every:
            self._every = every
            self._pipeline.thin(every)

    def _finish_scene(self, item: FinishScene) -> None:
        last: list[SealedScene] = []
        asked = self._open
        self._handle(self._pipeline.finish_scene(), last)
        self._seal_rest(last)
        sealed = next((scene.manifest for scene in last if scene.manifest.reference_id == asked), None)
        if not asked:
            item.done(Answer(success=True, text="no open scene"))
        elif sealed is None:
            item.done(Answer(success=False, text=f"{asked} has ended and was not kept: its losses are in /diagnostics"))
        else:
            text = f"{asked} is sealed: {sealed.frames} frames, {sealed.items} items"
            item.done(Answer(success=True, text=text))

    def _mark(self, item: Mark) -> None:
        """Write a mark down, where ``convert --around`` finds it, and let it select frames."""
        self._pipeline.mark(item.stamp_ns)
        try:
            identity = note_mark(self._spool.path, MARK, item.stamp_ns)
        except OSError as error:
            text = f"the mark counts, but {MARKS_NAME} cannot be written: {error.strerror or error}"
            item.done(Answer(success=False, text=text))
            return
        is_selected = self._pipeline.selection is not None
        item.done(
            Answer(success=True, text=identity if is_selected else f"{identity} (scene.select keeps every frame)")
        )

    def _lose(self, topic: str, cause: Cause, head: bytes) -> None:
        """Count a message that does not reach the pipeline; decoders learn of the gap."""
        try:
            stamp_ns = peek_header(head)[0]
        except DecodeError:
            stamp_ns = max(0, self._pipeline.message_time_ns)
        self._handle(self._pipeline.lose(topic, cause, stamp_ns))

    def _handle(self, events: Iterable[Event], sealed: list[SealedScene] | None = None) -> None:
        for event in events:
            self._decided(event)
            if isinstance(event, SceneStarted):
                self._wait_for_room()
                self._open, self._open_frames = event.scene.reference_id, 0
            if self._spool_full:
                self._leave_out(event)
                continue
            if isinstance(event, FrameReady):
                self._frames += 1
                self._open_frames += 1
            elif isinstance(event, SceneEnded):
                self._open = ""
                self._residuals = dict(event.residuals)
            self._tell(self._keeping_existing(partial(self._scenes.handle, [event])), sealed)

    def _wait_for_room(self) -> None:
        """Ask for room for a scene as large as the last one; wait where the policy is to block."""
        while True:
            admission = self._quota.admit(self._scene_bytes)
            self._spool_full = admission.reason if admission.room is not Room.ADMITTED else ""
            if admission.room is not Room.BLOCKED or self._stopping.is_set():
                return
            self._report()
            self._stopping.wait(_ASK_AGAIN_S)

    def _leave_out(self, event: Event) -> None:
        """Count the frames of a scene that has no room."""
        if isinstance(event, FrameReady):
            for name, _ in event.frame.samples:
                topic = self._topic_of[name]
                self._pipeline.ledger.count(topic, "spool_full", event.frame.stamp_ns, self._spool_full)
        elif isinstance(event, SceneEnded):
            self._open = ""

    def _seal_rest(self, sealed: list[SealedScene] | None = None) -> None:
        self._tell(self._keeping_existing(self._scenes.finish), sealed)

    def _keeping_existing(self, step: Callable[[], list[SealedScene]]) -> list[SealedScene]:
        """Leave a scene that is there already as it is: stamps that come a second time, as from a looped bag."""
        try:
            return step()
        except SceneExistsError as error:
            self._pipeline.ledger.count(self._pipeline.config.lidars[0].topic, "scene_exists", 0, str(error))
            return []

    def _tell(self, scenes: list[SealedScene], sealed: list[SealedScene] | None) -> None:
        for scene in scenes:
            self._sealed_scenes += 1
            self._scene_bytes = scene.bytes
            self._sealed(scene)
            if sealed is not None:
                sealed.append(scene)

    def _findings(self) -> tuple[Finding, ...]:
        """Say what contradicts itself; what several messages tell is judged now and then."""
        now = time.monotonic()
        pipeline = self._pipeline
        if now >= self._next_judgement:
            pipeline.evidence.log_step_ns = self.log_step_ns
            wait_ns = round(pipeline.config.sync.wait_s * 1e9)  # what is on its way is not missing
            self._judged = tuple(
                findings_of(
                    pipeline.evidence,
                    pipeline.config,
                    pipeline.tree,
                    pipeline.sources,
                    pipeline.findings,
                    on_its_way_ns=wait_ns,
                )
            )
            self._next_judgement = now + _JUDGE_PERIOD_S
        return once((*pipeline.findings, *self._judged))

    def _report(self) -> None:
        pipeline = self._pipeline
        losses: Table = {}
        merge(losses, pipeline.ledger.totals)
        merge(losses, self._scenes.render_losses)
        oldest = pipeline.oldest_waiting_ns
        waited_s = max(0, pipeline.message_time_ns - oldest) / 1e9 if oldest is not None else 0.0
        obstacle = pipeline.obstacle()
        now = Wait(round(waited_s * 1e9), obstacle)
        before = Wait() if self._told is self.progress else self._longest
        self._longest = max(before, pipeline.take_longest_wait(), now, key=lambda wait: wait.waited_ns)
        self.progress = Progress(
            frames=self._frames,
            scenes=self._sealed_scenes,
            open_scene=self._open,
            open_frames=self._open_frames,
            losses=losses,
            reasons={**self._scenes.reasons, **pipeline.ledger.reasons},
            residuals=self._residuals,
            waited_s=waited_s,
            obstacle=obstacle,
            longest_wait_s=self._longest.waited_ns / 1e9,
            longest_obstacle=self._longest.obstacle,
            pipeline_bytes=pipeline.bytes_held,
            booked={topic: dict(causes) for topic, causes in self._booked.items()},
            spool_full=self._spool_full,
            findings=self._findings(),
            look_back=self._waiting_for_events(),
            broken=dict(self._broken),
        )

    def _waiting_for_events(self) -> LookBackState | None:
        selection = self._pipeline.selection
        if selection is None:
            return None
        oldest_ns, newest_ns = selection.oldest_held_ns, selection.newest_ns
        reach_s = 0.0 if oldest_ns is None or newest_ns is None else (newest_ns - oldest_ns) / 1e9
        held = self._look_back
        return LookBackState(selection.armed, reach_s, held.in_memory.bytes, held.on_disk.bytes)
