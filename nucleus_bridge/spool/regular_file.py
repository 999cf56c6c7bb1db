# SPDX-License-Identifier: Apache-2.0
"""Reads the files of scenes: regular files only, through no link, and tells the disk's fault from the scene's."""

from __future__ import annotations

import errno
import os
import stat
from os import open as open_descriptor
from pathlib import Path
from typing import BinaryIO

from nucleus_bridge.errors import SceneError, SceneUnreadableError

_OF_THE_SCENE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL)


def open_regular(path: Path, below: int = 1) -> BinaryIO:
    """Open a regular file for reading, through no link in the last ``below`` parts of its path.

    Raises:
        OSError: It cannot be opened, or is something else; ELOOP for a link, EINVAL for what is not a regular file.
    """
    parts = path.parts[-below:]
    folder = open_descriptor(path.parents[below - 1], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in parts[:-1]:
            inner = open_descriptor(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # without O_NONBLOCK a named pipe would wait for its writer
        descriptor = open_descriptor(
            parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
        )
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_scene_file(path: Path, limit: int) -> bytes:
    """Return the content of a file of a scene, at most ``limit`` bytes of it.

    Raises:
        SceneUnreadableError: The disk cannot read it now.
        SceneError: It is missing, or no regular file.
    """
    try:
        with open_regular(path) as file:
            return file.read(limit)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> SceneError:
    """Return the error for a file of a scene that cannot be read: the scene's fault, or the disk's."""
    message = f"{path}: cannot be read: {error.strerror}"
    return SceneError(message) if error.errno in _OF_THE_SCENE else SceneUnreadableError(message)
