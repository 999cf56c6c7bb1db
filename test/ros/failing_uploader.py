# SPDX-License-Identifier: Apache-2.0
"""The uploader, whose first run fails with an error that nobody expects."""

from __future__ import annotations

import sys

from nucleus_bridge.ros import uploader as node
from nucleus_bridge.ros.running import run
from nucleus_bridge.upload.uploader import Uploader

RUNS: list[Uploader] = []
RUN = Uploader.run


def fails_once(uploader: Uploader, *, watch: bool) -> None:
    RUNS.append(uploader)
    if len(RUNS) == 1:
        raise ValueError("as the test wants")
    print("runs again", flush=True)  # noqa: T201
    RUN(uploader, watch=watch)


if __name__ == "__main__":
    Uploader.run = fails_once
    node.TRY_AGAIN_S = 4.0
    sys.exit(run(node.UploaderNode, "for a test"))
