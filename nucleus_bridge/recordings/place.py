# SPDX-License-Identifier: Apache-2.0
"""Where a recording lies: the few operations of a path that its readers need, which an object store can offer too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Literal, Protocol, runtime_checkable


class Status(Protocol):
    """Size and time of change of a file, as ``os.stat_result`` has them."""

    @property
    def st_size(self) -> int:
        """Bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When it was written, ns."""


class Place(Protocol):
    """A file or folder: a ``pathlib.Path``, or what stands for one elsewhere."""

    @property
    def name(self) -> str:
        """Last part of the path."""

    @property
    def parent(self) -> Place:
        """The folder that it is in."""

    def resolve(self) -> Place:
        """Return it with its full path."""

    def __truediv__(self, name: str, /) -> Place:
        """Return a place in this folder."""

    def exists(self) -> bool:
        """Whether something is there."""

    def is_dir(self) -> bool:
        """Whether it is a folder."""

    def is_file(self) -> bool:
        """Whether it is a file."""

    def iterdir(self) -> Iterable[Place]:
        """Return what is in this folder."""

    def stat(self) -> Status:
        """Return size and time of change of a file."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open a file to be read at any position."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A file that is far away and reads better when it knows what will be read."""

    def expect(self, spans: Sequence[tuple[int, int]]) -> None:
        """Take the first bytes and lengths of what will be read, in that order."""
