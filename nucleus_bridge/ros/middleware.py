# SPDX-License-Identifier: Apache-2.0
"""What differs between releases of rclpy, or is none of its public names; nothing else in here knows of either.

Read against rclpy 3.3 (Humble), tried with 7.1 (Jazzy) and 9.1 (Kilted). The inner names are
``Node._parameter_overrides``, ``Subscription.handle.take_message``, ``Subscription.event_handlers``, ``callback_group``
as it is set, and of callback groups ``can_execute``, ``beginning_execution`` and ``ending_execution``.
``test/ros/test_middleware.py`` holds that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

from nucleus_bridge.errors import ConfigError

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ["SubscriptionEventCallbacks"]

MADE_FOR = {(7, 1): "Jazzy", (9, 1): "Kilted"}
"""Versions of rclpy that the live tests have run with."""


class Taken(NamedTuple):
    """A serialised message.

    Attributes:
        message: Its bytes, or the message of a subscription that is not raw.
        received_ns: When the middleware received it.
        sent_ns: When it was sent, 0 when unknown.
        spent_ns: What taking it took.
    """

    message: Any
    received_ns: int
    sent_ns: int
    spent_ns: int


def rclpy_version() -> tuple[int, ...]:
    """Return the release of rclpy that is installed, from a ROS 2 installation or a wheel; () where it does not say."""
    for name in ("rclpy", "ros-rclpy"):
        with suppress(PackageNotFoundError):
            return tuple(map(int, version(name).split(".")[:2]))
    return ()


def given_parameters(node: Node) -> dict[str, Any]:
    """Return what a node was given in files and on its command line.

    rclpy has no other way to see them all, and an empty list in a file ends its own automatic declaration.
    """
    return {name: parameter.value for name, parameter in node._parameter_overrides.items()}  # noqa: SLF001


def on_parameters(
    node: Node,
    settled: Callable[[list[Parameter[Any]]], list[Parameter[Any]]],
    check: Callable[[list[Parameter[Any]]], SetParametersResult],
    accepted: Callable[[], None],
) -> None:
    """Have parameters that are set changed to their types, checked, and applied once everybody accepted them.

    Humble has neither the first nor the last step: there, types must be right, and the check applies.
    """
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_pre_set_parameters_callback(settled)
        node.add_on_set_parameters_callback(check)
        node.add_post_set_parameters_callback(lambda _: accepted())
        return

    def check_and_accept(parameters: list[Parameter[Any]]) -> SetParametersResult:
        result = check(parameters)
        if result.successful:
            accepted()
        return result

    node.add_on_set_parameters_callback(check_and_accept)


def without_events() -> Any:
    """Return the ``event_callbacks`` of a publisher whose subscribers say themselves what does not fit.

    The executor asks after each event at every turn; a publisher has two by default.
    """
    return PublisherEventCallbacks(use_default_callbacks=False)


def take_messages(subscription: Subscription, most: int) -> Iterator[Taken]:
    """Take what a subscription has, in order; an executor would pass it on without its time of arrival."""
    with subscription.handle:
        for _ in range(most):
            start_ns = time.perf_counter_ns()
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                return
            message, info = taken
            spent_ns = time.perf_counter_ns() - start_ns
            yield Taken(message, info["received_timestamp"], info["source_timestamp"], spent_ns)


def move_to_group(subscription: Subscription, group: CallbackGroup) -> None:
    """Move a subscription, and its events, to another callback group."""
    for entity in (subscription, *subscription.event_handlers):
        entity.callback_group = group


def group_of(subscription: Subscription) -> Any:
    """Return the callback group of a subscription."""
    return subscription.callback_group


def check_executor(executor: Any) -> None:
    """Refuse an executor under which a node would wait without an end.

    The ``EventsExecutor`` of rclpy 9.1 asks no callback group, so that messages of several topics lose their order of
    arrival, and calls no timer while it holds the interpreter's lock.

    Raises:
        ConfigError: It is none of those that serve.
    """
    if executor is not None and not isinstance(executor, (SingleThreadedExecutor, MultiThreadedExecutor)):
        raise ConfigError(
            f"{type(executor).__name__} cannot run this node: take rclpy's SingleThreadedExecutor or "
            "MultiThreadedExecutor"
        )
