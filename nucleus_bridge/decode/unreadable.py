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
_LEAST_BYTES = 1_000
_STANDARD = frozenset(
    (
        *("actionlib_msgs", "action_msgs", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "map_msgs"),
        *("nav_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs", "shape_msgs", "statistics_msgs", "std_msgs"),
        *("stereo_msgs", "tf2_msgs", "trajectory_msgs", "unique_identifier_msgs", "vision_msgs", "visualization_msgs"),
    )
)
_LIKELY: tuple[tuple[Kind, str], ...] = (
    ("radar", r"radar"),
    ("cloud", rf"{_LIDAR_MAKERS}|cloud|(^|[/_ ])points?([/_ ]|$)"),
    ("image", r"camera|image|video|(^|[/_ ])pictures?([/_ ]|$)"),
)
_PLANS = re.compile(
    r"path|trajector|plan|route|lane|map|grid|polygon|spline|boundar|marker|object|track|detection|cluster|obstacle|"
    r"calib|feature|landmark|skeleton|keypoint|joint|control|debug|percept"
)
_HEADER = re.compile(r"^\s*(std_msgs/)?(msg/)?Header\s+\w+", re.MULTILINE)
_ARRAY = re.compile(r"^\s*[\w/]+\[[^\]]*\]\s+\w+", re.MULTILINE)
_POINTS = re.compile(
    r"^\s*[\w/]+\[[^\]]*\]\s+(points?\w*|cloud\w*|ranges|returns)\b|^\s*[\w/]*Point\w*\[", re.MULTILINE
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


def likely_sensor(topic: str, type_name: str, definition: str, size: int) -> Unreadable | None:
    """Return what a type that nobody listed may be: by its fields, and by the names of type and topic.

    A sensor's message is large and has a header; its points stand in an array of their own, or in bytes whose names say
    what they are. Lists of points with other names, such as a planned path, are not sensors.

    Args:
        topic: Name of the topic.
        type_name: Its type.
        definition: As the recording embeds it; "" where there is none.
        size: Bytes of one message.
    """
    package, _, name = type_name.lower().rpartition("/")
    package = package.partition("/")[0]
    is_known = bool(registry.interfaces_of(type_name)) or unreadable(type_name) is not None
    if is_known or size < _LEAST_BYTES or package in _STANDARD or _NOT_DATA.search(name):
        return None
    names = f"{package} {name} {topic.lower()}"
    if _PLANS.search(names):
        return None
    kind = next((kind for kind, words in _LIKELY if re.search(words, names)), None)
    own = definition.partition("\n====")[0]
    if own.strip():
        if not _HEADER.search(own) or not _ARRAY.search(own):
            return None
        kind = kind or ("cloud" if _POINTS.search(own) else None)
    return None if kind is None else Unreadable(type_name, kind, "docs/contributing.md says how to add a type")


def word_for(kind: Kind) -> str:
    """Return what people call a topic of this kind."""
    return _WHAT.get(kind, kind)
