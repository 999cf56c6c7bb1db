# SPDX-License-Identifier: Apache-2.0
"""The rows of the parameter table that are about frames and sensors."""

from __future__ import annotations

from nucleus_bridge.config.parameter import INFINITY, Parameter

SENSOR_PARAMETERS: tuple[Parameter, ...] = (
    Parameter("world_frame", "map", "Frame that points and poses are expressed in; z must point up."),
    Parameter("device_frame", "base_link", "Frame of the device (ego vehicle)."),
    Parameter(
        "lidar_names",
        (),
        "Lidars to record. The first one is the reference: each of its sweeps is a frame. "
        "Several lidars are merged into one cloud, and the order numbers the point field `d`.",
    ),
    Parameter("lidars.*.topic", None, "Topic of the `sensor_msgs/msg/PointCloud2` messages."),
    Parameter("lidars.*.intensity_field", "intensity", "Field that holds the intensity; empty: none."),
    Parameter(
        "lidars.*.intensity_max",
        255.0,
        "Intensity that becomes 1.0; larger ones are clipped and counted.",
        minimum=1e-9,
    ),
    Parameter(
        "lidars.*.intensity_scale",
        "fixed",
        "`fixed`: `intensity_max` is full scale. `auto`: full scale follows from the driver's fields where they tell, "
        "else from `intensity_max`; the manifest says what was used.",
        choices=("fixed", "auto"),
        is_later=True,
    ),
    Parameter(
        "lidars.*.time_field",
        "auto",
        "Field that holds each point's time: `auto` finds it by name and type, `none` says there is none.",
    ),
    Parameter(
        "lidars.*.stamp",
        "start",
        "Which end of the sweep `header.stamp` marks.",
        choices=("start", "end"),
    ),
    Parameter("lidars.*.min_range_m", 0.0, "Points nearer to the lidar are left out and counted.", minimum=0.0),
    Parameter("lidars.*.max_range_m", INFINITY, "Points farther from the lidar are left out and counted.", minimum=0.0),
    Parameter("lidars.*.ground_field", "", "Field that is nonzero for points of the ground; empty: none."),
    Parameter(
        "lidars.*.ground_classes",
        (),
        "Values of `ground_field` that mean ground, such as `['40', '44']`; empty: all but zero.",
        is_later=True,
    ),
    Parameter(
        "lidars.*.crop_box",
        (),
        "Box of the device frame whose points are left out and counted, such as the vehicle itself: "
        "`[x_min, y_min, z_min, x_max, y_max, z_max]` in metres; empty: none.",
        numbers=True,
        is_later=True,
    ),
    Parameter(
        "lidars.*.tolerance_ms",
        50.0,
        "Largest distance between a further lidar's sweep and the wanted stamp.",
        minimum=0.0,
    ),
    Parameter("lidars.*.offset_ms", 0.0, "Wanted stamp of a further lidar = reference stamp + this."),
    Parameter("lidars.*.required", False, "Whether a frame without this further lidar is dropped and counted."),
    Parameter("camera_names", (), "Cameras to record, in the order of their `camera_index`."),
    Parameter(
        "cameras.*.image_topic",
        None,
        "Topic of the `sensor_msgs/msg/Image` or `CompressedImage` messages; the topic's type decides.",
    ),
    Parameter("cameras.*.info_topic", "", "Topic of the `sensor_msgs/msg/CameraInfo` messages."),
    Parameter("cameras.*.optical_frame", "", "Optical frame of the camera; empty: the image's `header.frame_id`."),
    Parameter("cameras.*.calibration_file", "", "A camera_info YAML file that replaces `info_topic`."),
    Parameter(
        "cameras.*.tolerance_ms",
        50.0,
        "Largest distance between an image's stamp and the wanted stamp.",
        minimum=0.0,
        maximum=10_000.0,
    ),
    Parameter(
        "cameras.*.offset_ms", 0.0, "Wanted stamp = lidar reference stamp + this.", minimum=-10_000.0, maximum=10_000.0
    ),
    Parameter("cameras.*.required", False, "Whether a frame without an image of this camera is dropped and counted."),
    Parameter(
        "cameras.*.rectify",
        "auto",
        "`auto` rectifies images only when their distortion cannot be expressed in the output.",
        choices=("auto", "always", "never"),
    ),
    Parameter(
        "cameras.*.priority",
        0,
        "Which camera takes precedence where an object is in several images: the highest.",
        minimum=0,
        maximum=1_000,
        is_later=True,
    ),
    Parameter("gps.topic", "", "Topic of the `sensor_msgs/msg/NavSatFix` messages; empty: none."),
    Parameter("gps.heading_topic", "", "Topic of `sensor_msgs/msg/Imu` messages whose orientation is in ENU."),
    Parameter(
        "gps.map_is_enu",
        False,
        "Whether the x axis of `world_frame` points east: without a heading topic the bearing then comes from the "
        "device's own pose.",
        is_later=True,
    ),
    Parameter("radar_names", (), "Radars to record."),
    Parameter(
        "radars.*.topic", None, "Topic of the `sensor_msgs/msg/PointCloud2` or `radar_msgs/msg/RadarScan` messages."
    ),
    Parameter(
        "radars.*.tolerance_ms",
        50.0,
        "Largest distance between a radar's stamp and the wanted stamp.",
        minimum=0.0,
        maximum=10_000.0,
        is_later=True,
    ),
    Parameter(
        "radars.*.offset_ms",
        0.0,
        "Wanted stamp = lidar reference stamp + this.",
        minimum=-10_000.0,
        maximum=10_000.0,
        is_later=True,
    ),
    Parameter("radars.*.required", False, "Whether a frame without this radar is dropped and counted.", is_later=True),
    Parameter("radars.*.strength_min", -20.0, "Strength (RCS or amplitude, dB) that becomes size 0.", is_later=True),
    Parameter("radars.*.strength_max", 40.0, "Strength (RCS or amplitude, dB) that becomes size 1.", is_later=True),
)
