# SPDX-License-Identifier: Apache-2.0
"""A recording to an estimated trajectory: its lidars, merged by their mounts, registered sweep by sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.config import Config, LidarConfig
from nucleus_bridge.decode.points import select_points
from nucleus_bridge.errors import BridgeError, DecodeError, InputError, TransformError
from nucleus_bridge.geometry import TransformTree, transforms
from nucleus_bridge.model import FloatArray, Message, Sweep, Transform
from nucleus_bridge.pipeline.synchroniser import Match, StreamSpec, Synchroniser
from nucleus_bridge.pipeline.topics import Stream, WantedTopic, wanted_topics
from nucleus_bridge.poses import PoseSource, sources_of
from nucleus_bridge.poses.feed import PoseFeed
from nucleus_bridge.poses.lidar_odometry import LidarOdometry, SweepPoints, SweepPose
from nucleus_bridge.poses.trajectory import ESTIMATED
from nucleus_bridge.recordings import Recording
from nucleus_bridge.replay import check_topics, messages_ahead
from nucleus_bridge.spool.durable import replace_file

DRIFT = 0.01
"""The drift to expect, as a share of the distance: measured on real roads, not on the demo drive."""
_SPREAD_STAMPS = 8


@dataclass
class Estimate:
    """What came of it.

    Attributes:
        poses: In order; a gap lies before each that ``begins``.
        sweeps: Sweeps of the first lidar.
        failed: Of those, how many could not be registered or fell into the gap behind one.
        undecoded: Messages that could not be used, by cause.
        distorted: Whether the points of a lidar have no times, so that its sweeps are distorted by the motion.
    """

    poses: list[SweepPose] = field(default_factory=list)
    sweeps: int = 0
    failed: int = 0
    undecoded: dict[str, int] = field(default_factory=dict)
    distorted: bool = False

    @property
    def way_m(self) -> float:
        """The length of the way, gaps left out."""
        return sum(
            float(np.linalg.norm(pose.pose[:3] - before.pose[:3]))
            for before, pose in zip(self.poses, self.poses[1:], strict=False)
            if not pose.begins
        )

    @property
    def gaps(self) -> int:
        """How many gaps lie between poses."""
        return sum(pose.begins for pose in self.poses[1:])

    @property
    def degenerate(self) -> int:
        """How many poses are held badly by their surroundings."""
        return sum(pose.is_degenerate for pose in self.poses)

    def tum(self) -> str:
        """Return the trajectory as a TUM file."""
        lines = [ESTIMATED, "# timestamp tx ty tz qx qy qz qw"]
        for pose in self.poses:
            stamp = f"{pose.stamp_ns // 10**9}.{pose.stamp_ns % 10**9:09d}"
            lines.append(" ".join([stamp, *(f"{value:.9f}" for value in pose.pose)]))
        return "\n".join(lines) + "\n"


def estimate_trajectory(
    recording: Recording, config: Config, progress: Callable[[float], None] = lambda _share: None
) -> Estimate:
    """Estimate how the device moved.

    Args:
        recording: The recording.
        config: Its lidars, mounts and ``device_frame`` count; its sources of poses do not.
        progress: Is called with the share that is done.

    Raises:
        InputError: A topic is missing, a lidar is not mounted, or small_gicp is not installed.
        BridgeError: Not a single pose came out.
    """
    run = _Run(recording, config)
    total = max(1, recording.end_ns - recording.start_ns)
    for message in recording.messages(run.topics):
        run.take(message)
        progress((message.log_ns - recording.start_ns) / total)
    run.finish()
    if not run.estimate.poses:
        causes = ", ".join(f"{count} by {cause}" for cause, count in sorted(run.estimate.undecoded.items()))
        raise BridgeError(
            f"{recording.path}: not one of {run.estimate.sweeps} sweeps could be registered"
            + (f"; not decoded: {causes}" if causes else "")
        )
    return run.estimate


def write_trajectory(path: Path, estimate: Estimate) -> None:
    """Write the trajectory as a TUM file.

    Raises:
        InputError: It cannot be written.
    """
    try:
        replace_file(path, estimate.tum().encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None


class _Run:
    """Matches the sweeps of the lidars and hands them on as one, in the device frame."""

    def __init__(self, recording: Recording, config: Config) -> None:
        self.estimate = Estimate()
        self._config = config
        self._lidars = {lidar.name: lidar for lidar in config.lidars}
        self._odometry = LidarOdometry(round(config.scene.max_gap_s * 1e9))
        self._tree = TransformTree()
        self._mounts: dict[tuple[str, str], Transform] = {}
        sources = sources_of(config)
        wanted = [topic for topic in wanted_topics(config, sources) if self._concerns(topic)]
        check_topics(recording, wanted)
        self._hear(recording, sources, wanted)
        self._streams = {topic.name: Stream(topic) for topic in wanted if topic.role == "sensor"}
        self._companions = {
            topic.name: stream
            for topic in wanted
            if topic.role == "companion"
            for stream in self._streams.values()
            if stream.topic.reader == topic.reader
        }
        for message in messages_ahead(recording, [topic for topic in wanted if topic.role == "companion"]):
            list(self._companions[message.topic].tell(message))
        specs = [
            StreamSpec(lidar.name, round(lidar.offset_ms * 1e6), round(lidar.tolerance_ms * 1e6))
            for lidar in config.lidars[1:]
        ]
        wait_ns = round(config.sync.wait_s * 1e9)
        self._sync: Synchroniser[Sweep] = Synchroniser(
            config.lidars[0].name, specs, wait_ns, 1, lambda _name, _cause, _stamp: None
        )

    @property
    def topics(self) -> list[str]:
        return [*self._streams, *self._companions]

    def take(self, message: Message) -> None:
        stream = self._streams.get(message.topic)
        told = self._companions.get(message.topic)
        try:
            for sweep in stream.take(message) if stream is not None else told.tell(message) if told else ():
                self._add((stream or told).topic.reader, sweep)  # type: ignore[union-attr]
        except DecodeError as error:
            self.estimate.undecoded[error.cause] = self.estimate.undecoded.get(error.cause, 0) + 1
        self._register(self._sync.ready())

    def finish(self) -> None:
        for stream in self._streams.values():
            for sweep in stream.flush():
                self._add(stream.topic.reader, sweep)
        self._register(self._sync.ready(everything=True))
        self._odometry.finish()
        self.estimate.sweeps, self.estimate.failed = self._odometry.sweeps, self._odometry.failed

    def _concerns(self, topic: WantedTopic) -> bool:
        """Say whether a topic carries points, or what is mounted where."""
        return topic.reader in self._lidars or (topic.role == "poses" and topic.ahead == "all")

    def _hear(self, recording: Recording, sources: tuple[PoseSource, ...], wanted: list[WantedTopic]) -> None:
        """Put all that holds for the whole recording into the tree."""
        feed = PoseFeed(sources, self._tree, lambda *_lost: None)
        by_topic = {topic.name: topic.reader for topic in wanted if topic.role == "poses"}
        by_name = {source.name: source for source in sources}
        for message in reversed(messages_ahead(recording, [topic for topic in wanted if topic.role == "poses"])):
            source = by_name[by_topic[message.topic]]
            for edge in _edges(source, message):
                if feed.admits(source.rank, edge, message.topic):
                    feed.add(edge, message.topic)
        feed.settle()

    def _add(self, name: str, sweep: Sweep) -> None:
        if name == self._config.lidars[0].name:
            self._sync.add_anchor(sweep.stamp_ns, sweep.last_ns, sweep.nbytes, sweep)
        else:
            self._sync.add(name, sweep.stamp_ns, sweep.nbytes, sweep)

    def _register(self, matches: Iterator[Match[Sweep]]) -> None:
        for match in matches:
            sweeps = {self._config.lidars[0].name: match.anchor.item}
            sweeps.update({name: sample.item for name, sample in match.samples.items()})
            self.estimate.poses += self._odometry.add(self._merged(sweeps))

    def _merged(self, sweeps: dict[str, Sweep]) -> SweepPoints:
        clouds: list[FloatArray] = []
        times: list[Any] = []
        spans = []
        for name, sweep in sweeps.items():
            lidar = self._lidars[name]
            cloud = select_points(sweep, lidar)
            mount = self._device_from(sweep.frame_id, sweep.stamp_ns, lidar)
            clouds.append(transforms.apply(mount, cloud.xyz.astype(np.float64)))
            is_timed = cloud.time_ns is not None and lidar.deskew
            self.estimate.distorted |= cloud.time_ns is None and lidar.deskew
            times.append(cloud.time_ns if is_timed else np.full(len(cloud.xyz), sweep.stamp_ns, np.int64))
            spans.append((sweep.first_ns, sweep.last_ns) if is_timed else (sweep.stamp_ns, sweep.stamp_ns))
        first_ns, last_ns = min(span[0] for span in spans), max(span[1] for span in spans)
        return SweepPoints(np.concatenate(clouds), np.concatenate(times), first_ns, last_ns)

    def _device_from(self, frame: str, stamp_ns: int, lidar: LidarConfig) -> Transform:
        device = self._config.device_frame
        mount = self._mounts.get((lidar.name, frame))
        if mount is None:
            try:
                mount = self._tree.lookup(device, frame, stamp_ns)
            except TransformError as error:
                raise InputError(
                    f"nothing says where {frame!r} of lidars.{lidar.name} is mounted on {device!r} ({error}); set "
                    f"mounts.{lidar.name}, or device_frame: {frame} for poses of the lidar itself"
                ) from None
            self._mounts[lidar.name, frame] = mount
        return mount


def _edges(source: PoseSource, message: Message) -> Iterator[Any]:
    try:
        yield from source.edges(message)
    except DecodeError:
        return  # a damaged message is counted when the recording is converted
