# SPDX-License-Identifier: Apache-2.0
"""Annotations, predictions, models, tracks, taxonomies and tags, in one SQLite file.

A drive has more boxes than files of JSON can hold well; here a page of them costs no more than the page. Everything
that a request or a batch of lines brings is one transaction.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver.messages import Refusal
from nucleus_bridge.testing.receiver.state import derived_id, new_id
from nucleus_bridge.testing.receiver.strict_json import metadata_kind

GROUND_TRUTH = ""
"""The holder of annotations; that of predictions is the id of their model run."""
_SCENE_KINDS = frozenset({"scene_category"})
_INSERT = (
    "INSERT INTO labels (dataset_id, holder, reference_id, identity, kind, task_id, job_id, document)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (dataset_id, holder, reference_id, identity)"
)
_OVERWRITE = (
    "DO UPDATE SET kind = excluded.kind, task_id = excluded.task_id, job_id = excluded.job_id,"
    " document = excluded.document"
)
_TABLES = """
CREATE TABLE IF NOT EXISTS labels (
    number INTEGER PRIMARY KEY, dataset_id TEXT NOT NULL, holder TEXT NOT NULL, reference_id TEXT NOT NULL,
    identity TEXT NOT NULL, kind TEXT NOT NULL, task_id TEXT, job_id TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (dataset_id, holder, reference_id, identity));
CREATE TABLE IF NOT EXISTS metadata_kinds (
    dataset_id TEXT, holder TEXT, key TEXT, kind TEXT, PRIMARY KEY (dataset_id, holder, key));
CREATE TABLE IF NOT EXISTS models (model_id TEXT PRIMARY KEY, reference_id TEXT UNIQUE, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, model_id TEXT NOT NULL, dataset_id TEXT NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tracks (
    dataset_id TEXT, reference_id TEXT, metadata TEXT NOT NULL, PRIMARY KEY (dataset_id, reference_id));
CREATE TABLE IF NOT EXISTS taxonomies (dataset_id TEXT, name TEXT, document TEXT, PRIMARY KEY (dataset_id, name));
CREATE TABLE IF NOT EXISTS tags (dataset_id TEXT, tag TEXT, PRIMARY KEY (dataset_id, tag));
"""


@dataclass(frozen=True)
class Label:
    """One annotation or prediction that was checked.

    Attributes:
        reference_id: Of the item, or of the scene, that it is on.
        kind: As exports name it, such as ``cuboid``; ``scene_category`` for those of scenes.
        identity: What makes it the same as another one of that item.
        document: What the client sent, with an ``annotation_id`` where such objects have one.
    """

    reference_id: str
    kind: str
    identity: str
    document: Mapping[str, Any]

    @property
    def task_id(self) -> str | None:
        """The annotation task that it came from, as far as the client said."""
        task_id: str | None = self.document.get("task_id")
        return task_id


@dataclass(frozen=True)
class Outcome:
    """What became of labels: how many were kept, how many were there already, which were refused and why."""

    kept: int
    ignored: int
    refused: tuple[tuple[Label, str], ...]


class LabelStore:
    """All labels of a receiver; what was kept survives a kill of the process."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.RLock()
        path = directory / "labels.sqlite3"
        self._connection = sqlite3.connect(path, check_same_thread=False)
        try:
            self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            message = f"{path}: not the labels of a receiver ({error}); move it away or serve another folder"
            raise InputError(message) from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def put(self, dataset_id: str, holder: str, labels: Sequence[Label], *, update: bool, job_id: str = "") -> Outcome:
        """Keep labels; one that is there already is overwritten with ``update`` and ignored without.

        What an interrupted run of the same job kept counts again.
        """
        kept, refused = 0, []
        chosen = _OVERWRITE if update else "DO NOTHING"
        tracks: set[str] = set()
        kinds: dict[str, str] = {}
        with self._transaction() as run:
            for label in labels:
                if clash := self._metadata_clash(dataset_id, holder, label, kinds):
                    refused.append((label, clash))
                    continue
                place = (dataset_id, holder, label.reference_id, label.identity)
                values = (*place, label.kind, label.task_id, job_id, json.dumps(label.document, separators=(",", ":")))
                if run(f"{_INSERT} {chosen}", values).rowcount or (job_id and self._is_of_job(place, job_id)):
                    kept += 1
                    tracks.add(label.document.get("track_reference_id", ""))
            for track in sorted(tracks - {""}):
                run("INSERT OR IGNORE INTO tracks VALUES (?, ?, '{}')", (dataset_id, track))
        return Outcome(kept, len(labels) - kept - len(refused), tuple(refused))

    def texts_of_items(
        self, dataset_id: str, holder: str, references: Sequence[str], *, newest_task_only: bool = False
    ) -> dict[str, dict[str, list[str]]]:
        """Return what is on items as JSON texts, by reference id and kind, in the order it came.

        With ``newest_task_only``, what tasks made is left out but for each item's latest one.
        """
        rows: dict[str, list[tuple[str, str | None, str]]] = defaultdict(list)
        with self._lock:
            found = self._connection.execute(
                "SELECT reference_id, kind, task_id, document FROM labels WHERE dataset_id = ? AND holder = ?"
                " AND reference_id IN (SELECT value FROM json_each(?)) ORDER BY number",
                (dataset_id, holder, json.dumps([*references])),
            )
            for reference_id, kind, task_id, document in found:
                rows[reference_id].append((kind, task_id, document))
        shown: dict[str, dict[str, list[str]]] = {reference_id: {} for reference_id in references}
        for reference_id, labels in rows.items():
            newest = next((task_id for _, task_id, _ in reversed(labels) if task_id), None)
            for kind, task_id, document in labels:
                if kind not in _SCENE_KINDS and (not newest_task_only or task_id in (None, newest)):
                    shown[reference_id].setdefault(kind, []).append(document)
        return shown

    def of_items(
        self, dataset_id: str, holder: str, references: Sequence[str], *, newest_task_only: bool = False
    ) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Return the same as objects."""
        texts = self.texts_of_items(dataset_id, holder, references, newest_task_only=newest_task_only)
        return {
            reference_id: {kind: [json.loads(text) for text in some] for kind, some in kinds.items()}
            for reference_id, kinds in texts.items()
        }

    def after(self, dataset_id: str, holder: str | None, token: int, size: int) -> list[tuple[int, dict[str, Any]]]:
        """Return so many labels behind a number, with theirs; holder None: every model's predictions."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, document FROM labels WHERE dataset_id = ? AND number > ?"
                " AND CASE WHEN ? IS NULL THEN holder != '' ELSE holder = ? END ORDER BY number LIMIT ?",
                (dataset_id, token, holder, holder, size),
            ).fetchall()
        return [(number, json.loads(document)) for number, document in rows]

    def names(self, dataset_id: str) -> list[str]:
        """Return the classes that a dataset's annotations have, sorted."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT DISTINCT json_extract(document, '$.label') FROM labels WHERE dataset_id = ? AND holder = ''",
                (dataset_id,),
            ).fetchall()
        return sorted(name for (name,) in rows if name)

    def delete(self, dataset_id: str, holder: str | None, references: Sequence[str] | None) -> int:
        """Remove what is on items (None: all), of one holder (None: all); return how many labels those were."""
        with self._transaction() as run:
            return int(
                run(
                    "DELETE FROM labels WHERE dataset_id = ? AND (? IS NULL OR holder = ?)"
                    " AND (? IS NULL OR reference_id IN (SELECT value FROM json_each(?)))",
                    (dataset_id, holder, holder, *[None if references is None else json.dumps([*references])] * 2),
                ).rowcount
            )

    def forget_dataset(self, dataset_id: str) -> None:
        """Remove everything about a dataset."""
        with self._transaction() as run:
            for table in ("labels", "metadata_kinds", "runs", "tracks", "taxonomies", "tags"):
                run(f"DELETE FROM {table} WHERE dataset_id = ?", (dataset_id,))  # noqa: S608 - our own names

    def add_model(self, model: Mapping[str, Any]) -> str:
        """Keep a new model and return its id.

        Raises:
            Refusal: 400 when its reference id is taken.
        """
        model_id = new_id("prj")
        with self._transaction() as run:
            if run("SELECT 1 FROM models WHERE reference_id = ?", (model["ref_id"],)).fetchone():
                raise Refusal(400, f"a model with the reference_id {model['ref_id']!r} is there already")
            run("INSERT INTO models VALUES (?, ?, ?)", (model_id, model["ref_id"], json.dumps(model)))
        return model_id

    def models(self) -> list[dict[str, Any]]:
        """Return every model, oldest first."""
        with self._lock:
            rows = self._connection.execute("SELECT model_id, document FROM models ORDER BY model_id").fetchall()
        return [{"id": model_id, **json.loads(document)} for model_id, document in rows]

    def model(self, model_or_run_id: str) -> dict[str, Any]:
        """Return a model, by its own id or that of one of its runs.

        Raises:
            Refusal: 404.
        """
        if model_or_run_id.startswith("run_"):
            model_or_run_id = self.run(model_or_run_id)["model_id"]
        found = [model for model in self.models() if model["id"] == model_or_run_id]
        if not found:
            raise Refusal(404, f"there is no model {model_or_run_id!r}")
        return found[0]

    def set_model_tags(self, model_id: str, tags: Sequence[str]) -> None:
        """Change a model's tags."""
        model = {key: value for key, value in self.model(model_id).items() if key != "id"}
        with self._transaction() as run:
            run("UPDATE models SET document = ? WHERE model_id = ?", (json.dumps({**model, "tags": [*tags]}), model_id))

    def delete_model(self, model_id: str) -> None:
        """Remove a model with its runs and predictions.

        Raises:
            Refusal: 404.
        """
        model_id = self.model(model_id)["id"]
        for found in self.runs(model_id=model_id):
            self.delete_run(found["model_run_id"])
        with self._transaction() as run:
            run("DELETE FROM models WHERE model_id = ?", (model_id,))

    def run_of(self, model_id: str, dataset_id: str) -> str:
        """Return the id of the run that a model's predictions on a dataset go to: its first one, made or yet to be.

        Raises:
            Refusal: 404.
        """
        model_id = self.model(model_id)["id"]
        known = self.runs(dataset_id=dataset_id, model_id=model_id)
        return known[0]["model_run_id"] if known else derived_id("run", model_id, dataset_id)

    def make_run(
        self, model_id: str, dataset_id: str, name: str = "", metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Return the id of a new run of a model on a dataset; without a name, of the one that uploads go to.

        Raises:
            Refusal: 404.
        """
        model = self.model(model_id)
        run_id = new_id("run") if name else self.run_of(model_id, dataset_id)
        document = json.dumps({"name": name or model["name"], "metadata": dict(metadata or {})})
        with self._transaction() as run:
            run("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?)", (run_id, model["id"], dataset_id, document))
        return run_id

    def runs(self, *, dataset_id: str = "", model_id: str = "") -> list[dict[str, Any]]:
        """Return the runs on a dataset or of a model, in the order of their ids."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT run_id, model_id, dataset_id, document FROM runs"
                " WHERE (? = '' OR dataset_id = ?) AND (? = '' OR model_id = ?) ORDER BY run_id",
                (dataset_id, dataset_id, model_id, model_id),
            ).fetchall()
        return [
            {"model_run_id": run_id, "model_id": model, "dataset_id": dataset, **json.loads(document)}
            for run_id, model, dataset, document in rows
        ]

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run.

        Raises:
            Refusal: 404.
        """
        found = [run for run in self.runs() if run["model_run_id"] == run_id]
        if not found:
            raise Refusal(404, f"there is no model run {run_id!r}")
        return found[0]

    def delete_run(self, run_id: str) -> None:
        """Remove a run with its predictions.

        Raises:
            Refusal: 404.
        """
        found = self.run(run_id)
        self.delete(found["dataset_id"], run_id, None)
        with self._transaction() as run:
            run("DELETE FROM runs WHERE run_id = ?", (run_id,))

    def tracks(self, dataset_id: str) -> list[dict[str, Any]]:
        """Return a dataset's tracks."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT reference_id, metadata FROM tracks WHERE dataset_id = ? ORDER BY rowid", (dataset_id,)
            ).fetchall()
        return [{"reference_id": track, "dataset_id": dataset_id, "metadata": json.loads(kept)} for track, kept in rows]

    def set_track(self, dataset_id: str, reference_id: str, metadata: Mapping[str, Any], *, overwrite: bool) -> None:
        """Make a track, or change its metadata: in place of what it has with ``overwrite``, merged without."""
        known = {track["reference_id"]: track["metadata"] for track in self.tracks(dataset_id)}
        kept = {} if overwrite else known.get(reference_id, {})
        with self._transaction() as run:
            document = json.dumps({**kept, **metadata})
            run(
                "INSERT INTO tracks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET metadata = excluded.metadata",
                (dataset_id, reference_id, document),
            )

    def delete_tracks(self, dataset_id: str, references: Sequence[str]) -> None:
        """Remove tracks and unlink the labels that are theirs."""
        with self._transaction() as run:
            for reference in references:
                run("DELETE FROM tracks WHERE dataset_id = ? AND reference_id = ?", (dataset_id, reference))
                run(
                    "UPDATE labels SET document = json_remove(document, '$.track_reference_id')"
                    " WHERE dataset_id = ? AND json_extract(document, '$.track_reference_id') = ?",
                    (dataset_id, reference),
                )

    def set_taxonomy(self, dataset_id: str, name: str, document: Mapping[str, Any], *, update: bool) -> bool | None:
        """Keep a taxonomy; return True when it is new, None when it was changed and False when it was left as it is."""
        with self._transaction() as run:
            known = run("SELECT 1 FROM taxonomies WHERE dataset_id = ? AND name = ?", (dataset_id, name)).fetchone()
            if known and not update:
                return False
            run("INSERT OR REPLACE INTO taxonomies VALUES (?, ?, ?)", (dataset_id, name, json.dumps(document)))
            return None if known else True

    def delete_taxonomy(self, dataset_id: str, name: str) -> bool:
        """Remove a taxonomy; return whether there was one."""
        with self._transaction() as run:
            return bool(run("DELETE FROM taxonomies WHERE dataset_id = ? AND name = ?", (dataset_id, name)).rowcount)

    def change_tags(self, dataset_id: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> list[str]:
        """Add and remove a dataset's tags, and return those it has then, oldest first."""
        with self._transaction() as run:
            for tag in add:
                run("INSERT OR IGNORE INTO tags VALUES (?, ?)", (dataset_id, tag))
            for tag in remove:
                run("DELETE FROM tags WHERE dataset_id = ? AND tag = ?", (dataset_id, tag))
            rows = run("SELECT tag FROM tags WHERE dataset_id = ? ORDER BY rowid", (dataset_id,)).fetchall()
        return [tag for (tag,) in rows]

    def _is_of_job(self, place: tuple[str, str, str, str], job_id: str) -> bool:
        (known,) = self._connection.execute(
            "SELECT job_id FROM labels WHERE dataset_id = ? AND holder = ? AND reference_id = ? AND identity = ?", place
        ).fetchone()
        return bool(known == job_id)

    def _metadata_clash(self, dataset_id: str, holder: str, label: Label, kinds: dict[str, str]) -> str:
        """Note the kinds of a label's metadata in ``kinds``; return what is wrong with another kind than elsewhere."""
        for key, value in label.document.get("metadata", {}).items():
            kind = metadata_kind(value)
            if not kind:
                continue
            if key not in kinds:
                place = (dataset_id, holder, key)
                self._connection.execute("INSERT OR IGNORE INTO metadata_kinds VALUES (?, ?, ?, ?)", (*place, kind))
                (kinds[key],) = self._connection.execute(
                    "SELECT kind FROM metadata_kinds WHERE dataset_id = ? AND holder = ? AND key = ?", place
                ).fetchone()
            if kinds[key] != kind:
                return f"metadata {key!r} is a {kind} here and a {kinds[key]} elsewhere in the dataset"
        return ""

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            with self._lock, self._connection:
                yield self._connection.execute
        except UnicodeEncodeError:
            raise Refusal(400, "a text holds half of a character (a lone surrogate), which cannot be kept") from None
