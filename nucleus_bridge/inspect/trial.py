# SPDX-License-Identifier: Apache-2.0
"""A trial run: the very pipeline that converts, fed with what is read of the recording, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nucleus_bridge.config import Config
from nucleus_bridge.inspect.scan import Progress, sampled_messages
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.pipeline.events import Event, FrameReady
from nucleus_bridge.pipeline.losses import is_expected
from nucleus_bridge.recordings import Recording

MAX_FRAMES = 300


@dataclass(frozen=True)
class Trial:
    """What the pipeline made of a recording, or of its beginning.

    Attributes:
        frames: Frames that came out.
        used: Frames that hold each lidar and camera, by name.
        losses: What was lost by fault, by topic and cause.
        reasons: For each cause, the text of its first occurrence.
        whole: Whether the whole recording went in.
    """

    frames: int = 0
    used: dict[str, int] = field(default_factory=dict)
    losses: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    whole: bool = True


def try_config(bag: Recording, config: Config, *, full: bool, progress: Progress) -> Trial:
    """Feed a recording to the pipeline; nothing is written, no point and no picture is looked at twice.

    Unless ``full``, it ends after ``MAX_FRAMES`` frames or the part of a recording that a scan reads.
    """
    pipeline = Pipeline(config)
    infos = [camera.info_topic for camera in config.cameras if camera.info_topic and not camera.calibration_file]
    pipeline.prime([*bag.messages(["/tf_static"]), *bag.first_messages(infos).values()])
    used: Counter[str] = Counter()
    frames, stopped = 0, False
    for message, over in sampled_messages(bag, list(pipeline.topics), full=full):
        frames += _count(pipeline.add(message), used)
        if bag.end_ns > bag.start_ns:
            progress((message.log_ns - bag.start_ns) / (bag.end_ns - bag.start_ns))
        stopped = over or (not full and frames >= MAX_FRAMES)
        if stopped:
            break
    if not stopped:
        frames += _count(pipeline.finish(), used)
    losses = {
        topic: {cause: count for cause, count in causes.items() if not is_expected(cause)}
        for topic, causes in pipeline.ledger.totals.items()
    }
    progress(1.0)
    reasons = dict(pipeline.ledger.reasons)
    return Trial(frames, dict(used), {t: c for t, c in losses.items() if c}, reasons, not stopped)


def _count(events: Iterable[Event], used: Counter[str]) -> int:
    frames = [event.frame for event in events if isinstance(event, FrameReady)]
    for frame in frames:
        used.update(posed.lidar for posed in frame.sweeps)
        used.update(posed.camera for posed in frame.images)
    return len(frames)
