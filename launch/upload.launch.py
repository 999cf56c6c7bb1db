# SPDX-License-Identifier: Apache-2.0
"""Upload a spool and keep at it, however often the uploader ends."""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from nucleus_bridge.ros.launching import check_launch

RESPAWN_DELAY_S = 5.0


def generate_launch_description() -> LaunchDescription:
    uploader = Node(
        package="nucleus_bridge",
        executable="nucleus_uploader",
        name="nucleus_uploader",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("config"),
            {"spool.path": ParameterValue(LaunchConfiguration("spool"), value_type=str)},
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        respawn=True,
        respawn_delay=RESPAWN_DELAY_S,
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("config", description="ROS 2 parameter file, the recorder's own will do"),
            DeclareLaunchArgument("spool", description="Folder that holds the scenes"),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="Least severe messages in the log",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
            OpaqueFunction(function=check),
            uploader,
        ]
    )


def check(context: LaunchContext) -> None:
    """Stop before anything starts where the parameter file cannot be used, or there is no key."""
    config, namespace = (LaunchConfiguration(name).perform(context) for name in ("config", "namespace"))
    check_launch(config, namespace, uploads=True)
