# SPDX-License-Identifier: Apache-2.0
"""Every command that a document shows is run, and prints what the document says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import TYPES, Recording
from documents import ROOT, Block, Shell, Step, agree, blocks, fenced, pages, renew
from drives import SHORT, Drive
from pose_drives import rewritten
from rosbags.typesys import get_types_from_msg

from nucleus_bridge.config import load_config
from nucleus_bridge.convert import ConversionReport, convert_bag
from nucleus_bridge.decode import registry
from nucleus_bridge.decode.cdr import deserialise
from nucleus_bridge.decode.pointcloud2 import read_points
from nucleus_bridge.formats.reading import open_scene
from nucleus_bridge.inspect.report import inspect_bag
from nucleus_bridge.recordings import open_recording
from nucleus_bridge.testing.receiver.ground_truth import boxes_of_drive

sys.path.append(str(Path(__file__).parent / "labels"))

from label_cases import detection_array

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="not a source checkout")

RENEW = "NUCLEUS_BRIDGE_RENEW_DOCUMENTS"

NOT_RUN = {
    r"python3 -m venv": "the environment of the tests is there already",
    r"(sudo )?apt(-get)? |pip install|rosdep ": "needs the network; test_packaging.py installs the wheel",
    r"make |\.venv/bin/python -m pytest": "is what runs the tests; .ci/run calls it",
    r"ros2 |colcon |nucleus_recorder |nucleus-bridge ros-setup": "needs ROS 2; test/ros runs nodes and launch files",
    r"rviz2 |rqt ": "needs ROS 2 and a screen",
    r"python -m benchmarks": "takes minutes",
    r"python test/fuzz/run\.py": "takes hours; test/fuzz runs each target for a moment",
    r".* \.\.\.$": "is cut short; the command before it is whole",
    r"nucleus-bridge convert .*--cluster": "needs a cluster; test/archive/test_cluster.py makes one",
}
"""Beginnings of commands that are not run, and why."""

LOSES = {
    r"nucleus-bridge reconcile (?!.*--repair)": 1,
    r"nucleus-bridge convert drives\.sqlite --where .*night": 2,  # the demo drive is by day: nothing is chosen
}
"""Commands that rightly end with a status other than 0."""

LIBRARIES = {"docs/poses.md": ("small_gicp", "the extra 'odometry' is not installed")}

COMMANDS = [(page, block) for page in pages() for block in blocks(page)]
RUN_PAGES = sorted({page for page, _ in COMMANDS})


def reason_not_to_run(command: str) -> str:
    return next((reason for start, reason in NOT_RUN.items() if re.match(start, command)), "")


def bag(shell: Shell, drive: Drive, *names: str) -> None:
    """Put the drive into the folder under the names that a page gives it."""
    for name in names:
        place = shell.folder / name.removeprefix("/") if name.startswith("/") else shell.work / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(drive.bag, place)
    configuration = drive.config_path.read_text().replace("prefix: demo", "prefix: drive")
    for name in ("drive.yaml", "fleet.yaml"):
        (shell.work / name).write_text(configuration)


def spool(shell: Shell, converted: ConversionReport, name: str) -> None:
    """Put the converted drive into the folder."""
    source = converted.scenes[0].folder.parent.parent
    shutil.copytree(source, shell.folder / name.removeprefix("/") if name.startswith("/") else shell.work / name)


def service(shell: Shell) -> None:
    """Let a receiver take the place of the service."""
    address = shell.serve(f"nucleus-bridge serve received --store file://{shell.folder}/store")
    shell.must(f"export NUCLEUS_ENDPOINT={address} NUCLEUS_API_KEY=any")
    shell.must(f"export SCALE_ENDPOINT={address.removesuffix('/nucleus')} SCALE_API_KEY=any")


def template(shell: Shell, name: str) -> None:
    """Write the task template that docs/upload.md shows."""
    (shown,) = (lines for language, _, lines in fenced("docs/upload.md") if lines and lines[0].startswith("labels: ["))
    (shell.work / name).write_text("\n".join(shown) + "\n")


def for_readme(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    service(shell)
    bag(shell, drive, "my_bag", "/store/bucket/drives/one")
    (shell.work / "drive.yaml").rename(shell.work / "other.yaml")  # the page makes its own


def for_upload(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    service(shell)
    bag(shell, drive)
    spool(shell, converted, "/data/spool")
    template(shell, "cuboids.yaml")
    shell.must("nucleus-bridge export /data/spool/scenes/* --format sensor_fusion_json --output /data/fusion")


def for_labels(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    service(shell)
    spool(shell, converted, "spool")
    template(shell, "tasks.yaml")
    shell.must("nucleus-bridge export spool/scenes/* --format sensor_fusion_json --output fusion")
    shell.must("nucleus-bridge upload spool --store s3://bucket/drives --dataset my_drives")
    shell.must("nucleus-bridge upload fusion --store s3://bucket/drives --task tasks.yaml")
    demo_labels(shell, drive)
    shell.must("python tools/label_demo.py drive.truth.json spool --dataset my_drives")
    shell.must("python tools/label_demo.py drive.truth.json fusion --tasks received")
    bag(shell, drive)
    watch(drive, [frame["stamp_ns"] for frame in converted.scenes[0].manifest.stamps], shell.work / "drive")
    shutil.copy(drive.config_path, shell.work / "demo.yaml")
    detector = "--set 'annotation_names=[detector]' --set annotations.detector.topic=/perception/objects"
    shell.must(f"nucleus-bridge convert drive --config demo.yaml --output sfs --format sfs {detector}")
    shell.must("cp sfs/scenes/*/scene.sfs annotated.sfs")
    shell.must("nucleus-bridge labels spool -o found --dataset my_drives")
    rows = [json.loads(line) for line in (shell.work / "found/labels.jsonl").read_text().splitlines()]
    found = "".join(json.dumps({**row, "score": 0.5}) + "\n" for row in rows)
    (shell.work / "found.jsonl").write_text(found)


def watch(drive: Drive, stamps: list[int], output: Path) -> None:
    """Copy the drive as if a detector had seen its surroundings."""
    boxes, made = boxes_of_drive(drive.truth)[:3], Recording()
    with open_recording(drive.bag) as recording:
        for message in recording.messages([topic.name for topic in recording.topics]):
            made.add_raw(message.topic, message.type_name, message.data, message.log_ns)
    for stamp_ns in stamps:
        made.add("/perception/objects", detection_array(SHORT, boxes, stamp_ns), stamp_ns + 20_000_000)
    made.write(output)


def for_receiver(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    spool(shell, converted, "spool")
    demo_labels(shell, drive)


def demo_labels(shell: Shell, drive: Drive) -> None:
    """Bring what label_demo.py reads."""
    shutil.copy(drive.bag.with_name("drive.truth.json"), shell.work)
    (shell.work / "tools").symlink_to(ROOT / "tools")


def for_sensor_fusion(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    service(shell)
    bag(shell, drive, "drive_0412")
    spool(shell, converted, "/data/spool")
    template(shell, "cuboids.yaml")
    (shell.work / "config").symlink_to(ROOT / "config")


def for_poses(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    bag(shell, drive)
    without = rewritten(drive.bag, shell.work / "BAG", lambda _edge: None, is_replaced=lambda edge: not edge.static)
    assert without


def for_scale(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    bag(
        shell,
        drive,
        "/data/drives/one",
        "/data/lidar/drive_1",
        "/data/cameras/drive_1",
        "/store/fleet/drives/2026-11-03/two",
    )


def for_contributing(shell: Shell, drive: Drive, converted: ConversionReport) -> None:
    bag(shell, drive, "my_bag")


SETUP: dict[str, Callable[[Shell, Drive, ConversionReport], None]] = {
    "CONTRIBUTING.md": for_contributing,
    "README.md": for_readme,
    "docs/labels.md": for_labels,
    "docs/poses.md": for_poses,
    "docs/receiver.md": for_receiver,
    "docs/scale.md": for_scale,
    "docs/sensor_fusion.md": for_sensor_fusion,
    "docs/upload.md": for_upload,
}


@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_commands_of_a_page_work_and_print_what_it_says(
    page: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if page in LIBRARIES and importlib.util.find_spec(LIBRARIES[page][0]) is None:
        pytest.skip(LIBRARIES[page][1])
    with Shell(tmp_path, "tmp/tut") as shell:
        if page in SETUP:
            SETUP[page](shell, request.getfixturevalue("drive"), request.getfixturevalue("converted"))
        other: dict[Step, list[str]] = {}
        for block in blocks(page):
            other |= check(shell, block)
    if os.environ.get(RENEW):
        renew(page, other)
    assert other == {}, f"{RENEW}=1 writes what was printed into the page"


def check(shell: Shell, block: Block) -> dict[Step, list[str]]:
    """Run the commands of a block; return what those printed that is not what the page shows."""
    other = {}
    for step in block.steps:
        if reason_not_to_run(step.command):
            continue
        place = f"{block.page}:{step.line}: {step.command}"
        wanted = next((status for start, status in LOSES.items() if re.match(start, step.command)), 0)
        status, printed = shell.run(step.command)
        assert status == wanted, f"{place}\nended with {status}:\n" + "\n".join(printed)
        if block.shows_output and not agree(step.output, printed):
            other[step] = printed
    return other


def test_each_reason_not_to_run_a_command_holds_for_one() -> None:
    commands = [step.command for _, block in COMMANDS for step in block.steps]
    assert [start for start in NOT_RUN if not any(re.match(start, command) for command in commands)] == []


def too_long() -> list[str]:
    """The commands of the project itself that are not run."""
    commands = {step.command for _, block in COMMANDS for step in block.steps if reason_not_to_run(step.command)}
    return sorted(command for command in commands if re.match(r"python |nucleus-bridge convert", command))


@pytest.mark.parametrize("command", too_long())
def test_commands_that_take_too_long_have_the_options_that_are_shown(command: str) -> None:
    words = command.partition("  #")[0].split()
    program = {"nucleus-bridge": ["-m", "nucleus_bridge", words[1]], "python": words[1:]}[words[0]]
    upto = next((place for place, word in enumerate(program) if word.startswith("--")), len(program))
    asked = [sys.executable, *program[:upto][: 3 if words[0] == "nucleus-bridge" else 2], "--help"]
    help_text = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [word for word in words if word.startswith("--") and word not in help_text] == []


def test_output_agrees_up_to_ports_and_the_sizes_of_images() -> None:
    assert agree(["a  91.0 MB", "..."], ["a  90.1 MB", "b", "c"])
    assert agree(["a", "...", "z"], ["a", "z"])
    assert agree(["http://127.0.0.1:46589/v1"], ["http://127.0.0.1:1/v1"])
    assert not agree(["a  91.0 MB"], ["a  81.0 MB"])
    assert not agree(["2 scene"], ["2 scenes"])
    assert not agree(["a", "b"], ["a"])
    assert agree(["agrees: yaw within, ..."], ["agrees: yaw within, place within"])
    assert not agree(["agrees: yaw within, ..."], ["agrees: roll within, place within"])
    assert not agree(["a", "...", "z"], ["a", "y"])


def test_every_page_is_in_the_site_and_on_its_first_page() -> None:
    here = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"([a-z_]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)) == here
    assert set(re.findall(r"\]\(([a-z_]+\.md)\)", (ROOT / "docs/index.md").read_text())) == here - {"index.md"}


def anchors(page: Path) -> set[str]:
    """The names of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).replace("`", "") for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", pages())
def test_every_link_within_the_documents_leads_somewhere(page: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (ROOT / page).parent / path if path else ROOT / page
        leaves_site = page.startswith("docs/") and path.startswith("..")
        if not place.exists() or leaves_site or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


def test_the_message_type_of_the_contributors_page_is_read_as_a_lidar(drive: Drive, tmp_path: Path) -> None:
    (code,) = (lines for language, _, lines in fenced("docs/contributing.md") if language == "python")
    page: dict[str, object] = {}
    exec(compile("\n".join(code), "docs/contributing.md", "exec"), page)
    copy, topic = Recording(), "/lidar/top/points"
    with open_recording(drive.bag) as recording:
        for message in recording.messages([topic.name for topic in recording.topics]):
            if message.topic != topic:
                copy.add_raw(message.topic, message.type_name, message.data, message.log_ns)
                continue
            cloud = deserialise(message, message.type_name)
            points = read_points(cloud)
            name = str(page["PLAIN_CLOUD"])
            TYPES.register(get_types_from_msg("std_msgs/Header header\nfloat32[] xyz\nfloat32[] intensity", name))
            xyz = np.stack([points[axis] for axis in "xyz"], axis=1).ravel().astype(np.float32)
            copy.add(
                topic, TYPES.types[name](cloud.header, xyz, points["intensity"].astype(np.float32)), message.log_ns
            )
    bag = copy.write(tmp_path / "plain")
    config = load_config(drive.config_path, ["lidars.top.time_field=none"])
    with registry.added(*page["INTERFACES"]):
        assert [sensor.usable for sensor in inspect_bag(bag).sensors if sensor.kind == "lidar"] == [True]
        plain = convert_bag(bag, config, tmp_path / "spool")
    usual = convert_bag(drive.bag, config, tmp_path / "usual")
    for one, other in zip(plain.scenes, usual.scenes, strict=True):
        scenes = open_scene(one.folder), open_scene(other.folder)
        for number in range(len(scenes[1])):
            mine, expected = (scene.frame(number).points for scene in scenes)
            np.testing.assert_array_equal(mine.xyz, expected.xyz)
            np.testing.assert_array_equal(mine.intensity, expected.intensity)
