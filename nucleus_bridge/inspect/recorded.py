# SPDX-License-Identifier: Apache-2.0
"""What of a recording cannot be read: damaged or missing files, types that are not known, messages of ROS 1."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nucleus_bridge import warnings
from nucleus_bridge.decode.interface import Unreadable
from nucleus_bridge.decode.unreadable import likely_sensor, unreadable, word_for
from nucleus_bridge.inspect.lidars import Why
from nucleus_bridge.inspect.scan import Scan
from nucleus_bridge.recordings import Recording, TopicInfo
from nucleus_bridge.warnings import Finding

if TYPE_CHECKING:
    from nucleus_bridge.inspect.suggestion import Suggestion


def recording_findings(bag: Recording, scan: Scan, made: Suggestion) -> list[Finding]:
    """Name what was not read of a recording."""
    found = [*(damage.finding for damage in bag.damage), *bag.notes]
    strange = [stream for stream in scan.streams.values() if stream.info.encoding != "cdr" and stream.info.count]
    if strange:
        count = sum(stream.info.count for stream in strange)
        found.append(warnings.ros1_messages(str(bag.path), len(strange), count))
    for stream in sorted(scan.streams.values(), key=lambda s: s.name):
        known = unreadable(stream.info.type_name)
        if known is not None and stream.info.count and stream not in strange:
            word = word_for(known.kind)
            finding = warnings.unreadable_topic(stream.name, known.type_name, stream.info.count, word, "", known.remedy)
            found.append(finding.remedied() if made.names.get(f"{word}s") else finding)
    for stream in sorted(scan.streams.values(), key=lambda s: s.name):
        likely = None if stream in strange else likely_sensor_on(bag, stream.info)
        if likely is not None:
            word = word_for(likely.kind)
            finding = warnings.unread_type(stream.name, likely.type_name, word, likely.remedy)
            found.append(finding.remedied() if made.names.get(f"{word}s") else finding)
    for topic, out in sorted(made.left_out.items()):
        stream = scan.streams[topic]
        if out.why is Why.BROKEN and topic in {**made.lidars, **made.cameras, **made.radars} and stream.info.count:
            word = "lidar" if topic in made.lidars else "camera" if topic in made.cameras else "radar"
            remedy = f"look at one: ros2 topic echo --once {topic}"
            found.append(
                warnings.unreadable_topic(topic, stream.info.type_name, stream.info.count, word, out.text, remedy)
            )
    return found


def likely_sensor_on(bag: Recording, info: TopicInfo) -> Unreadable | None:
    """Return what a recorded topic of a type that nobody listed may hold, by its first message; None for all others."""
    if not info.count or info.encoding != "cdr":
        return None
    if likely_sensor(info.name, info.type_name, info.definition, sys.maxsize) is None:
        return None
    first = bag.first_messages([info.name]).get(info.name)
    return likely_sensor(info.name, info.type_name, info.definition, len(first.data) if first is not None else 0)
