# SPDX-License-Identifier: Apache-2.0
"""The configuration as typed, frozen values, grouped as in the parameter file; the only place that defines them.

A new parameter is one new field, made by :func:`~nucleus_bridge.config.schema.setting`: the table, the checks, the
ROS 2 descriptors, the digest and ``docs/parameters.md`` follow from it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from nucleus_bridge.config.schema import NOT_A_PARAMETER, Scalar, Table, free, listed, setting
from nucleus_bridge.config.sensors import CameraConfig, GpsConfig, LidarConfig, NamedTopic, RadarConfig, Sensor
from nucleus_bridge.config.sources import (
    MARK,
    AnnotationConfig,
    EventConfig,
    GivenEvent,
    MountConfig,
    PoseConfig,
    SignalConfig,
    TransformsConfig,
)
from nucleus_bridge.formats import registry

__all__ = [
    "MERGED_CLOUD",
    "SENSOR_GROUPS",
    "TABLE",
    "AnnotationConfig",
    "CameraConfig",
    "CloudConfig",
    "Config",
    "DiagnosticsConfig",
    "EventConfig",
    "GpsConfig",
    "GroundConfig",
    "ImageConfig",
    "LidarConfig",
    "MountConfig",
    "NamedTopic",
    "PoseConfig",
    "QueueConfig",
    "RadarConfig",
    "RosConfig",
    "SceneConfig",
    "Sensor",
    "SfsConfig",
    "SignalConfig",
    "SpoolConfig",
    "SyncConfig",
    "TransformsConfig",
    "UploadConfig",
]

MERGED_CLOUD = "lidar"
"""Name of the cloud sensor that several lidars are merged into."""


@dataclass(frozen=True)
class CloudConfig:
    """``cloud``."""

    voxel_m: float = setting(
        0.0, "Keep one point in each cube of this size in the world, the first one; 0: all.", minimum=0.0, is_later=True
    )
    max_points: int = setting(
        0, "Keep at most this many points a frame, evenly spread over the sweeps; 0: all.", minimum=0, is_later=True
    )


@dataclass(frozen=True)
class GroundConfig:
    """``ground``."""

    method: Literal["field", "patchwork"] = setting(
        "field",
        "What says which points are ground: `ground_field` of each lidar, or segmentation with Patchwork (the "
        "extra `ground`).",
        is_later=True,
    )
    device_height_m: float = setting(
        0.0,
        "Height of the origin of `device_frame` above the ground, which segmentation needs.",
        minimum=-100.0,
        maximum=100.0,
        is_later=True,
    )


@dataclass(frozen=True)
class SceneConfig:
    """``scene``."""

    # The manifest says it itself, so that one drive has one digest in every format.
    format: str = setting(
        registry.DEFAULT,
        "What is written: Nucleus scenes, frames for annotation tasks as JSON or as protocol buffers, or a file of "
        "Scale's scene format.",
        choices=registry.names,
        shapes_output=False,
    )
    prefix: str = setting("drive", "First part of every reference id; letters, digits, `.`, `_` and `-`.")
    max_items: int = setting(
        300,
        "A scene ends before it would hold more clouds and images; `sfs` scenes end after ten minutes instead.",
        minimum=1,
        maximum=300,
    )
    max_frames: int = setting(0, "A scene ends at this many frames; 0: no limit of its own.", minimum=0)
    max_duration_s: float = setting(0.0, "A scene ends before it would last longer; 0: no limit.", minimum=0.0)
    max_gap_s: float = setting(1.0, "A longer gap between lidar sweeps ends the scene; 0: never.", minimum=0.0)
    max_jump_m: float = setting(
        5.0, "A larger step of the device pose that its speed does not explain ends the scene; 0: never.", minimum=0.0
    )
    frame_stride: int = setting(1, "Keep every n-th sweep of the reference lidar.", minimum=1)
    min_distance_m: float = setting(0.0, "Keep a frame only after the device moved this far.", minimum=0.0)
    select: Literal["all", "events"] = setting(
        "all",
        "`events` keeps only the frames within the windows of `events` and of `~/mark`.",
        is_later=True,
    )
    origin: Literal["first_frame", "none"] = setting(
        "first_frame",
        "Where positions count from: the device in the scene's first frame, or the world frame's own origin.",
    )


@dataclass(frozen=True)
class SyncConfig:
    """``sync``."""

    wait_s: float = setting(
        2.0,
        "How long, in message time, a frame waits for images, transforms and fixes that are late.",
        minimum=0.0,
        maximum=60.0,
    )
    max_bytes: int = setting(
        512_000_000,
        "Messages that wait for their frame take at most this much memory; beyond it the oldest frame is closed early.",
        minimum=1000000,
    )


@dataclass(frozen=True)
class ImageConfig:
    """``image``."""

    format: Literal["jpeg", "png"] = setting("jpeg", "How raw images are written.")
    quality: int = setting(90, "JPEG quality of raw and rectified images.", minimum=1, maximum=100)


@dataclass(frozen=True)
class SpoolConfig:
    """``spool``."""

    path: str = setting("", "Folder that holds the scenes.", shapes_output=False)
    max_bytes: int = setting(0, "Quota of the spool; 0: none.", minimum=0, live=True, shapes_output=False)
    min_free_bytes: int = setting(
        1_000_000_000, "Free space that is left on the disk.", minimum=0, live=True, shapes_output=False
    )
    when_full: Literal["block", "drop_oldest", "drop_newest"] = setting(
        "block", "What happens at the quota or at the free space limit.", live=True, shapes_output=False
    )


@dataclass(frozen=True)
class UploadConfig:
    """``upload``."""

    dataset_id: str = setting("", "Nucleus dataset (`ds_...`) that scenes go to.", shapes_output=False)
    dataset_name: str = setting(
        "", "Dataset by name; it is created when there is none of that name.", shapes_output=False
    )
    store: str = setting(
        "",
        "Object store for clouds and images: `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///...`.",
        shapes_output=False,
    )
    endpoint: str = setting("", "Base URL of the Nucleus API; empty: the public one.", shapes_output=False)
    task_template: str = setting(
        "",
        "File with the labels and other free fields of annotation tasks; with it sensor-fusion scenes become "
        "tasks and no dataset is needed.",
        is_file=True,
        shapes_output=False,
    )
    task_endpoint: str = setting(
        "", "Base URL of the API that takes annotation tasks; empty: the public one.", shapes_output=False
    )
    update: bool = setting(
        False, "Renew metadata and cameras of scenes that the dataset holds, in place.", shapes_output=False
    )
    privacy_mode: bool = setting(False, "Create the dataset in privacy mode.", shapes_output=False)
    url: Literal["native", "presigned", "public"] = setting(
        "native", "Item URLs: the store's own scheme, presigned ones, or public ones.", shapes_output=False
    )
    url_expires_s: int = setting(
        86_400, "Life of a presigned URL in seconds.", minimum=60, maximum=604800, shapes_output=False
    )
    public_base_url: str = setting(
        "",
        "With `upload.url: public`: the URL that stands for `upload.store`, such as `https://cdn.example.org/drives`.",
        shapes_output=False,
    )
    max_concurrency: int = setting(8, "Transfers at the same time.", minimum=1, maximum=64, shapes_output=False)
    timeout_s: float = setting(
        120.0,
        "Longest time one request may take; a large file goes in parts of 8 MB, each a request.",
        minimum=1.0,
        maximum=3600.0,
        shapes_output=False,
    )
    give_up_after_s: float = setting(
        3600.0,
        "How long one step is tried again without an answer before the scene counts as failed; 0: forever.",
        minimum=0.0,
        shapes_output=False,
    )
    poll_interval_s: float = setting(
        5.0, "Time between two looks at a Nucleus job.", minimum=0.05, maximum=600.0, shapes_output=False
    )
    watch_interval_s: float = setting(
        2.0,
        "Time between two looks for new scenes while watching a spool.",
        minimum=0.1,
        maximum=3600.0,
        shapes_output=False,
    )
    job_timeout_s: float = setting(
        3600.0,
        "How long a job of the service may take before the scenes themselves are looked at; 0: forever.",
        minimum=0.0,
        shapes_output=False,
        is_later=True,
    )
    delete_after: bool = setting(
        False, "Delete a scene from the spool once its upload is verified.", shapes_output=False
    )


@dataclass(frozen=True)
class QueueConfig:
    """``queue``."""

    max_bytes: int = setting(
        256_000_000,
        "Recorder only: messages that were received and not looked at yet take at most this much memory; beyond "
        "it new clouds and images are dropped, until half of it is free again, and counted as `queue_full`.",
        minimum=1000000,
        live=True,
        shapes_output=False,
    )
    thin_at: float = setting(
        0.5,
        "Recorder only: while more than this share of `queue.max_bytes` is in use, only every second frame is "
        "kept, and every fourth above half of the rest; the others are counted as `overload`. 1: never.",
        minimum=0.0,
        maximum=1.0,
        live=True,
        shapes_output=False,
    )
    workers: int = setting(
        2, "Recorder only: processes that render frames.", minimum=1, maximum=64, shapes_output=False
    )


@dataclass(frozen=True)
class DiagnosticsConfig:
    """``diagnostics``."""

    silent_s: float = setting(
        1.0,
        "Recorder only: a topic without a message for longer than this is reported as silent.",
        minimum=0.01,
        live=True,
        shapes_output=False,
    )
    max_residual_ms: float = setting(
        40.0,
        "Recorder only: a larger distance between an image and its wanted stamp is reported.",
        minimum=0.0,
        live=True,
        shapes_output=False,
    )
    max_wait_s: float = setting(
        1.0,
        "Recorder only: a frame that waits longer than this, in message time, for transforms or images is reported.",
        minimum=0.0,
        live=True,
        shapes_output=False,
    )
    recent_s: float = setting(
        10.0,
        "Recorder only: how long a loss keeps its status at a warning.",
        minimum=1.0,
        live=True,
        shapes_output=False,
    )


@dataclass(frozen=True)
class LookBackConfig:
    """``look_back``."""

    max_bytes: int = setting(
        8_000_000_000,
        "With `scene.select: events`: frames that wait for an event take at most this much, in memory and on the disk; "
        "beyond it the oldest are let go and counted.",
        minimum=1_000_000,
        shapes_output=False,
        is_later=True,
    )
    memory_bytes: int = setting(
        256_000_000,
        "Of `look_back.max_bytes`: so much is held in memory (`convert`: four times as much), the rest in files "
        "without a name beside the spool.",
        minimum=0,
        shapes_output=False,
        is_later=True,
    )


@dataclass(frozen=True)
class SfsConfig:
    """``sfs``."""

    lidars: Literal["separate", "merged"] = setting(
        "separate", "With `scene.format: sfs`: one sensor a lidar, or one merged cloud.", is_later=True
    )
    images: Literal["files", "video"] = setting(
        "files", "With `scene.format: sfs`: images one by one, or as video.", is_later=True
    )
    voxel_m: float = setting(
        0.0, "With `scene.format: sfs`: keep one point in each cube of this size; 0: all.", minimum=0.0, is_later=True
    )


@dataclass(frozen=True)
class RosConfig:
    """``ros``."""

    heal: bool = setting(
        False,
        "Recorder only: where a needed topic falls silent, a participant of its own listens for it; when that hears "
        "it, the open scene is sealed and the recorder connects to the graph anew.",
        shapes_output=False,
        is_later=True,
    )
    hardware_id: str = setting(
        "",
        "Recorder only: `hardware_id` of the diagnostics; empty: the host's name.",
        shapes_output=False,
        is_later=True,
    )
    view_hz: float = setting(
        2.0,
        "Recorder only: how often `~/overlay/<camera>/compressed`, `~/cloud` and `~/trajectory` are published at most, "
        "while somebody subscribes.",
        minimum=0.1,
        maximum=20.0,
        live=True,
        shapes_output=False,
        is_later=True,
    )


@dataclass(frozen=True)
class Config:
    """Everything a user can set, checked."""

    world_frame: str = setting("map", "Frame that points and poses are expressed in; z must point up.")
    device_frame: str = setting("base_link", "Frame of the device (ego vehicle).")
    lidars: tuple[LidarConfig, ...] = listed(
        "lidar_names",
        "Lidars to record. The first one is the reference: each of its sweeps is a frame. "
        "Several lidars are merged into one cloud, and the order numbers the point field `d`.",
    )
    cameras: tuple[CameraConfig, ...] = listed(
        "camera_names", "Cameras to record, in the order of their `camera_index`."
    )
    radars: tuple[RadarConfig, ...] = listed("radar_names", "Radars to record.")
    gps: GpsConfig = field(default_factory=GpsConfig)
    transforms: TransformsConfig = field(default_factory=TransformsConfig)
    poses: tuple[PoseConfig, ...] = listed(
        "pose_names", "Sources of poses besides the transforms; each is one moving edge of their tree.", is_later=True
    )
    mounts: tuple[MountConfig, ...] = listed(
        "mount_names", "Fixed mounts besides the static transforms.", is_later=True
    )
    deskew: bool = setting(True, "Move each point with the device pose at its own time.")
    point_fields: tuple[Literal["intensity", "device", "time", "is_ground"], ...] = setting(
        ("intensity",), "What a point carries besides its position."
    )
    cloud: CloudConfig = field(default_factory=CloudConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    events: tuple[EventConfig, ...] = listed(
        "event_names",
        "Events of the drive; with `scene.select: events` only what lies in their windows is kept.",
        is_later=True,
    )
    look_back: LookBackConfig = field(default_factory=LookBackConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    metadata: tuple[tuple[str, Scalar], ...] = free(
        "Text, a number or a boolean that is copied to every scene as it is."
    )
    metadata_from: tuple[SignalConfig, ...] = listed(
        "metadata_from_names",
        "Signals of the vehicle that become metadata of each scene under these names.",
        is_later=True,
    )
    metadata_builtin: bool = setting(
        False,
        "Add what follows from the frames: start, duration, distance, speeds, place, heading, sun.",
        is_later=True,
    )
    annotations: tuple[AnnotationConfig, ...] = listed(
        "annotation_names", "Recorded detections that become pre-labels.", is_later=True
    )
    image: ImageConfig = field(default_factory=ImageConfig)
    sfs: SfsConfig = field(default_factory=SfsConfig)
    spool: SpoolConfig = field(default_factory=SpoolConfig)
    upload: UploadConfig = field(default_factory=UploadConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    ros: RosConfig = field(default_factory=RosConfig)
    bond_heartbeat_period: float = setting(
        0.0,
        "Recorder only: seconds between the heartbeats by which a lifecycle manager such as nav2's (0.1 there) sees "
        "that the active recorder is alive; 0: none. Needs the messages of the package bond.",
        minimum=0.0,
        maximum=10.0,
        shapes_output=False,
        is_later=True,
    )
    autostart: bool = setting(
        False, "Node only: configure and activate at start, without an outside lifecycle manager.", shapes_output=False
    )
    base_dir: Path = field(default_factory=Path, compare=False, metadata=NOT_A_PARAMETER)
    digest: str = field(default="", metadata=NOT_A_PARAMETER)
    given: tuple[GivenEvent, ...] = field(default=(), metadata=NOT_A_PARAMETER)
    """Events that are known from the start, where events select frames."""

    @property
    def conversion_digest(self) -> str:
        """What a conversion is known by: the digest, and the events that were given with it."""
        if not self.given:
            return self.digest
        text = json.dumps([self.digest, *(astuple(event) for event in self.given)])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def look_back_s(self) -> float:
        """How long before an event the earliest window begins, where events select frames."""
        marks = () if any(event.name == MARK for event in self.events) else (EventConfig(MARK),)
        given_s = (event.before_ns / 1e9 for event in self.given)
        longest_s: float = max([0.0, *(event.before_s for event in (*self.events, *marks)), *given_s])
        return longest_s

    @cached_property
    def sensors(self) -> tuple[Sensor, ...]:
        """All sensors: lidars, the reference first, then the other kinds."""
        return tuple(sensor for group in SENSOR_GROUPS for sensor in getattr(self, group))

    @property
    def matched(self) -> tuple[Sensor, ...]:
        """The sensors that are matched to the reference lidar's sweeps."""
        return self.sensors[1:]

    @property
    def topics(self) -> tuple[NamedTopic, ...]:
        """The topics of all sensors and of the satellite receiver; those of poses are for their sources to say."""
        return (*(topic for sensor in self.sensors for topic in sensor.topics), *self.gps.topics)

    @property
    def segments_ground(self) -> bool:
        """Whether ground is found in the clouds rather than told by a field of them."""
        return "is_ground" in self.point_fields and self.ground.method != "field"

    @property
    def cloud_sensor(self) -> str:
        """Name of the point cloud sensor in the scenes: the lidar's, or ``MERGED_CLOUD`` for several."""
        return self.lidars[0].name if len(self.lidars) == 1 else MERGED_CLOUD


TABLE = Table(Config)
SENSOR_GROUPS = tuple(group for group in TABLE.lists if hasattr(get_args(get_type_hints(Config)[group])[0], "kind"))
"""The groups of ``Config`` that hold sensors, in order; that of the reference lidar comes first."""
