# SPDX-License-Identifier: Apache-2.0
"""The configuration as typed, frozen values, grouped as in the parameter file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MERGED_CLOUD = "lidar"
"""Name of the cloud sensor that several lidars are merged into."""


@dataclass(frozen=True)
class LidarConfig:
    """``lidars.<name>``; see the parameter table for each value."""

    name: str
    topic: str
    intensity_field: str = "intensity"
    intensity_max: float = 255.0
    intensity_scale: str = "fixed"
    time_field: str = "auto"
    stamp: str = "start"
    min_range_m: float = 0.0
    max_range_m: float = float("inf")
    ground_field: str = ""
    ground_classes: tuple[str, ...] = ()
    crop_box: tuple[float, ...] = ()
    tolerance_ms: float = 50.0
    offset_ms: float = 0.0
    required: bool = False


@dataclass(frozen=True)
class CameraConfig:
    """``cameras.<name>``."""

    name: str
    image_topic: str
    info_topic: str = ""
    optical_frame: str = ""
    calibration_file: str = ""
    tolerance_ms: float = 50.0
    offset_ms: float = 0.0
    required: bool = False
    rectify: str = "auto"
    priority: int = 0


@dataclass(frozen=True)
class RadarConfig:
    """``radars.<name>``."""

    name: str
    topic: str
    tolerance_ms: float = 50.0
    offset_ms: float = 0.0
    required: bool = False
    strength_min: float = -20.0
    strength_max: float = 40.0


@dataclass(frozen=True)
class GpsConfig:
    """``gps``."""

    topic: str = ""
    heading_topic: str = ""
    map_is_enu: bool = False


@dataclass(frozen=True)
class CloudConfig:
    """``cloud``."""

    voxel_m: float = 0.0
    max_points: int = 0


@dataclass(frozen=True)
class GroundConfig:
    """``ground``."""

    method: str = "field"
    device_height_m: float = 0.0


@dataclass(frozen=True)
class SceneConfig:
    """``scene``."""

    format: str = "nucleus"
    prefix: str = "drive"
    max_items: int = 300
    max_frames: int = 0
    max_duration_s: float = 0.0
    max_gap_s: float = 1.0
    max_jump_m: float = 5.0
    frame_stride: int = 1
    min_distance_m: float = 0.0
    origin: str = "first_frame"


@dataclass(frozen=True)
class SyncConfig:
    """``sync``."""

    wait_s: float = 2.0
    max_bytes: int = 512_000_000


@dataclass(frozen=True)
class ImageConfig:
    """``image``."""

    format: str = "jpeg"
    quality: int = 90


@dataclass(frozen=True)
class SpoolConfig:
    """``spool``."""

    path: str = ""
    max_bytes: int = 0
    min_free_bytes: int = 1_000_000_000
    when_full: str = "block"


@dataclass(frozen=True)
class UploadConfig:
    """``upload``."""

    dataset_id: str = ""
    dataset_name: str = ""
    store: str = ""
    endpoint: str = ""
    task_template: str = ""
    task_endpoint: str = ""
    update: bool = False
    privacy_mode: bool = False
    url: str = "native"
    url_expires_s: int = 86_400
    public_base_url: str = ""
    max_concurrency: int = 8
    timeout_s: float = 120.0
    give_up_after_s: float = 3600.0
    poll_interval_s: float = 5.0
    watch_interval_s: float = 2.0
    delete_after: bool = False


@dataclass(frozen=True)
class QueueConfig:
    """``queue``."""

    max_bytes: int = 256_000_000
    thin_at: float = 0.5
    workers: int = 2


@dataclass(frozen=True)
class DiagnosticsConfig:
    """``diagnostics``."""

    silent_s: float = 1.0
    max_residual_ms: float = 40.0
    max_wait_s: float = 1.0
    recent_s: float = 10.0


@dataclass(frozen=True)
class Config:
    """Everything a user can set, checked."""

    world_frame: str = "map"
    device_frame: str = "base_link"
    lidars: tuple[LidarConfig, ...] = ()
    cameras: tuple[CameraConfig, ...] = ()
    radars: tuple[RadarConfig, ...] = ()
    gps: GpsConfig = field(default_factory=GpsConfig)
    deskew: bool = True
    point_fields: tuple[str, ...] = ("intensity",)
    cloud: CloudConfig = field(default_factory=CloudConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    metadata: tuple[tuple[str, str], ...] = ()
    image: ImageConfig = field(default_factory=ImageConfig)
    spool: SpoolConfig = field(default_factory=SpoolConfig)
    upload: UploadConfig = field(default_factory=UploadConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    autostart: bool = False
    base_dir: Path = field(default_factory=Path, compare=False)
    digest: str = ""

    @property
    def matched(self) -> tuple[LidarConfig | CameraConfig | RadarConfig, ...]:
        """The sensors that are matched to the reference lidar's sweeps."""
        return (*self.lidars[1:], *self.cameras, *self.radars)

    @property
    def segments_ground(self) -> bool:
        """Whether ground is found in the clouds rather than told by a field of them."""
        return "is_ground" in self.point_fields and self.ground.method != "field"

    @property
    def cloud_sensor(self) -> str:
        """Name of the point cloud sensor in the scenes: the lidar's, or ``MERGED_CLOUD`` for several."""
        return self.lidars[0].name if len(self.lidars) == 1 else MERGED_CLOUD
