# SPDX-License-Identifier: Apache-2.0
"""Poses from a topic: Odometry, PoseStamped, PoseWithCovarianceStamped, TransformStamped, the newest pose of a Path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nucleus_bridge.config import PoseConfig
from nucleus_bridge.decode.cdr import strip_slashes
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.decode.pose import decode_pose
from nucleus_bridge.errors import DecodeError
from nucleus_bridge.model import Message
from nucleus_bridge.poses.source import Edge, PoseTopic, Rank


class TopicPoses:
    """One moving edge of the tree from the poses of one topic (a ``PoseSource``).

    A message that does not name its body (PoseStamped, Path, an Odometry without ``child_frame_id``) is of the device.

    Args:
        settings: ``poses.<name>`` with a topic; its frames, where set, replace those of the messages.
        device_frame: The body of poses that do not name one.
    """

    rank: Rank = "transform"
    names_body = True
    is_estimated = False

    def __init__(self, settings: PoseConfig, device_frame: str) -> None:
        self.name = f"poses.{settings.name}"
        self._topic = settings.topic
        self._parent = strip_slashes(settings.parent_frame)
        self._child = strip_slashes(settings.child_frame)
        self._device = strip_slashes(device_frame)
        self._offset_ns = round(settings.clock_offset_ms * 1e6)

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """The topic."""
        return {self._topic: PoseTopic(self._topic, f"{self.name}.topic", "pose", is_needed=True)}

    def initial(self) -> Iterable[Edge]:
        """Yield nothing: poses come with messages."""
        return ()

    def edges(self, message: Message) -> Iterable[Edge]:
        """Yield the pose of a message.

        Raises:
            DecodeError: There is no pose in it, or nothing says in which frame it is.
        """
        sample = decode_pose(message)
        parent = self._parent or sample.parent
        if not parent:
            text = f"{message.topic}: header.frame_id is empty; set {self.name}.parent_frame"
            raise DecodeError(text, cause="no_frame")
        yield Edge(
            parent,
            self._child or sample.child or self._device,
            sample.stamp_ns + self._offset_ns,
            sample.translation,
            sample.rotation_xyzw,
            static=False,
        )

    def until(self, stamp_ns: int) -> Iterable[Edge]:  # noqa: ARG002 - poses come with messages
        """Yield nothing: poses come with messages."""
        return ()

    def reset(self, why: Reset) -> None:
        """Do nothing: no message depends on those before."""
