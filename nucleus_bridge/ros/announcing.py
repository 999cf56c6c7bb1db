# SPDX-License-Identifier: Apache-2.0
"""How often this process announces itself to others in the graph, where the middleware is Fast DDS.

By default it does every three seconds. A driver that starts between two announcements and misses an answer of this
process is not heard before the next one, and over ``LARGE_DATA`` sometimes never. With two a second, as in
``fast_dds.xml``, a recorder had to connect anew after 4 of 100 restarts of its driver, and by default after 44.
"""

from __future__ import annotations

import os
from pathlib import Path

from nucleus_bridge.ros.middleware import rclpy_version

PROFILES = Path(__file__).with_name("fast_dds.xml")
FAST_DDS_3, FAST_DDS_2 = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
"""The second is what releases up to Jazzy read; later ones warn of it."""
FIRST_WITH_FAST_DDS_3 = (9, 0)
"""rclpy of Kilted."""
IN_THIS_FOLDER = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")
"""Likewise, where there is no such variable."""


def announce_often() -> None:
    """Have Fast DDS announce this process twice a second, unless the user has profiles of their own.

    To be called before the first node is made; processes that this one starts do likewise.
    """
    if any(os.environ.get(name) for name in (FAST_DDS_3, FAST_DDS_2)) or any(map(os.path.exists, IN_THIS_FOLDER)):
        return
    os.environ[FAST_DDS_3 if rclpy_version() >= FIRST_WITH_FAST_DDS_3 else FAST_DDS_2] = str(PROFILES)
