# SPDX-License-Identifier: Apache-2.0
"""Verdicts on calibrations that are known to be right or wrong by so much, on the demo drive and on real data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import TYPES, Recording
from drives import Drive, make_drive

from nucleus_bridge.calibration.check import CalibrationCheck, Verdict, verdicts_together
from nucleus_bridge.calibration.remedy import mount_lines, time_line
from nucleus_bridge.cli.main import main
from nucleus_bridge.config import load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.formats.content import SceneFrame, SceneImage
from nucleus_bridge.formats.interface import SceneReader
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.geometry import quaternion, transforms
from nucleus_bridge.inspect.report import inspect_bag
from nucleus_bridge.inspect.text import sections
from nucleus_bridge.model import FloatArray, Transform
from nucleus_bridge.preview.pack import as_gray, decoded, look_at
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.demo import DriveOptions
from nucleus_bridge.testing.demo.cameras import Camera, cameras_of
from nucleus_bridge.warnings import Code

OPTIONS = DriveOptions(seconds=2.5, cameras=1, image_width=640, image_height=400, standing_s=0.0)
STILL = np.zeros(3)


def about(axis: int, degrees: float) -> FloatArray:
    turn = np.zeros(4)
    turn[axis], turn[3] = np.sin(np.radians(degrees) / 2), np.cos(np.radians(degrees) / 2)
    return turn


def angle_deg(turn: FloatArray) -> float:
    return float(np.degrees(2 * np.arcsin(min(1.0, np.linalg.norm(turn[:3])))))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return make_drive(tmp_path_factory.mktemp("street"), OPTIONS)


@pytest.fixture(scope="module")
def scene(street: Drive, tmp_path_factory: pytest.TempPathFactory) -> SceneReader:
    return open_scene(convert_bag(street.bag, street.config, tmp_path_factory.mktemp("spool")).scenes[0].folder)


@pytest.fixture(scope="module")
def frames(scene: SceneReader) -> list[tuple[SceneFrame, dict[str, Any]]]:
    return with_pictures(scene)


def with_pictures(scene: SceneReader) -> list[tuple[SceneFrame, dict[str, Any]]]:
    """Read the frames of a scene, and their pictures."""
    found = []
    for index in range(len(scene)):
        frame = scene.frame(index)
        pictures = {}
        for image in frame.images:
            content = scene.image(image)
            header = look_at(content, image)
            pictures[image.camera] = as_gray(decoded(content, header, image, 640)), header.width
        found.append((frame, pictures))
    return found


def judged(
    frames: Sequence[tuple[SceneFrame, dict[str, Any]]],
    change: Callable[[SceneImage], SceneImage] = lambda image: image,
) -> Verdict:
    check = CalibrationCheck(len(frames))
    for frame, pictures in frames:
        images = [change(image) for image in frame.images]
        check.add(replace(frame, images=images), pictures if check.wants_next() else {})
    (verdict,) = check.verdicts()
    return verdict


def test_a_right_calibration_agrees_and_says_how_far_it_could_be_off(frames: list[Any]) -> None:
    verdict = judged(frames)
    assert verdict.state == "agrees"
    assert verdict.within is not None
    assert verdict.within.yaw_deg is not None
    assert verdict.within.pitch_deg is not None
    assert max(verdict.within.yaw_deg, verdict.within.pitch_deg) <= 1.0
    assert verdict.curve[len(verdict.curve) // 2] == max(share for share in verdict.curve if share is not None)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-1.0, 3.0])
def test_a_turned_camera_is_suspect_and_turned_back(frames: list[Any], axis: int, degrees: float) -> None:
    wrong = about(axis, degrees)
    verdict = judged(frames, lambda image: replace(image, heading_xyzw=quaternion.multiply(image.heading_xyzw, wrong)))
    assert verdict.state == "suspect"
    assert verdict.correction is not None
    corrected = verdict.correction.applied_to(Transform(STILL, wrong))
    assert angle_deg(corrected.rotation_xyzw) < 0.3
    assert verdict.score is not None
    assert verdict.best_score is not None
    assert verdict.score < verdict.best_score


def test_a_moved_camera_is_suspect_and_moved_back(frames: list[Any]) -> None:
    def moved(image: SceneImage) -> SceneImage:
        there = quaternion.rotate(image.heading_xyzw, np.array([0.3, 0.0, 0.0]))
        return replace(image, position=image.position + there)

    verdict = judged(frames, moved)
    assert verdict.state == "suspect"
    assert verdict.correction is not None
    assert verdict.correction.shift_m[0] == pytest.approx(-0.3, abs=0.08)


@pytest.mark.parametrize("late_ms", [-50, 100])
def test_a_camera_that_is_stamped_late_is_suspect_and_its_stamps_corrected(frames: list[Any], late_ms: int) -> None:
    camera: Camera = cameras_of(OPTIONS)[0]

    def late(image: SceneImage) -> SceneImage:
        stamp_ns = image.stamp_ns + late_ms * 1_000_000
        right, wrong = (camera.map_from_camera(np.array([ns])) for ns in (image.stamp_ns, stamp_ns))
        offset = wrong.translation[0] - right.translation[0]  # the scene's own offset stays
        return replace(image, stamp_ns=stamp_ns, position=image.position + offset, heading_xyzw=wrong.rotation_xyzw[0])

    verdict = judged(frames, late)
    assert verdict.state == "suspect"
    assert verdict.correction is not None
    assert verdict.correction.kind == "time"
    assert verdict.correction.time_ms == pytest.approx(-late_ms, abs=10)
    clock_ms = round(5.0 + verdict.correction.time_ms, 1)
    line = f"cameras.front.clock_offset_ms: {clock_ms}"
    assert time_line("front", verdict.correction, {"clock_offset_ms": 5.0}, 100.0) == line
    paired = time_line("front", verdict.correction, {"clock_offset_ms": 5.0, "offset_ms": 40.0}, 100.0)
    first, _, other = paired.partition(", cameras.front.offset_ms: ")
    assert first == line
    assert abs(float(other)) <= 50.0
    assert math.remainder(float(other) - 40.0 - verdict.correction.time_ms, 100.0) == pytest.approx(0.0, abs=0.1)


def turned(degrees: float) -> Callable[[SceneImage], SceneImage]:
    wrong = about(1, degrees)
    return lambda image: replace(image, heading_xyzw=quaternion.multiply(image.heading_xyzw, wrong))


def test_all_frames_are_looked_at_part_by_part_and_an_error_that_begins_later_is_found(
    frames: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nucleus_bridge.calibration.check.AT_ONCE", 10)
    check = CalibrationCheck(3, None)  # however many were expected
    most = 0
    for number, (frame, pictures) in enumerate(frames[4:] * 2):
        change = turned(2.0) if number >= len(frames) - 4 else turned(0.0)
        assert check.wants_next()
        check.add(replace(frame, images=[change(image) for image in frame.images]), pictures)
        most = max(most, len(check.cameras["front"].looks))
    (verdict,) = check.verdicts()
    assert most <= 10
    assert verdict.frames > 20
    assert verdict.state == "suspect"
    assert verdict.correction is not None
    assert verdict.correction.rotation_deg[1] == pytest.approx(-2.0, abs=0.3)
    assert re.search(r"as in \d of \d parts of the recording", verdict.text)


def test_scenes_of_one_recording_are_judged_together_where_a_camera_is_mounted_alike(frames: list[Any]) -> None:
    scenes = [frames[4::3], frames[5::3], frames[6::3]]
    changes = [turned(0.0), turned(0.0), turned(2.0)]
    checks = [CalibrationCheck(len(frames))]
    for scene, change in zip(scenes, changes, strict=True):
        for frame, pictures in scene:
            images = [change(image) for image in frame.images]
            checks[-1].add(replace(frame, images=images), pictures)
        checks.append(checks[-1].for_next_scene())
    mounts = [{"front": Transform(STILL, about(1, degrees))} for degrees in (0.0, 0.01, 2.0)]
    (first,), (second,), (third,) = verdicts_together(checks[:3], mounts)
    assert first is second
    assert first.state == "agrees"
    alone = [check.verdicts()[0].frames for check in checks[:3]]
    assert first.frames > max(alone[:2])
    assert third.frames <= alone[2]
    assert third.state != "agrees"
    unknown = verdicts_together(checks[:2], [{}, {}])
    assert unknown[0][0] is not unknown[1][0]


def test_one_image_two_images_and_a_device_that_stands_are_not_measured(frames: list[Any]) -> None:
    for some in (frames[:1], frames[:2], frames[:1] * 20):
        verdict = judged(some)
        assert verdict.state == "not_measured"
        assert verdict.correction is None
        assert verdict.within is None


def test_bare_ground_is_not_measured(frames: list[Any]) -> None:
    bare = []
    for frame, pictures in frames:
        height = frame.points.xyz[:, 2] - np.percentile(frame.points.xyz[:, 2], 5)
        bare.append((replace(frame, points=frame.points.at(height < 0.15)), pictures))
    assert judged(bare).state == "not_measured"


def test_pictures_that_show_something_else_are_never_called_right(frames: list[Any]) -> None:
    rng = np.random.default_rng(0)
    noise = [(frame, {"front": (rng.integers(0, 255, (400, 640), np.uint8), 640)}) for frame, _ in frames]
    assert judged(noise).state == "not_measured"
    gray = [(frame, {"front": (np.full((400, 640), 90, np.uint8), 640)}) for frame, _ in frames]
    assert judged(gray).state == "not_measured"


def test_lines_of_a_mount_say_where_the_camera_should_be() -> None:
    text = mount_lines(
        "front", "base", "optical", Transform(np.array([1.0, 2.0, 3.0]), about(0, 90)), ["roof", "front"]
    )
    assert text.startswith("mount_names: [roof, front], mounts.front.parent_frame: base, ")
    assert "mounts.front.xyz: [1.0, 2.0, 3.0]" in text
    assert "mounts.front.quaternion_xyzw: [0.707107, 0.0, 0.0, 0.707107]" in text


def test_the_remedy_of_inspect_mounts_a_turned_camera_where_it_is(street: Drive, tmp_path: Path) -> None:
    """A recording whose /tf_static is wrong by two degrees; the lines of the warning make its scene right."""
    wrong = about(1, 2.0)
    copy = Recording()
    with open_recording(street.bag) as source:
        for message in source.messages([info.name for info in source.topics]):
            data = message.data
            if message.topic == "/tf_static":
                content = TYPES.deserialize_cdr(data, message.type_name)
                turn = next(
                    t for t in content.transforms if t.child_frame_id == "camera_front_optical"
                ).transform.rotation
                turned = quaternion.multiply(np.array([turn.x, turn.y, turn.z, turn.w]), wrong)
                turn.x, turn.y, turn.z, turn.w = turned.tolist()
                data = bytes(TYPES.serialize_cdr(content, message.type_name))
            copy.add_raw(message.topic, message.type_name, data, message.log_ns)
    bag = copy.write(tmp_path / "bag")
    report = inspect_bag(bag)
    (found,) = [finding for finding in report.warnings if finding.code is Code.CALIBRATION_SUSPECT]
    assert report.score < 100
    assert report.as_json()["calibrations"][0]["state"] == "suspect"
    (camera_report,) = [sensor for sensor in report.as_json()["sensors"] if sensor["name"] == "front"]
    assert (camera_report["verdict"], camera_report["calibration"]) == ("usable", "suspect")
    said = {section.title: section.rows[-1] for section in sections(report) if section.title.startswith(("cam", "lid"))}
    verdicts = {title.split()[1]: (row.cells[1].partition(" (")[0], row.good) for title, row in said.items()}
    assert verdicts == {"top": ("usable", True), "front": ("usable, but its calibration is suspect", False)}
    lines = re.split(r", (?=mount)", found.remedy)
    assert len(lines) == 5
    config = load_config(street.config_path, [line.replace(": ", "=", 1) for line in lines])
    fixed = open_scene(convert_bag(bag, config, tmp_path / "spool").scenes[0].folder)
    (image,) = fixed.frame(5).images
    (camera,) = cameras_of(OPTIONS)
    true = camera.map_from_camera(np.array([image.stamp_ns])).rotation_xyzw[0]
    assert angle_deg(quaternion.multiply(quaternion.conjugate(true), image.heading_xyzw)) < 0.25


def test_a_correction_is_undone_by_its_inverse(frames: list[Any]) -> None:
    verdict = judged(
        frames, lambda image: replace(image, heading_xyzw=quaternion.multiply(image.heading_xyzw, about(0, 2.0)))
    )
    assert verdict.correction is not None
    assert "down" in verdict.correction.words  # the calibration looks up by two degrees too much
    there = verdict.correction.applied_to(Transform(STILL, about(0, 2.0)))
    back = transforms.compose(there, transforms.inverse(there))
    assert np.abs(back.translation).max() < 1e-9


def test_preview_prints_the_verdicts_and_its_page_says_what_was_measured(
    scene: SceneReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["preview", str(scene.folder), "-o", str(page), "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["scenes"]
    assert seen["page"] == str(page)
    assert [(found["camera"], found["state"]) for found in seen["calibrations"]] == [("front", "agrees")]
    assert not [warning for warning in seen["warnings"] if warning["code"]]
    text = page.read_text()
    assert "edges of the clouds fit the images of front" in text
    assert "nothing unlikely about the cameras" not in text


def test_real_recordings_with_their_own_calibration_are_not_suspect(real_data: Path) -> None:
    report = inspect_bag(real_data / "scale_sample")
    states = {found.camera: found.state for found in report.trial.calibrations}
    assert set(states) == {"front", "back", "front_left"}
    assert "suspect" not in states.values()
    assert list(states.values()).count("agrees") >= 2


def test_a_real_camera_that_is_turned_never_agrees(real_data: Path, tmp_path: Path) -> None:
    """The camera ahead sees half as wide as the others, and mixes up turn and shift: it may say that it cannot tell."""
    bag, path = real_data / "scale_sample", tmp_path / "config.yaml"
    assert main(["init", str(bag), "-o", str(path)]) == 0
    (scene,) = convert_bag(bag, load_config(path), tmp_path / "spool").scenes
    frames = with_pictures(open_scene(scene.folder))
    for axis, degrees in ((0, -2.0), (2, 2.0), (2, 3.0), (1, -1.0)):
        wrong = about(axis, degrees)
        check = CalibrationCheck(len(frames))
        for frame, pictures in frames:
            images = [replace(i, heading_xyzw=quaternion.multiply(i.heading_xyzw, wrong)) for i in frame.images]
            check.add(replace(frame, images=images), pictures)
        found = {verdict.camera: verdict for verdict in check.verdicts()}
        assert set(found) == {"front", "back", "front_left"}
        for verdict in found.values():
            assert verdict.state != "agrees", (axis, degrees, verdict)
            assert verdict.text
        assert [found[camera].state for camera in ("back", "front_left")] == ["suspect", "suspect"]


def test_a_page_without_the_measurement_says_so(
    scene: SceneReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["preview", str(scene.folder), "-o", str(tmp_path / "page.html"), "--json", "--no-calibration"]
    assert main(arguments) == 0
    (seen,) = json.loads(capsys.readouterr().out)["scenes"]
    assert [(verdict["state"], verdict["frames"]) for verdict in seen["calibrations"]] == [("not_measured", 0)]
    assert [warning["code"] for warning in seen["warnings"] if warning["sensor"] == "front"] == [
        "calibration_not_measured"
    ]
