# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 recording as one stream of messages, whatever its storage, compression, splits and damage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property, partial
from heapq import merge
from itertools import accumulate, chain, pairwise
from os import PathLike
from pathlib import Path
from types import TracebackType

from nucleus_bridge.errors import BagError
from nucleus_bridge.model import Message
from nucleus_bridge.recordings import mcap_records, ros1, sqlite_file
from nucleus_bridge.recordings.compression import ZSTD_MAGIC, unpack_file
from nucleus_bridge.recordings.contents import (
    ALWAYS,
    EVERYWHERE,
    Damage,
    PassesOver,
    StorageFile,
    TopicInfo,
    merge_topics,
)
from nucleus_bridge.recordings.folder import Found, find_files, is_next_split, unreadable
from nucleus_bridge.recordings.mcap_file import McapFile, has_index
from nucleus_bridge.recordings.merged import with_one_clock, without_repeats
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.recordings.reorder import by_stamp, is_video, starts_with_header
from nucleus_bridge.recordings.scratch import NoRoomError, Scratch
from nucleus_bridge.recordings.sqlite_file import LEFT_BEHIND, SqliteFile
from nucleus_bridge.warnings import Finding

_MAGIC_BYTES = 16
_OVERLAP_NS = 100_000_000
"""Messages may be written so much out of order where a recorder goes on to its next file."""

# Log time, topic, number of the file, message; None stands for a file of which nothing was read yet.
_Keyed = tuple[int, str, int, Message | None]
# A file and the first and last place, that one excluded, of what is meant of it.
_Piece = tuple[StorageFile, tuple[int, int]]


class Recording:
    """An open recording; a context manager that removes its temporary files at the end.

    Attributes:
        path: What was opened: a folder or a file.
        name: Of the folder, or of the file without its suffixes.
        files: The files it was read from, in order.
        topics: Its topics, by name.
        start_ns: Log time of the first message; 0 without messages.
        end_ns: Log time of the last message; 0 without messages.
        message_count: Messages on all topics.
        notes: What else is to be known of it, although nothing is damaged.
    """

    def __init__(
        self,
        found: Found,
        files: Collection[StorageFile],
        damage: Collection[Damage],
        scratch: Scratch,
        notes: Collection[Finding] = (),
    ) -> None:
        """Join opened files; use ``open_recording`` instead."""
        self._files = tuple(files)
        for number, file in enumerate(self._files):
            file.number = number
        self._damage = (*found.damage, *damage)
        self._scratch = scratch
        self.notes = tuple(notes)
        self._is_merged = bool(found.parts)
        self._definitions = {(topic.name, topic.type_name): topic.definition for f in files for topic in f.topics}
        filled = [file for file in files if any(topic.count for topic in file.topics)]
        self.path = found.path
        self.name = found.name
        self.files: tuple[Place, ...] = tuple(file.path for file in files)
        self.topics: tuple[TopicInfo, ...] = merge_topics([topic for file in files for topic in file.topics])
        self.start_ns = min((file.start_ns for file in filled), default=0)
        self.end_ns = max((file.end_ns for file in filled), default=0)
        self.message_count = sum(topic.count for topic in self.topics)

    @property
    def damage(self) -> list[Damage]:
        """List what could not be read so far: found when opening, and by each message that was asked for."""
        return [*self._damage, *(damage for file in self._files for damage in file.damage.entries())]

    @property
    def damage_count(self) -> int:
        """How many parts could not be read so far."""
        return len(self._damage) + sum(len(file.damage) for file in self._files)

    def messages(
        self,
        topics: Collection[str],
        *,
        span: tuple[int, int] = ALWAYS,
        window_ns: int = 500_000_000,
        max_window_bytes: int = 64_000_000,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,
    ) -> Iterator[Message]:
        """Read the messages of these topics in one pass, each topic's in the order of its header stamps.

        Those of a video keep their log order, which is the order of decoding.

        ``span`` is the first and last log time to be read.

        The order is restored within ``window_ns`` of log time and ``max_window_bytes`` of payload; what is later than
        that comes late, nothing is dropped. Topics follow each other by log time, then by name. Types without a header
        keep their log order. Unreadable parts are left out and added to ``damage``.

        ``trusts_index`` is for looking at few messages of a recording that is read anew afterwards: damage that is not
        in what its index points to may not be met.

        ``passes_over`` says of a message that nothing of it is wanted but that it came. It may come as its first bytes
        alone then (``Message.is_cut``), and whoever gave it must not look further.

        Raises:
            BagError: A topic is not serialised as CDR.
        """
        self._require_cdr(topics)
        return chain.from_iterable(
            by_stamp(messages, self._has_header, window_ns=window_ns, max_window_bytes=max_window_bytes)
            for messages in self._laps(topics, span, trusts_index=trusts_index, passes_over=passes_over)
        )

    def first_messages(self, topics: Collection[str]) -> dict[str, Message]:
        """Give the first message by log time of each of these topics that has one, reading as little as possible.

        Raises:
            BagError: A topic is not serialised as CDR.
        """
        self._require_cdr(topics)
        filled = {topic.name for topic in self.topics if topic.count}
        first = {topic: next(self._by_log_time({topic}), None) for topic in topics if topic in filled}
        return {topic: message for topic, message in first.items() if message is not None}

    def close(self) -> None:
        """Remove temporary files."""
        self._scratch.close()

    def __enter__(self) -> Recording:  # noqa: PYI034 - Self came with Python 3.11
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _require_cdr(self, topics: Collection[str]) -> None:
        for topic in self.topics:
            if topic.name in topics and topic.encoding != "cdr":
                raise BagError(
                    f"{self.name}: topic {topic.name} is serialised as {topic.encoding!r}; only 'cdr' can be read"
                )

    def _has_header(self, message: Message) -> bool:
        definition = self._definitions.get((message.topic, message.type_name), "")
        return starts_with_header(message.type_name, definition) and not is_video(message)

    def _by_log_time(self, topics: Collection[str], span: tuple[int, int] = ALWAYS) -> Iterator[Message]:
        """Merge the files; between two steps of the recorder's clock by log time."""
        return chain.from_iterable(self._laps(topics, span))

    def _laps(
        self,
        topics: Collection[str],
        span: tuple[int, int],
        *,
        trusts_index: bool = False,
        passes_over: PassesOver | None = None,
    ) -> Iterator[Iterator[Message]]:
        """Yield the messages of each stretch of the recording over which the recorder's clock did not step back."""
        first_ns, last_ns = span
        wanted = frozenset(topics)
        how = partial(
            _messages,
            topics=wanted,
            span=span,
            trusts_index=trusts_index,
            passes_over=None if self._is_merged else passes_over,  # what repeats is told by all of its bytes
        )
        for pieces in self._pieces:
            inside = [piece for piece in pieces if piece[0].start_ns <= last_ns and piece[0].end_ns >= first_ns]
            files = [piece for piece in inside if any(x.name in wanted and x.count for x in piece[0].topics)]
            if len(files) == 1:
                yield how(files[0])
            elif files:
                yield self._merged([_keyed(piece, number, how) for number, piece in enumerate(files)])

    def _merged(self, files: list[Iterator[_Keyed]]) -> Iterator[Message]:
        rows = ((number, message) for _, _, number, message in merge(*files) if message is not None)
        return without_repeats(rows) if self._is_merged else (message for _, message in rows)

    @cached_property
    def _pieces(self) -> list[list[_Piece]]:
        """The stretches of files between two steps of the recorder's clock, in the order in which they were written.

        Files that share a topic were written one after the other, others at the same time.
        """
        laps: dict[int, list[_Piece]] = {}
        last: dict[str, int] = {}
        before: dict[str, StorageFile] = {}
        for file in self._files:
            names = {topic.name for topic in file.topics if topic.count}
            lap = max((last.get(name, 0) for name in names), default=0)
            if not self._is_merged and any(_steps_back(before[name], file) for name in names & before.keys()):
                lap += 1
            before.update(dict.fromkeys(names, file))
            bounds = [EVERYWHERE[0], *file.log_steps, EVERYWHERE[1]]
            for stretch in pairwise(bounds):
                laps.setdefault(lap, []).append((file, stretch))
                lap += 1
            last.update(dict.fromkeys(names, lap - 1))
        return [laps[lap] for lap in sorted(laps)]


def _steps_back(earlier: StorageFile, later: StorageFile) -> bool:
    """Whether the recorder's clock was set back just when it went on to its next file."""
    return earlier.end_ns - later.start_ns > _OVERLAP_NS and is_next_split(earlier.path, later.path)


def open_recording(path: str | PathLike[str] | Place, scratch: Scratch | None = None) -> Recording:
    """Open a rosbag2 folder, or a single .mcap, .db3, .mcap.zstd or .db3.zstd file.

    A folder is read from its files; its metadata.yaml may be missing or wrong. What cannot be read of a recording that
    can be opened is listed in ``Recording.damage``. What is unpacked, repaired or fetched first goes to ``scratch``.

    Raises:
        BagError: Nothing is there, it is not a rosbag2 recording, or nothing in it can be read.

    Examples:
        >>> with open_recording("drive") as recording:
        ...     clouds = list(recording.messages(["/lidar/top/points"]))
        >>> len(clouds), clouds[0].type_name
        (40, 'sensor_msgs/msg/PointCloud2')
        >>> open_recording("nowhere")
        Traceback (most recent call last):
        ...
        nucleus_bridge.errors.BagError: nowhere: no such file or folder; ...
    """
    found = find_files(Path(path) if isinstance(path, (str, PathLike)) else path)
    scratch = scratch or Scratch()
    notes: list[Finding] = []
    try:
        files, damage = _open_files(found.files, scratch)
        if found.parts:
            files, notes = with_one_clock(_by_part(files, found))
    except BaseException:
        scratch.close()
        raise
    return Recording(found, files, damage, scratch, notes)


def _by_part(files: Collection[StorageFile], found: Found) -> list[list[StorageFile]]:
    """Return the files that could be opened, by the recording that they are of."""
    ends = list(accumulate(found.parts))
    of_part = [set(found.files[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return [part for paths in of_part if (part := [file for file in files if file.path in paths])]


def _open_files(paths: Collection[Place], scratch: Scratch) -> tuple[list[StorageFile], list[Damage]]:
    """Open what can be opened; the first error is raised where nothing can."""
    files: list[StorageFile] = []
    damage: list[Damage] = []
    first_error: BagError | None = None
    for path in paths:
        try:
            files.append(_open_file(path, scratch))
        except NoRoomError:
            raise
        except BagError as error:
            first_error = first_error or error
            damage.append(Damage(path, str(error).removeprefix(f"{path}: ")))
    if first_error and not files:
        raise first_error
    return files, damage


def _open_file(path: Place, scratch: Scratch) -> StorageFile:
    try:
        return _open_storage(path, scratch)
    except OSError as error:
        raise unreadable(path, error) from error


def _open_storage(path: Place, scratch: Scratch) -> StorageFile:
    """Open a file by what its first bytes say it is; names lie."""
    source: Place = path
    problem: str | None = None
    start = _first_bytes(path)
    if start.startswith(ZSTD_MAGIC):
        source, problem = unpack_file(path, scratch)
        start = _first_bytes(source)
    file: StorageFile
    if start.startswith(mcap_records.MAGIC):
        file = McapFile(path, source if _reads_in_place(source) else scratch.fetch(source))
    elif start.startswith(sqlite_file.MAGIC):
        file = SqliteFile(path, _local_database(source, scratch), scratch=scratch)
    elif start.startswith(ros1.MAGIC):
        file = ros1.Ros1Bag(path, source if isinstance(source, Path) else scratch.fetch(source))
    elif problem:
        raise BagError(f"{path}: {problem}")
    else:
        what = "neither mcap nor sqlite3 (db3)" if start else "empty (0 bytes)"
        raise BagError(f"{path}: not a rosbag2 file: it is {what}; give a rosbag2 folder or a .mcap or .db3 file")
    if problem:
        file.damage.add(problem)
    return ros1.Ros1Messages(file) if any(topic.encoding == ros1.ENCODING for topic in file.topics) else file


def _reads_in_place(source: Place) -> bool:
    """Whether an mcap file may be read where it is: it is on this machine, or has an index."""
    if isinstance(source, Path):
        return True
    with source.open("rb") as file:
        return has_index(file)


def _local_database(source: Place, scratch: Scratch) -> Path:
    """Give a database on this machine, with what its recorder may have left beside it."""
    if isinstance(source, Path):
        return source
    for suffix in LEFT_BEHIND:
        if (beside := source.parent / (source.name + suffix)).is_file():
            scratch.fetch(beside)
    return scratch.fetch(source)


def _first_bytes(path: Place) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAGIC_BYTES)


def _messages(
    piece: _Piece,
    topics: Collection[str],
    span: tuple[int, int],
    *,
    trusts_index: bool,
    passes_over: PassesOver | None,
) -> Iterator[Message]:
    file, stretch = piece
    return file.messages(topics, span, stretch, trusts_index=trusts_index, passes_over=passes_over)


def _keyed(piece: _Piece, number: int, how: Callable[[_Piece], Iterator[Message]]) -> Iterator[_Keyed]:
    yield piece[0].start_ns, "", number, None  # it is opened only when the stream comes to its start
    for message in how(piece):
        yield message.log_ns, message.topic, number, message
