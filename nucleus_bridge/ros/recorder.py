# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node ``nucleus_recorder``: records scenes from the live graph while it is active."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, KeyValue
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from nucleus_bridge.causes import EndReason, is_expected
from nucleus_bridge.config import Config
from nucleus_bridge.config.sources import MARK
from nucleus_bridge.errors import BridgeError, ConfigError, InputError, OutputError
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.losses import Table, merge
from nucleus_bridge.render.workers import executor_for
from nucleus_bridge.ros.bond import Bond, status_message
from nucleus_bridge.ros.definitions import definition_of
from nucleus_bridge.ros.diagnostics import Reporter, Snapshot
from nucleus_bridge.ros.first_start import check_first_start, described
from nucleus_bridge.ros.healing import Healer
from nucleus_bridge.ros.inbox import Answer
from nucleus_bridge.ros.leaving import LEAVE_WITHIN_S, leaving
from nucleus_bridge.ros.middleware import check_executor, without_events
from nucleus_bridge.ros.parameters import NodeParameters
from nucleus_bridge.ros.resuming import Resumed
from nucleus_bridge.ros.running import BAD_INPUT, FAILED, Closable, Stop, run
from nucleus_bridge.ros.session import Progress, Session
from nucleus_bridge.ros.subscriptions import Subscriptions, Topic
from nucleus_bridge.ros.view import View
from nucleus_bridge.spool import SealedScene, Spool
from nucleus_bridge.spool.durable import unlock_file
from nucleus_bridge.spool.marks import mark_id
from nucleus_bridge.warnings import Finding

NAME = "nucleus_recorder"
SEAL_WITHIN_S = 4.5
DEACTIVATE_WITHIN_S = 30.0
"""A middleware that lets nothing go for so long holds up everything else in the process, too."""
START_AFTER_S = 0.01
REPORT_PERIOD_S = 1.0
RESTING_TURN_S = 10.0
"""While nothing comes and nothing changes: a turn costs more than a report, which another thread makes meanwhile."""
LOSSES_PERIOD_S = 60.0
ANSWER_WITHIN_S = 0.7
VIEW_WARNINGS_S = 30.0
DISCOVERY_S = 5.0
"""How long a node that is configured looks for the topics of events and signals, to check their fields beforehand."""
_LOOK_S = 0.05
CLOCK_STEP_BACK = Duration(nanoseconds=-1)

_DONE = TransitionCallbackReturn.SUCCESS


class RecorderNode(LifecycleNode):
    """Hands what it receives to a recording; everything slow happens there."""

    def __init__(self, stop: Stop, **arguments: Any) -> None:
        """Declare the parameters.

        Raises:
            ConfigError: A parameter is unknown, of the wrong type or out of range.
        """
        super().__init__(NAME, **arguments)
        self._stop = stop
        self._resumed = Resumed.read()
        self._session: Session | None = None
        self._settings = NodeParameters(self, self._apply, self._resumed.parameters, self._is_recording)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._workers: Executor | None = None
        self._spool: Spool | None = None
        self._reservation: int | None = None
        self._status = FAILED
        self._configured: Config | None = None
        self._has_frames = False
        self._listening: Subscriptions | None = None
        self._view: View | None = None
        self._bond: Bond | None = None
        self._unused: list[Closable] = []
        self._paused = False
        self._last = Progress()
        self._failure = ""
        self._told_warnings: set[tuple[str, str]] = set()
        self._told_losses: dict[tuple[str, str], int] = {}
        self._tell_losses_at_s = 0.0
        self._healer = Healer(self, self._resumed.healed)
        self._reporter = Reporter(self.get_fully_qualified_name())
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10, event_callbacks=without_events())
        self._scene_sealed = self.create_publisher(KeyValue, "~/scene_sealed", 10, event_callbacks=without_events())
        patient = ReentrantCallbackGroup()  # each call waits for its answer, and nothing may wait for it
        self.create_service(Trigger, "~/finish_scene", self._on_finish_scene, callback_group=patient)
        self.create_service(Trigger, "~/mark", self._on_mark, callback_group=patient)
        self.create_service(Trigger, "~/pause", self._on_pause)
        self.create_service(Trigger, "~/resume", self._on_resume)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=CLOCK_STEP_BACK, on_clock_change=False),
            post_callback=self._on_clock_jump,
        )
        self._news = self.create_guard_condition(self._look_at_graph)
        self._turns = self.create_timer(REPORT_PERIOD_S, self._on_turn, clock=self._steady)
        self._rests = False
        if self._settings.config.autostart or self._resumed.is_there:
            self._start_timer = self.create_timer(START_AFTER_S, self._on_start, clock=self._steady)
        else:
            self.get_logger().info(f"waiting to be configured, since autostart is false; {self._how_to('configure')}")

    @property
    def executor(self) -> Any:
        """The executor that runs this node."""
        return super().executor

    @executor.setter
    def executor(self, executor: Any) -> None:
        check_executor(executor)
        LifecycleNode.executor.fset(self, executor)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._settings.config

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check everything that can be known already, and start the workers."""
        del state
        try:
            self._configure()
        except Exception as error:  # noqa: BLE001 - rclpy would say nothing of it
            self._free()
            self._tell_failure("cannot be configured", error)
            return TransitionCallbackReturn.FAILURE
        self._failure, self._status = "", FAILED
        if not self.config.autostart:
            place = self.config.spool.path
            self.get_logger().info(f"inactive: records to {place} once it is activated; {self._how_to('activate')}")
        return _DONE

    def _configure(self) -> None:
        self._configured = self.config
        if not self.config.spool.path:
            raise ConfigError("spool.path: set it to the folder that takes the scenes")
        if self.config.bond_heartbeat_period:
            status_message()
        pipeline = Pipeline(self.config)
        check_first_start(pipeline.wanted, self._settings.given, self.resolve_topic_name)
        self._check_fields(pipeline)
        self._spool = Spool(Path(self.config.spool.path))
        self._spool.create()
        count = self.config.queue.workers
        self._workers = executor_for(count)
        for started in [self._workers.submit(os.getpid) for _ in range(count)]:
            started.result()
        # Only now: workers that were forked would keep the lock of a recorder that was killed.
        self._reservation = self._spool.reserve()

    def _check_fields(self, pipeline: Pipeline) -> None:
        """Check the fields of events and signals on the topics that are published already.

        Raises:
            ConfigError: An event's topic has no such field, or its type is not installed.
            InputError: A signal's topic has no such field.
        """
        wanted = [topic for topic in pipeline.wanted if topic.takes_any_type]
        published = self._published({self.resolve_topic_name(topic.name) for topic in wanted})
        for topic in wanted:
            types = published.get(self.resolve_topic_name(topic.name), [])
            if len(types) == 1:
                pipeline.define(topic.name, types[0], definition_of(types[0]))

    def _published(self, names: Collection[str]) -> Mapping[str, list[str]]:
        """Return the types of what is published; waits a moment for topics that a node so young may not know yet."""
        limit_s = time.monotonic() + DISCOVERY_S
        while True:
            published = dict(self.get_topic_names_and_types())
            if published.keys() >= set(names) or time.monotonic() > limit_s:
                return published
            time.sleep(_LOOK_S)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and record."""
        try:
            self._activate()
        except Exception as error:  # noqa: BLE001 - rclpy would say nothing of it
            self._tell_failure("cannot be activated", error)
            return TransitionCallbackReturn.ERROR
        return super().on_activate(state)

    def _activate(self) -> None:
        if self._spool is None or self._workers is None:
            raise BridgeError("it is not configured")
        if self._configured != self.config:  # parameters were set since
            self._free()
            self._configure()
        self._paused, self._has_frames = False, False
        self._told_losses = {}
        self._told_warnings = set()
        if self.config.bond_heartbeat_period:
            self._bond = Bond(self, self.config.bond_heartbeat_period)
        view = self._view = View(self, self.config, self._warn_of_view)
        self._session = Session(self.config, self._spool, self._workers, self._on_sealed, view.take)
        self._session.start()
        given = self._settings.given
        healed = self._healer.healed
        if not self._resumed.is_there:  # what was missed before this node was deactivated says nothing of now
            healed = replace(healed, deaf={}, in_vain=0)
        self._healer = Healer(self, healed)
        self._listening = Subscriptions(
            self,
            self._session.wanted,
            self._receive,
            self._on_transport_loss,
            given,
            earlier=self._resumed.received,
            define=self._define,
            looked=self._on_taken,
        )
        self.get_logger().info(f"recording to {self._spool.path}")

    def _tell_failure(self, what: str, error: Exception) -> None:
        """Keep and log why a transition failed, and which exit status that is worth."""
        self._failure = str(error) if isinstance(error, BridgeError) else described(error)
        by_a_person = isinstance(error, InputError) and not isinstance(error, OutputError)
        self._status = BAD_INPUT if by_a_person else FAILED
        self.get_logger().error(f"{what}: {described(error)}")

    def _how_to(self, transition: str) -> str:
        return f"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Seal the open scene and stop listening."""
        try:
            failure = self._seal()
            self._leave()
            super().on_deactivate(state)
        except Exception as error:  # noqa: BLE001 - rclpy would say nothing of it
            self._tell_failure("cannot be deactivated", error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.ERROR if failure else _DONE

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything."""
        del state
        self._free()
        return _DONE

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Seal the open scene and free everything."""
        del state
        try:
            self._seal()
            self._free()
            self._leave()
        except Exception as error:  # noqa: BLE001 - rclpy would say nothing of it
            self._tell_failure("cannot be shut down", error)
            return TransitionCallbackReturn.ERROR
        return _DONE

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Say why, seal what can be sealed, and be ready to be configured again."""
        del state
        self._seal()
        self._free()
        self._leave()
        self.get_logger().error(f"recording stopped: {self._failure or 'a transition failed'}")
        if self.config.autostart:
            self._stop.request(self._status)
        return _DONE

    def close(self) -> None:
        """Seal and free, whatever the state is; the executor has ended."""
        if self._seal():
            self._stop.request(FAILED)
        self._free()
        self._healer.close()
        if self._stop.resume is None:  # else the connection is not closed but dropped
            self._leave(LEAVE_WITHIN_S)

    def _seal(self, reason: EndReason = "end_of_data") -> str:
        """End the recording, without a call of the middleware that may wait; return what went wrong with it."""
        session, subscriptions = self._session, self._listening
        if session is None:
            return ""
        if subscriptions is not None:
            subscriptions.stop()
            session.log_step_ns = subscriptions.clock_step_ns
            self._unused.append(subscriptions)
            self._listening = None
            self._rest(rests=False)
        if not session.stop(SEAL_WITHIN_S, reason):
            self._failure = f"the open scene could not be sealed within {SEAL_WITHIN_S} s"
        self._healer.close()
        self._failure = session.failure or self._failure
        self._last, self._session = self._totals(session.progress), None
        self._resumed = Resumed(is_there=False)  # the next activation counts from nothing, as the first one did
        if self._view is not None:
            self._unused.append(self._view)
            self._view = None
        self._log_warnings(self._last.findings)  # what the whole recording shows is judged at its end
        return self._failure

    def _leave(self, within_s: float = DEACTIVATE_WITHIN_S) -> None:
        """Withdraw from the graph what the recording had there, now that everything is safe."""
        unused, self._unused = self._unused, []
        if self._bond is not None:
            unused.append(self._bond)
            self._bond = None
        if unused:
            with leaving(within_s):
                for one in unused:
                    one.close()

    def _free(self) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
        if self._reservation is not None:
            unlock_file(self._reservation)
        self._workers = self._spool = self._reservation = None

    def _receive(self, topic: Topic, type_name: str, data: bytes, received_ns: int) -> None:
        session = self._session
        if session is None:
            return
        now_ns = self._now_ns(received_ns)
        if topic.is_sample and self._paused:
            session.inbox.lose(topic.name, "paused", data)
        elif topic.is_sample and not now_ns:
            session.inbox.lose(topic.name, "no_clock", data)
        else:
            session.inbox.offer(Message(topic.name, type_name, now_ns, data), is_sample=topic.is_sample)

    def _define(self, topic: str, type_name: str) -> None:
        """Tell the recording what type the topic of an event or a signal has.

        Raises:
            ConfigError: A field of an event is not in the type, or its condition does not fit.
            InputError: A field of a signal is not in the type, or has no single value.
        """
        if self._session is not None:
            self._session.define(topic, type_name, definition_of(type_name))

    def _now_ns(self, system_ns: int = 0) -> int:
        """Return the time of the node's clock, which is 0 until simulated time is told.

        Args:
            system_ns: The system's time, where that was noted; 0: now.
        """
        clock = self.get_clock()
        return int(clock.now().nanoseconds) if clock.ros_time_is_active else system_ns or time.time_ns()

    def _on_transport_loss(self, topic: str) -> None:
        if self._session is not None:
            self._session.inbox.lose(topic, "lost_in_transport")

    def _on_clock_jump(self, jump: Any) -> None:
        if self._session is not None:
            step_ns = abs(jump.delta.nanoseconds)
            self.get_logger().warning(
                f"the clock went back by {step_ns / 1e9:.3f} s: the open scene ends, if there is one"
            )
            self._session.clock_jumped(self.get_clock().now().nanoseconds, step_ns)

    def _on_sealed(self, scene: SealedScene) -> None:
        manifest = scene.manifest
        note = " (was there already)" if scene.existed else ""
        self.get_logger().info(
            f"sealed {manifest.reference_id}: {manifest.frames} frames, {manifest.items} items, "
            f"{manifest.end_reason}{note}"
        )
        self._scene_sealed.publish(KeyValue(key=manifest.reference_id, value=str(scene.folder)))

    async def _on_finish_scene(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        session = self._session
        if session is None:
            response.message = "not active: nothing is being recorded"
            return response
        told = await self._answer(session.finish_scene, lambda: _still_ending(session))
        response.success, response.message = told.success, told.text
        return response

    async def _on_mark(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Make the event ``mark`` now; answer with its id."""
        session, now_ns = self._session, self._now_ns()
        if session is None or not now_ns:
            inactive = "not active: nothing is being recorded"
            response.message = inactive if session is None else "there is no time yet: nobody publishes /clock"
            return response
        late = Answer(success=True, text=mark_id(MARK, now_ns))
        told = await self._answer(lambda done: session.mark(now_ns, done), lambda: late)
        response.success, response.message = told.success, told.text
        return response

    async def _answer(self, ask: Callable[[Callable[[Answer], None]], None], late: Callable[[], Answer]) -> Answer:
        """Ask the recording's thread; give the ``late`` answer where it takes long."""
        answered: Future = Future(executor=self.executor)
        first = threading.Lock()

        def answer(told: Answer) -> None:
            if first.acquire(blocking=False):
                answered.set_result(told)

        timer = self.create_timer(ANSWER_WITHIN_S, lambda: answer(late()), clock=self._steady)
        ask(answer)
        told: Answer = await answered
        self.destroy_timer(timer)
        return told

    def _on_pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._set_paused(response, paused=True)

    def _on_resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._set_paused(response, paused=False)

    def _set_paused(self, response: Trigger.Response, *, paused: bool) -> Trigger.Response:
        response.success = self._session is not None
        response.message = "not active: nothing is being recorded"
        if response.success:
            was, self._paused = self._paused, paused
            now = "paused" if paused else "recording"
            response.message = f"was {now} already" if was == paused else now
        return response

    def _warn_of_view(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=VIEW_WARNINGS_S)

    def _is_recording(self) -> bool:
        return self._session is not None

    def _apply(self, config: Config) -> None:
        if self._view is not None:
            self._view.view_hz = config.ros.view_hz
        if self._session is not None:
            self._session.apply(config)

    def _on_start(self) -> None:
        self.destroy_timer(self._start_timer)
        if self.trigger_configure() != _DONE or self.trigger_activate() != _DONE:
            self._stop.request(self._status)
        self._paused = self._resumed.is_paused

    def _on_turn(self) -> None:
        """Look at the graph, and report; once a second, unless the executor may rest."""
        try:
            self._look_at_graph()
        finally:
            self._report()
        self._rest(rests=self._listening is not None and self._listening.is_quiet)

    def _rest(self, *, rests: bool) -> None:
        """Have the executor turn by itself every ``RESTING_TURN_S``, or once a second again."""
        if rests != self._rests:
            self._turns.timer_period_ns = round((RESTING_TURN_S if rests else REPORT_PERIOD_S) * 1e9)
            self._turns.reset()
            self._rests = rests

    def _on_taken(self) -> bool:
        """Have the executor look at the graph at once where there is anything new; in the thread that takes messages.

        A turn of the executor costs more than all that is done in most of them. While it rests, this thread reports.
        """
        listening, session, config = self._listening, self._session, self.config
        if listening is None or session is None:
            return False
        topics, silent_s = listening.topics.values(), config.diagnostics.silent_s
        self._healer.free_ports(topics, silent_s, heals=config.ros.heal)
        ends_rest = self._rests and (not listening.is_quiet or bool(session.failure))
        is_due = self._healer.is_due(topics, silent_s, heals=config.ros.heal)
        has_news = ends_rest or is_due or listening.has_news()
        if has_news:
            self._news.trigger()
        elif self._rests:
            self._report()
        return has_news

    def _look_at_graph(self) -> None:
        self._rest(rests=False)
        if self._session is not None and self._session.failure:
            self.trigger_deactivate()
        if self._listening is not None:
            self._listening.update()
            if self._session is not None:
                self._session.log_step_ns = self._listening.clock_step_ns
            topics, silent_s = self._listening.topics.values(), self.config.diagnostics.silent_s
            deaf = self._healer.look(topics, silent_s, heals=self.config.ros.heal)
            if deaf or self._healer.is_worn(heals=self.config.ros.heal):
                self._connect_anew(deaf)

    def _connect_anew(self, deaf: Sequence[str]) -> None:
        """Seal the open scene and start the program anew: no connection of it can be trusted any more."""
        why = f"{', '.join(deaf)}: {self._healer.reason}" if deaf else self._healer.reason
        self.get_logger().warning(f"{why}: the open scene is sealed, and the recorder connects to the graph anew")
        listening = self._listening
        if listening is None:
            return
        if failure := self._seal("graph_rebuilt"):
            self.get_logger().error(f"recording stopped: {failure}")
            self._stop.request(FAILED)
            return
        received = {topic.name: topic.earlier + topic.received for topic in listening.topics.values()}
        healed = self._healer.rebuilding(deaf)
        resumed = Resumed(healed, self._last, received, self._settings.set_later, self._paused)
        self._stop.request_new_start(resumed.as_json())

    def _totals(self, progress: Progress) -> Progress:
        """Add what earlier connections made."""
        earlier = self._resumed.progress
        losses: Table = {}
        merge(losses, self._resumed.progress.losses)
        merge(losses, progress.losses)
        return replace(
            progress, frames=earlier.frames + progress.frames, scenes=earlier.scenes + progress.scenes, losses=losses
        )

    def _report(self) -> None:
        session, view, listening, healed = self._session, self._view, self._listening, self._healer.healed
        state = "inactive" if session is None else "paused" if self._paused else "active"
        with nullcontext() if listening is None else listening.one_at_a_time:
            if view is not None and not self._rests:  # at rest there is nothing to show
                view.look()
            progress = self._totals(session.take_progress()) if session else self._last
            queued = session.inbox.take_most_queued() if session else 0
            snapshot = Snapshot(state, progress, queued, self._failure, healed.times, healed.deaf_s)
            now_ns = self.get_clock().now().nanoseconds
            report = self._reporter.report(self.config, listening, snapshot, now_ns)
        self._log_broken(progress.broken)
        self._log_losses(progress.losses)
        self._log_warnings(progress.findings)
        if progress.frames > self._resumed.progress.frames and not self._has_frames:
            self._has_frames = True
            self.get_logger().info(f"the first frame is made, in the scene {progress.open_scene or 'that has ended'}")
        self._diagnostics.publish(report)

    def _log_broken(self, broken: Mapping[str, str]) -> None:
        """Log once what fails in the path of a topic."""
        for item in broken.items():
            if item not in self._told_warnings:
                self._told_warnings.add(item)
                self.get_logger().error(": ".join(item))

    def _log_warnings(self, findings: Iterable[Finding]) -> None:
        """Log each warning once."""
        for finding in findings:
            key = finding.code.value, finding.name
            if key not in self._told_warnings:
                self._told_warnings.add(key)
                self.get_logger().warning(str(finding).removeprefix("warning: "))

    def _log_losses(self, losses: Table) -> None:
        """Log what was lost by fault since the last time, at most one line a minute."""
        now = time.monotonic()
        new = {
            f"{topic} {cause}": count - self._told_losses.get((topic, cause), 0)
            for topic, causes in losses.items()
            for cause, count in causes.items()
            if not is_expected(cause)
        }
        new = {what: count for what, count in new.items() if count > 0}
        if not new or now < self._tell_losses_at_s:
            return
        self.get_logger().warning("lost: " + ", ".join(f"{what} {count}" for what, count in sorted(new.items())))
        self._told_losses = {(topic, cause): n for topic, causes in losses.items() for cause, n in causes.items()}
        self._tell_losses_at_s = now + LOSSES_PERIOD_S


def _still_ending(session: Session) -> Answer:
    """Say why there is no other answer yet."""
    progress = session.progress
    if progress.spool_full:
        return Answer(success=False, text=f"the scene ends once there is room in the spool: {progress.spool_full}")
    queued = f"{session.inbox.queued_bytes} bytes are to be processed before"
    return Answer(success=True, text=f"the scene is being ended, {queued}; ~/scene_sealed tells when it is safe")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node; return the exit status."""
    return run(RecorderNode, "Record scenes from the live graph while the node is active.", arguments)


if __name__ == "__main__":
    sys.exit(main())
