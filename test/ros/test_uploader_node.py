# SPDX-License-Identifier: Apache-2.0
"""The uploader's node: scenes go to the receiver and the diagnostics say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from drives import Drive

from nucleus_bridge.convert import convert_bag

pytest.importorskip("rclpy", reason="needs ROS 2")
pytest.importorskip("obstore", reason="needs the extra 'cloud'")
from diagnostic_msgs.msg import DiagnosticStatus
from live_graph import HERE, Observer, Program, observing

pytestmark = pytest.mark.live


@pytest.fixture
def observer() -> Iterator[Observer]:
    with observing() as made:
        yield made


def uploader(drive: Drive, spool: Path, *parameters: str) -> Program:
    flags = [flag for parameter in (f"spool.path:={spool}", *parameters) for flag in ("-p", parameter)]
    program = ("-m", "nucleus_bridge.ros.uploader", "--ros-args", "--params-file", str(drive.config_path))
    return Program(*program, *flags)


def test_a_sealed_scene_is_uploaded_and_reported(
    drive: Drive, tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = convert_bag(drive.bag, drive.config, tmp_path / "spool")
    store = f"file://{tmp_path / 'objects'}"
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("NUCLEUS_API_KEY", "a-key-that-must-not-be-told")
    with Program("-m", "nucleus_bridge", "serve", str(tmp_path / "receiver"), "--store", store) as receiver:
        monkeypatch.setenv("NUCLEUS_ENDPOINT", receiver.wait_for("http://").strip())
        parameters = (f"upload.store:={store}", "upload.dataset_name:=live")
        with uploader(drive, tmp_path / "spool", *parameters) as node:
            node.wait_for(f"{report.scenes[0].manifest.reference_id}: done")
            status = observer.value("upload", "done", lambda count: count == "1")
            assert status.level == DiagnosticStatus.OK
            assert node.end() == 0
            assert "a-key-that-must-not-be-told" not in node.output + str(status)


def test_with_a_task_template_it_makes_annotation_tasks(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = convert_bag(drive.bag, drive.config, tmp_path / "spool", format="sensor_fusion_protobuf")
    store = f"file://{tmp_path / 'objects'}"
    (tmp_path / "objects").mkdir()
    template = tmp_path / "cuboids.yaml"
    template.write_text("labels: [car]\n")
    monkeypatch.setenv("SCALE_API_KEY", "a-key-that-must-not-be-told")
    with Program("-m", "nucleus_bridge", "serve", str(tmp_path / "receiver"), "--store", store) as receiver:
        monkeypatch.setenv("SCALE_ENDPOINT", receiver.wait_for("http://").strip().removesuffix("/nucleus"))
        with uploader(drive, tmp_path / "spool", f"upload.store:={store}", f"upload.task_template:={template}") as node:
            for scene in report.scenes:
                node.wait_for(f"{scene.manifest.reference_id}: done")
            assert node.end() == 0
            assert "a-key-that-must-not-be-told" not in node.output
    assert len(list((tmp_path / "receiver" / "tasks").glob("*.json"))) == len(report.scenes)


def test_without_a_key_it_says_so_and_ends(
    drive: Drive, tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUCLEUS_API_KEY", raising=False)
    with uploader(drive, tmp_path / "spool") as node:
        assert node.wait() == 2
        assert "NUCLEUS_API_KEY is not set" in node.output


def test_a_receiver_that_is_not_there_is_waited_for(
    drive: Drive, tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_bag(drive.bag, drive.config, tmp_path / "spool")
    (tmp_path / "objects").mkdir()
    monkeypatch.setenv("NUCLEUS_API_KEY", "key")
    monkeypatch.setenv("NUCLEUS_ENDPOINT", "http://127.0.0.1:9/v1/nucleus")
    parameters = (f"upload.store:=file://{tmp_path / 'objects'}", "upload.dataset_name:=live")
    with uploader(drive, tmp_path / "spool", *parameters) as node:
        status = observer.status("upload", lambda status: "again in" in status.message)
        assert status.level == DiagnosticStatus.WARN
        assert node.end() == 0


def test_an_error_that_nobody_expected_stops_the_upload_for_a_while_alone(
    drive: Drive, tmp_path: Path, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUCLEUS_API_KEY", "key")
    monkeypatch.setenv("NUCLEUS_ENDPOINT", "http://127.0.0.1:9/v1/nucleus")
    given = (f"spool.path:={tmp_path / 'spool'}", f"upload.store:=file://{tmp_path}", "upload.dataset_name:=live")
    flags = ["--ros-args", "--params-file", str(drive.config_path), *(f for one in given for f in ("-p", one))]
    with Program(str(HERE / "failing_uploader.py"), *flags) as node:
        node.wait_for("upload stopped, again in 4 s: ValueError: as the test wants")
        status = observer.status("upload", lambda status: status.message == "ValueError: as the test wants")
        assert status.level == DiagnosticStatus.ERROR
        node.wait_for("runs again")
        assert node.end() == 0, node.output
