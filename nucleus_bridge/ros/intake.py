# SPDX-License-Identifier: Apache-2.0
"""Takes the messages of all subscriptions together, in the order in which they arrived.

An executor of rclpy takes one message of each topic in turn: after a stall a topic of 100 Hz would fall behind one of
10 Hz by seconds. And each of its turns costs more than many small messages. So the executor only tells that there is a
first message. Then a thread looks at all topics ten times a second, half as often while no sensor sends anything, and
silence switches back to waiting. After some seconds of it the thread looks once a second whether the graph has changed.

One thread at a time takes messages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from nucleus_bridge.ros.middleware import Taken, group_of, move_to_group, take_messages

Take = Callable[[Any, int, int], None]
"""Takes a message and the times in ns at which the middleware sent and received it, 0 when unknown."""

PERIOD_S = 0.1
CALM_PERIOD_S = 0.2
"""While there are only transforms, the clock and the like; no queue that is asked for overflows meanwhile."""
CALM_BYTES = 16_384
"""A look that finds less has found no sensor's message, and few others."""
QUIET_PERIOD_S = 1.0
"""While nothing comes and nothing changes."""
SILENT_LOOKS = 3
"""After this many looks that find nothing, wait again."""
QUIET_LOOKS = 20
"""After this many looks in a row without a message and without anything new, look less often."""
ONCE = 2
"""The executor asks whether it may wait for something, and again before it handles it."""
MOST_AT_ONCE = 1000
ERRORS_EVERY_S = 10.0
CLOCK_DEPTH = 1000
"""The clock's messages of a look and more: each sensor's message is received at the time of the one before it."""
_SECOND = 1_000_000_000
_MOST_STEPS = 0.95


@dataclass(frozen=True)
class Source:
    """A topic, its subscription and where its messages go."""

    topic: str
    subscription: Subscription
    take: Take


class Durations:
    """Counts durations by powers of two."""

    def __init__(self) -> None:
        self._counts = [0] * 64  # element n: those under 2**n microseconds and not under half that

    def note(self, duration_ns: int) -> None:
        """Count one."""
        self._counts[(duration_ns // 1000).bit_length()] += 1

    def percentile_ms(self, share: float) -> float:
        """Return a duration in milliseconds that a share of all stayed under, to a power of two."""
        below, total = 0, sum(self._counts)
        for exponent, number in enumerate(self._counts):
            below += number
            if total and below >= share * total:
                return float(2**exponent) / 1e3
        return 0.0


class Intake(CallbackGroup):
    """The callback group of subscriptions whose messages are to stay in order across topics.

    Attributes:
        durations: How long each message took to be taken and handed over.
        one_at_a_time: Held while messages are handed over.
    """

    def __init__(self, node: Node, looked: Callable[[], bool] | None = None) -> None:
        """Set up.

        Args:
            node: The node.
            looked: Is called after each look, in the thread that looks; returns whether there was anything new.
        """
        super().__init__()
        self._looked = looked or (lambda: False)
        self.durations = Durations()
        self.one_at_a_time = threading.RLock()
        self._sources: list[Source] = []
        self._adopted: list[tuple[Subscription, Any]] = []
        self._clock: Subscription | None = None
        self._clock_ns = 0
        self._clock_steps: deque[int] = deque(maxlen=100)
        self._ended: list[Subscription] = []
        self._polling = False
        self._in_vain = 0
        self._calm_looks = 0
        self._quiet_looks = 0
        self._asked: dict[int, int] = {}
        self._node = node
        self._period_s = CALM_PERIOD_S
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def can_execute(self, entity: Any) -> bool:
        """Keep the executor from waiting for what is looked at anyway."""
        if not self._polling:
            return True
        if isinstance(entity, Subscription):
            return False
        # An event is waited for through its topic's data: as long as there is some, no wait would last.
        asked = self._asked.get(id(entity), 0)
        self._asked[id(entity)] = asked + 1
        return asked < ONCE

    def beginning_execution(self, entity: Any) -> bool:
        """Take the messages before the executor does: what it passes on has no time of arrival in ROS 2 Humble."""
        if not isinstance(entity, Subscription):
            return True
        self._poll()
        self.drain()
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing: callbacks do not exclude each other."""

    def ask_for_events(self) -> None:
        """Let the executor ask for lost messages and the like once more, also while messages come."""
        self._asked.clear()

    def subscribe(self, message_type: Any, topic: str, profile: Any, take: Take, **options: Any) -> Subscription:
        """Subscribe to serialised messages; options are those of ``Node.create_subscription``."""
        made = self._node.create_subscription(
            message_type, topic, _not_called, profile, raw=True, callback_group=self, **options
        )
        with self.one_at_a_time:
            self._sources.append(Source(topic, made, take))
        return made

    def adopt_clock(self, own: Subscription) -> None:
        """Take over the subscription of the node's clock, which holds one message alone.

        The clock is set by all of them, in order with those of the sensors: as if each was taken when it arrived.
        """
        self._adopted.append((own, group_of(own)))
        move_to_group(own, self)
        every = QoSProfile(depth=CLOCK_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._clock = self._node.create_subscription(
            own.msg_type, own.topic_name, _not_called, every, callback_group=self
        )
        with self.one_at_a_time:
            self._sources.append(Source(own.topic_name, own, _not_taken))
            self._sources.append(Source(own.topic_name, self._clock, partial(self._set_clock, own.callback)))

    def _set_clock(self, set_it: Callable[[Any], None], message: Any, _sent_ns: int, _received_ns: int) -> None:
        now_ns = message.clock.sec * _SECOND + message.clock.nanosec
        if 0 < now_ns - self._clock_ns < _SECOND:  # longer ones are jumps
            self._clock_steps.append(now_ns - self._clock_ns)
        self._clock_ns = now_ns
        set_it(message)

    @property
    def clock_step_ns(self) -> int:
        """How far the simulated clock goes at once, by its latest steps; 0 where there is none."""
        steps = sorted(self._clock_steps)
        return steps[int(_MOST_STEPS * len(steps))] if steps else 0

    def destroy(self, subscription: Subscription) -> None:
        """End a subscription; what it has received is taken first."""
        with self.one_at_a_time:
            self.drain()
            self._sources = [source for source in self._sources if source.subscription is not subscription]
        self._node.destroy_subscription(subscription)

    def stop(self) -> None:
        """Take what has been received, and nothing from then on; the middleware is asked for nothing else."""
        with self.one_at_a_time:
            self.drain()
            kept = [self._clock, *(subscription for subscription, _ in self._adopted)]
            self._ended += [source.subscription for source in self._sources if source.subscription not in kept]
            self._sources = [source for source in self._sources if source.subscription in kept]

    def close(self) -> None:
        """End all subscriptions but the adopted ones; what they have received is taken first."""
        self.stop()
        self._closing.set()
        self._thread.join()
        with self.one_at_a_time:
            for subscription, group in self._adopted:
                move_to_group(subscription, group)
            for subscription in (*self._ended, *filter(None, [self._clock])):
                self._node.destroy_subscription(subscription)
            self._sources, self._ended, self._adopted, self._clock = [], [], [], None

    @property
    def period_s(self) -> float:
        """Time between looks."""
        return self._period_s

    @property
    def is_quiet(self) -> bool:
        """Whether many looks in a row have found neither a message nor anything new."""
        return self._quiet_looks >= QUIET_LOOKS

    def drain(self) -> int:
        """Take everything that is there; return how much it was, in bytes, at least one a message."""
        with self.one_at_a_time:
            return self._drain()

    def _drain(self) -> int:
        taken: list[tuple[int, int, Taken, Take]] = []
        numbers = count()
        for source in self._sources:
            latest = 0  # a step back of the system's clock must not turn a topic around
            with self._going_on(source.topic):
                for one in take_messages(source.subscription, MOST_AT_ONCE):
                    latest = max(latest, one.received_ns)
                    taken.append((latest, next(numbers), one, source.take))
        taken.sort(key=lambda entry: entry[:2])
        for _, _, one, take in taken:
            start_ns = time.perf_counter_ns()
            take(one.message, one.sent_ns, one.received_ns)
            self.durations.note(one.spent_ns + time.perf_counter_ns() - start_ns)
        return sum(len(one.message) if isinstance(one.message, bytes) else 1 for _, _, one, _ in taken)

    def _poll(self) -> None:
        if not self._polling:
            self._polling, self._in_vain, self._period_s = True, 0, PERIOD_S

    def _run(self) -> None:
        """Look at the topics until the end; what goes wrong is logged and ends nothing."""
        while not self._closing.wait(self._period_s):
            with self._going_on("a look at the topics"):
                self._look()

    @contextmanager
    def _going_on(self, what: str) -> Iterator[None]:
        """Log what goes wrong, as long as there is a graph."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest goes on
            if self._node.context.ok():
                text = f"{what} failed, everything else goes on: {type(error).__name__}: {error}"
                self._node.get_logger().error(text, throttle_duration_sec=ERRORS_EVERY_S)

    def _look(self) -> None:
        is_polling = self._polling
        if is_polling:
            taken = self.drain()
            self._in_vain = 0 if taken else self._in_vain + 1
            self._calm_looks = self._calm_looks + 1 if taken < CALM_BYTES else 0
            self._period_s = CALM_PERIOD_S if self._calm_looks >= SILENT_LOOKS else PERIOD_S
            if self._in_vain >= SILENT_LOOKS:
                self._wait_again()
        has_news = self._looked()
        self._quiet_looks = 0 if is_polling or has_news else self._quiet_looks + 1
        if not self._polling:
            self._period_s = QUIET_PERIOD_S if self.is_quiet else CALM_PERIOD_S

    def _wait_again(self) -> None:
        """Let the executor wait for the next message, which ends its present wait."""
        self._polling = False
        executor = self._node.executor
        if executor is not None:
            executor.wake()


def _not_called(_: Any) -> None:
    """Stand where rclpy wants a callback: the intake takes the messages itself."""


def _not_taken(_message: Any, _sent_ns: int, _received_ns: int) -> None:
    """Pass over what another subscription takes as well."""
