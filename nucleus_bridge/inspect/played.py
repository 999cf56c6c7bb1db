# SPDX-License-Identifier: Apache-2.0
"""What contradicts itself or is missing in a recording that was played through a pipeline, with its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from nucleus_bridge import warnings
from nucleus_bridge.decode.unreadable import unreadable, word_for
from nucleus_bridge.inspect.evidence import findings_of
from nucleus_bridge.inspect.first_look import first_look
from nucleus_bridge.inspect.recorded import likely_sensor_on
from nucleus_bridge.inspect.standing import once, stands_by_poses
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.losses import Table
from nucleus_bridge.recordings import Recording
from nucleus_bridge.warnings import Finding


def all_findings(
    pipeline: Pipeline, recording: Recording, losses: Table, reasons: Mapping[str, str]
) -> tuple[Finding, ...]:
    """Return what contradicts itself or is missing.

    Args:
        pipeline: What the recording was played through.
        recording: The recording.
        losses: What was lost, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
    """
    found = [
        *pipeline.findings,
        *findings_of(pipeline.evidence, pipeline.config, pipeline.tree, pipeline.sources, pipeline.findings),
        *pipeline.unused,
    ]
    found += first_look(recording, pipeline.config, pipeline.tree)
    found += stands_by_poses(recording, pipeline.config, found)
    for lidar in pipeline.config.lidars:
        count = losses.get(lidar.topic, {}).get("time_outlier_points", 0)
        if count:
            found.append(warnings.points_left_out(lidar.topic, lidar.name, count))
    for camera in pipeline.config.cameras:
        lost = losses.get(camera.image_topic, {})
        if causes := [cause for cause in ("image_damaged", "damaged") if lost.get(cause)]:
            count, why = sum(lost[cause] for cause in causes), reasons.get(causes[0], "")
            found.append(warnings.images_left_out(camera.image_topic, count, why))
    fixes = pipeline.config.gps.topic
    if count := losses.get(fixes, {}).get("gps_implausible", 0):
        total = next((topic.count for topic in recording.topics if topic.name == fixes), count)
        why = pipeline.ledger.reasons.get("gps_implausible", "the transforms contradict them")
        found.append(warnings.gps_implausible(fixes, count, total, why))
    found += (*(part.finding for part in recording.damage), *recording.notes)
    for topic in recording.topics:
        known = unreadable(topic.type_name)
        if known is not None and topic.count:
            word = word_for(known.kind)
            found.append(warnings.unreadable_topic(topic.name, known.type_name, topic.count, word, "", known.remedy))
        elif (likely := likely_sensor_on(recording, topic)) is not None:
            found.append(warnings.unread_type(topic.name, topic.type_name, word_for(likely.kind), likely.remedy))
    return once(found)
