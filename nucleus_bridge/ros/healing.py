# SPDX-License-Identifier: Apache-2.0
"""Topics that fall silent, and the question whether it is their driver or this process that must start anew.

After a driver's restart a middleware may miss its new publishers for the rest of the drive. Nothing in this process
shows that, so another participant listens: what it hears and this process does not is missed here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node

from nucleus_bridge.ros.dead_sockets import dead_sockets
from nucleus_bridge.ros.shared_memory import HalfMadePorts, half_made_text, participants, segments_of
from nucleus_bridge.ros.subscriptions import Topic

PROBE_S = 5.0
"""A probe that has heard nothing for so long has nothing to hear."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
"""Between two probes, each of which costs the start of a process; a new participant ends the pause."""
EARLY = 0.5
"""A probe starts at this share of ``diagnostics.silent_s``: it takes a second until it listens."""
FREQUENT = 0.125
"""But only for topics whose messages are, at most, this share of it apart."""
GRACE_S = 1.0
"""What a probe hears, this process may hear a moment later."""
NEW_GRACE_S = 1.5
"""Likewise where this process has only begun to subscribe, which it does when it has seen a publisher."""
LOOK_COUNTS_S = 0.3
"""A look counts as at most so much of a grace: while the machine stands still, nothing can be heard."""
IN_VAIN_AFTER_S = 3.5
"""A new connection heard within 2.4 s what a probe had heard before it, or with its next announcement, at 3.1 s.

One that does not is made anew, once."""
IN_VAIN_S, LONGEST_IN_VAIN_S = 10.0, 300.0
"""After a third connection in a row that heard nothing either, and at most."""
AT_ONCE = 2
BEGINS_WITHIN_S, ENDS_WITHIN_S = 30.0, 5.0
"""On a busy machine it takes seconds to start a process."""
LEAVES_WITHIN_S = 0.5
"""So long is waited for probes to leave, before they are killed: a participant that is killed may leave damage."""
PORTS_EVERY_S = 0.4
MOST_DEAD_SOCKETS = 10
"""More than there were when this connection was made."""


@dataclass
class Silence:
    """A topic that nothing comes of.

    Attributes:
        since_s: When its last message came, on the monotonic clock.
        probe_heard_s: When a probe heard it; None as long as none has.
        missed_s: For how long this process has looked since then, without a message.
        is_sure: Whether there was nothing at a second look, either.
        is_long: Whether it is longer than ``diagnostics.silent_s``.
        is_told: Whether it was logged.
        is_unseen: Whether nothing ever came and nobody is seen to publish it: perhaps nobody does, so it is not logged.
    """

    since_s: float
    probe_heard_s: float | None = None
    missed_s: float = 0.0
    is_sure: bool = False
    is_long: bool = False
    is_told: bool = False
    is_unseen: bool = False


@dataclass
class Healed:
    """What is known of earlier connections of this recorder; passed on from one to the next.

    Attributes:
        times: How often the connection was made anew.
        deaf_s: For how long, in all, something was missed that a probe heard.
        at_s: When the connection was made anew the last time, on the monotonic clock, which goes on.
        in_vain: How often in a row nothing was heard afterwards.
        deaf: Topics that were missed then: when the last message came, and when a probe heard one.
    """

    times: int = 0
    deaf_s: float = 0.0
    at_s: float = 0.0
    in_vain: int = 0
    deaf: dict[str, tuple[float, float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {**vars(self), "deaf": {name: list(times) for name, times in self.deaf.items()}}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Healed:
        """Make it of what ``as_json`` returned."""
        return cls(**{**given, "deaf": {name: (times[0], times[1]) for name, times in given["deaf"].items()}})


class Healer:
    """Is given the state of the topics from time to time; says when this process is deaf.

    Attributes:
        healed: What is known of earlier connections.
        reason: Why a new connection was called for last.
    """

    def __init__(self, node: Node, healed: Healed | None = None) -> None:
        """Set up.

        Args:
            node: The node, in whose log a person reads of it.
            healed: Of the connection before this one.
        """
        self.healed = healed or Healed()
        self._node = node
        self._started_s = self._looked_s = time.monotonic()
        self._listened_s = 0.0
        self.reason = ""
        self._silent: dict[str, Silence] = {}
        self._probe: Probe | None = None
        self._ending: list[Probe] = []
        self._probe_again_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._is_in_vain_told = False
        self._known: frozenset[str] = frozenset()
        self._ports = HalfMadePorts()
        self._ports_at_s = 0.0
        self._sockets_at_start = dead_sockets()

    def look(self, topics: Iterable[Topic], silent_s: float, *, heals: bool) -> list[str]:
        """Look which topics are silent, at most a few times a second.

        Args:
            topics: All topics.
            silent_s: ``diagnostics.silent_s``.
            heals: ``ros.heal``.

        Returns:
            The topics for which this process has to connect to the graph anew, mostly since others hear them; why is in
            ``reason``.
        """
        now = time.monotonic()
        watched = [topic for topic in topics if is_watched(topic)]
        for topic in watched:
            self._judge(topic, now, silent_s, heals=heals)
        step_s = min(now - self._looked_s, LOOK_COUNTS_S)
        for silence in self._silent.values():
            if silence.probe_heard_s is not None:
                silence.missed_s += step_s
        self._listened_s += step_s
        self._looked_s = now
        told = [topic.name for topic in watched if topic.name in self._silent]
        self._ending = [probe for probe in self._ending if not probe.has_ended(now)]
        if not heals or not any(self._silent[name].is_sure for name in told):
            self._stop_probe(now)
            self._probe_again_s, self._pause_s, self._is_in_vain_told = 0.0, FIRST_PAUSE_S, False
            return []
        again = [topic.name for topic in watched if topic.name in self.healed.deaf and not topic.problem]
        if again and self._is_in_vain(watched, silent_s):
            self.reason = "nothing is heard after the new connection either"
            return again
        self._listen(watched, told, now)
        self.reason = "others hear it and the recorder does not"
        deaf = [topic.name for topic in watched if self._is_missed(topic)]
        tries = self.healed.in_vain - AT_ONCE
        wait_s = min(IN_VAIN_S * 2.0**tries, LONGEST_IN_VAIN_S) if tries >= 0 else 0.0
        return deaf if now - self.healed.at_s >= wait_s else []

    def is_due(self, topics: Iterable[Topic], silent_s: float, *, heals: bool) -> bool:
        """Whether ``look`` is to be called at once, not only once a second; any thread may ask."""
        if self._probe is not None or self._ending:
            return True
        now, watched = time.monotonic(), [topic for topic in topics if is_watched(topic)]
        if heals and any(self._is_newly_missed(topic) for topic in watched):
            return True
        if any(self._has_news(topic, now, silent_s, heals=heals) for topic in watched):
            return True
        is_anyone_silent = any(topic.name in self._silent for topic in watched)
        return heals and is_anyone_silent and (now >= self._probe_again_s or bool(participants() - self._known))

    def is_worn(self, *, heals: bool) -> bool:
        """Whether this process has many sockets of no use, and a silence, which is the time to be rid of them.

        Why is in ``reason`` then.
        """
        if not heals or not any(silence.is_sure for silence in self._silent.values()):
            return False
        count = dead_sockets() - self._sockets_at_start
        self.reason = f"{count} sockets of drivers that have ended are still open"
        return count > MOST_DEAD_SOCKETS

    def free_ports(self, topics: Iterable[Topic], silent_s: float, *, heals: bool) -> None:
        """Free publishers that wait for a port which a killed process left half made, while a topic is silent.

        Not to be called by the executor's thread, which may be one of those that wait. A probe frees them as it starts,
        too.
        """
        now = time.monotonic()
        if not heals or now < self._ports_at_s:
            return
        self._ports_at_s = now + PORTS_EVERY_S
        if any(topic.last_s is None or now - topic.last_s > silent_s for topic in topics if is_watched(topic)):
            for path in self._ports.free(now):
                self._node.get_logger().warning(half_made_text(path))

    def _is_newly_missed(self, topic: Topic) -> bool:
        """Whether a topic was missed before this connection was made, and has not been judged in it yet."""
        is_open = topic.last_s is None and not topic.problem
        return is_open and topic.name in self.healed.deaf and topic.name not in self._silent

    def _has_news(self, topic: Topic, now: float, silent_s: float, *, heals: bool) -> bool:
        """Whether a topic has fallen silent, goes on to be, or was heard again since the last look."""
        if topic.last_s is None or topic.problem:
            return False
        silence, quiet_s = self._silent.get(topic.name), now - topic.last_s
        if silence is None:
            return quiet_s > begins_s(topic, silent_s, heals=heals)
        is_over = quiet_s <= begins_s(topic, silent_s, heals=heals)
        return is_over or not silence.is_sure or (quiet_s > silent_s and not silence.is_told)

    def rebuilding(self, deaf: Iterable[str]) -> Healed:
        """Return what the next connection has to know."""
        missed = {name: self._silent[name] for name in deaf}
        spans = {name: (gap.since_s, gap.probe_heard_s or gap.since_s) for name, gap in missed.items()}
        before = self.healed
        is_in_vain = bool(before.deaf)  # nothing of it came since the last time
        return Healed(
            before.times + 1,
            before.deaf_s,
            time.monotonic(),
            before.in_vain + 1 if is_in_vain else 0,
            {**spans, **before.deaf},
        )

    def close(self) -> None:
        """End what listens."""
        now = time.monotonic()
        self._stop_probe(now)
        for probe in self._ending:
            probe.leave(now + LEAVES_WITHIN_S)
        self._ending = []

    def _is_in_vain(self, watched: Iterable[Topic], silent_s: float) -> bool:
        """Whether nothing came of the first new connection, although a probe had heard a topic just before it."""
        is_late = self._listened_s > max(IN_VAIN_AFTER_S, silent_s)
        return is_late and not self.healed.in_vain and all(topic.last_s is None for topic in watched)

    def _is_missed(self, topic: Topic) -> bool:
        """Whether a probe has heard a topic, and this process had the time to hear it, too."""
        silence = self._silent.get(topic.name)
        if silence is None or not (silence.is_told or silence.is_unseen):
            return False
        return silence.missed_s > (NEW_GRACE_S if topic.last_s is None else GRACE_S)

    def _judge(self, topic: Topic, now: float, silent_s: float, *, heals: bool) -> None:
        since_s = topic.last_s if topic.last_s is not None else self._started_s
        silence = self._silent.get(topic.name)
        if topic.problem:
            return
        if topic.last_s is None and topic.name in self.healed.deaf:  # nobody has to wait to know it
            self._silent.setdefault(topic.name, Silence(since_s, is_sure=True, is_told=True))
            return
        if now - since_s <= begins_s(topic, silent_s, heals=heals):
            if topic.last_s is not None:
                self._end(topic, silence, now)
            return
        was_heard = topic.last_s is not None
        if not (was_heard or topic.publishers):
            if heals and silence is None:
                self._silent[topic.name] = Silence(since_s, is_sure=True, is_unseen=True)
            return
        if silence is not None:
            silence.is_unseen = False
        if silence is None:  # sure at the next look: after a standstill of the machine messages may be waiting
            self._silent[topic.name] = Silence(since_s, is_long=now - since_s > silent_s)
            return
        silence.is_sure = True
        if silence.is_long and not silence.is_told:
            silence.is_told = True
            self._tell(topic, now - since_s, heals=heals)
        silence.is_long |= now - since_s > silent_s

    def _tell(self, topic: Topic, quiet_s: float, *, heals: bool) -> None:
        state = f"silent for {quiet_s:.1f} s" if topic.last_s is not None else "nothing has come yet"
        count = topic.publishers
        there = f"{count} publisher{'s are' if count > 1 else ' is'} announced" if count else "nobody publishes it"
        remedy = "a probe listens whether it can be heard" if heals else "restart its driver, or set ros.heal"
        self._node.get_logger().warning(f"{topic.name}: {state}, {there}; {remedy}")

    def _end(self, topic: Topic, silence: Silence | None, now: float) -> None:
        self._silent.pop(topic.name, None)
        deaf = self.healed.deaf.pop(topic.name, None)
        if deaf is not None:
            since_s, heard_s = deaf
            self.healed.in_vain = 0
            self.healed.deaf_s += now - heard_s
            self._node.get_logger().warning(
                f"{topic.name}: heard again after {now - since_s:.1f} s, "
                f"{now - heard_s:.1f} s of which others heard it and the recorder did not"
            )
        elif silence is not None and silence.is_told:
            self._node.get_logger().info(f"{topic.name}: heard again after {now - silence.since_s:.1f} s")

    def _listen(self, watched: Iterable[Topic], silent: Iterable[str], now: float) -> None:
        """Have a probe listen to all that is watched, since one topic may fall silent after another."""
        probe = self._probe
        if probe is None:
            if now < self._probe_again_s:
                if participants() <= self._known:
                    return
                self._pause_s = FIRST_PAUSE_S  # somebody came: perhaps the driver
            self._known = participants()
            types = {self._node.resolve_topic_name(topic.name): type_of(topic) for topic in watched}
            try:
                self._probe = Probe(types, now)
            except OSError as error:
                self._node.get_logger().error(f"no probe can be started: {error}")
                self._probe_again_s = now + LONGEST_PAUSE_S
            return
        heard = probe.heard()
        missed = [name for name in silent if self._node.resolve_topic_name(name) in heard]
        for name in missed:
            if self._silent[name].probe_heard_s is None:
                self._silent[name].probe_heard_s = now
        if missed or not probe.is_over(now):
            return
        lost = sorted(name for name in silent if not self._silent[name].is_unseen)
        if lost and not self._is_in_vain_told:
            self._is_in_vain_told = True
            text = f"{', '.join(lost)}: a probe does not hear it either: check the driver and start it again"
            self._node.get_logger().error(text)
        self._known |= probe.memory()  # who came while it listened may be one that it does not hear
        self._stop_probe(now)
        self._probe_again_s = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _stop_probe(self, now: float) -> None:
        if self._probe is not None:
            self._probe.end(now)
            self._ending.append(self._probe)
            self._probe = None


class Probe:
    """A process with a participant of its own, see :mod:`nucleus_bridge.ros.probe`."""

    def __init__(self, types: Mapping[str, str], now: float) -> None:
        """Start it.

        Args:
            types: Of the topics, by their full names.
            now: The time on the monotonic clock.

        Raises:
            OSError: It cannot be started.
        """
        arguments = [word for pair in types.items() for word in pair]
        self._process = subprocess.Popen(  # noqa: S603 - a program of ours
            [sys.executable, "-m", "nucleus_bridge.ros.probe", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._process.stdout is None:
            raise OSError("there is no pipe")
        os.set_blocking(self._process.stdout.fileno(), False)
        self._told = b""
        self._started_s = now
        self._listens_since_s: float | None = None
        self._ends_at_s = 0.0

    def heard(self) -> set[str]:
        """Return the topics that it has heard so far."""
        if self._process.stdout is not None:
            with suppress(ValueError):
                self._told += self._process.stdout.read() or b""
        lines = self._told.decode().splitlines()
        return {line.partition(" ")[2] for line in lines if line.startswith("heard ")}

    def memory(self) -> frozenset[str]:
        """Return its own shared memory, by which :func:`participants` would take it for somebody."""
        return frozenset(segments_of(str(self._process.pid)))

    def is_over(self, now: float) -> bool:
        """Whether it has listened for long enough, or ended."""
        if self._listens_since_s is None and b"listening\n" in self._told:
            self._listens_since_s = now
        since_s = self._started_s + BEGINS_WITHIN_S if self._listens_since_s is None else self._listens_since_s
        return now - since_s > PROBE_S or self._process.poll() is not None

    def end(self, now: float) -> None:
        """Let it end."""
        self._ends_at_s = now + ENDS_WITHIN_S
        if self._process.stdin is not None:
            self._process.stdin.close()

    def has_ended(self, now: float) -> bool:
        """Whether it has ended; one that does not is killed."""
        if self._process.poll() is None and now < self._ends_at_s:
            return False
        self.kill()
        return True

    def leave(self, until_s: float) -> None:
        """Wait until it has ended, which it was told to, but not past a time on the monotonic clock; then kill it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, until_s - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()


def begins_s(topic: Topic, silent_s: float, *, heals: bool) -> float:
    """Return after what time without a message a topic may have fallen silent."""
    is_frequent = topic.period_s is not None and topic.period_s <= FREQUENT * silent_s
    return EARLY * silent_s if heals and is_frequent else silent_s


def is_watched(topic: Topic) -> bool:
    """Whether a topic's silence matters: there can be no frame without it, and it is sent again and again."""
    return topic.needed and topic.comes_again and (topic.match is not None or bool(topic.allowed))


def type_of(topic: Topic) -> str:
    """Return the type that a topic has, or may have."""
    return topic.match.type_name if topic.match is not None else topic.allowed[0]
