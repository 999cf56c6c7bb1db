# SPDX-License-Identifier: Apache-2.0
"""What the launch files check before they start anything; needs neither ``launch`` nor ROS 2."""

from __future__ import annotations

from pathlib import Path

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
