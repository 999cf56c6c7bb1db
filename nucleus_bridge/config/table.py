# SPDX-License-Identifier: Apache-2.0
"""The one parameter table: name, type, default, range and description of everything a user can set.

A ``*`` in a name stands for a sensor's name as listed in ``<kind>_names`` (or for a free key under ``metadata``).
The node declares its parameters from this table, the command line checks files against it, and
``docs/parameters.md`` is printed from it.
"""

from __future__ import annotations

from nucleus_bridge.config.parameter import Parameter, Value
from nucleus_bridge.config.sensor_table import SENSOR_PARAMETERS

__all__ = ["PARAMETERS", "SENSOR_KINDS", "Parameter", "Value"]

SENSOR_KINDS = ("lidar", "camera", "radar")

PARAMETERS: tuple[Parameter, ...] = (
    *SENSOR_PARAMETERS,
    Parameter("deskew", True, "Move each point with the device pose at its own time."),
    Parameter(
        "point_fields",
        ("intensity",),
        "What a point carries besides its position.",
        choices=("intensity", "device", "time", "is_ground"),
    ),
    Parameter(
        "cloud.voxel_m",
        0.0,
        "Keep one point in each cube of this size in the world, the first one; 0: all.",
        minimum=0.0,
        is_later=True,
    ),
    Parameter(
        "cloud.max_points",
        0,
        "Keep at most this many points a frame, evenly spread over the sweeps; 0: all.",
        minimum=0,
        is_later=True,
    ),
    Parameter(
        "ground.method",
        "field",
        "What says which points are ground: `ground_field` of each lidar, or segmentation with Patchwork (the extra "
        "`ground`).",
        choices=("field", "patchwork"),
        is_later=True,
    ),
    Parameter(
        "ground.device_height_m",
        0.0,
        "Height of the origin of `device_frame` above the ground, which segmentation needs.",
        minimum=-100.0,
        maximum=100.0,
        is_later=True,
    ),
    Parameter(
        "scene.format",
        "nucleus",
        "What is written: Nucleus scenes, or frames for annotation tasks as JSON or as protocol buffers.",
        choices=("nucleus", "sensor_fusion_json", "sensor_fusion_protobuf"),
        shapes_output=False,  # the manifest says it itself, so that one drive has one digest in every format
    ),
    Parameter("scene.prefix", "drive", "First part of every reference id; letters, digits, `.`, `_` and `-`."),
    Parameter(
        "scene.max_items", 300, "A scene ends before it would hold more clouds and images.", minimum=1, maximum=300
    ),
    Parameter("scene.max_frames", 0, "A scene ends at this many frames; 0: no limit of its own.", minimum=0),
    Parameter("scene.max_duration_s", 0.0, "A scene ends before it would last longer; 0: no limit.", minimum=0.0),
    Parameter("scene.max_gap_s", 1.0, "A longer hole between lidar sweeps ends the scene; 0: never.", minimum=0.0),
    Parameter(
        "scene.max_jump_m",
        5.0,
        "A larger step of the device pose that its speed does not explain ends the scene; 0: never.",
        minimum=0.0,
    ),
    Parameter("scene.frame_stride", 1, "Keep every n-th sweep of the reference lidar.", minimum=1),
    Parameter("scene.min_distance_m", 0.0, "Keep a frame only after the device moved this far.", minimum=0.0),
    Parameter(
        "scene.origin",
        "first_frame",
        "Where positions count from: the device in the scene's first frame, or the world frame's own origin.",
        choices=("first_frame", "none"),
    ),
    Parameter(
        "sync.wait_s",
        2.0,
        "How long, in message time, a frame waits for images, transforms and fixes that are late.",
        minimum=0.0,
        maximum=60.0,
    ),
    Parameter(
        "sync.max_bytes",
        512_000_000,
        "Messages that wait for their frame take at most this much memory; beyond it the oldest frame is closed early.",
        minimum=1_000_000,
    ),
    Parameter("metadata.*", None, "Free text that is copied to every scene."),
    Parameter("image.format", "jpeg", "How raw images are written.", choices=("jpeg", "png")),
    Parameter("image.quality", 90, "JPEG quality of raw and rectified images.", minimum=1, maximum=100),
    Parameter("spool.path", "", "Folder that holds the scenes.", shapes_output=False),
    Parameter("spool.max_bytes", 0, "Quota of the spool; 0: none.", minimum=0, live=True, shapes_output=False),
    Parameter(
        "spool.min_free_bytes",
        1_000_000_000,
        "Free space that is left on the disk.",
        minimum=0,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "spool.when_full",
        "block",
        "What happens at the quota or at the free space limit.",
        choices=("block", "drop_oldest", "drop_newest"),
        live=True,
        shapes_output=False,
    ),
    Parameter("upload.dataset_id", "", "Nucleus dataset (`ds_...`) that scenes go to.", shapes_output=False),
    Parameter(
        "upload.dataset_name",
        "",
        "Dataset by name; it is created when there is none of that name.",
        shapes_output=False,
    ),
    Parameter(
        "upload.store",
        "",
        "Object store for clouds and images: `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///...`.",
        shapes_output=False,
    ),
    Parameter("upload.endpoint", "", "Base URL of the Nucleus API; empty: the public one.", shapes_output=False),
    Parameter(
        "upload.task_template",
        "",
        "File with the labels and other free fields of annotation tasks; with it sensor-fusion scenes become tasks "
        "and no dataset is needed.",
        shapes_output=False,
    ),
    Parameter(
        "upload.task_endpoint",
        "",
        "Base URL of the API that takes annotation tasks; empty: the public one.",
        shapes_output=False,
    ),
    Parameter("upload.update", False, "Overwrite metadata of scenes that exist.", shapes_output=False),
    Parameter("upload.privacy_mode", False, "Create the dataset in privacy mode.", shapes_output=False),
    Parameter(
        "upload.url",
        "native",
        "Item URLs: the store's own scheme, presigned ones, or public ones.",
        choices=("native", "presigned", "public"),
        shapes_output=False,
    ),
    Parameter(
        "upload.url_expires_s",
        86_400,
        "Life of a presigned URL in seconds.",
        minimum=60,
        maximum=604_800,
        shapes_output=False,
    ),
    Parameter(
        "upload.public_base_url",
        "",
        "With `upload.url: public`: the URL that stands for `upload.store`, such as `https://cdn.example.org/drives`.",
        shapes_output=False,
    ),
    Parameter("upload.max_concurrency", 8, "Transfers at the same time.", minimum=1, maximum=64, shapes_output=False),
    Parameter(
        "upload.timeout_s",
        120.0,
        "Longest time one request may take; a large file goes in parts of 8 MB, each a request.",
        minimum=1.0,
        maximum=3600.0,
        shapes_output=False,
    ),
    Parameter(
        "upload.give_up_after_s",
        3600.0,
        "How long one step is tried again without an answer before the scene counts as failed; 0: forever.",
        minimum=0.0,
        shapes_output=False,
    ),
    Parameter(
        "upload.poll_interval_s",
        5.0,
        "Time between two looks at a Nucleus job.",
        minimum=0.05,
        maximum=600.0,
        shapes_output=False,
    ),
    Parameter(
        "upload.watch_interval_s",
        2.0,
        "Time between two looks for new scenes while watching a spool.",
        minimum=0.1,
        maximum=3600.0,
        shapes_output=False,
    ),
    Parameter(
        "upload.delete_after",
        False,
        "Delete a scene from the spool once its upload is verified.",
        shapes_output=False,
    ),
    Parameter(
        "queue.max_bytes",
        256_000_000,
        "Recorder only: messages that were received and not looked at yet take at most this much memory; beyond it "
        "new clouds and images are dropped, until half of it is free again, and counted as `queue_full`.",
        minimum=1_000_000,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "queue.thin_at",
        0.5,
        "Recorder only: while more than this share of `queue.max_bytes` is in use, only every second frame is kept, "
        "and every fourth above half of the rest; the others are counted as `overload`. 1: never.",
        minimum=0.0,
        maximum=1.0,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "queue.workers",
        2,
        "Recorder only: processes that render frames.",
        minimum=1,
        maximum=64,
        shapes_output=False,
    ),
    Parameter(
        "diagnostics.silent_s",
        1.0,
        "Recorder only: a topic without a message for longer than this is reported as silent.",
        minimum=0.01,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "diagnostics.max_residual_ms",
        40.0,
        "Recorder only: a larger distance between an image and its wanted stamp is reported.",
        minimum=0.0,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "diagnostics.max_wait_s",
        1.0,
        "Recorder only: a frame that waits longer than this, in message time, for transforms or images is reported.",
        minimum=0.0,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "diagnostics.recent_s",
        10.0,
        "Recorder only: how long a loss keeps its status at a warning.",
        minimum=1.0,
        live=True,
        shapes_output=False,
    ),
    Parameter(
        "autostart",
        False,
        "Node only: configure and activate at start, without an outside lifecycle manager.",
        shapes_output=False,
    ),
)
