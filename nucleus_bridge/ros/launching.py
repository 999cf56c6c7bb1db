# SPDX-License-Identifier: Apache-2.0
"""What the launch files check before they start anything; needs neither ``launch`` nor ROS 2."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from nucleus_bridge.config import config_from_values
from nucleus_bridge.config.loader import check_values, is_ros_own
from nucleus_bridge.config.sections import read_parameters
from nucleus_bridge.errors import InputError
from nucleus_bridge.upload.choice import key_for


def check_launch(config: str, namespace: str, *, uploads: bool) -> None:
    """Refuse what would fail later, when part of the launch runs already.

    Args:
        config: The parameter file. launch itself only warns when there is none, and the nodes would take defaults.
        namespace: That of the nodes.
        uploads: Whether the uploader is started, which needs a key from the environment.

    Raises:
        InputError: The file cannot be used, or there is no key.
    """
    path = Path(config).expanduser()
    if not path.is_file():
        raise InputError(f"config:={path}: there is no such file")
    if uploads:
        name = "/".join(["", *filter(None, [namespace.strip("/")]), "nucleus_uploader"])
        given = {key: value for key, value in read_parameters(path, name).items() if not is_ros_own(key)}
        key_for(config_from_values(check_values(given), base_dir=path.parent).upload)


def respawn_arguments(respawn_delay: str, respawn_max_retries: str, *, can_limit: bool) -> dict[str, Any]:
    """Return the arguments of a launch action that starts its program again.

    Args:
        respawn_delay: Seconds, as text.
        respawn_max_retries: How often at most, as text; -1: always.
        can_limit: Whether this ROS 2 can limit it.

    Raises:
        InputError: One is not such a number.
    """
    try:
        delay_s, most = float(respawn_delay), int(respawn_max_retries)
    except ValueError:
        delay_s, most = -1.0, -1
    if not 0.0 <= delay_s < math.inf or most < -1:
        raise InputError(
            f"respawn_delay:={respawn_delay} respawn_max_retries:={respawn_max_retries}: must be a number of seconds "
            "of at least 0 and a whole number of at least -1"
        )
    if most >= 0 and not can_limit:
        raise InputError("respawn_max_retries: this ROS 2 cannot limit it; give respawn_max_retries:=-1")
    return {"respawn": True, "respawn_delay": delay_s, **({"respawn_max_retries": most} if most >= 0 else {})}
