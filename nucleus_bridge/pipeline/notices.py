# SPDX-License-Identifier: Apache-2.0
"""What the pipeline notices about messages on their way: steps, lateness, fixes that cannot be, unused sensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nucleus_bridge import warnings
from nucleus_bridge.clock_steps import Step
from nucleus_bridge.config import Config
from nucleus_bridge.config.settings import Sensor
from nucleus_bridge.pipeline.epochs import Cut, Series
from nucleus_bridge.pipeline.losses import LossLedger
from nucleus_bridge.pipeline.topics import annotations_of
from nucleus_bridge.warnings import Finding


class Notices:
    """Collects what is worth a warning; it decides nothing.

    Args:
        config: The configuration.
        ledger: What was lost so far.

    Attributes:
        topic_of: The topic of each sensor, parameter of a fix or heading, and source of annotations.
        fixes: How many fixes came.
    """

    def __init__(self, config: Config, ledger: LossLedger) -> None:
        self._config = config
        self._ledger = ledger
        self._steps: dict[str, Finding] = {}
        self._stepping: dict[str, tuple[Step, bool]] = {}
        self._apart: set[str] = set()
        self._late_ns: dict[str, int] = {}
        self._of_scene: list[Finding] = []
        self._used: set[str] = set()
        self.fixes = 0
        self.topic_of = {sensor.name: sensor.topic for sensor in config.sensors}
        self.topic_of |= {topic.parameter: topic.name for topic in config.gps.topics}
        self.topic_of |= {source.name: source.topic for source in annotations_of(config)}

    def note_step(self, series: Series, step: Step) -> None:
        """Take note of a clock that was set back."""
        finding = warnings.clock_step(series.name, (step.high_ns - step.low_ns) / 1e9, None, is_frame=series.is_edge)
        self._steps.setdefault(series.name, finding)
        self._stepping[series.name] = step, series.is_edge
        self._of_scene.append(finding)

    def note_cuts(self, cuts: Iterable[Cut]) -> None:
        """Take note of what did not show a step that ends an epoch: where the lidar did not, others step alone."""
        stepped, self._stepping = self._stepping, {}
        cuts, reference = list(cuts), self._config.lidars[0].topic
        lidar = next((cut for cut in cuts if cut.series.name == reference), None)
        if reference in stepped and stepped.keys() == {reference}:
            lidar = next((cut for cut in cuts if cut.series.is_edge), None)  # the lidar's clock, then, is set alone
        if lidar is None or not lidar.is_of_another_clock:
            return
        for name, (step, is_edge) in stepped.items():
            self._apart.add(name)
            back_s = (step.high_ns - step.low_ns) / 1e9
            alone = warnings.clock_step_alone(name, back_s, None, lidar.series.name, is_frame=is_edge)
            self._steps[name] = alone
            self._of_scene = [alone if finding.name == name else finding for finding in self._of_scene]

    def is_apart(self, name: str) -> bool:
        """Whether the clock of a sensor was set back and that of the lidar was not: no sweep is to have its stamps."""
        return self.topic_of[name] in self._apart

    def note_late(self, name: str, late_ns: int) -> str:
        """Take note of a sample that came too late; return the text that explains it."""
        late_ns = self._late_ns[name] = max(late_ns, self._late_ns.get(name, 0))
        wait_s = self._config.sync.wait_s
        return f"{self.topic_of[name]} came {late_ns / 1e9:.1f} s late, sync.wait_s is {wait_s:g}"

    def note_used(self, names: Iterable[str]) -> None:
        """Take note of sensors that contributed to a frame."""
        self._used.update(names)

    def findings(self, overtaken_ns: int) -> Iterator[Finding]:
        """Yield what is odd about clocks, lateness, calibrations and fixes, so far.

        Args:
            overtaken_ns: How long after samples were given up for want of a sweep that sweep came.
        """
        yield from self._steps.values()
        yield from self._late(overtaken_ns)
        yield from self._of_calibrations()
        yield from self._of_satellites()

    def of_scene(self, losses: Mapping[str, Mapping[str, int]], overtaken_ns: int) -> tuple[dict[str, Any], ...]:
        """Return what concerns the scene that ends now, as manifests have it, given what was lost in it."""
        taken, self._of_scene = self._of_scene, []
        late = (finding for finding in self._late(overtaken_ns) if losses.get(finding.name, {}).get("late"))
        return tuple(finding.as_json() for finding in dict.fromkeys((*taken, *late)))

    @property
    def unused(self) -> tuple[Finding, ...]:
        """The configured sensors of which no frame has anything, once all frames are made.

        Without any frame, sensors that only found no sweep near them are not to blame.
        """
        return tuple(
            warnings.sensor_unused(
                sensor.topic, sensor.name, sensor.kind, self._ledger.totals.get(sensor.topic, {}), _parameter(sensor)
            )
            for sensor in self._config.sensors
            if sensor.name not in self._used and (self._used or not self._only_lacks_frames(sensor.name, sensor.topic))
        )

    def _only_lacks_frames(self, name: str, topic: str) -> bool:
        """Whether all that a sensor lost is for want of frames to be in; the first lidar is what they are made from."""
        lost = self._ledger.totals.get(topic, {}).keys()
        return name != self._config.lidars[0].name and bool(lost) and lost <= {"no_frame", "frame_dropped"}

    def _late(self, overtaken_ns: int) -> Iterator[Finding]:
        late = dict(self._late_ns)
        if overtaken_ns:
            reference = self._config.lidars[0].name
            late[reference] = max(overtaken_ns, late.get(reference, 0))
        for name, late_ns in late.items():
            yield warnings.late_for_frames(self.topic_of[name], late_ns / 1e9, self._config.sync.wait_s)

    def _of_calibrations(self) -> Iterator[Finding]:
        """Report calibrations that hold no numbers."""
        for camera in self._config.cameras:
            if camera.info_topic and self._ledger.totals.get(camera.info_topic, {}).get("not_finite"):
                reason = self._ledger.reasons.get("not_finite", "it is not finite")
                yield warnings.camera_info_implausible(camera.info_topic, reason, camera.name)

    def _of_satellites(self) -> Iterator[Finding]:
        """Report fixes and headings that were not taken because the transforms contradict them."""
        gps, reasons = self._config.gps, self._ledger.reasons
        count = self._ledger.totals.get(gps.topic, {}).get("gps_implausible", 0)
        if count:
            yield warnings.gps_implausible(gps.topic, count, self.fixes, reasons.get("gps_implausible", ""))
        count = self._ledger.totals.get(gps.heading_topic, {}).get("heading_disagrees", 0)
        if count:
            yield warnings.headings_left_out(gps.heading_topic, count, reasons.get("heading_disagrees", ""))


def _parameter(sensor: Sensor) -> str:
    """Return where the parameters of a sensor stand."""
    return sensor.topics[0].parameter.rpartition(".")[0]
