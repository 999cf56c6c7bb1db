# SPDX-License-Identifier: Apache-2.0
"""``inspect --config``: which topics are there, what comes of them, which warnings remain and which are settled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bags import Recording, transforms
from small_drive import Camera
from test_faults import CAMERA, FAULTS, NONE, PLAIN, camera

from nucleus_bridge.cli.main import main
from nucleus_bridge.config import config_from_values, load_config
from nucleus_bridge.convert import convert_bag
from nucleus_bridge.inspect.configured import Configured, Given
from nucleus_bridge.inspect.report import inspect_bag, study
from nucleus_bridge.warnings import Code


def judged(bag: Path, values: dict[str, Any]) -> Configured:
    found = inspect_bag(bag, given=Given(Path("drive.yaml"), config_from_values(values))).configured
    assert found is not None
    return found


def codes(found: Configured) -> set[str]:
    return {finding.code.value for finding in found.warnings}


def settled(found: Configured) -> dict[str, str]:
    return {one.finding.code.value: one.by for one in found.settled}


@pytest.fixture(scope="module")
def plain_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``init`` writes for a drive with nothing wrong."""
    return dict(study(PLAIN.write(tmp_path_factory.mktemp("plain")))[1].values)


ALIKE = {
    "lidar on GPS time",
    "lidar two hours behind",
    "lidar without stamps",
    "stamps of the middle",
    "stamps twice",
    "corrected by evidence, not turning",
    "calibration of a larger image",
}
"""Faults that differ from others in figures alone."""


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ALIKE])
def test_a_fault_remains_until_the_configuration_has_its_remedy(
    tmp_path: Path, plain_values: dict[str, Any], fault: str
) -> None:
    drive, code, key, value = FAULTS[fault]
    bag = drive.write(tmp_path)
    own = dict(study(bag)[1].values)
    if own["lidars.os.topic" if "lidars.os.topic" in own else "lidars.top.topic"] == "/os/cloud":
        without = judged(bag, plain_values)
        assert code in codes(without)
        assert code not in settled(without)
    with_it = judged(bag, own)
    assert with_it.frames or fault == "two parents"
    if value is NONE or key not in own:
        assert code in codes(with_it)
        assert code not in settled(with_it)
    else:
        assert code not in codes(with_it)
        assert settled(with_it)[code].startswith(f"{key}: ")


def test_it_says_what_convert_says(tmp_path: Path, plain_values: dict[str, Any]) -> None:
    bag = FAULTS["stamps of the end"][0].write(tmp_path / "bag")
    wrong = {**plain_values, "cameras.front.clock_offset_ms": 400.0}
    by_convert = {f.code for f in convert_bag(bag, config_from_values(wrong), tmp_path / "spool").findings}
    about_pictures = {Code.CALIBRATION_NOT_MEASURED, Code.CAMERA_MOUNT, Code.DEVICE_AXES}
    assert {finding.code for finding in judged(bag, wrong).warnings} - about_pictures == by_convert


def test_sensors_that_nobody_configured_are_named_and_their_warnings_left_out(
    tmp_path: Path, plain_values: dict[str, Any]
) -> None:
    rear = replace(CAMERA, topic="/rear/image_raw/compressed", info_topic="/rear/camera_info", clock=lambda _: 0)
    bag = PLAIN.but(cameras=(CAMERA, rear)).write(tmp_path)
    assert any(finding.name == rear.topic for finding in inspect_bag(bag).warnings)
    found = judged(bag, plain_values)
    assert found.not_read == {rear.topic: "camera"}
    assert not any(finding.name == rear.topic for finding in [*found.warnings, *(s.finding for s in found.settled)])


def test_remedies_build_on_the_mounts_that_are_configured(tmp_path: Path, plain_values: dict[str, Any]) -> None:
    """A body frame that a configured mount turns is right; the transform of the recording counts no more."""
    turned = Camera(frame="cam_mount", rotation=(0.0, 0.0, 0.0, 1.0))
    bag = PLAIN.but(cameras=(turned,)).write(tmp_path)
    mount = {
        "mount_names": ["front"],
        "mounts.front.parent_frame": "base_link",
        "mounts.front.child_frame": "cam_mount",
        "mounts.front.xyz": list(turned.mount),
        "mounts.front.quaternion_xyzw": list(CAMERA.rotation),
    }
    assert {"camera_body_frame", "camera_mount"} <= codes(judged(bag, plain_values))
    found = judged(bag, {**plain_values, **mount})
    assert "camera_mount" not in codes(found)
    assert "camera_body_frame" not in codes(found)
    assert "camera_body_frame" in settled(found)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A drive and the configuration that ``init`` writes for it."""
    folder = tmp_path_factory.mktemp("written")
    bag, config = PLAIN.write(folder / "bag"), folder / "drive.yaml"
    assert main(["init", str(bag), "-o", str(config)]) == 0
    return bag, config


def test_the_command_prints_topics_warnings_and_what_is_settled(
    tmp_path: Path, written: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    late = camera(clock=lambda true: true + 1_300_000_000).write(tmp_path)
    arguments = ["inspect", str(late), "--config", str(written[1])]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert f"Configuration {written[1]}" in said
    assert "in 16 of 16 frames" in said
    assert "[sensor_clock] (cameras.front.clock_offset_ms: -1" in said
    assert "Settled" not in said
    assert main([*arguments, "--set", "cameras.front.clock_offset_ms=-1300"]) == 0
    said = capsys.readouterr().out
    assert "[sensor_clock] (cameras.front.clock_offset_ms: -1300.0)" in said.partition("Settled by")[2]
    assert "sensor_clock" not in said.partition("Settled by")[0]


def test_a_topic_that_is_not_there_is_named_beside_those_that_are(
    tmp_path: Path, written: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bag, path = written
    other = tmp_path / "other.yaml"
    other.write_text(path.read_text().replace("/front/image_raw/compressed", "/frnt/image_raw/compressed"))
    assert main(["inspect", str(bag), "--config", str(other)]) == 0
    said = capsys.readouterr().out
    assert "is not in the recording" in next(line for line in said.splitlines() if "cameras.front.image_topic " in line)
    assert "convert refuses the recording: cameras.front.image_topic: /frnt/image_raw/compressed is not in" in said
    assert main(["inspect", str(bag), "--config", str(other), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["configured"]
    assert "did you mean /front/image_raw/compressed?" in document["problem"]
    states = {topic["parameter"]: (topic["state"], topic["is_good"]) for topic in document["topics"]}
    assert states["cameras.front.image_topic"] == ("missing", False)
    assert states["lidars.os.topic"] == ("there", True)


def test_a_topic_of_another_type_or_without_messages_is_named(tmp_path: Path, plain_values: dict[str, Any]) -> None:
    def more(_drive: object, made: Recording) -> None:
        made.add("/strange", transforms(("a", "b", 1, (0, 0, 0), (0, 0, 0, 1))), 1_700_000_000_000_000_000)

    bag = PLAIN.but(more=more).write(tmp_path)
    found = judged(bag, {**plain_values, "cameras.front.image_topic": "/strange"})
    state = {topic.topic: topic for topic in found.topics}["/strange"]
    assert (state.state, state.is_good) == ("other_type", False)
    assert "TFMessage" in state.text
    assert "/strange" in found.problem


def test_without_a_configuration_the_document_says_nothing_of_one(
    written: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(written[0]), "--json"]) == 0
    assert "configured" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "deskew=false"], "--set: goes with --config FILE"),
        (["--config", "{config}", "--trajectory", "{config}"], "--trajectory: is compared with the recording as it is"),
        (["--config", "{config}", "--set", "cameras.front.ofset_ms=1"], "cameras.front.offset_ms"),
        (["--config", "{config}.none"], "cannot be read"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    written: tuple[Path, Path], arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, config = written
    assert main(["inspect", str(bag), *(argument.format(config=config) for argument in arguments)]) == 2
    assert text in capsys.readouterr().err


def test_a_calibration_that_the_configuration_spoils_is_suspect_and_named(
    drive: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images of the demo drive fit its clouds; stamped 40 ms later by the configuration they do not."""
    config = load_config(drive.config_path)
    right = inspect_bag(drive.bag, given=Given(drive.config_path, config)).configured
    assert right is not None
    assert right.warnings == []
    moved = load_config(drive.config_path, ["cameras.rear.clock_offset_ms=150"])
    wrong = inspect_bag(drive.bag, given=Given(drive.config_path, moved)).configured
    assert wrong is not None
    (suspect,) = (finding for finding in wrong.warnings if finding.code is Code.CALIBRATION_SUSPECT)
    line, _, value = suspect.remedy.partition("clock_offset_ms: ")
    assert line.startswith("cameras.rear.")
    assert float(value.split()[0].rstrip(",;)")) == pytest.approx(0.0, abs=15.0)
