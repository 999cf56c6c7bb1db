# SPDX-License-Identifier: Apache-2.0
"""The transforms of tf2: topics of moving and of static ones, each holding any number of edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nucleus_bridge.config.settings import TransformsConfig
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.interface import Decoder, Reset
from nucleus_bridge.model import Message
from nucleus_bridge.poses.source import Edge, PoseTopic, Rank

_USUAL = TransformsConfig()


class Transforms:
    """Every edge that is published as a transform (a ``PoseSource``).

    Args:
        settings: ``transforms``.
    """

    name = "tf"
    rank: Rank = "transform"

    def __init__(self, settings: TransformsConfig) -> None:
        moving = (_topic(name, "transforms.topics", _USUAL.topics) for name in settings.topics)
        static = (
            _topic(name, "transforms.static_topics", _USUAL.static_topics, is_static=True)
            for name in settings.static_topics
        )
        self._topics = {topic.name: topic for topic in (*moving, *static)}
        self._offset_ns = round(settings.clock_offset_ms * 1e6)
        self._decoders: dict[str, Decoder] = {}

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """The topics it reads, by name."""
        return self._topics

    def initial(self) -> Iterable[Edge]:
        """Return nothing: all transforms come with messages."""
        return ()

    def edges(self, message: Message) -> list[Edge]:
        """Return the transforms of a message, in their order.

        Raises:
            DecodeError: The bytes are not a message of that type.
        """
        static = self._topics[message.topic].is_static
        offset_ns = 0 if static else self._offset_ns
        decoder = self._decoders.get(message.type_name)
        if decoder is None:
            decoder = registry.interface_for(message, "transforms").decoder(None)
            self._decoders[message.type_name] = decoder
        return [
            Edge(one.parent, one.child, one.stamp_ns + offset_ns, one.translation, one.rotation_xyzw, static)
            for one in decoder.decode(message)
        ]

    def until(self, stamp_ns: int) -> Iterable[Edge]:  # noqa: ARG002 - transforms come with messages
        """Return nothing: all transforms come with messages."""
        return ()

    def reset(self, why: Reset) -> None:
        """Do nothing: no message depends on those before."""


def _topic(name: str, parameter: str, usual: tuple[str, ...], *, is_static: bool = False) -> PoseTopic:
    """Only what somebody configured must be there."""
    return PoseTopic(name, parameter, "transforms", is_static=is_static, is_needed=name not in usual)
