# SPDX-License-Identifier: Apache-2.0
"""Record scenes from the live graph, and upload them where that is asked for."""

from __future__ import annotations

import inspect
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteLocal, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from nucleus_bridge.ros.launching import check_launch, respawn_arguments

RESPAWN_DELAY_S = 5.0


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("config", description="ROS 2 parameter file of the recorder and the uploader"),
        DeclareLaunchArgument("spool", description="Folder that takes the scenes"),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock"),
        DeclareLaunchArgument(
            "autostart", default_value="true", description="Record at once, without an outside lifecycle manager"
        ),
        DeclareLaunchArgument("upload", default_value="false", description="Run the uploader beside the recorder"),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severe messages in the log",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes"),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=["true", "false"],
            description="Start an ended recorder again",
        ),
        DeclareLaunchArgument("respawn_delay", default_value="2.0", description="Seconds before it is started again"),
        DeclareLaunchArgument(
            "respawn_max_retries", default_value="5", description="How often it is started again at most; -1: always"
        ),
    ]
    common = {
        "package": "nucleus_bridge",
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
        "arguments": ["--ros-args", "--log-level", LaunchConfiguration("log_level")],
    }
    own = {
        "spool.path": ParameterValue(LaunchConfiguration("spool"), value_type=str),
        "use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
    }
    autostart = {"autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool)}

    def recorder(context: LaunchContext) -> list[LifecycleNode]:
        node = LifecycleNode(
            executable="nucleus_recorder",
            name="nucleus_recorder",
            parameters=[LaunchConfiguration("config"), own, autostart],
            **respawning(context),
            **common,
        )
        return [node]

    uploader = Node(
        executable="nucleus_uploader",
        name="nucleus_uploader",
        parameters=[LaunchConfiguration("config"), own],
        condition=IfCondition(LaunchConfiguration("upload")),
        respawn=True,
        respawn_delay=RESPAWN_DELAY_S,
        **common,
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=check), OpaqueFunction(function=recorder), uploader])


def respawning(context: LaunchContext) -> dict[str, Any]:
    """Return the arguments of an action that starts its program again; launch takes no substitutions for them."""
    if not IfCondition(LaunchConfiguration("respawn")).evaluate(context):
        return {}
    numbers = ("respawn_delay", "respawn_max_retries")
    given = {name: LaunchConfiguration(name).perform(context) for name in numbers}
    can_limit = "respawn_max_retries" in inspect.signature(ExecuteLocal.__init__).parameters
    return respawn_arguments(**given, can_limit=can_limit)


def check(context: LaunchContext) -> None:
    """Stop before anything starts where the parameter file cannot be used, or the uploader would have no key."""
    config, namespace = (LaunchConfiguration(name).perform(context) for name in ("config", "namespace"))
    check_launch(config, namespace, uploads=IfCondition(LaunchConfiguration("upload")).evaluate(context))
