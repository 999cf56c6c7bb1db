# SPDX-License-Identifier: Apache-2.0
"""``upload --task`` and what it prints, in good and in bad settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from task_scenes import (
    TASK_KEY,
    held_tasks,
    seal_fusion_scene,
    seal_fusion_scenes,
    task_command,
    task_endpoint,
    template_file,
)
from upload_scenes import finish, seal_scene, states

from nucleus_bridge.cli.main import main
from nucleus_bridge.testing.receiver import Receiver

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return template_file(tmp_path)


@pytest.fixture
def run(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, with a key for tasks and none for Nucleus."""
    monkeypatch.setenv("SCALE_API_KEY", TASK_KEY)
    monkeypatch.setenv("SCALE_ENDPOINT", task_endpoint(receiver))

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_line_a_scene_names_its_task_and_so_does_status(
    spool: Path, objects: Path, receiver: Receiver, template: Path, run: Run
) -> None:
    names = seal_fusion_scenes(spool, 2)
    status, out, err = finish(task_command(spool, f"file://{objects}", template, receiver))
    assert (status, err) == (0, "")
    ids = {task["unique_id"]: task["task_id"] for task in held_tasks(receiver)}
    assert sorted(out.splitlines()[:-1]) == [f"{name}  done  0.0 MB  task {ids[name]} (pending)" for name in names]
    assert out.splitlines()[-1].startswith("2 done; 0.0 MB sent")
    status, out, _ = run("status", spool)
    assert status == 0
    shown = [line.partition("100%  ")[2] for line in out.splitlines()[:-1]]
    assert shown == [f"task {ids[name]} (pending)" for name in names]
    document = json.loads(run("status", spool, "--json")[1])
    assert {scene["reference_id"]: scene["task_id"] for scene in document["scenes"]} == ids


def test_a_parameter_file_names_the_template_beside_it_and_a_dataset_on_the_command_line_wins(
    spool: Path, objects: Path, receiver: Receiver, template: Path, tmp_path: Path, run: Run
) -> None:
    seal_fusion_scene(spool, 1)
    config = tmp_path / "config.yaml"
    config.write_text(
        "/**:\n  ros__parameters:\n    lidar_names: [top]\n    lidars: {top: {topic: /points}}\n"
        f"    upload: {{store: 'file://{objects}', task_template: {template.name}, "
        f"task_endpoint: '{task_endpoint(receiver)}', dataset_name: drives, endpoint: '{receiver.url}'}}\n"
    )
    status, _, err = run("upload", spool, "--config", config, "--dataset", "drives")
    assert (status, "NUCLEUS_API_KEY is not set" in err) == (2, True), err
    status, _, err = run("upload", spool, "--config", config)
    assert status == 0, err
    assert len(held_tasks(receiver)) == 1


def test_a_dry_run_shows_the_request_and_does_nothing(
    spool: Path,
    objects: Path,
    receiver: Receiver,
    template: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = seal_fusion_scenes(spool, 2)
    plain = seal_scene(spool, 7)
    before = sorted(tmp_path.rglob("*"))
    arguments = ("upload", spool, "--store", f"file://{objects}", "--task", template)
    with monkeypatch.context() as patch:
        patch.delenv("SCALE_API_KEY")
        status, out, err = run(*arguments, "--dry-run")
    assert (status, err) == (0, "")
    assert receiver.requests == []
    assert sorted(tmp_path.rglob("*")) == before
    lines = out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:3]] == [*([name, "send"] for name in names), [plain, "leave alone"]]
    assert lines[3] == f"POST {task_endpoint(receiver)}/task/lidarannotation"
    assert "2 scenes" in lines[-1]
    assert "not done" in lines[-1]
    shown = json.loads("\n".join(lines[4:-1]))
    status, out, _ = run(*arguments)
    assert status == 0
    assert "1 scene is left alone" in out
    task = next(task for task in held_tasks(receiver) if task["unique_id"] == names[0])
    assert shown == {**task["params"], "unique_id": names[0], "metadata": task["metadata"]}


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("project: p\n", [], "cuboids.yaml: labels is missing"),
        ("labels: [car]\nprojekt: p\n", [], "cuboids.yaml: projekt: no such key; the nearest is 'project'"),
        ("labels: [car]\n", ["--dataset", "drives"], "not allowed with argument"),
        ("labels: [car]\n", ["--set", "upload.task_endpoint=http://a.example"], "unencrypted"),
        ("labels: [car]\n", ["--set", "upload.task_endpoint=https://a.example"], "only a receiver on this machine"),
        ("labels: [car]\n", ["--set", "upload.url=presigned"], "cannot sign URLs"),
    ],
)
def test_bad_settings_are_told_with_status_2(
    spool: Path,
    objects: Path,
    receiver: Receiver,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    more: list[str],
    reason: str,
) -> None:
    seal_fusion_scene(spool, 1)
    monkeypatch.delenv("SCALE_ENDPOINT")
    template = template_file(tmp_path, text)
    status, out, err = run("upload", spool, "--store", f"file://{objects}", "--task", template, *more)
    assert (status, out) == (2, "")
    assert reason in err
    assert receiver.requests == []


def test_only_the_key_for_tasks_is_taken(
    spool: Path, objects: Path, receiver: Receiver, template: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal_fusion_scene(spool, 1)
    monkeypatch.delenv("SCALE_API_KEY")
    monkeypatch.setenv("NUCLEUS_API_KEY", "live_of_nucleus")
    status, _, err = run("upload", spool, "--store", f"file://{objects}", "--task", template)
    assert (status, "SCALE_API_KEY is not set" in err) == (2, True)
    assert receiver.requests == []


def test_scenes_of_the_wrong_format_are_one_line_with_the_remedy(
    spool: Path, objects: Path, template: Path, run: Run
) -> None:
    name = seal_scene(spool, 1)
    status, out, err = run("upload", spool, "--store", f"file://{objects}", "--task", template)
    assert (status, out) == (2, "")
    assert name in err
    assert "nucleus-bridge export" in err
    assert len(err.splitlines()) == 1
    assert states(spool) == {name: "sealed"}
