# SPDX-License-Identifier: Apache-2.0
"""The recorder's end of a bond, with the other end played as bondcpp plays it for nav2's lifecycle manager."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drives import Drive

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
pytest.importorskip("bond", reason="needs bond: nucleus-bridge ros-setup bond")
from bond.msg import Status
from lifecycle_msgs.msg import Transition
from live_graph import Observer, observing, recorder, wait_until

pytestmark = pytest.mark.live

OTHER = "the manager"


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


class Manager:
    """The other end: hears everything under the recorder's name, and says what it is told to."""

    def __init__(self, observer: Observer) -> None:
        self.heard: list[tuple[float, Status]] = []
        self._publisher = observer.node.create_publisher(Status, "/bond", 5)
        self._subscription = observer.node.create_subscription(Status, "/bond", self._take, 100)

    def _take(self, status: Any) -> None:
        if status.instance_id != OTHER:
            self.heard.append((time.monotonic(), status))

    def say(self, *, active: bool) -> None:
        wait_until(lambda: self._publisher.get_subscription_count() > 1, "the recorder beside ourselves")
        self._publisher.publish(Status(id="nucleus_recorder", instance_id=OTHER, active=active))


def test_a_manager_sees_that_the_active_recorder_is_alive(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    manager = Manager(observer)
    with recorder(drive.config_path, tmp_path, "bond_heartbeat_period:=0.1", autostart=False) as node:
        assert observer.change_state(Transition.TRANSITION_CONFIGURE)
        assert not manager.heard
        assert observer.change_state(Transition.TRANSITION_ACTIVATE)
        wait_until(lambda: len(manager.heard) > 10, "heartbeats")
        statuses = [status for _, status in manager.heard]
        assert {(one.id, one.active) for one in statuses} == {("nucleus_recorder", True)}
        assert len({one.instance_id for one in statuses}) == 1
        assert (statuses[0].heartbeat_period, statuses[0].heartbeat_timeout) == pytest.approx((0.1, 4.0))
        manager.say(active=True)
        node.wait_for("bond: the lifecycle manager is there")
        manager.say(active=False)
        node.wait_for("bond: the lifecycle manager is gone, it has ended; recording goes on")
        wait_until(lambda: any(not status.active for _, status in manager.heard), "the answer to it")
        manager.say(active=True)
        node.wait_for("bond: the lifecycle manager is gone, nothing came from it for 4 s; recording goes on")
        del manager.heard[:]
        assert observer.change_state(Transition.TRANSITION_DEACTIVATE)
        wait_until(lambda: manager.heard and not manager.heard[-1][1].active, "the end")
        count = len(manager.heard)
        assert observer.change_state(Transition.TRANSITION_CLEANUP)
        assert node.end() == 0, node.output
        assert len(manager.heard) == count


def test_there_is_no_bond_unless_it_is_asked_for(drive: Drive, tmp_path: Path, observer: Observer) -> None:
    with recorder(drive.config_path, tmp_path) as node:
        observer.value("scenes", "state", lambda state: state == "active")
        assert not observer.node.get_publishers_info_by_topic("/bond")
        assert node.end() == 0
