# SPDX-License-Identifier: Apache-2.0
"""The configuration that converts a demo drive."""

from __future__ import annotations

from nucleus_bridge.testing.demo import gnss, radar
from nucleus_bridge.testing.demo.cameras import Camera, cameras_of
from nucleus_bridge.testing.demo.layouts import LAYOUTS
from nucleus_bridge.testing.demo.lidar import LIDARS, LidarMount
from nucleus_bridge.testing.demo.options import CAMERA_NAMES, DriveOptions
from nucleus_bridge.testing.demo.streams import BASE, MAP

_RADARS = ("    radar_names: [front_radar]", "    radars:", f"      front_radar: {{topic: {radar.TOPIC}}}")


def demo_config(options: DriveOptions) -> str:
    """Return the YAML parameter file for the drive with these options."""
    mounts = [mount for mount in LIDARS if mount.name in options.lidar_names]
    lidars = [_lidar(mount, options) for mount in mounts]
    cameras = [_camera(camera) for camera in cameras_of(options)]
    lines = [
        "# Converts the drive that `nucleus-bridge demo-drive` wrote beside this file.",
        "/**:",
        "  ros__parameters:",
        f"    world_frame: {MAP}",
        f"    device_frame: {BASE}",
        f"    lidar_names: [{', '.join(_sensor_name(mount) for mount in mounts)}]",
        "    lidars:",
        *(line for lines in lidars for line in lines),
        f"    camera_names: [{', '.join(options.camera_names)}]",
        *(["    cameras:"] if cameras else []),  # ROS 2 cannot read an empty mapping
        *(line for lines in cameras for line in lines),
        *(_RADARS if options.radars else ()),
        f"    gps: {{topic: {gnss.FIX_TOPIC}, heading_topic: {gnss.HEADING_TOPIC}}}",
        "    deskew: true",
        "    point_fields: [intensity]",
        "    scene: {prefix: demo}",
    ]
    return "\n".join(lines) + "\n"


def _sensor_name(mount: LidarMount) -> str:
    """Return the lidar's name in the configuration, where no lidar may be called like a camera."""
    return mount.frame_id if mount.name in CAMERA_NAMES else mount.name


def _lidar(mount: LidarMount, options: DriveOptions) -> list[str]:
    return [
        f"      {_sensor_name(mount)}:",
        f"        topic: {mount.topic}{'' if options.cloud == 'raw' else '/' + options.cloud}",
        f"        intensity_field: {LAYOUTS[options.driver].intensity_field}",
        "        intensity_max: 255.0",
        "        time_field: auto",
        "        stamp: start",
    ]


def _camera(camera: Camera) -> list[str]:
    return [
        f"      {camera.name}:",
        f"        image_topic: {camera.image_topic}",
        f"        info_topic: {camera.info_topic}",
        "        required: true",
    ]
