# SPDX-License-Identifier: Apache-2.0
"""What need not be done again: answers of tasks that have not changed, and files of labels that are the same.

The service says of a task when it was updated, and what it answers has an address of its own; an answer is fetched anew
unless both are as before. Of a dataset's annotations it says no such thing: they are fetched every time, and only not
written again where they are the same. What is known of a folder of labels is kept in the spool; where that cannot be,
nothing counts as unchanged.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from nucleus_bridge.spool.durable import replace_file
from nucleus_bridge.version import SOFTWARE

KNOWN = "labels"
ANSWERS = "answers"
WRITTEN = "written.json"
_DIGEST_BYTES = 32
_PROCESS = re.compile(r"\.(\d+)(?:\.\d+)?\.tmp$")  # perhaps with the thread behind it


class Fetches(Protocol):
    """Gives what is at a URL."""

    def result(self, url: str) -> bytes:
        """Return it."""
        ...


def known_of(spool: Path, output: Path) -> Path:
    """Return the folder of a spool for what is known of a folder of labels."""
    return spool / KNOWN / hashlib.sha256(str(output.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]


class Answers:
    """What tasks answered, kept in a folder by task, update and address.

    Attributes:
        fetched: The tasks of which something was fetched.
    """

    def __init__(self, folder: Path, client: Fetches) -> None:
        self.fetched: set[str] = set()
        self._folder = folder / ANSWERS
        self._client = client
        self._used: set[str] = set()

    def result(self, task: Mapping[str, Any], url: str) -> bytes:
        """Return what a task answers at a URL; it is fetched where it is not sure to be what is kept.

        Raises:
            RejectedError: It is not there.
            TransientError: Anything that may be otherwise next time.
        """
        name = _version_of(task, url)
        path = self._folder / name
        if name:
            self._used.add(name)
            with suppress(OSError):
                kept = path.read_bytes()
                content = kept[_DIGEST_BYTES:]
                if hashlib.sha256(content).digest() == kept[:_DIGEST_BYTES]:
                    return content
        self.fetched.add(str(task.get("task_id")))
        content = self._client.result(url)
        if name:
            with suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                replace_file(path, hashlib.sha256(content).digest() + content, is_durable=False)
        return content

    def forget_others(self) -> None:
        """Remove the answers that were not asked for."""
        with suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.name not in self._used:
                    path.unlink(missing_ok=True)


def _version_of(task: Mapping[str, Any], url: str) -> str:
    """Return a name for what a task answers now; empty where the task does not say when it was updated."""
    updated = task.get("updated_at")
    if not isinstance(updated, str) or not updated:
        return ""
    said = [task.get("task_id"), updated, task.get("completed_at"), task.get("response"), url]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


class LastTime:
    """What an earlier run wrote in one format into a folder.

    Args:
        folder: The folder.
        known: Where what is known of it is kept.
        form: The format.
        roots: What that format writes, files and folders by name.
    """

    def __init__(self, folder: Path, known: Path, form: str, roots: Iterable[str]) -> None:
        self._folder, self._form, self._roots = folder, form, tuple(roots)
        self._note = known / WRITTEN
        try:
            everything = json.loads(self._note.read_bytes())
            self._all: dict[str, Any] = everything if isinstance(everything, dict) else {}
        except (OSError, ValueError, RecursionError):
            self._all = {}
        mine = self._all.get(form)
        self._mine: Mapping[str, Any] = mine if isinstance(mine, dict) else {}

    @property
    def exists(self) -> bool:
        """Whether there was one."""
        return bool(self._mine)

    def unchanged(self, scenes: Mapping[str, str]) -> set[str]:
        """Return the scenes whose labels have the digests of then."""
        before = self._mine.get("scenes")
        known = before if isinstance(before, dict) else {}
        return {name for name, digest in scenes.items() if known.get(name) == digest}

    def wrote_the_same(self, scenes: Mapping[str, str], given: Iterable[str]) -> bool:
        """Whether all that it wrote is there still, and was made of the same labels and the same of all else."""
        return (
            self._mine.get("scenes") == dict(scenes)
            and self._mine.get("given") == _digest([SOFTWARE, *given])
            and self._mine.get("files") == self._files()
        )

    def note(self, scenes: Mapping[str, str], given: Iterable[str]) -> None:
        """Note what was written now."""
        mine = {"scenes": dict(scenes), "given": _digest([SOFTWARE, *given]), "files": self._files()}
        content = json.dumps({**self._all, self._form: mine}, indent=1, sort_keys=True) + "\n"
        with suppress(OSError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._note, content.encode(), is_durable=False)

    def forget(self) -> None:
        """Let nothing count as written until it is noted again."""
        if self._mine:
            rest = {form: noted for form, noted in self._all.items() if form != self._form}
            with suppress(OSError):
                replace_file(self._note, (json.dumps(rest) + "\n").encode(), is_durable=False)

    def _files(self) -> str:
        """Return a digest of the names, sizes and times of what was written."""
        rows = []
        for root in self._roots:
            path = self._folder / root
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    about = file.stat()
                    rows.append(f"{file.relative_to(self._folder)} {about.st_size} {about.st_mtime_ns}")
        return _digest(rows)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def clear_leftovers(folder: Path) -> None:
    """Remove what runs left that were killed: ``.<name>.<process>.tmp`` of processes that are gone."""
    for path in (*folder.glob(".*.tmp"), *folder.glob("points/.*.tmp")):
        process = _PROCESS.search(path.name)
        if process is not None and not _is_alive(int(process[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
