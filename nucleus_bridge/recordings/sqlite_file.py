# SPDX-License-Identifier: Apache-2.0
"""Read one db3 file of rosbag2's sqlite3 storage, also one that its recorder left behind unclosed or damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from urllib.parse import quote

import numpy as np

from nucleus_bridge.errors import BagError
from nucleus_bridge.model import Message
from nucleus_bridge.recordings.compression import ZSTD_MAGIC, unpack_message
from nucleus_bridge.recordings.contents import ALWAYS, EVERYWHERE, PLACE_BITS, Channel, DamageLog, PassesOver, log_steps
from nucleus_bridge.recordings.place import Place
from nucleus_bridge.recordings.scratch import Scratch
from nucleus_bridge.recordings.sqlite_pages import Gap, Pages

MAGIC = b"SQLite format 3\0"
_NEWEST_SCHEMA = 4
LEFT_BEHIND = ("-wal", "-journal")
_FIRST_NS = -(1 << 63)
_LAST_ROW = (1 << 62) - 1

# Log time, row, topic: all integers.
Row = tuple[int, int, int]


class SqliteFile:
    """One db3 file; see ``StorageFile``.

    A file that its recorder did not close has its last transactions in a ``-wal`` or ``-journal`` file beside it:
    then a temporary copy is repaired by SQLite and read. The recording itself is never written to.
    Damaged pages cost the messages in them; those that they only lead to are looked for page by page.
    """

    def __init__(self, path: Place, source: Path, *, scratch: Scratch) -> None:
        """Read what the file holds; ``source`` is where its bytes are on this machine.

        Raises:
            BagError: It is not a recording, of an unknown version, or damaged from the start.
            OSError: It cannot be read.
        """
        self.path = path
        self.number = 0
        self.damage = DamageLog(path)
        self._channels: dict[int, Channel] = {}
        self.log_steps: list[int] = []
        file, options = self._readable(source, scratch)
        self._uri = f"file:{quote(str(file.absolute()))}?{options}"
        self._pages = Pages(file)
        try:
            with closing(self._connect()) as connection:
                self._channels = _read_channels(connection, path)
                self._counts, self.start_ns, self.end_ns = self._count(connection)
        except sqlite3.Error as error:
            raise BagError(f"{path}: nothing in this sqlite3 file can be read: {error}") from error
        self.topics = tuple(channel.info(self._counts[key]) for key, channel in self._channels.items())

    def messages(
        self,
        topics: Collection[str],
        span: tuple[int, int] = ALWAYS,
        stretch: tuple[int, int] = EVERYWHERE,
        *,
        trusts_index: bool = False,  # noqa: ARG002 - what is read is what an index points to, anyway
        passes_over: PassesOver | None = None,  # noqa: ARG002 - a row is read whole
    ) -> Iterator[Message]:
        """Yield the messages of these topics; payloads of other topics are not read."""
        channels = {key: channel for key, channel in self._channels.items() if channel.topic in topics}
        if not channels:
            return
        try:
            with closing(self._connect()) as connection:
                cursor = connection.cursor()
                for log_ns, row, topic in self._rows(connection, channels):
                    if not (span[0] <= log_ns <= span[1] and stretch[0] <= row < stretch[1]):
                        continue
                    data = self._payload(cursor, row, log_ns)
                    if data is not None:
                        channel = channels[topic]
                        yield Message(channel.topic, channel.type_name, log_ns, data, self.number << PLACE_BITS | row)
        except sqlite3.Error as error:
            self.damage.add(f"cannot be read: {error}")

    def _readable(self, source: Path, scratch: Scratch) -> tuple[Path, str]:
        """Give the file to open and the options to do so; an unclosed or cut one is copied first."""
        left_behind = [place for end in LEFT_BEHIND if _has_bytes(place := source.with_name(source.name + end))]
        if left_behind:
            return _copy((source, *left_behind), scratch), "mode=rw"
        with source.open("rb") as file:
            header = file.read(100)
            size = file.seek(0, 2)
        page_bytes = int.from_bytes(header[16:18], "big")
        page_bytes = 65536 if page_bytes == 1 else page_bytes
        stated = int.from_bytes(header[28:32], "big") * page_bytes
        if size < stated:
            self.damage.add(f"the file is cut short: it has {size} of {stated} bytes", size)
            if size % page_bytes:
                # SQLite would take the missing end of the last page for zeros, and give messages that end in them.
                source = _copy((source,), scratch)
                os.truncate(source, size - size % page_bytes)
        return source, "immutable=1"

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._uri, uri=True)
        connection.text_factory = _lenient_text
        # Lets SQLite read what there is of a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema = ON")
        return connection

    def _count(self, connection: sqlite3.Connection) -> tuple[Counter[int], int, int]:
        """Count the messages of each topic and find the first and last log time."""
        counts: Counter[int] = Counter()
        first_ns, last_ns = 1 << 63, _FIRST_NS
        series: dict[int, tuple[array[int], array[int]]] = {}
        newest = -1
        for log_ns, row, topic in self._table_rows(connection):
            counts[topic] += 1
            if row > newest:  # else it was found around damaged pages
                newest = row
                logs, rows = series.setdefault(topic, (array("q"), array("q")))
                logs.append(log_ns)
                rows.append(row)
            first_ns = min(first_ns, log_ns)
            last_ns = max(last_ns, log_ns)
        if orphans := sum(count for topic, count in counts.items() if topic not in self._channels):
            self.damage.add(f"{orphans} messages are lost: their topics are not in the table topics")
        self.log_steps = log_steps([(np.array(logs, np.int64), rows) for logs, rows in series.values()])
        return (counts, first_ns, last_ns) if counts else (counts, 0, 0)

    def _rows(self, connection: sqlite3.Connection, channels: dict[int, Channel]) -> Iterator[Row]:
        """Yield the rows by log time, then topic name, then row."""

        def order(row: Row) -> tuple[int, str, int]:
            return row[0], channels[row[2]].topic, row[1]

        by_time = _query(_time_index(connection), channels) + " ORDER BY timestamp, id"
        done_ns = _FIRST_NS - 1
        missing = sum(self._counts[topic] for topic in channels)
        try:
            for log_ns, group in groupby(connection.execute(by_time), key=itemgetter(0)):
                _require_ascending(done_ns, log_ns)
                rows = sorted(group, key=order)
                yield from rows
                done_ns = log_ns
                missing -= len(rows)
        except sqlite3.Error:
            # The way along the index is blocked; whether messages are lost shows when the table itself is read.
            rest = sorted((row for row in self._table_rows(connection, channels) if row[0] > done_ns), key=order)
            yield from rest
            missing -= len(rest)
        if missing > 0:
            self.damage.add(f"{missing} messages are lost: the index on log times does not list them")

    def _table_rows(self, connection: sqlite3.Connection, topics: Collection[int] | None = None) -> Iterator[Row]:
        """Yield rows as they lie in the table, around its damaged pages in steps that double; then what is left out."""
        query = _query("NOT INDEXED", topics) + " AND id > ? ORDER BY id"
        last = done = -1
        step = 1
        gaps: list[Gap] = []
        while done < _LAST_ROW:
            try:
                for row in connection.execute(query, (done,)):
                    _require_ascending(done, row[1])
                    if last < done:
                        gaps.append((last, row[1]))
                    yield row
                    last = done = row[1]
                    step = 1
            except sqlite3.Error as error:
                self.damage.add(f"messages are lost: {error}")
                done, step = done + step, 2 * step
            else:
                break
        if last < done:
            gaps.append((last, _LAST_ROW))
        if gaps:
            yield from (row for row in self._pages.rows(gaps) if topics is None or row[2] in topics)

    def _payload(self, cursor: sqlite3.Cursor, row: int, log_ns: int) -> bytes | None:
        try:
            if self._pages.has(row):
                data = self._pages.payload(row)
            else:
                (data,) = cursor.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone() or (None,)
            if not isinstance(data, bytes):
                self.damage.add("a message's bytes are gone", log_ns=log_ns)
                return None
            return unpack_message(data) if data[:4] == ZSTD_MAGIC else data
        except sqlite3.Error as error:
            self.damage.add(f"a message cannot be read: {error}", log_ns=log_ns)
        except BagError as error:
            self.damage.add(str(error), log_ns=log_ns)
        return None


def _copy(sources: Sequence[Path], scratch: Scratch) -> Path:
    """Copy a database, the first of ``sources``, and what belongs to it to the temporary folder."""
    scratch.require(sum(path.stat().st_size for path in sources), sources[0])
    folder = scratch.folder("copy")
    for path in sources:
        shutil.copyfile(path, folder / path.name)
    return folder / sources[0].name


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _lenient_text(data: bytes) -> str:
    return data.decode(errors="replace")


def _read_channels(connection: sqlite3.Connection, path: Place) -> dict[int, Channel]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise BagError(f"{path}: an SQLite database but no rosbag2 recording: it lacks the tables topics and messages")
    if "schema" in tables:
        (version,) = connection.execute("SELECT max(schema_version) FROM schema").fetchone()
        if isinstance(version, int) and version > _NEWEST_SCHEMA:
            raise BagError(
                f"{path}: schema version {version} is newer than {_NEWEST_SCHEMA}, the newest one known here"
            )
    definitions: dict[str, str] = {}
    if "message_definitions" in tables:
        query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
        definitions = {name: text or "" for name, text in connection.execute(query)}
    columns = {column[1] for column in connection.execute("PRAGMA table_info(topics)")}
    qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
    query = f"SELECT id, name, type, serialization_format, {qos} FROM topics WHERE typeof(id) = 'integer' ORDER BY id"  # noqa: S608 - constants
    return {
        key: Channel(str(name), str(kind), str(encoding), definitions.get(kind, ""), str(profiles))
        for key, name, kind, encoding, profiles in connection.execute(query)
    }


def _time_index(connection: sqlite3.Connection) -> str:
    """Give the clause that makes a query follow the index on log times, or '' where there is none."""
    for _, name, *_ in connection.execute("PRAGMA index_list(messages)").fetchall():
        columns = connection.execute("SELECT name FROM pragma_index_info(?)", (name,)).fetchall()
        if columns == [("timestamp",)]:
            escaped = name.replace('"', '""')
            return f'INDEXED BY "{escaped}"'
    return ""


def _require_ascending(before: int, after: int) -> None:
    """Refuse to follow pages that lead back to where one came from: a damaged file may have such loops."""
    if after <= before:
        raise sqlite3.DatabaseError("pages of the database are out of order")


_WHOLE = "typeof(timestamp) = 'integer' AND typeof(id) = 'integer'"  # a damaged index may give neither


def _query(index: str, topics: Collection[int] | None = None) -> str:
    """Give the query for the rows of some or all topics; only whole numbers and quoted names go into it."""
    wanted = "" if topics is None else f" AND topic_id IN ({','.join(str(int(topic)) for topic in topics)})"
    return f"SELECT timestamp, id, topic_id FROM messages {index} WHERE {_WHOLE}{wanted}"  # noqa: S608
