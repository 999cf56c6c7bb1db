# SPDX-License-Identifier: Apache-2.0
"""Interface types that are sensors or poses and are not read: what they hold and what makes them readable."""

from __future__ import annotations

import re

from nucleus_bridge.decode import registry
from nucleus_bridge.decode.interface import Kind, Unreadable

_NEBULA = (
    "play the recording with nebula running (ros2 launch nebula_ros {}_launch_all_hw.xml launch_hw:=false) and record "
    "the cloud it publishes"
)
_DRIVER = "play the recording with the driver of its package running and record the {} that it publishes"

KNOWN: tuple[Unreadable, ...] = (
    Unreadable("pandar_msgs/msg/PandarScan", "cloud", _NEBULA.format("hesai")),
    Unreadable("pandar_msgs/msg/PandarJumboPacket", "cloud", _NEBULA.format("hesai")),
    Unreadable("pandar_msgs/msg/PandarPacket", "cloud", _NEBULA.format("hesai")),
    Unreadable(
        "hesai_ros_driver/msg/UdpFrame",
        "cloud",
        "play the recording with HesaiLidar_ROS_2.0 running (source_type: 3, packets from a topic) and record the "
        "cloud",
    ),
    Unreadable("nebula_msgs/msg/NebulaPackets", "cloud", _NEBULA.format("<vendor>")),
    Unreadable("robosense_msgs/msg/RobosenseScan", "cloud", _NEBULA.format("robosense")),
    Unreadable(
        "rslidar_msg/msg/RslidarPacket",
        "cloud",
        "play the recording with rslidar_sdk running (msg_source: 2, packets from a topic) and record the cloud",
    ),
    Unreadable("sensor_msgs/msg/PointCloud", "cloud", _DRIVER.format("PointCloud2, by point_cloud_converter,")),
    Unreadable(
        "theora_image_transport/msg/Packet", "image", "ros2 run image_transport republish theora raw, and record"
    ),
)

_LIDAR_MAKERS = (
    r"pandar|velodyne|ouster|hesai|robosense|rslidar|livox|nebula|innoviz|innovusion|seyond|luminar|aeva|cepton|"
    r"quanergy|lidar|pointcloud|point_cloud|laser_?scan|lslidar|vanjee|tanway|benewake"
)
_WORDS: tuple[tuple[Kind, str], ...] = (
    ("radar", r"radar|ars_?4\d\d|ars548|srr\d*|esr|conti"),
    ("cloud", _LIDAR_MAKERS),
    ("image", r"compressedvideo|video|ffmpeg|h26[45]|theora|image|camera_frame|nitros"),
    ("pose", r"odometry|pose|inspva|ins_?solution|navstate|localization"),
)
_NOT_DATA = re.compile(
    r"info|status|state$|diagnos|config|param|imu|telemetry|temperature|health|command|marker|roi|filter|settings|"
    r"metadata|array$|disparity|cameracontrol|objects?$|tracks?$|bounding|twist|velocity|accel"
)
_OF_SENSORS = re.compile(
    r"(packet|packets|scan|scans|cloud2?|points|frame|image|video|custommsg|packetmsg|returns?|udp|detections?)$"
)
_WHAT: dict[Kind, str] = {"cloud": "lidar", "image": "camera", "radar": "radar", "pose": "pose"}


def unreadable(type_name: str) -> Unreadable | None:
    """Return what is known of a type that is a sensor or a pose and is not read; None for all others.

    Types that nobody listed are known by the words of their names.
    """
    if registry.interfaces_of(type_name):
        return None
    listed = next((known for known in KNOWN if known.type_name == type_name), None)
    if listed is not None:
        return listed
    package, _, name = type_name.lower().rpartition("/")
    if _NOT_DATA.search(name) or package.startswith("geometry_msgs"):
        return None
    for kind, words in _WORDS:
        if not re.search(words, f"{package} {name}"):
            continue
        if kind != "pose" and not _OF_SENSORS.search(name):
            continue
        thing = {"cloud": "PointCloud2", "image": "images", "radar": "RadarScan"}.get(kind, "pose as nav_msgs/Odometry")
        return Unreadable(type_name, kind, _DRIVER.format(thing))
    return None


def word_for(kind: Kind) -> str:
    """Return what people call a topic of this kind."""
    return _WHAT.get(kind, kind)
