# SPDX-License-Identifier: Apache-2.0
"""Record scenes from the live graph, and upload them where that is asked for."""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from nucleus_bridge.ros.launching import check_launch

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
    recorder = LifecycleNode(
        executable="nucleus_recorder",
        name="nucleus_recorder",
        parameters=[LaunchConfiguration("config"), own, autostart],
        **common,
    )
    uploader = Node(
        executable="nucleus_uploader",
        name="nucleus_uploader",
        parameters=[LaunchConfiguration("config"), own],
        condition=IfCondition(LaunchConfiguration("upload")),
        respawn=True,
        respawn_delay=RESPAWN_DELAY_S,
        **common,
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=check), recorder, uploader])


def check(context: LaunchContext) -> None:
    """Stop before anything starts where the parameter file cannot be used, or the uploader would have no key."""
    config, namespace = (LaunchConfiguration(name).perform(context) for name in ("config", "namespace"))
    check_launch(config, namespace, uploads=IfCondition(LaunchConfiguration("upload")).evaluate(context))
