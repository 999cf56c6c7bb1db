# SPDX-License-Identifier: Apache-2.0
"""The recorder's subscriptions: the versions of ROS 2, and what is said where nobody publishes a topic."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
import rclpy
from live_graph import new_domain, wait_until
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import String

from nucleus_bridge.pipeline.topics import WantedTopic
from nucleus_bridge.ros import subscriptions
from nucleus_bridge.ros.subscriptions import Reminders, Subscriptions, types_text

AS_IN_HUMBLE = """
import sys
import rclpy.event_handler as events
import rclpy.lifecycle
sys.modules["rclpy.qos_event"] = events
sys.modules["rclpy.event_handler"] = None
from nucleus_bridge.ros.subscriptions import SubscriptionEventCallbacks
assert SubscriptionEventCallbacks is events.SubscriptionEventCallbacks
"""


def test_humble_has_the_events_in_another_module() -> None:
    done = subprocess.run([sys.executable, "-c", AS_IN_HUMBLE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_few_types_are_named_and_of_many_the_most_usual() -> None:
    assert types_text(("a",)) == "a"
    assert types_text(("a", "b", "c")) == "a or b or c"
    assert types_text(("a", "b", "c", "d")) == "a or b or another type that is read here"


def test_what_remains_as_it_is_is_said_less_and_less_often() -> None:
    reminders, said_s = Reminders(), []
    for now_s in range(3600):
        if reminders.is_due("/lidar", float(now_s)):
            reminders.note("/lidar", float(now_s))
            said_s.append(now_s)
    assert [after - before for before, after in pairwise(said_s)] == [30, 60, 120, 240, 480, 600, 600, 600, 600]
    assert reminders.is_due("/camera", 3600.0)
    reminders.clear()
    assert reminders.is_due("/lidar", 3600.0)


@pytest.mark.live
def test_where_nobody_publishes_a_topic_what_others_publish_is_offered_the_likely_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not what this node shows to people, nor what is only listened to, nor what is read for something else."""
    monkeypatch.setattr(subscriptions, "UNPUBLISHED_AFTER_S", 0.0)
    new_domain()
    context = rclpy.Context()
    rclpy.init(context=context)
    own, other = (rclpy.create_node(name, context=context) for name in ("recorder", "driver"))
    wanted = [
        WantedTopic("/lidar/points", "lidars.top.topic", "cloud", "sensor", "top", needed=True),
        WantedTopic("/velodyne", "lidars.front.topic", "cloud", "sensor", "front"),
        WantedTopic("/brake", "events.brake.topic", "value", "event", "brake", takes_any_type=True),
    ]
    try:
        own.create_publisher(PointCloud2, "/lidar/points_shown", 1)
        published = ["/a/cloud", "/lidar/top/points", "/lidars/points", "/xyz", "/velodyne", "/b/cloud", "/c/cloud"]
        for topic in published:
            other.create_publisher(PointCloud2, topic, 1)
        other.create_publisher(Image, "/lidar/points_depth", 1)
        other.create_publisher(String, "/brakes", 1)
        other.create_subscription(PointCloud2, "/lidar/pointz", lambda _: None, 1)
        every = {*published, "/lidar/points_depth", "/brakes", "/lidar/pointz", "/lidar/points_shown"}
        wait_until(lambda: every <= {name for name, _ in own.get_topic_names_and_types()}, "the topics")
        made = Subscriptions(own, wanted, lambda *_: None, lambda _: None, {})
        told = made.topics["/lidar/points"].missing
        assert told.startswith("lidars.top.topic: nobody publishes /lidar/points; ")
        types, _, others = told.rpartition("other topics of type ")[2].partition(": ")
        assert (
            types == "sensor_msgs/msg/PointCloud2 or livox_ros_driver2/msg/CustomMsg or another type that is read here"
        )
        assert others.split(", ")[:2] == ["/lidars/points", "/lidar/top/points"]
        assert set(others.split(", ")[2:5]) < set(published)
        assert others.endswith(", and 2 more")
        assert made.topics["/velodyne"].missing == ""
        assert made.topics["/brake"].missing.endswith("other topics of a similar name: /brakes")
        other.create_publisher(PointCloud2, "/lidar/points_2", 1)

        def is_offered() -> bool:
            made.update()
            return ": /lidars/points, /lidar/points_2, /lidar/top" in made.topics["/lidar/points"].missing

        wait_until(is_offered, "the new topic")
        made.close()
    finally:
        for node in (own, other):
            node.destroy_node()
        rclpy.shutdown(context=context)
