# SPDX-License-Identifier: Apache-2.0
"""What the rest of the package knows of a ROS interface type: what it holds, how it is decoded, how it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nucleus_bridge.decode.cdr import peek_header
from nucleus_bridge.kinds import Kind
from nucleus_bridge.model import Message

__all__ = ["Decoder", "Interface", "Kind", "Reset", "Stateless", "Unreadable", "always"]

Reset = Literal["gap", "seek", "clock_step"]
"""Why a decoder must not carry on from what it saw before."""


class Decoder(Protocol):
    """Turns the messages of one topic, in order, into samples; may keep state between them.

    A sample is what the pipeline takes for the kind: ``Sweep``, ``Image``, ``RadarScan``, ``CameraInfo``,
    ``TransformSample``, ``Fix``, ``Heading`` or ``Missing``. All that are matched have ``stamp_ns``, which need not be
    that of a message. A ``DecodeError`` among the samples stands for one that was lost on the way, and is counted.
    """

    def decode(self, message: Message) -> Iterable[Any]:
        """Return the samples that this message completes: none, one or several, in order.

        A message of the interface's companion topic comes here as well, told by its topic.

        Raises:
            DecodeError: The message cannot be used; its cause is what the loss is counted as. What follows must not
                build on it: a decoder that needs it refuses the messages after it too, until the next start.
        """
        ...

    def reset(self, why: Reset) -> Iterable[Any]:
        """Forget what was seen before; return samples that were complete already."""
        ...

    def flush(self) -> Iterable[Any]:
        """Return what is held back although nothing more will come."""
        ...


class StatelessMany:
    """A decoder that makes any number of samples of each message and remembers nothing."""

    def __init__(self, function: Callable[[Message], Iterable[Any]]) -> None:
        self._function = function

    def decode(self, message: Message) -> Iterable[Any]:
        """Return the message's samples."""
        return self._function(message)

    def reset(self, why: Reset) -> Iterable[Any]:  # noqa: ARG002 - there is nothing to forget
        """Do nothing."""
        return ()

    def flush(self) -> Iterable[Any]:
        """Return nothing: nothing is held back."""
        return ()


class Stateless(StatelessMany):
    """A decoder that makes one sample of each message and remembers nothing."""

    def __init__(self, function: Callable[[Message], Any]) -> None:
        super().__init__(lambda message: (function(message),))


def always(_message: Message) -> bool:
    """Say that decoding can start at any message."""
    return True


def never(_message: Message) -> bool:
    """Say that messages come in the order of their stamps, but for those that are late."""
    return False


@dataclass(frozen=True)
class Companion:
    """A further topic whose messages a decoder needs, such as the metadata of packets.

    Attributes:
        type_name: Its interface type.
        topic: Its name, given the settings of the sensor; "" where the settings replace it.
        suffix: The last part of the parameter that names it, ``metadata_topic``.
    """

    type_name: str
    topic: Callable[[Any], str]
    suffix: str


@dataclass(frozen=True)
class Interface:
    """One interface type in one role.

    Attributes:
        type_name: Such as ``sensor_msgs/msg/PointCloud2``.
        kind: What it holds.
        decoder: Makes a decoder for one topic, given the settings of the sensor that names it (``LidarConfig``, ...).
        is_sample: Whether it is large sensor data, of which each message belongs to one frame; the rest is small talk
            that all frames need (transforms, calibrations, fixes).
        depth: History depth of a subscription.
        is_latched: Whether publishers may offer it transient local.
        is_start: Whether decoding can start at a message; those of stateless types always can. From such a message on
            a fresh decoder makes the same samples as one that saw all messages before it.
        stands_alone: Whether a message, of which the first bytes are enough, is decoded without others, and others
            without it; None: those of stateless types.
        in_decoding_order: Whether a message is of a stream that comes in the order of decoding, which is not that of
            its stamps where pictures build on later ones.
        peek: Reads stamp (ns) and frame id without decoding, or None where the type has no header.
        extra: The extra of this package that the decoder needs, or "".
        companion: The further topic that the decoder needs, or None.
        other_topics: Last parts of topic names under which the same type holds something else.
        only_configured: Whether a topic is taken for this only where a configuration says so: a depth image is a cloud
            to those who want it.
    """

    type_name: str
    kind: Kind
    decoder: Callable[[Any], Decoder]
    is_sample: bool = False
    depth: int = 100
    is_latched: bool = False
    is_start: Callable[[Message], bool] = always
    stands_alone: Callable[[Message], bool] | None = None
    in_decoding_order: Callable[[Message], bool] = never
    peek: Callable[[bytes], tuple[int, str]] | None = peek_header
    extra: str = ""
    companion: Companion | None = None
    other_topics: tuple[str, ...] = ()
    only_configured: bool = False

    @property
    def is_stateless(self) -> bool:
        """Whether a message can be decoded without those before it."""
        return self.is_start is always

    def may_pass(self, message: Message) -> bool:
        """Say whether a message may be passed over without harm to those after it; its first bytes are enough."""
        return self.is_stateless if self.stands_alone is None else self.stands_alone(message)


@dataclass(frozen=True)
class Unreadable:
    """An interface type that is known and not read.

    Attributes:
        type_name: Such as ``pandar_msgs/msg/PandarScan``.
        kind: What it holds.
        remedy: What makes it readable: the driver or node that turns it into a type that is read, and the command.
    """

    type_name: str
    kind: Kind
    remedy: str
