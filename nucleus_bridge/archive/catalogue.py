# SPDX-License-Identifier: Apache-2.0
"""The catalogue of a spool: one SQLite file that lists what there is and is updated by what changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nucleus_bridge.archive.catalogue_file import OF_SCENES, Row, insert, replaced
from nucleus_bridge.archive.catalogue_rows import loss_rows, scene_row, sensor_rows
from nucleus_bridge.archive.library import Entry, Library, is_done
from nucleus_bridge.causes import faults
from nucleus_bridge.errors import SceneError
from nucleus_bridge.formats import registry
from nucleus_bridge.spool import Manifest
from nucleus_bridge.spool.conversions import Conversion
from nucleus_bridge.spool.manifest import MANIFEST_NAME
from nucleus_bridge.spool.state import SceneState


@dataclass(frozen=True)
class Changes:
    """What was done to a catalogue.

    Attributes:
        scenes: Scenes in it now.
        added: Those that were not in it before.
        changed: Those whose manifest is another one.
        removed: Those that are gone.
        unreadable: Reasons, for scenes that could not be read.
    """

    scenes: int
    added: int
    changed: int
    removed: int
    unreadable: tuple[str, ...]


def update_catalogue(
    library: Library, path: Path, *, rebuild: bool = False, progress: Callable[[float], None] = lambda _: None
) -> Changes:
    """Bring a catalogue up to date; it is replaced as a whole, so that whoever reads it sees the old or the new one.

    Args:
        library: The spool.
        path: The catalogue; made where there is none.
        rebuild: Read every scene again.
        progress: Is called with the share that is done, 0 to 1.

    Raises:
        OutputError: The file is not a catalogue, one of another version, or cannot be written.
    """
    with replaced(path, OF_SCENES, rebuild=rebuild) as database:
        return _update(database, library, progress)


def _update(database: sqlite3.Connection, library: Library, progress: Callable[[float], None]) -> Changes:
    made = list(library.conversions())
    bags = {scene.reference_id: conversion.bag for conversion in made for scene in conversion.scenes}
    known = dict(database.execute("SELECT reference_id, mark FROM scenes"))
    entries = list(library.entries())
    added = changed = 0
    unreadable = []
    for number, entry in enumerate(entries):
        if known.get(entry.reference_id) != entry.mark:
            try:
                _put_scene(database, entry, bags.get(entry.reference_id))
            except (SceneError, OSError, ValueError, KeyError) as error:
                unreadable.append(f"{entry.folder}: {error}")
                continue
            changed += entry.reference_id in known
            added += entry.reference_id not in known
        progress((number + 1) / len(entries))
    present = {entry.reference_id for entry in entries}
    gone = [(name,) for name in known if name not in present and not is_done(library.state(name))]
    database.executemany("DELETE FROM scenes WHERE reference_id = ?", gone)
    _put_states(database, library, bags)
    _put_recordings(database, made)
    (count,) = database.execute("SELECT count(*) FROM scenes").fetchone()
    return Changes(count, added, changed, len(gone), tuple(unreadable))


def _put_scene(database: sqlite3.Connection, entry: Entry, bag: str | None) -> None:
    place = entry.folder / MANIFEST_NAME
    with place.open("rb") as file:
        manifest = Manifest.parse(file.read(), place)
    row = scene_row(manifest, registry.of(manifest.format).track(entry.folder, manifest), bag, entry.mark)
    database.execute("DELETE FROM scenes WHERE reference_id = ?", (entry.reference_id,))
    insert(database, "scenes", [{**row, "state": SceneState.SEALED.value}])
    insert(database, "sensors", sensor_rows(manifest))
    insert(database, "losses", loss_rows(manifest))


def _put_states(database: sqlite3.Connection, library: Library, bags: dict[str, str]) -> None:
    """Bring up to date what changes without the scene: its state, and the recording that it is known to come from."""
    for name, content in database.execute("SELECT reference_id, content FROM scenes").fetchall():
        state = library.state(name)
        values: tuple[object, ...] = (SceneState.SEALED.value, None, None, None)
        if state is not None and state.content == content:
            values = (state.state.value, state.error or None, state.dataset_id or None, state.store or None)
        database.execute(
            "UPDATE scenes SET state = ?, error = ?, dataset_id = ?, store = ?, bag = coalesce(?, bag) "
            "WHERE reference_id = ?",
            (*values, bags.get(name), name),
        )


def _put_recordings(database: sqlite3.Connection, made: Iterable[Conversion]) -> None:
    """List the recordings; of one that was converted several times, the last time counts."""
    rows: dict[str, Row] = {
        conversion.bag: {
            "bag": conversion.bag,
            "scenes": len(conversion.scenes),
            "frames": sum(scene.frames for scene in conversion.scenes),
            "bytes": sum(scene.bytes for scene in conversion.scenes),
            "faults": faults(conversion.losses),
            "damage": "; ".join(part.what for part in conversion.damage) or None,
        }
        for conversion in made
    }
    database.execute("DELETE FROM recordings")
    insert(database, "recordings", rows.values())
