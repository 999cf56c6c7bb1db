# SPDX-License-Identifier: Apache-2.0
"""Message packages as rosbags understands them: a second opinion on hashes and bytes."""

from __future__ import annotations

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from nucleus_bridge.ros.interface_definitions import InterfacePackage


def typestore_of(package: InterfacePackage) -> Typestore:
    """Return the standard messages and those of ``package``, the latter from its own text."""
    store = get_typestore(Stores.EMPTY)
    known = get_typestore(Stores.ROS2_JAZZY).fielddefs
    store.register({name: known[name] for name in known if not name.startswith(f"{package.name}/")})
    for name, text in package.messages.items():
        store.register(get_types_from_msg(text, f"{package.name}/msg/{name}"))
    return store
