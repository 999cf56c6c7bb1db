# SPDX-License-Identifier: Apache-2.0
"""The demo drive brakes hard, is marked and passes a place: the events are found where its mathematics has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.model import Message
from nucleus_bridge.pipeline import Pipeline
from nucleus_bridge.recordings import Recording
from nucleus_bridge.spool import Manifest
from nucleus_bridge.testing.demo import DriveOptions, demo_config, true_poses, write_demo_drive

FRAME_NS = 100_000_000
OPTIONS = DriveOptions(seconds=16.0, points=200, cameras=0, events=True)
EVENTS = """
    event_names: [brake, hard, mark, place]
    events:
      brake: {topic: /vehicle/brake, field: fluid_pressure, when: "> 2e6", before_s: 1.0, after_s: 0.5}
      hard: {topic: device, field: acceleration, when: "< -3.0", before_s: 0.3, after_s: 0.3}
      mark: {topic: /operator/marks, field: rate, when: "> 0", before_s: 0.5, after_s: 0.0}
      place: {topic: gps, field: "inside(LAT, LON, RADIUS)", before_s: 0.2, after_s: 0.2}
"""


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any], str]:
    folder = tmp_path_factory.mktemp("drive")
    bag = write_demo_drive(folder / "bag", OPTIONS)
    truth = json.loads((folder / "bag.truth.json").read_text())
    place = truth["events"]["place"]
    text = EVENTS.replace("LAT", f"{place['latitude']:.9f}").replace("LON", f"{place['longitude']:.9f}")
    config = demo_config(OPTIONS).replace("prefix: demo", "prefix: demo, select: events")
    return bag, truth, config + text.replace("RADIUS", str(place["radius_m"]))


def found(manifests: Iterable[Manifest], name: str) -> list[tuple[int, int]]:
    events = {(e["begin_ns"], e["end_ns"]) for manifest in manifests for e in manifest.events if e["name"] == name}
    return sorted(events)


def assert_near(spans: list[tuple[int, int]], true: list[tuple[int, int]], last_ns: int) -> None:
    """Each begins and ends within a frame of the truth; one that outlasts the drive ends with it."""
    assert len(spans) == len(true)
    for (begin_ns, end_ns), (true_begin_ns, true_end_ns) in zip(spans, true, strict=True):
        assert abs(begin_ns - true_begin_ns) <= FRAME_NS
        assert abs(end_ns - min(true_end_ns, last_ns)) <= FRAME_NS


def test_windows_are_the_true_ones_to_one_frame(drive: tuple[Path, Mapping[str, Any], str], tmp_path: Path) -> None:
    bag, truth, text = drive
    config = tmp_path / "config.yaml"
    config.write_text(text)
    report = convert_bag(bag, load_config(config), tmp_path / "spool")
    manifests = [scene.manifest for scene in report.scenes]
    stamps = [sweep["stamp_ns"] for sweep in truth["lidars"]["top"]["sweeps"]]
    events = truth["events"]
    brakes = [(span["begin_ns"], span["end_ns"]) for span in events["brakes"]["spans"]]
    visits = [(span["begin_ns"], span["end_ns"]) for span in events["place"]["visits"]]
    marks = [(stamp, stamp + 10**9) for stamp in events["marks"]["stamps_ns"]]
    assert (len(brakes), len(visits), len(marks)) == (1, 1, 2)
    assert_near(found(manifests, "brake"), brakes, stamps[-1])
    assert_near(found(manifests, "place"), visits, stamps[-1])
    assert_near(found(manifests, "mark"), marks, stamps[-1])
    assert_near(found(manifests, "hard"), hard_braking(stamps[0], stamps[-1]), stamps[-1])
    windows = [(b - 10**9, e + 5 * 10**8) for b, e in brakes]
    windows += [(b - 2 * 10**8, e + 2 * 10**8) for b, e in visits]
    windows += [(b - 5 * 10**8, e) for b, e in marks]
    windows += [(b - 3 * 10**8, e + 3 * 10**8) for b, e in hard_braking(stamps[0], stamps[-1])]
    kept = {entry["stamp_ns"] for manifest in manifests for entry in manifest.stamps}
    true = {stamp for stamp in stamps if any(low <= stamp <= high for low, high in windows)}
    edges = [edge for window in windows for edge in window]
    assert all(min(abs(stamp - edge) for edge in edges) <= FRAME_NS for stamp in kept ^ true)
    assert len(kept & true) > 60
    assert report.complete


def test_a_frame_is_the_same_whether_it_was_selected_or_not(
    drive: tuple[Path, Mapping[str, Any], str], tmp_path: Path
) -> None:
    bag, _, text = drive
    config = tmp_path / "config.yaml"
    config.write_text(text)
    clouds: dict[str, dict[int, bytes]] = {}
    for select in ("all", "events"):
        settings = load_config(config, [f"scene.select={select}", "scene.origin=none"])
        clouds[select] = {}
        for scene in convert_bag(bag, settings, tmp_path / select).scenes:
            for index, stamp in enumerate(scene.manifest.stamps):
                clouds[select][stamp["stamp_ns"]] = (scene.folder / "top" / f"{index:06d}.json").read_bytes()
    assert clouds["events"].items() < clouds["all"].items()
    assert len(clouds["events"]) > 60
    assert b"device_gps_pose" in next(iter(clouds["events"].values()))


def hard_braking(first_ns: int, last_ns: int) -> list[tuple[int, int]]:
    """Return when the true speed falls by more than 3 m/s a second."""
    stamps = np.arange(first_ns, last_ns, 10**6, dtype=np.int64)
    places = true_poses(OPTIONS, stamps).translation
    speed = np.linalg.norm(np.gradient(places, 1e-3, axis=0), axis=1)
    is_hard = np.gradient(speed, 1e-3) < -3.0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_hard, [False]]).astype(np.int8)))
    return [
        (int(stamps[b]), int(stamps[min(e, len(stamps) - 1)])) for b, e in zip(edges[::2], edges[1::2], strict=True)
    ]


def test_a_drive_without_events_is_as_it_was() -> None:
    assert "events" not in DriveOptions(seconds=1.0).as_dict()
    stamps = np.arange(10, dtype=np.int64) * 3 * 10**8 + OPTIONS.start_ns
    plain = DriveOptions(seconds=16.0, points=200, cameras=0)
    early = true_poses(plain, stamps).translation
    assert np.array_equal(early, true_poses(OPTIONS, stamps).translation)  # nothing brakes in the first 5.5 s


@pytest.mark.parametrize(("storage", "image"), [("mcap", "raw"), ("mcap", "jpeg"), ("sqlite3", "jpeg")])
def test_what_lies_far_from_every_window_is_passed_over_and_counted_all_the_same(
    storage: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scenes, byte for byte, and every loss are those of a conversion that decodes it."""
    options = replace(OPTIONS, seconds=20.0, points=2000, cameras=1, image_width=128, image_height=80)
    options = replace(options, storage=storage, image=image)
    bag = write_demo_drive(tmp_path / "bag", options)
    config = tmp_path / "config.yaml"
    config.write_text(demo_config(options).replace("prefix: demo", "prefix: demo, select: events"))
    times = tmp_path / "times.csv"
    lines = [f"{OPTIONS.start_ns + second * 10**9},1,1" for second in (1, 16)]
    times.write_text("\n".join(["time_ns,before_s,after_s", *lines]))
    cut: list[str] = []
    reads = Recording.messages

    def watched(self: Recording, *topics: Any, **how: Any) -> Iterator[Message]:
        for message in reads(self, *topics, **how):
            if message.is_cut:
                cut.append(message.topic)
            yield message

    monkeypatch.setattr(Recording, "messages", watched)
    passed = convert_bag(bag, config, tmp_path / "passed", around=times)
    images = {"/camera/front/image_raw"} if image == "raw" else set()  # the others are small and read at once
    large = {"/lidar/top/points"} | images
    assert set(cut) == (large if storage == "mcap" else set())
    monkeypatch.setattr(Pipeline, "passes_over", lambda *_: False)
    whole = convert_bag(bag, config, tmp_path / "whole", around=times)
    assert passed.losses == whole.losses
    assert passed.findings == whole.findings
    assert contents(tmp_path / "passed" / "scenes") == contents(tmp_path / "whole" / "scenes")
    assert len(passed.scenes) == 2


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
