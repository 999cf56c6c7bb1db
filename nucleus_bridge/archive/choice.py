# SPDX-License-Identifier: Apache-2.0
"""The recordings of a catalogue that fit a condition in SQL; whatever the condition is, it can only read."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nucleus_bridge.archive.catalogue_file import OF_DRIVES, is_catalogue
from nucleus_bridge.errors import InputError

MOST_STEPS = 50_000_000
"""Steps of SQLite's machine that a condition may take: seconds; one recording of a plain condition takes about ten."""
_STEP = 1_000_000
_LONGEST_VALUE = 10_000_000
_LIMIT_LENGTH = 0
"""SQLite's number of the limit, which the module names from Python 3.11 on."""
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_REFUSED_FUNCTIONS = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
_MISSING = re.compile(r"no such (column|table|function): (\S+)")


@dataclass(frozen=True)
class Choice:
    """What a condition names.

    Attributes:
        places: The recordings as ``convert`` takes them, by time.
        of: How many recordings the catalogue has.
    """

    places: tuple[str, ...]
    of: int


def choose(catalogue: Path, where: str) -> Choice:
    """Ask a catalogue for its recordings that fit a condition.

    Args:
        catalogue: The file.
        where: A condition in SQL on a row of ``drives``.

    Raises:
        InputError: The file is not a catalogue of recordings, or the condition is none.
    """
    if not catalogue.is_file() or not is_catalogue(catalogue):
        raise InputError(f"{catalogue}: is not a catalogue; make one with nucleus-bridge catalogue PATH -o FILE")
    try:
        with closing(sqlite3.connect(f"{catalogue.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return _choose(database, catalogue, where)
    except (sqlite3.Error, UnicodeError) as error:  # whose texts, too, come from the file
        raise InputError(f"{catalogue}: cannot be read: {error}; make it again with --rebuild") from None


def _choose(database: sqlite3.Connection, catalogue: Path, where: str) -> Choice:
    columns = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in OF_DRIVES}
    if not columns["drives"]:
        raise InputError(f"{catalogue}: lists scenes alone; add recordings with nucleus-bridge catalogue BAG...")
    database.execute("PRAGMA query_only = ON")
    database.execute("PRAGMA temp_store = MEMORY")
    known = dict(database.execute("SELECT bag, place FROM drives ORDER BY start_ns, bag"))
    if wrong := [place for row in known.items() for place in row if not isinstance(place, str)]:
        raise InputError(f"{catalogue}: {wrong[0]!r:.40} is not the path of a recording; make it again with --rebuild")
    _confine(database)
    try:
        # The line break ends a comment in the condition, and SQLite itself refuses a second statement.
        fitting = {row[0] for row in database.execute(f"SELECT bag FROM drives WHERE (\n{where}\n)")}  # noqa: S608
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"--where {where!r:.200}: {_explained(error, columns)}") from None
    return Choice(tuple(place for bag, place in known.items() if bag in fitting), len(known))


def _confine(database: sqlite3.Connection) -> None:
    """Let a connection read and nothing else, and not forever."""
    left = MOST_STEPS

    def count() -> bool:
        nonlocal left
        left -= _STEP
        return left < 0

    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or first) in _REFUSED_FUNCTIONS):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    database.set_progress_handler(count, _STEP)
    database.set_authorizer(authorize)
    if hasattr(database, "setlimit"):  # from Python 3.11 on
        database.setlimit(_LIMIT_LENGTH, _LONGEST_VALUE)


def _explained(error: BaseException, columns: dict[str, list[str]]) -> str:
    """Say what is wrong with a condition, and what it can be about."""
    text = str(error) or type(error).__name__
    if "interrupted" in text:
        return "takes too long"
    if "authorized" in text or "prohibited" in text or "one statement" in text:
        return f"may only be one condition that reads ({text})"
    return "; ".join([text, *_nearest(text, columns), f"the columns of drives are {', '.join(columns['drives'])}"])


def _nearest(text: str, columns: dict[str, list[str]]) -> Iterator[str]:
    found = _MISSING.search(text)
    if found is None:
        return
    kind, name = found.groups()
    if kind == "column":
        near = difflib.get_close_matches(name.rpartition(".")[2], columns["drives"], n=1, cutoff=0.4)
        if near:
            yield f"did you mean {near[0]}?"
        others = [table for table, names in columns.items() if name in names and table != "drives"]
        if others:
            yield f"{others[0]} has it, which a condition asks by bag IN (SELECT ...)"
    elif kind == "table":
        yield f"the tables of recordings are {', '.join(columns)}"
