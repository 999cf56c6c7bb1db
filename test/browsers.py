# SPDX-License-Identifier: Apache-2.0
"""The Chromium that tests of pages run in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_NICE = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")


def chromium(folder: Path) -> str:
    """Return the program, or skip; as root one without the right to real-time priority, made in ``folder``.

    Chromium gives the main threads of pages real-time priority where it may. On two cores two busy pages then starve
    everything else, the process that draws for them included, and wait for it without an end.
    """
    path = os.environ.get("NUCLEUS_BRIDGE_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).is_file():
        pytest.skip(f"no chromium at {path}; set NUCLEUS_BRIDGE_CHROMIUM")
    if os.geteuid() or not shutil.which(_NICE[0]) or subprocess.run([*_NICE, "true"], check=False).returncode:
        return path
    wrapper = folder / "chromium"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(_NICE)} {path} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)
