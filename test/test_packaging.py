# SPDX-License-Identifier: Apache-2.0
"""What an installation has: by pip, and by colcon, which runs ``setup.py install``."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import nucleus_bridge

ROOT = Path(nucleus_bridge.__file__).parent.parent
EXECUTABLES = ["nucleus-bridge", "nucleus_recorder", "nucleus_uploader"]
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not a source checkout")


def package_xml() -> ET.Element:
    return ET.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, so that none leaves anything in the checkout."""
    copy = tmp_path_factory.mktemp("packaging") / "sources"
    copy.mkdir()
    for path in ROOT.glob("[!.]*"):
        if path.is_file():
            shutil.copy(path, copy)
    for folder in ("nucleus_bridge", "launch", "config", "resource"):
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path) -> zipfile.ZipFile:
    pytest.importorskip("setuptools", minversion="70.1", reason="building a wheel needs setuptools 70.1")
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(sources.parent)], cwd=sources, check=True, capture_output=True)
    (path,) = sources.parent.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_version_is_the_same_everywhere() -> None:
    assert package_xml().findtext("version") == nucleus_bridge.__version__ == metadata.version("nucleus_bridge")


def required_by(distribution: str) -> set[str]:
    requirements = [entry for entry in metadata.requires(distribution) or [] if "extra ==" not in entry]
    return {re.split(r"[^a-z0-9.-]", entry.lower())[0] for entry in requirements}


def test_what_pip_installs_ros_installs_as_well() -> None:
    rosdep = {"opencv-python-headless": "python3-opencv", "pyyaml": "python3-yaml", "rosbags": "python3-rosbags-pip"}
    comes_with_rosbags = required_by("rosbags") - {"numpy"}
    wanted = {rosdep.get(name, f"python3-{name}") for name in required_by("nucleus_bridge") - comes_with_rosbags}
    declared = {element.text for element in package_xml().iter("exec_depend")}
    assert wanted
    assert wanted == {name for name in declared if name and name.startswith("python3-")}


def test_the_package_says_where_it_is_at_home_and_how_good_it_is() -> None:
    root = package_xml()
    assert {url.get("type") for url in root.findall("url")} == {"website", "repository", "bugtracker"}
    assert root.findtext("author")
    assert (ROOT / (root.findtext("export/rosdoc2") or "nowhere")).is_file()
    declared = (ROOT / "QUALITY_DECLARATION.md").read_text()
    ros = {name.text for name in root.findall("exec_depend") if not (name.text or "").startswith("python3-")}
    assert not [name for name in ros if f"`{name}`" not in declared and not (name or "").startswith("rosbag2_storage")]


ROS_ENDINGS = ("_msgs", "_srvs", "_interfaces")


def test_every_ros_package_that_is_imported_is_declared() -> None:
    declared = {element.text for element in package_xml().iter("exec_depend")}
    imported = set()
    for path in [*(ROOT / "nucleus_bridge/ros").glob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    ros = {name for name in imported if name in ("rclpy", "launch", "launch_ros") or name.endswith(ROS_ENDINGS)}
    assert ros
    assert ros <= declared


def test_every_executable_leads_somewhere() -> None:
    scripts = metadata.distribution("nucleus_bridge").entry_points.select(group="console_scripts")
    assert sorted(script.name for script in scripts) == EXECUTABLES
    for script in scripts:
        spec = importlib.util.find_spec(script.module)
        assert spec is not None, script
        assert spec.origin is not None
        functions = [
            node for node in ast.parse(Path(spec.origin).read_text()).body if isinstance(node, ast.FunctionDef)
        ]
        assert script.attr in [function.name for function in functions], script


def test_a_wheel_has_every_file_of_the_package_and_of_ros(wheel: zipfile.ZipFile, sources: Path) -> None:
    names = set(wheel.namelist())
    package = {path for path in (sources / "nucleus_bridge").rglob("*") if path.is_file()}
    assert {path.relative_to(sources).as_posix() for path in package} <= names
    data = f"nucleus_bridge-{nucleus_bridge.__version__}.data/data/share"
    shared = {f"{data}/ament_index/resource_index/packages/nucleus_bridge", f"{data}/nucleus_bridge/package.xml"}
    for pattern in ("launch/*.launch.py", "config/*.*", "config/tasks/*.yaml"):
        shared |= {f"{data}/nucleus_bridge/{path.relative_to(sources)}" for path in sources.glob(pattern)}
    assert {name for name in names if name.startswith(data)} == shared
    assert not [name for name in names if name.startswith("test")]


def test_pip_puts_the_executables_on_the_path(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    lines = wheel.read(entry_points).decode().split("\n")
    assert sorted(line.partition(" = ")[0] for line in lines if " = " in line) == EXECUTABLES


def test_colcon_puts_the_executables_where_ros2_run_looks(sources: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="installing with setup.py needs setuptools")
    record = ["--single-version-externally-managed", "--record", str(tmp_path / "record")]
    install = [sys.executable, "setup.py", "install", "--prefix", str(tmp_path / "prefix"), *record]
    subprocess.run(install, cwd=sources, check=True, capture_output=True)
    folder = tmp_path / "prefix/lib/nucleus_bridge"
    assert sorted(path.name for path in folder.iterdir()) == EXECUTABLES
    assert (tmp_path / "prefix/share/ament_index/resource_index/packages/nucleus_bridge").exists()
