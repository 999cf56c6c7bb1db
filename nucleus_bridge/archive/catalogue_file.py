# SPDX-License-Identifier: Apache-2.0
"""The file of a catalogue: replaced as a whole, so that whoever reads it sees the old or the new one."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from nucleus_bridge.errors import OutputError
from nucleus_bridge.spool.durable import sync_file, sync_folder

VERSION = 1
OF_SCENES = ("recordings", "scenes", "sensors", "losses")
OF_DRIVES = ("drives", "drive_topics", "drive_places", "drive_events", "drive_health")

Row = dict[str, object]


@contextmanager
def replaced(path: Path, tables: tuple[str, ...], *, rebuild: bool) -> Iterator[sqlite3.Connection]:
    """Open a catalogue to be brought up to date, in a transaction; it takes the old one's place when all went well.

    Args:
        path: The catalogue; made where there is none.
        tables: Those that are brought up to date; the others stay.
        rebuild: Empty these first.

    Raises:
        OutputError: The file is not a catalogue, one of another version, or cannot be written.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.absolute().parent}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        if path.exists():
            _check(path, rebuild=rebuild)
            shutil.copyfile(path, temporary)
        with closing(sqlite3.connect(temporary)) as database:
            _make_tables(database, tables, rebuild=rebuild)
            database.execute("PRAGMA foreign_keys = ON")
            with database:
                yield database
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.absolute().parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
    except (sqlite3.Error, UnicodeError) as error:  # whose texts, too, come from the file
        raise OutputError(f"{path}: cannot be brought up to date: {error}; make it again with --rebuild") from None
    finally:
        temporary.unlink(missing_ok=True)


def is_catalogue(path: Path) -> bool:
    """Whether a file is a catalogue of this version."""
    version, tables = _look_into(path)
    return version == VERSION and (tables.issuperset(OF_SCENES) or tables.issuperset(OF_DRIVES))


def insert(database: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """Add rows to a table, each with the same columns."""
    for row in rows:
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", tuple(row.values()))  # noqa: S608 - our own names


def _make_tables(database: sqlite3.Connection, tables: tuple[str, ...], *, rebuild: bool) -> None:
    present = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table in reversed(tables) if rebuild else ():
        database.execute(f"DROP TABLE IF EXISTS {table}")
    if rebuild or not present.issuperset(tables):
        script = "catalogue.sql" if tables == OF_SCENES else "drives.sql"
        database.executescript(files(__package__).joinpath(script).read_text(encoding="utf-8"))


def _check(path: Path, *, rebuild: bool) -> None:
    """Make sure that a file may be replaced."""
    version, tables = _look_into(path)
    if not (tables.issuperset(OF_SCENES) or tables.issuperset(OF_DRIVES)):
        raise OutputError(f"{path}: exists and is not a catalogue, so it is not replaced; choose another name")
    if version != VERSION and not rebuild:
        raise OutputError(f"{path}: is a catalogue of version {version}, not {VERSION}; make it again with --rebuild")


def _look_into(path: Path) -> tuple[int, set[str]]:
    """Return the version and the tables of a file; neither where it is not a database."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            return version, {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    except (sqlite3.Error, UnicodeError):
        return 0, set()
