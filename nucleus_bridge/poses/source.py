# SPDX-License-Identifier: Apache-2.0
"""The seam for poses: what a source is, and the edges that it yields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from nucleus_bridge.decode.interface import Kind, Reset
from nucleus_bridge.model import Message


class Edge(NamedTuple):
    """One transform of the tree; what its numbers are worth is for the tree to say.

    Attributes:
        parent: Parent frame without a leading slash.
        child: Child frame without a leading slash.
        stamp_ns: When it holds; may be 0 for static ones.
        translation: x, y, z in metres.
        rotation_xyzw: Quaternion as given, not normalised.
        static: Whether it holds at all times.
    """

    parent: str
    child: str
    stamp_ns: int
    translation: tuple[float, float, float]
    rotation_xyzw: tuple[float, float, float, float]
    static: bool


Rank = Literal["mount", "transform", "description"]
"""Which source wins for an edge: a configured mount, then transforms and pose sources, then a robot description."""


@dataclass(frozen=True)
class PoseTopic:
    """A topic that a pose source reads.

    Attributes:
        name: The topic.
        parameter: The parameter that names it, for error messages.
        kind: What its type must hold.
        is_static: Whether what it says holds for the whole recording, wherever it was logged.
        is_needed: Whether a recording without it is an error.
        is_optional: Whether nobody minds when it is not there.
        types: The types it may have, where its kind does not say so.
    """

    name: str
    parameter: str
    kind: Kind
    is_static: bool = False
    is_needed: bool = False
    is_optional: bool = False
    types: tuple[str, ...] = ()


class PoseSource(Protocol):
    """Something that knows transforms: topics, a file, the configuration.

    Attributes:
        name: As reports call it: ``tf``, ``poses.ego``, ``mounts.front``, ``urdf``.
        rank: Which source wins for an edge.
    """

    name: str
    rank: Rank

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """The topics it reads, by name; empty for files and configured mounts."""
        ...

    def initial(self) -> Iterable[Edge]:
        """Yield what is known before the first message: mounts, fixed joints."""
        ...

    def edges(self, message: Message) -> Iterable[Edge]:
        """Yield the edges of a message of one of its topics.

        Raises:
            DecodeError: The message cannot be used.
        """
        ...

    def until(self, stamp_ns: int) -> Iterable[Edge]:
        """Yield what a file holds up to and including the first pose at or after a stamp, each pose once, in order."""
        ...

    def reset(self, why: Reset) -> None:
        """Forget what depends on the messages before; ``until`` begins again at the new stamps."""
        ...


@runtime_checkable
class OfBodies(Protocol):
    """What a pose source has besides where its children are bodies that somebody measured, not links of the tree.

    Attributes:
        names_body: True: what carries a body that is mounted moves with it.
    """

    names_body: bool
