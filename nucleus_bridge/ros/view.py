# SPDX-License-Identifier: Apache-2.0
"""What the person in the vehicle sees: points on images, the cloud and the track, while somebody subscribes.

The recording's thread hands frames over and waits for nothing. One thread renders the newest of them, at most
``ros.view_hz`` times a second, and while nobody subscribes there is neither that thread nor a frame.
"""

from __future__ import annotations

import array
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, PointCloud2
from std_msgs.msg import Header

from nucleus_bridge.config import Config
from nucleus_bridge.decode.image import encode_pixels, pixels
from nucleus_bridge.decode.rectify import rectify
from nucleus_bridge.errors import ImageError
from nucleus_bridge.formats import registry
from nucleus_bridge.formats.content import Points
from nucleus_bridge.model import CameraModel, Frame, PosedImage, PosedSweep, Transform
from nucleus_bridge.pipeline.events import Event, FrameReady, SceneEnded
from nucleus_bridge.preview.overlay import draw_points, project_cloud
from nucleus_bridge.preview.pack import Pixels, decoded_small, resized
from nucleus_bridge.render.cloud import lidar_sweeps, merged_points
from nucleus_bridge.render.frame import is_rectified
from nucleus_bridge.ros.clouds import make_cloud
from nucleus_bridge.ros.middleware import without_events

CLOUD, TRAJECTORY = "~/cloud", "~/trajectory"
OVERLAY_WIDTH = 960
OVERLAY_QUALITY = 75
DRAWN_POINTS = 60_000
"""This many of a frame's points are drawn on images: more of them hide one another."""
TRACK_STEP_M = 0.25
TRACK_POSES = 1_000
_ENDS_THE_TRACK = ("pose_jump", "clock_jump")
_NO_OFFSET = (0.0, 0.0, 0.0)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_]")


class View:
    """Publishes frames for people; handed events by the recording, asked now and then who listens."""

    def __init__(self, node: Node, config: Config, warn: Callable[[str], None]) -> None:
        """Announce the topics.

        Args:
            node: The node.
            config: The configuration.
            warn: Told what could not be shown.
        """
        self.view_hz = config.ros.view_hz
        self._node = node
        self._warn = warn
        # Ground is segmented in scenes alone: it takes long, and shows neither on an image nor in a cloud.
        self._config = replace(config, point_fields=tuple(name for name in config.point_fields if name != "is_ground"))
        self._format = registry.of(config.scene.format)
        newest = QoSProfile(depth=1)  # reliable, as RViz asks for by default
        shown = {CLOUD: PointCloud2, TRAJECTORY: Path}
        shown |= {overlay_topic(camera.name): CompressedImage for camera in config.cameras}
        self._publishers: dict[str, Any] = {
            topic: node.create_publisher(kind, topic, newest, event_callbacks=without_events())
            for topic, kind in shown.items()
        }
        self._watched: frozenset[str] = frozenset()
        self._track: deque[tuple[int, Transform]] = deque(maxlen=TRACK_POSES)
        self._newest: Frame | None = None
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Look who listens; for the callbacks' thread."""
        watched = frozenset(name for name, one in self._publishers.items() if one.get_subscription_count())
        with self._change:
            self._watched = watched
            if not watched:
                self._newest = None
                self._change.notify()
            if TRAJECTORY not in watched:
                self._track.clear()
        if watched and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="view", daemon=True)
            self._thread.start()

    def take(self, event: Event) -> None:
        """Take an event of the recording, in its thread; a frame that was not rendered yet makes room for it."""
        if not self._watched:
            return
        with self._change:
            if isinstance(event, FrameReady):
                self._add_to_track(event.frame)
                self._newest = event.frame
                self._change.notify()
            elif isinstance(event, SceneEnded) and event.reason in _ENDS_THE_TRACK:
                self._track.clear()

    def close(self) -> None:
        """Withdraw the topics."""
        with self._change:
            self._watched, self._newest = frozenset(), None
            self._change.notify()
        if self._thread is not None:
            self._thread.join()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _add_to_track(self, frame: Frame) -> None:
        if TRAJECTORY in self._watched:
            here = frame.world_from_device
            if not self._track or np.linalg.norm(here.translation - self._track[-1][1].translation) > TRACK_STEP_M:
                self._track.append((frame.timestamp_ns, here))

    def _run(self) -> None:
        """Show the newest frame whenever there is one and it is time, while somebody listens."""
        due_s = 0.0
        while True:
            with self._change:
                while self._watched and (self._newest is None or time.monotonic() < due_s):
                    self._change.wait(None if self._newest is None else max(0.0, due_s - time.monotonic()))
                if not self._watched or self._newest is None:
                    return
                frame, self._newest = self._newest, None
                watched, track = self._watched, list(self._track)
            due_s = time.monotonic() + 1.0 / self.view_hz
            for topic, message in self._messages(frame, watched, track):
                self._publishers[topic].publish(message)

    def _messages(
        self, frame: Frame, watched: frozenset[str], track: list[tuple[int, Transform]]
    ) -> Iterator[tuple[str, Any]]:
        """Yield what is watched; what cannot be shown is warned of and keeps nothing else from being shown."""
        images = [(overlay_topic(posed.camera), posed) for posed in frame.images]
        images = [(topic, posed) for topic, posed in images if topic in watched]
        points = None
        try:
            if TRAJECTORY in watched:
                yield TRAJECTORY, self._path(track)
            if CLOUD in watched:
                points = self._points(frame, most=0)
                yield CLOUD, self._cloud(frame, points)
            if images and points is None:
                points = self._points(frame, most=DRAWN_POINTS)
        except Exception as error:  # noqa: BLE001 - the recording goes on
            self._warn(f"the cloud cannot be shown: {type(error).__name__}: {error}")
        for topic, posed in images if points is not None else ():
            try:
                yield topic, self._overlay(posed, points)
            except Exception as error:  # noqa: BLE001 - the recording goes on
                self._warn(f"{posed.camera} cannot be shown: {type(error).__name__}: {error}")

    def _header(self, stamp_ns: int, frame_id: str) -> Header:
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return header

    def _points(self, frame: Frame, most: int) -> Points:
        """Return a frame's points in the world, about ``most`` of them; 0: all."""
        total = sum(len(posed.sweep.points) for posed in frame.sweeps)
        every = max(1, total // most) if most else 1
        sweeps = tuple(_thinned(posed, every) for posed in frame.sweeps)
        return merged_points(lidar_sweeps(replace(frame, sweeps=sweeps), _NO_OFFSET, self._config, {}), ("intensity",))

    def _cloud(self, frame: Frame, points: Points) -> PointCloud2:
        has_intensity = points.intensity is not None
        columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *([("intensity", "<f4")] if has_intensity else [])]
        rows = np.empty(len(points), columns)
        rows["x"], rows["y"], rows["z"] = points.xyz.T
        if has_intensity:
            rows["intensity"] = points.intensity
        return make_cloud(self._header(frame.timestamp_ns, self._config.world_frame), rows)

    def _path(self, track: list[tuple[int, Transform]]) -> Path:
        world = self._config.world_frame
        path = Path(header=self._header(track[-1][0] if track else 0, world))
        for stamp_ns, pose in track:
            made = PoseStamped(header=self._header(stamp_ns, world))
            made.pose.position.x, made.pose.position.y, made.pose.position.z = pose.translation.tolist()
            turn = made.pose.orientation
            turn.x, turn.y, turn.z, turn.w = pose.rotation_xyzw.tolist()
            path.poses.append(made)
        return path

    def _overlay(self, posed: PosedImage, points: Any) -> CompressedImage:
        picture, model, width, height = self._picture(posed)
        drawn = draw_points(picture, width, *project_cloud(points.xyz, posed.world_from_camera, model, width, height))
        jpeg = array.array("B")
        jpeg.frombytes(encode_pixels(drawn, "jpeg", OVERLAY_QUALITY))
        header = self._header(posed.image.stamp_ns, posed.image.frame_id)
        return CompressedImage(header=header, format="jpeg", data=jpeg)

    def _picture(self, posed: PosedImage) -> tuple[Pixels, CameraModel, int, int]:
        """Return the image as the scene gets it, shrunk, with the camera and the size of the full one."""
        image, model = posed.image, posed.model
        if is_rectified(posed, self._format, self._config):
            flat, model = rectify(pixels(image), model)
            return resized(flat, OVERLAY_WIDTH), model, image.width, image.height
        if image.encoding != "jpeg" or image.bayer or image.picture is not None:
            return resized(pixels(image), OVERLAY_WIDTH), model, image.width, image.height
        small = decoded_small(image.data, image.width, OVERLAY_WIDTH)  # takes a fraction of the time
        if small is None:
            raise ImageError(f"a file of {len(image.data)} bytes cannot be decoded")
        return resized(small, OVERLAY_WIDTH), model, image.width, image.height


def overlay_topic(camera: str) -> str:
    """Return the topic of a camera's images with points on them; what no topic's name may have becomes ``_``."""
    return f"~/overlay/{_NOT_IN_A_NAME.sub('_', camera)}/compressed"


def _thinned(posed: PosedSweep, every: int) -> PosedSweep:
    return replace(posed, sweep=replace(posed.sweep, points=posed.sweep.points[::every])) if every > 1 else posed
