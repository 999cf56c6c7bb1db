# SPDX-License-Identifier: Apache-2.0
"""Fixed joints of a robot description (URDF), from a file or a topic, as edges that fill what no transform says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from nucleus_bridge.config.sources import TransformsConfig
from nucleus_bridge.decode.cdr import naming, strip_slashes
from nucleus_bridge.decode.interface import Reset
from nucleus_bridge.decode.pose import decode_description
from nucleus_bridge.errors import ConfigError, DecodeError
from nucleus_bridge.geometry import scalar_pose
from nucleus_bridge.geometry.scalar_pose import quaternion_of_rpy
from nucleus_bridge.model import Message
from nucleus_bridge.poses.source import Edge, PoseSource, PoseTopic, Rank

MAX_BYTES = 50_000_000
_MAX_DEPTH = 100
_MAX_JOINTS = 100_000
_XACRO = "run `ros2 run xacro xacro FILE.xacro > robot.urdf` and use its output"


class UrdfError(ValueError):
    """A text is not a robot description that can be used."""


@dataclass
class Joint:
    """One joint: the pose of ``child`` in ``parent``, at joint value 0 where it moves."""

    name: str
    type: str
    parent: str = ""
    child: str = ""
    xyz: tuple[float, ...] = (0.0, 0.0, 0.0)
    rpy: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def is_fixed(self) -> bool:
        """Whether it never moves."""
        return self.type == "fixed"

    @property
    def edge(self) -> Edge:
        """Its edge."""
        x, y, z = self.xyz
        return Edge(self.parent, self.child, 0, (x, y, z), quaternion_of_rpy(*self.rpy), static=True)


@dataclass(frozen=True)
class Description:
    """The joints of a robot, by child link."""

    joints: Mapping[str, Joint] = field(default_factory=dict)

    @property
    def edges(self) -> list[Edge]:
        """The edges of the fixed joints; joints that move are for transforms to say."""
        return [joint.edge for joint in self.joints.values() if joint.is_fixed]

    @property
    def moving(self) -> list[Joint]:
        """The joints that move."""
        return [joint for joint in self.joints.values() if not joint.is_fixed]

    def between(self, parent: str, child: str) -> Edge:
        """Return the pose of a link in another one above it, over fixed joints.

        Raises:
            UrdfError: A link is not there, not below the other, or a joint between them moves.
        """
        links = {link for joint in self.joints.values() for link in (joint.parent, joint.child)}
        for link in (parent, child):
            if link not in links:
                raise UrdfError(f"has no link {link!r}, but {_some(links)}")
        pose, link = scalar_pose.IDENTITY, child
        while link != parent:
            joint = self.joints.get(link)
            if joint is None:
                raise UrdfError(f"has {child!r} below {link!r}, not below {parent!r}")
            if not joint.is_fixed:
                raise UrdfError(f"has the {joint.type} joint {joint.name!r} between {parent!r} and {child!r}: it moves")
            edge = joint.edge
            pose = scalar_pose.compose((*edge.translation, *edge.rotation_xyzw), pose)
            link = joint.parent
        return Edge(parent, child, 0, pose[:3], pose[3:], static=True)


def parse_urdf(text: str | bytes) -> Description:
    """Read the joints of a robot description.

    Entities are never expanded: a text that declares a document type is refused, as are texts that are too large, too
    deep, or not expanded from xacro yet.

    Raises:
        UrdfError: Saying what is wrong; a loop or a link with two parents among it.
    """
    if len(text) > MAX_BYTES:
        raise UrdfError(f"is larger than {MAX_BYTES // 1_000_000} MB")
    reader = _Reader()
    try:
        reader.read(text)
    except expat.ExpatError as error:
        raise UrdfError(f"is not XML: {error}") from None
    joints: dict[str, Joint] = {}
    for joint in reader.joints:
        if not joint.parent or not joint.child or joint.parent == joint.child:
            raise UrdfError(f"has a joint {joint.name!r} from {joint.parent!r} to {joint.child!r}")
        if joint.child in joints and joints[joint.child] != joint:
            there = joints[joint.child]
            raise UrdfError(f"gives {joint.child!r} two parents, {there.parent!r} and {joint.parent!r}")
        joints[joint.child] = joint
    _check_no_loop(joints)
    return Description(joints)


def load_urdf(path: Path, name: str) -> Description:
    """Read a .urdf file.

    Args:
        path: The file.
        name: The parameter that names it.

    Raises:
        ConfigError: It cannot be read or used.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{name}: {path} is larger than {MAX_BYTES // 1_000_000} MB")
        return parse_urdf(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from None
    except UrdfError as error:
        raise ConfigError(f"{name}: {path} {error}") from None


class UrdfFile:
    """The fixed joints of a .urdf file (a ``PoseSource``); ``transforms.urdf`` names it.

    Raises:
        ConfigError: It cannot be read or used.
    """

    name = "urdf"
    rank: Rank = "description"

    def __init__(self, path: Path) -> None:
        self.description = load_urdf(path, "transforms.urdf")

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """Return nothing: it reads no topic."""
        return {}

    def initial(self) -> Iterable[Edge]:
        """Return its fixed joints."""
        return self.description.edges

    def edges(self, message: Message) -> Iterable[Edge]:  # noqa: ARG002 - it reads no topic
        """Return nothing: it reads no topic."""
        return ()

    def until(self, stamp_ns: int) -> Iterable[Edge]:  # noqa: ARG002 - what it says holds at all times
        """Return nothing: what it says holds at all times."""
        return ()

    def reset(self, why: Reset) -> None:
        """Do nothing."""


class UrdfTopic:
    """The fixed joints of a robot description on a topic (a ``PoseSource``), recorded or transient local."""

    name = "urdf"
    rank: Rank = "description"

    def __init__(self, topic: str, *, is_needed: bool) -> None:
        self._topic = PoseTopic(
            topic, "transforms.urdf", "description", is_static=True, is_needed=is_needed, is_optional=not is_needed
        )

    @property
    def topics(self) -> Mapping[str, PoseTopic]:
        """The topic."""
        return {self._topic.name: self._topic}

    def initial(self) -> Iterable[Edge]:
        """Return nothing: the description comes as a message."""
        return ()

    def edges(self, message: Message) -> Iterable[Edge]:
        """Return the fixed joints of a description.

        Raises:
            DecodeError: It cannot be used; cause ``bad_description``.
        """
        text = decode_description(message)
        try:
            return parse_urdf(text).edges
        except UrdfError as error:
            with naming(message):
                raise DecodeError(f"the robot description {error}", cause="bad_description") from None

    def until(self, stamp_ns: int) -> Iterable[Edge]:  # noqa: ARG002 - what it says holds at all times
        """Return nothing: what it says holds at all times."""
        return ()

    def reset(self, why: Reset) -> None:
        """Do nothing."""


def descriptions(settings: TransformsConfig, base_dir: Path) -> tuple[PoseSource, ...]:
    """Return the robot description that ``transforms.urdf`` asks for, if it asks for one.

    Raises:
        ConfigError: Its file cannot be read or used.
    """
    if settings.urdf_file:
        return (UrdfFile(base_dir / settings.urdf_file),)
    if settings.urdf_topic:
        return (UrdfTopic(settings.urdf_topic, is_needed=settings.urdf != "auto"),)
    return ()


class _Reader:
    """Picks the joints out of the XML as it goes by; nothing of it is kept."""

    def __init__(self) -> None:
        self.joints: list[Joint] = []
        self._path: list[str] = []

    def read(self, text: str | bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.EntityDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.Parse(text, True)

    def _refuse_doctype(self, *_: object) -> None:
        raise UrdfError("declares a document type or entities, which no robot description needs")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "robot":
            raise UrdfError(f"is not a robot description: its root is <{tag[:40]}>")
        if tag.startswith("xacro:"):
            raise UrdfError(f"still has <{tag[:40]}>: {_XACRO}")
        self._path.append(tag)
        if len(self._path) > _MAX_DEPTH:
            raise UrdfError(f"nests elements more than {_MAX_DEPTH} deep")
        if self._path == ["robot", "joint"]:
            if len(self.joints) == _MAX_JOINTS:
                raise UrdfError(f"has more than {_MAX_JOINTS} joints")
            self.joints.append(Joint(attributes.get("name", ""), attributes.get("type", "")))
        elif self._path[:2] == ["robot", "joint"] and len(self._path) == 3:
            self._in_joint(self.joints[-1], tag, attributes)

    def _end(self, _tag: str) -> None:
        self._path.pop()

    def _in_joint(self, joint: Joint, tag: str, attributes: dict[str, str]) -> None:
        if tag in ("parent", "child"):
            link = attributes.get("link", "")
            _check_expanded(joint, link)
            setattr(joint, tag, strip_slashes(link))
        elif tag == "origin":
            joint.xyz = _numbers(joint, attributes.get("xyz", "0 0 0"))
            joint.rpy = _numbers(joint, attributes.get("rpy", "0 0 0"))


def _numbers(joint: Joint, text: str) -> tuple[float, ...]:
    _check_expanded(joint, text)
    try:
        numbers = tuple(float(part) for part in text.split())
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(abs(number) < 1e6 for number in numbers):
        raise UrdfError(f"has {text[:60]!r} instead of three numbers in joint {joint.name!r}")
    return numbers


def _check_expanded(joint: Joint, text: str) -> None:
    if "${" in text or "$(" in text:
        raise UrdfError(f"still has {text[:40]!r} in joint {joint.name!r}: {_XACRO}")


def _check_no_loop(joints: Mapping[str, Joint]) -> None:
    above: set[str] = set()  # links from which a root was reached
    for start in joints:
        way: dict[str, None] = {}
        link = start
        while link in joints and link not in above:
            if link in way:
                raise UrdfError(f"goes round in a loop at link {link!r}")
            way[link] = None
            link = joints[link].parent
        above.update(way)


def _some(names: Iterable[str], most: int = 12) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
