# SPDX-License-Identifier: Apache-2.0
"""Read ROS 1: .bag files, and files of messages as ROS 1 serialises them; both come out as ROS 2 messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nucleus_bridge.errors import BagError
from nucleus_bridge.model import Message
from nucleus_bridge.recordings.contents import (
    ALWAYS,
    EVERYWHERE,
    PLACE_BITS,
    DamageLog,
    PassesOver,
    StandIn,
    StorageFile,
    TopicInfo,
)
from nucleus_bridge.recordings.place import Place

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader

MAGIC = b"#ROSBAG V"
_COUNT_BITS = 20  # of the place of a message: its number among those of its topic and log time
ENCODING = "ros1"
_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


class Converter:
    """Turns serialised ROS 1 messages into CDR, field by field and without objects.

    Types that ROS 2 has are read as ROS 2 defines them; ``Header.seq`` is left out. Others come from the definitions
    that the recording embeds.
    """

    def __init__(self) -> None:
        """Know the standard types."""
        from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415 - only for ROS 1

        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._unknown: set[str] = set()

    def add(self, type_name: str, definition: str) -> str:
        """Make a type known, and return its name in ROS 2; one whose definition cannot be read stays unknown."""
        from rosbags.typesys import get_types_from_msg  # noqa: PLC0415

        name = ros2_name(type_name)
        if name not in self._store.types:
            try:
                types = get_types_from_msg(definition, name)
                self._store.register({key: value for key, value in types.items() if key not in self._store.types})
            except Exception:  # noqa: BLE001 - the parser has no common base class for what it raises
                self._unknown.add(name)
        return name

    def knows(self, name: str) -> bool:
        """Return whether messages of a type can be converted."""
        return name not in self._unknown

    def is_standard(self, name: str) -> bool:
        """Return whether a type is one that ROS 2 has."""
        from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415

        return name in get_typestore(Stores.ROS2_HUMBLE).types

    def cdr(self, data: bytes, name: str) -> bytes:
        """Convert a message.

        Raises:
            BagError: Its bytes are not a message of that type.
        """
        try:
            return bytes(self._store.ros1_to_cdr(data, name))
        except Exception as error:  # damage surfaces as many types
            raise BagError(
                f"a ROS 1 message of {name} cannot be converted: {str(error)[:200] or type(error)}"
            ) from error


def ros2_name(type_name: str) -> str:
    """Return the name of a type in ROS 2: ``sensor_msgs/Imu`` is ``sensor_msgs/msg/Imu``."""
    package, _, name = type_name.partition("/")
    name = f"{package}/msg/{name.removeprefix('msg/')}"
    return _RENAMED.get(name, name)


class Ros1Messages(StandIn):
    """Another file whose messages are serialised as ROS 1 does; see ``StorageFile``."""

    def __init__(self, file: StorageFile) -> None:
        """Convert what a file holds; topics in other encodings stay as they are."""
        super().__init__(file)
        self._converter = Converter()
        self.path, self.damage = file.path, file.damage
        self.start_ns, self.end_ns = file.start_ns, file.end_ns
        self._names: dict[tuple[str, str], str] = {}
        self.topics = tuple(self._converted(topic) for topic in file.topics)

    @property
    def number(self) -> int:
        """Which file of its recording it is."""
        return self._file.number

    @number.setter
    def number(self, number: int) -> None:
        self._file.number = number

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,  # noqa: ARG002 - it knows ROS 2 messages
    ) -> Iterator[Message]:
        """Yield the messages of these topics."""
        for message in self._file.messages(topics, span, stretch, trusts_index=trusts_index):
            name = self._names.get((message.topic, message.type_name))
            if name is None:
                yield message
                continue
            try:
                data = self._converter.cdr(message.data, name)
            except BagError as error:
                self.damage.add(f"{message.topic}: {error}", log_ns=message.log_ns)
                continue
            yield replace(message, type_name=name, data=data)

    def _converted(self, topic: TopicInfo) -> TopicInfo:
        if topic.encoding != ENCODING:
            return topic
        name = self._converter.add(topic.type_name, topic.definition)
        if not self._converter.knows(name):
            return topic
        self._names[topic.name, topic.type_name] = name
        return _info(topic.name, name, topic.count, topic.definition, self._converter)


class Ros1Bag:
    """One .bag file; see ``StorageFile``."""

    def __init__(self, path: Place, source: Path) -> None:
        """Read the index; ``source`` is where the bytes are on this machine.

        Raises:
            BagError: It is not a ROS 1 bag, has no index, or is damaged.
        """
        self.path, self._source = path, source
        self.number = 0
        self.damage = DamageLog(path)
        self._converter = Converter()
        self._names: dict[int, str] = {}
        self.number = 0
        topics = []
        with _opened(path, source) as reader:
            for connection in reader.connections:
                name = self._converter.add(connection.msgtype, connection.msgdef.data)
                topics.append(
                    _info(connection.topic, name, connection.msgcount, connection.msgdef.data, self._converter)
                )
                self._names[connection.id] = name
            is_filled = reader.message_count > 0
            self.start_ns = reader.start_time if is_filled else 0
            # The reader's end lies behind the last message; a damaged index may have it before the first.
            self.end_ns = max(self.start_ns, reader.end_time - 1) if is_filled else 0
        self.topics = tuple(topics)

    @property
    def log_steps(self) -> Sequence[int]:
        """None are known: the index orders messages by their log times."""
        return ()

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,  # noqa: ARG002 - what is read is what an index points to, anyway
        passes_over: PassesOver | None = None,  # noqa: ARG002 - a message is read whole
    ) -> Iterator[Message]:
        """Yield the messages of these topics."""
        first_ns, last_ns = span
        with _opened(self.path, self._source) as reader:
            connections = [connection for connection in reader.connections if connection.topic in topics]
            if not connections:
                return
            rows = self._rows(reader, connections, max(first_ns, 0), last_ns)
            # The index orders messages by their log times, and tells no other order.
            base = self.number << PLACE_BITS
            for _, group in groupby(rows, key=itemgetter(0)):
                counts: Counter[str] = Counter()
                for log_ns, topic, name, raw in sorted(group, key=itemgetter(1)):
                    place = base | log_ns << _COUNT_BITS | counts[topic]
                    counts[topic] += 1
                    if not stretch[0] <= place - base < stretch[1]:
                        continue
                    try:
                        yield Message(topic, name, log_ns, self._converter.cdr(raw, name), place)
                    except BagError as error:
                        self.damage.add(f"{topic}: {error}", log_ns=log_ns)

    def _rows(
        self, reader: Reader, connections: list[Connection], first_ns: int, last_ns: int
    ) -> Iterator[tuple[int, str, str, bytes]]:
        """Yield log time, topic, type and bytes up to where the file is damaged."""
        try:
            for connection, log_ns, raw in reader.messages(connections, start=first_ns, stop=last_ns + 1):
                yield log_ns, connection.topic, self._names[connection.id], raw
        except Exception as error:  # noqa: BLE001 - of the reader, of lz4 and of bz2
            self.damage.add(f"the rest of this ROS 1 bag cannot be read: {str(error)[:200]}")


def _info(topic: str, name: str, count: int, definition: str, converter: Converter) -> TopicInfo:
    """Describe a topic; standard types need no definition, and ROS 1 has another Header in it."""
    if not converter.knows(name):
        return TopicInfo(topic, name, count, encoding=ENCODING)
    return TopicInfo(topic, name, count, "" if converter.is_standard(name) else definition)


@contextmanager
def _opened(path: Place, source: Path) -> Iterator[Reader]:
    from rosbags.rosbag1 import Reader  # noqa: PLC0415 - only for ROS 1

    try:
        reader = Reader(source)
        reader.open()
    except Exception as error:  # damage surfaces as many types
        raise BagError(
            f"{path}: this ROS 1 bag cannot be read: {str(error)[:200]}; where its recorder was interrupted, run "
            f"`rosbag reindex {path.name}` first"
        ) from error
    try:
        yield reader
    finally:
        reader.close()
