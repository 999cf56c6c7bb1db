# SPDX-License-Identifier: Apache-2.0
"""Which sockets are counted as of no use any more."""

from __future__ import annotations

import socket
import struct

import pytest

from nucleus_bridge.ros.dead_sockets import dead_sockets


def test_sockets_that_were_reset_count_and_those_in_use_do_not() -> None:
    before = dead_sockets()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("127.0.0.1", 0))
        pairs = [(socket.create_connection(server.getsockname()), server.accept()[0]) for _ in range(3)]
        assert dead_sockets() == before
        for kept, ended in pairs:
            ended.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ended.close()  # with a reset, as the kernel does for a process that was killed
            with pytest.raises(ConnectionResetError):
                kept.recv(1)
        assert dead_sockets() == before + 3
        for kept, _ in pairs:
            kept.close()
    assert dead_sockets() == before
