# SPDX-License-Identifier: Apache-2.0
"""How a process leaves the graph, or joins it anew, whatever the middleware does meanwhile."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nucleus_bridge.errors import BridgeError
from nucleus_bridge.ros.shared_memory import remove_unused, segments_of
from nucleus_bridge.text import why_not

LEAVE_WITHIN_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TOLD_AT = 0.8
_STUCK = "warning: the middleware does not let go; everything is safe, and the process ends without waiting for it"
_RESUME = "NUCLEUS_BRIDGE_RESUME"
_MEMORY = "shared_memory"
_OPEN_FILES = Path("/proc/self/fd")
_STANDARD = 3


@contextmanager
def leaving(within_s: float = LEAVE_WITHIN_S) -> Iterator[None]:
    """End the process with status 1 if leaving the graph takes longer than ``within_s``; all work must be safe.

    Fast DDS may wait without an end when it closes a connection with ``LARGE_DATA`` (up to 3.2,
    eProsima/Fast-DDS#6066). It does so with the interpreter's lock held, so that nothing written in Python could end
    it, or say so: the line is another process's, started beforehand.
    """
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(within_s, exit=True, file=nowhere)
        speaker = _speaker(_TOLD_AT * within_s)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            if speaker is not None:
                speaker.communicate()


def _speaker(after_s: float) -> subprocess.Popen[bytes] | None:
    """Start what says why the process ends, unless its stdin closes before."""
    # by SIGKILL: other signals may be held or ignored by now, which programs inherit
    command = f'timeout -s KILL {after_s:.2f} cat >/dev/null 2>&1; test $? = 137 && echo "$0" >&2'
    with suppress(OSError):
        return subprocess.Popen(  # noqa: S603 - a line of ours
            ["/bin/sh", "-c", command, _STUCK],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    return None


def hold_signals() -> None:
    """Keep signals that ask for the end until :func:`release_signals`, across a new start of the program, too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def release_signals() -> None:
    """Let signals come, also those that were held: there is somebody to hear them now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def start_anew(resume: Mapping[str, Any], is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Replace this program by itself: same process id, arguments and parameters, and a new connection to the graph.

    The old connection is not closed, which may never end (see :func:`leaving`): its threads end, and its sockets
    and files close, in the moment when the program is replaced.

    Args:
        resume: What :func:`resumed` returns afterwards.
        is_wanted: Asked at the last moment, since another thread may have got a signal; where it is not, this returns.

    Raises:
        BridgeError: The program cannot be started.
    """
    for number in _open_files():
        with suppress(OSError):  # closed meanwhile
            os.set_inheritable(number, False)
    sys.stdout.flush()
    sys.stderr.flush()
    os.environ[_RESUME] = json.dumps({**resume, _MEMORY: sorted(segments_of("self"))})
    if not is_wanted():
        return
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this program itself
    except OSError as error:
        raise BridgeError(f"{sys.executable} cannot be started anew: {why_not(error)}") from error


def resumed() -> dict[str, Any]:
    """Return what the program had before it was started anew, once; empty when it was not."""
    found: dict[str, Any] = json.loads(os.environ.pop(_RESUME, "{}"))
    remove_unused(found.pop(_MEMORY, []))
    return found


def _open_files() -> list[int]:
    """Return every open file but the standard ones."""
    names = list(_OPEN_FILES.iterdir()) if _OPEN_FILES.is_dir() else list(Path("/dev/fd").iterdir())
    return [number for number in (int(path.name) for path in names) if number >= _STANDARD]
