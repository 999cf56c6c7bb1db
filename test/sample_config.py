# SPDX-License-Identifier: Apache-2.0
"""A configuration for the sample recordings that were made from one drive."""

from __future__ import annotations

CONFIG = """
/**:
  ros__parameters:
    world_frame: map
    device_frame: base_link
    lidar_names: [top]
    lidars: {top: {topic: /lidar/top/points}}
    camera_names: [front, rear]
    cameras:
      front: {image_topic: /camera/front/image_raw/compressed, info_topic: /camera/front/camera_info}
      rear: {image_topic: /camera/rear/image_raw/compressed, info_topic: /camera/rear/camera_info}
    spool: {min_free_bytes: 0}
"""
