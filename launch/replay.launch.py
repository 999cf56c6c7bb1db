# SPDX-License-Identifier: Apache-2.0
"""Play a bag with its clock into the recorder; everything ends when the bag does."""

from __future__ import annotations

from pathlib import Path

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

PASSED_ON = ("config", "spool", "use_sim_time", "autostart", "upload", "log_level", "namespace")
DISCOVERY_S = "5"
DELIVERY_MS = "10000"
"""The player waits this long for what reliable topics still have to deliver: the recorder is told to end after it."""


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("bag", description="rosbag2 recording to play"),
        DeclareLaunchArgument("rate", default_value="1.0", description="How many times as fast as it was recorded"),
        DeclareLaunchArgument("use_sim_time", default_value="true", description="Take the time from /clock"),
    ]
    record = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).parent / "record.launch.py")),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in PASSED_ON],
    )
    play = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "100"),
            *("--rate", LaunchConfiguration("rate"), "--delay", DISCOVERY_S),
            *("--wait-for-all-acked", DELIVERY_MS, "--disable-keyboard-controls"),
        ],
        output="screen",
        on_exit=[Shutdown(reason="the bag has been played")],
    )
    return LaunchDescription([*arguments, *record_arguments(), record, play])


def record_arguments() -> list[DeclareLaunchArgument]:
    return [
        DeclareLaunchArgument("config", description="ROS 2 parameter file of the recorder and the uploader"),
        DeclareLaunchArgument("spool", description="Folder that takes the scenes"),
        DeclareLaunchArgument(
            "autostart", default_value="true", description="Record at once, without an outside lifecycle manager"
        ),
        DeclareLaunchArgument("upload", default_value="false", description="Run the uploader beside the recorder"),
        DeclareLaunchArgument("log_level", default_value="info", description="Least severe messages in the log"),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes"),
    ]
