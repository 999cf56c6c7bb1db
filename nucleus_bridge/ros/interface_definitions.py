# SPDX-License-Identifier: Apache-2.0
"""Message packages as text: the ones that a ROS 2 made of Python wheels lacks, and how to read a user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nucleus_bridge.errors import InputError
from nucleus_bridge.text import why_not

_PACKAGE_NAME = re.compile(r"[a-z](?:_?[a-z0-9])*")
_MESSAGE_NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_FOREIGN_FIELD = re.compile(r"^\s*([a-z][a-z0-9_]*)/", re.MULTILINE)


@dataclass(frozen=True)
class InterfacePackage:
    """A ROS 2 package of messages.

    Attributes:
        messages: Text of the ``.msg`` file by message name.
        type_hashes: REP 2011 hash (``RIHS01_...``) by message name, where the released one is known.
    """

    name: str
    messages: Mapping[str, str]
    type_hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def depends(self) -> list[str]:
        """Other packages whose messages these ones contain, sorted."""
        text = "\n".join(self.messages.values())
        return sorted(set(_FOREIGN_FIELD.findall(text)) - {self.name})


TF2_MSGS = InterfacePackage(
    name="tf2_msgs",
    messages={"TFMessage": "geometry_msgs/TransformStamped[] transforms\n"},
    type_hashes={"TFMessage": "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"},
)

RADAR_MSGS = InterfacePackage(
    name="radar_msgs",
    messages={
        "RadarReturn": """\
float32 range             # metres
float32 azimuth           # radians, anticlockwise seen from above
float32 elevation         # radians, up
float32 doppler_velocity  # metres per second
float32 amplitude         # decibels
""",
        "RadarScan": """\
std_msgs/Header header
radar_msgs/RadarReturn[] returns
""",
    },
)

BOND = InterfacePackage(
    name="bond",
    messages={
        "Status": """\
std_msgs/Header header
string id
string instance_id
bool active
float32 heartbeat_timeout  # seconds
float32 heartbeat_period   # seconds
"""
    },
)
"""What a lifecycle manager and its nodes tell each other; the released package has constants besides."""

BUILT_IN = {package.name: package for package in (TF2_MSGS, RADAR_MSGS, BOND)}


def read_interface_package(name: str, folder: Path) -> InterfacePackage:
    """Read the message package ``name`` from the ``.msg`` files in ``folder``.

    Raises:
        InputError: A name breaks the rules of ROS 2, there is no ``.msg`` file, or one cannot be read.
    """
    if not _PACKAGE_NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a ROS 2 package name: use lower case letters, digits and single underscores")
    paths = sorted(folder.glob("*.msg"))
    if not paths:
        raise InputError(f"{folder} has no .msg file; give the folder that holds them, usually <package>/msg")
    messages = {}
    for path in paths:
        if not _MESSAGE_NAME.fullmatch(path.stem):
            raise InputError(f"{path.name} is not a ROS 2 message name: use CamelCase letters and digits")
        try:
            messages[path.stem] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {why_not(error)}") from error
    return InterfacePackage(name=name, messages=messages)
