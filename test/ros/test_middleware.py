# SPDX-License-Identifier: Apache-2.0
"""rclpy's inner names stand in one place and are there; the recorder works under its executors, or refuses them."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from drives import Drive

from nucleus_bridge.convert import convert_bag

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("tf2_msgs", reason="needs tf2_msgs: nucleus-bridge ros-setup tf2_msgs")
import rclpy
from live_graph import HERE, Program, observing, replay, set_parameter
from rclpy.callback_groups import CallbackGroup
from std_msgs.msg import String
from test_live_equals_offline import assert_same_tree

import nucleus_bridge.ros
from nucleus_bridge.ros import middleware

pytestmark = pytest.mark.live

ROOM = Path(nucleus_bridge.ros.__file__).parent
INNER = {"take_message", "event_handlers", "callback_group", "receive_messages", "_parameter_overrides"}


def is_handle(node: ast.Attribute) -> bool:
    return node.attr == "handle" and "subscription" in ast.unparse(node.value)


def inner_names(path: Path) -> Iterator[str]:
    """Names with an underscore of objects other than the module's own, and those that are known to be inner ones."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            is_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if (
                (node.attr.startswith("_") and not node.attr.startswith("__") and not is_own)
                or node.attr in INNER
                or is_handle(node)
            ):
                yield f"{path.name}:{node.lineno} {node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rclpy"):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(part.startswith("_") or part == "impl" for part in parts):
                yield f"{path.name}:{node.lineno} {node.module}"


def test_inner_names_stand_in_one_module() -> None:
    found = [name for path in sorted(ROOM.glob("*.py")) if path.name != "middleware.py" for name in inner_names(path)]
    assert not found
    assert {name.rpartition(" ")[2] for name in inner_names(ROOM / "middleware.py")} >= {
        "handle",
        "_parameter_overrides",
    }


def test_the_version_at_hand_is_one_that_it_was_made_for() -> None:
    found = middleware.rclpy_version()
    known = ", ".join(f"{'.'.join(map(str, key))} ({name})" for key, name in middleware.MADE_FOR.items())
    assert found in middleware.MADE_FOR, f"rclpy {found} is new here: read what middleware.py lists; it knows {known}"


def test_every_inner_name_is_there() -> None:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("names", context=context)
    events = middleware.SubscriptionEventCallbacks(use_default_callbacks=False, message_lost=lambda _: None)
    subscription = node.create_subscription(String, "names", lambda _: None, 1, raw=True, event_callbacks=events)
    publisher = node.create_publisher(String, "names", 1)
    try:
        assert middleware.given_parameters(node) == {}
        assert list(middleware.take_messages(subscription, 10)) == []
        taken: list[middleware.Taken] = []
        for _ in range(1000):
            publisher.publish(String(data="one"))
            taken += middleware.take_messages(subscription, 10)
            if taken:
                break
        assert b"one" in taken[0].message
        assert taken[0].received_ns >= taken[0].sent_ns > 0
        group = CallbackGroup()
        middleware.move_to_group(subscription, group)
        assert subscription.callback_group is group
        assert [handler.callback_group for handler in subscription.event_handlers] == [group]
        for method in ("can_execute", "beginning_execution", "ending_execution"):
            assert list(inspect.signature(getattr(CallbackGroup, method)).parameters) == ["self", "entity"]
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_live_equals_offline_with_several_threads(drive: Drive, tmp_path: Path) -> None:
    convert_bag(drive.bag, drive.config_path, tmp_path / "offline")
    given = (f"spool.path:={tmp_path / 'live'}", "spool.min_free_bytes:=0", "autostart:=true", "queue.workers:=1")
    flags = ["--ros-args", "--params-file", str(drive.config_path), *(f for one in given for f in ("-p", one))]
    several = "rclpy.executors.MultiThreadedExecutor"
    with observing() as observer, Program(str(HERE / "executor_recorder.py"), several, *flags) as node:
        with replay(drive.bag, seen_by=observer) as player:
            player.wait_for("done")
        assert set_parameter(observer, "diagnostics.silent_s", 9) == ""
        assert node.end() == 0, node.output
        assert "a callback failed" not in node.output
    assert_same_tree(tmp_path / "offline" / "scenes", tmp_path / "live" / "scenes")


def test_an_executor_that_cannot_serve_is_refused_at_start(drive: Drive, tmp_path: Path) -> None:
    if importlib.util.find_spec("rclpy.experimental") is None:
        pytest.skip("this rclpy has no EventsExecutor")
    flags = ["--ros-args", "--params-file", str(drive.config_path), "-p", f"spool.path:={tmp_path / 'live'}"]
    with Program(str(HERE / "executor_recorder.py"), "rclpy.experimental.EventsExecutor", *flags) as node:
        assert node.wait() == 2
        refused = "EventsExecutor cannot run this node: take rclpy's SingleThreadedExecutor or MultiThreadedExecutor"
        assert node.lines == [f"error: {refused}"]
