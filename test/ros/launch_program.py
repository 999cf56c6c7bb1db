# SPDX-License-Identifier: Apache-2.0
"""Runs a launch file as ``ros2 launch`` does: ``launch_program.py FILE name:=value ...``."""

from __future__ import annotations

import sys

from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource

from launch import LaunchDescription, LaunchService


def main() -> int:
    path, *given = sys.argv[1:]
    arguments = [tuple(item.split(":=", 1)) for item in given]
    service = LaunchService(noninteractive=True)
    included = IncludeLaunchDescription(AnyLaunchDescriptionSource(path), launch_arguments=arguments)
    service.include_launch_description(LaunchDescription([included]))
    return int(service.run())


if __name__ == "__main__":
    sys.exit(main())
