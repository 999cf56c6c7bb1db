# SPDX-License-Identifier: Apache-2.0
"""Sockets whose other end is gone, which the middleware keeps.

Over TCP (``LARGE_DATA``) Fast DDS 3.2 keeps about one of them for every two drivers that end, for good.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_OWN = Path("/proc/self")
_TABLES = {"tcp": 9, "tcp6": 9, "udp": 9, "udp6": 9, "raw": 9, "raw6": 9, "netlink": 9, "unix": 6}
"""In which column the number of a socket stands."""
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def dead_sockets() -> int:
    """Return how many sockets of this process are in no table of the kernel: neither connected nor waiting to be.

    A few are so from the start. 0 where the system does not say.
    """
    if not (_OWN / "net" / "tcp").exists():
        return 0
    own = set()
    for path in (_OWN / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            if found := _SOCKET.fullmatch(str(path.readlink())):
                own.add(found[1])
    for name, column in _TABLES.items():
        with suppress(OSError):  # no such protocol
            _, *lines = (_OWN / "net" / name).read_text().splitlines()
            own -= {words[column] for words in map(str.split, lines) if len(words) > column}
    return len(own)
