# SPDX-License-Identifier: Apache-2.0
"""The state of the recorder as diagnostic statuses: sensors, synchronisation, TF, scenes, spool and upload."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.serialization import serialize_message

from nucleus_bridge.causes import faults, is_expected
from nucleus_bridge.config import Config
from nucleus_bridge.decode.cdr import with_stamp
from nucleus_bridge.pipeline.losses import Table
from nucleus_bridge.ros.disk import LOOK_EVERY_S, Disk, DiskState
from nucleus_bridge.ros.session import Progress
from nucleus_bridge.ros.subscriptions import Subscriptions, Topic
from nucleus_bridge.warnings import Weight

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_NEARLY_FULL = 0.5
INACTIVE = "inactive"
_TF_CAUSES = frozenset(
    {
        "unknown_frame",
        "unconnected_frames",
        "before_first_transform",
        "after_last_transform",
        "no_transform",
        "bad_transform",
    }
)


@dataclass(frozen=True)
class Snapshot:
    """What a report is made from.

    Attributes:
        state: ``active``, ``paused`` or ``inactive``.
        progress: Of the recording.
        queued_bytes: Received and not looked at yet, the most since the previous report.
        failure: Why the recording stopped, or "".
        connections: How often the connection to the graph was made anew.
        deaf_s: For how long, in all, it missed what others heard.
    """

    state: str
    progress: Progress
    queued_bytes: int
    failure: str = ""
    connections: int = 0
    deaf_s: float = 0.0

    @property
    def is_recording(self) -> bool:
        """Whether topics are listened to; a recording that is paused counts."""
        return self.state != INACTIVE


@dataclass
class _Window:
    """What was counted at the previous report, to tell rates and recent losses."""

    at_s: float = field(default_factory=time.monotonic)
    received: dict[str, int] = field(default_factory=dict)
    transport_lost: dict[str, int] = field(default_factory=dict)
    losses: dict[tuple[str, str], int] = field(default_factory=dict)


class Reporter:
    """Makes the diagnostic statuses; remembers the previous report for rates and recent losses."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._hardware_id = ""
        self._started_s = time.monotonic()
        self._window = _Window()
        self._lost_at_s: dict[tuple[str, str], float] = {}
        self._disk: Disk | None = None
        self._before: dict[str, tuple[object, DiagnosticStatus]] = {}
        self._published: tuple[list[DiagnosticStatus], bytes] = [], b""

    def report(
        self, config: Config, subscriptions: Subscriptions | None, snapshot: Snapshot, stamp_ns: int = 0
    ) -> bytes:
        """Return the statuses, serialised; where nothing is different, those before with another stamp."""
        statuses = self._statuses(config, subscriptions, snapshot)
        before, message = self._published
        if len(before) != len(statuses) or any(one is not other for one, other in zip(before, statuses, strict=True)):
            message = bytes(serialize_message(DiagnosticArray(status=statuses)))
            self._published = statuses, message
        return with_stamp(message, stamp_ns)

    def _statuses(
        self, config: Config, subscriptions: Subscriptions | None, snapshot: Snapshot
    ) -> list[DiagnosticStatus]:
        now = time.monotonic()
        self._hardware_id = hardware_id(config)
        every = subscriptions.topics if subscriptions else {}
        topics = {name: topic for name, topic in every.items() if topic.received or not topic.is_optional}
        self._note_losses(snapshot.progress.losses, now)
        disk = self._state_of_disk(config, snapshot.progress.scenes)
        statuses = [
            *(self._topic(config, topic, snapshot, now) for topic in topics.values() if not topic.is_pose),
            self._tf(config, [topic for topic in topics.values() if topic.is_pose], snapshot, now),
            self._synchronisation(config, snapshot, now),
            self._scenes(config, subscriptions, snapshot, now),
            *self._events(config, snapshot, now),
            self._spool(config, snapshot, disk),
            self._upload(disk),
            self._warnings(snapshot),
        ]
        self._window.at_s = now
        self._window.received = {topic.name: topic.received for topic in topics.values()}
        self._window.transport_lost = {topic.name: topic.transport_lost for topic in topics.values()}
        return statuses

    def _note_losses(self, losses: Table, now: float) -> None:
        for topic, causes in losses.items():
            for cause, count in causes.items():
                key = (topic, cause)
                if count > self._window.losses.get(key, 0):
                    self._lost_at_s[key] = now
                self._window.losses[key] = count

    def _recent(self, config: Config, now: float) -> Iterator[tuple[str, str]]:
        for key, at_s in self._lost_at_s.items():
            if now - at_s <= config.diagnostics.recent_s and not is_expected(key[1]):
                yield key

    def _topic(self, config: Config, topic: Topic, snapshot: Snapshot, now: float) -> DiagnosticStatus:
        gap_s = topic.take_longest_gap_s()
        level, text = _liveness(config, topic, now, self._started_s, gap_s)
        if broken := snapshot.progress.broken.get(topic.name, ""):
            level, text = ERROR, broken
        causes = [cause for name, cause in self._recent(config, now) if name == topic.name]
        if not text and causes:
            level, text = WARN, f"messages are lost: {', '.join(sorted(causes))}"
        values = {**self._counts(topic, now), "longest_gap_s": f"{gap_s:.2f}"}
        values |= _losses_of(snapshot.progress.losses, topic.name)
        return self._status(f"sensor {topic.name}", level, text or "receiving", values)

    def _counts(self, topic: Topic, now: float) -> dict[str, object]:
        elapsed = max(1e-3, now - self._window.at_s)
        return {
            "rate_hz": f"{(topic.received - self._window.received.get(topic.name, 0)) / elapsed:.1f}",
            "received": topic.earlier + topic.received,
            "received_bytes": topic.received_bytes,
            "age_s": "" if topic.last_s is None else f"{now - topic.last_s:.2f}",
            "publishers": topic.publishers,
            "qos": topic.match or "not subscribed",
            "lost_in_transport": topic.transport_lost,
        }

    def _tf(self, config: Config, topics: list[Topic], snapshot: Snapshot, now: float) -> DiagnosticStatus:
        progress = snapshot.progress
        gaps_s = {topic.name: topic.take_longest_gap_s() for topic in topics}
        judged = [
            (bool(topic.problem), *_liveness(config, topic, now, self._started_s, gaps_s[topic.name]))
            for topic in topics
            if topic.problem or not topic.is_latched
        ]
        _, level, text = max(judged, key=lambda found: found[:2], default=(False, OK, ""))
        wait = ""
        if progress.longest_obstacle and progress.longest_wait_s > config.diagnostics.max_wait_s:
            wait = f"frames wait for {progress.longest_wait_s:.1f} s: {progress.longest_obstacle}"
            level, text = WARN, wait
        lost = sorted({cause for _, cause in self._recent(config, now) if cause in _TF_CAUSES})
        if lost:
            causes = ", ".join(progress.reasons.get(cause, cause) for cause in lost)
            level, text = ERROR, f"frames are lost: {causes}" + (f"; {wait}" if wait else "")
        values: dict[str, object] = {f"{topic.name} received": topic.received for topic in topics}
        values |= {"waited_s": f"{progress.waited_s:.2f}", "waiting_for": progress.obstacle}
        values |= {"longest_wait_s": f"{progress.longest_wait_s:.2f}", "waited_for": progress.longest_obstacle}
        return self._status("tf", level, text or ("receiving" if snapshot.is_recording else INACTIVE), values)

    def _synchronisation(self, config: Config, snapshot: Snapshot, now: float) -> DiagnosticStatus:
        progress = snapshot.progress
        waits = {"waited_s": f"{progress.waited_s:.2f}", "longest_wait_s": f"{progress.longest_wait_s:.2f}"}
        values: dict[str, object] = {**waits, "held_bytes": progress.pipeline_bytes}
        level, text = OK, ""
        for name, residual in progress.residuals.items():
            values[f"{name} mean_ms"], values[f"{name} max_ms"] = residual.mean_ms, residual.max_ms
            if residual.max_ms > config.diagnostics.max_residual_ms:
                level, text = WARN, f"{name} is up to {residual.max_ms:.1f} ms from the wanted stamp"
        missing = sorted(cause for _, cause in self._recent(config, now) if cause in ("required_missing", "late"))
        if missing:
            level, text = WARN, f"frames are lost: {', '.join(missing)}"
        text = text or ("matching" if snapshot.is_recording else INACTIVE)
        return self._status("synchronisation", level, text, values)

    def _scenes(
        self, config: Config, subscriptions: Subscriptions | None, snapshot: Snapshot, now: float
    ) -> DiagnosticStatus:
        progress = snapshot.progress
        fill = snapshot.queued_bytes / config.queue.max_bytes
        recent = sorted({cause for _, cause in self._recent(config, now)})
        level, text = OK, snapshot.state
        if snapshot.failure:
            level, text = ERROR, snapshot.failure
        elif "queue_full" in recent:
            level, text = ERROR, "recording pauses: the queue is full; raise queue.workers or record less"
        elif "overload" in recent:
            level, text = WARN, "only some frames are kept: processing does not keep up"
        elif fill > _NEARLY_FULL:
            level, text = WARN, f"the queue was {fill:.0%} full: processing does not keep up"
        elif recent:
            level, text = WARN, f"losses: {', '.join(recent)}"
        elif subscriptions is None:
            level, text = WARN, "inactive: nothing is recorded"
        values: dict[str, object] = {
            "state": snapshot.state,
            "is_paused": snapshot.state == "paused",
            "frames": progress.frames,
            "scenes": progress.scenes,
            "open_scene": progress.open_scene,
            "open_frames": progress.open_frames,
            "queued_bytes": snapshot.queued_bytes,
            "lost": faults(progress.losses),
            "graph_rebuilt": snapshot.connections,
            "deaf_s": f"{snapshot.deaf_s:.1f}",
        }
        if subscriptions:
            values["callback_p99_ms"] = subscriptions.durations.percentile_ms(0.99)
        for topic, causes in progress.losses.items():
            values |= {f"{topic} {cause}": count for cause, count in causes.items()}
        return self._status("scenes", level, text, values)

    def _events(self, config: Config, snapshot: Snapshot, now: float) -> Iterator[DiagnosticStatus]:
        """Say what is armed, how full the look-back is, and how far back it reaches; nothing where all is kept."""
        held = snapshot.progress.look_back
        if held is None:
            return
        fill = (held.memory_bytes + held.disk_bytes) / config.look_back.max_bytes
        level, text = OK, f"armed: {', '.join(held.armed)}"
        if any(cause == "look_back_full" for _, cause in self._recent(config, now)):
            level, text = WARN, "frames before an event are lost: raise look_back.max_bytes, or lower before_s"
        elif fill >= 1.0 - _NEARLY_FULL / 10:
            text = f"{text}; the look-back is full and reaches {held.reach_s:.1f} s back"
        values: dict[str, object] = {
            "armed": ",".join(held.armed),
            "reach_s": f"{held.reach_s:.1f}",
            "wanted_s": f"{config.look_back_s:.1f}",
            "fill": f"{fill:.3f}",
            "memory_bytes": held.memory_bytes,
            "disk_bytes": held.disk_bytes,
        }
        yield self._status("events", level, text, values)

    def _spool(self, config: Config, snapshot: Snapshot, disk: DiskState) -> DiagnosticStatus:
        if disk.error and not snapshot.is_recording:
            return self._status("spool", WARN, f"{disk.error}; the folder is made when the node is configured", {})
        if disk.error:
            return self._status("spool", ERROR, disk.error, {})
        free = disk.free_bytes
        values: dict[str, object] = {
            "path": config.spool.path,
            "free_bytes": "" if free is None else free,
            **disk.drops,
        }
        level, text = OK, "space left"
        if snapshot.progress.spool_full:
            level, text = ERROR, f"{snapshot.progress.spool_full}; spool.when_full is {config.spool.when_full}"
        elif disk.late_s:
            level, text = ERROR, f"the disk has not answered for {LOOK_EVERY_S + disk.late_s:.0f} s"
        elif free is not None and free < 2 * config.spool.min_free_bytes:
            level, text = WARN, f"{free} bytes are free, near spool.min_free_bytes"
        return self._status("spool", level, text, values)

    def _warnings(self, snapshot: Snapshot) -> DiagnosticStatus:
        """Give every warning of what contradicts itself in what is received, by its code and what it is about."""
        findings = [finding for finding in snapshot.progress.findings if finding.weight is not Weight.NOTE]
        values = {f"{finding.code.value} {finding.name}": f"{finding.text} ({finding.remedy})" for finding in findings}
        codes = ", ".join(sorted({finding.code.value for finding in findings}))
        return self._status("warnings", WARN if codes else OK, codes or "none", values)

    def _upload(self, disk: DiskState) -> DiagnosticStatus:
        """Count the sealed scenes; what becomes of them is reported by the uploader itself."""
        return self._status("upload", OK, "reported by nucleus_uploader", {"scenes_in_spool": disk.scenes})

    def _state_of_disk(self, config: Config, made: int) -> DiskState:
        if self._disk is None or self._disk.path != config.spool.path:
            self._disk = Disk(config.spool.path)
        return self._disk.state(made)

    def _status(self, name: str, level: bytes, text: str, values: Mapping[str, object]) -> DiagnosticStatus:
        """Make a status, or return the one before where nothing is different."""
        texts = {key: str(value) for key, value in values.items()}
        content = (level, text, texts, self._hardware_id)
        before = self._before.get(name)
        if before is None or before[0] != content:
            made = make_status(f"{self._node_name}: {name}", level, text, texts, self._hardware_id)
            self._before[name] = before = content, made
        return before[1]


def hardware_id(config: Config) -> str:
    """Return the name of the vehicle, so that the reports of several can be told apart."""
    return config.ros.hardware_id or socket.gethostname()


def make_status(name: str, level: bytes, text: str, values: Mapping[str, object], hardware: str) -> DiagnosticStatus:
    """Make one status."""
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=text, hardware_id=hardware, values=pairs)


def _liveness(config: Config, topic: Topic, now: float, started_s: float, gap_s: float) -> tuple[bytes, str]:
    """Judge whether messages come; a silence that has ended since the previous report counts too."""
    bad = ERROR if topic.needed or topic.refused or topic.failed else WARN
    if topic.problem:
        return bad, topic.problem
    since = topic.last_s if topic.last_s is not None else started_s
    comes_once = all(role.ahead != "nothing" or role.kind == "value" for role in topic.roles)
    if comes_once or max(now - since, gap_s) <= config.diagnostics.silent_s:
        return (OK, "") if topic.received else (WARN, "nothing has come yet")
    if topic.last_s is None:
        return bad, "nothing has come yet"
    if now - since > config.diagnostics.silent_s:
        return bad, f"silent for {now - since:.1f} s"
    return bad, f"was silent for {gap_s:.1f} s"


def _losses_of(losses: Table, topic: str) -> dict[str, object]:
    return {f"lost {cause}": count for cause, count in losses.get(topic, {}).items()}
