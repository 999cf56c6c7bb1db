# SPDX-License-Identifier: Apache-2.0
"""What an installation has: by pip, and by colcon, which runs ``setup.py install``."""

from __future__ import annotations

import ast
import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import nucleus_bridge
from nucleus_bridge.config import load_config

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
    for folder in ("nucleus_bridge", "launch", "config", "resource", "docs", "tools", "benchmarks", "bin", "test"):
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def build(kind: str, sources: Path, into: Path) -> Path:
    """Build as a frontend does, with the environment's own setuptools."""
    pytest.importorskip("setuptools", minversion="70.1", reason="building a wheel needs setuptools 70.1")
    program = f"import sys; from setuptools.build_meta import build_{kind}; build_{kind}(sys.argv[1])"
    into.mkdir()
    subprocess.run([sys.executable, "-c", program, str(into)], cwd=sources, check=True, capture_output=True)
    (path,) = into.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel_path(sources: Path) -> Path:
    return build("wheel", sources, sources.parent / "wheel")


@pytest.fixture(scope="module")
def wheel(wheel_path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_path)


@pytest.fixture(scope="module")
def source_distribution(sources: Path) -> Path:
    """The unpacked source distribution."""
    archive = build("sdist", sources, sources.parent / "sdist")
    unpacked = sources.parent / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(unpacked)], check=True)
    return unpacked / archive.name.removesuffix(".tar.gz")


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
    commands = tmp_path / "prefix/bin"  # which a workspace that is sourced has on PATH
    assert sorted(path.name for path in commands.iterdir()) == EXECUTABLES
    path, library = f"{commands}:{os.environ['PATH']}", next((tmp_path / "prefix").glob("lib/python*/site-packages"))
    for name in EXECUTABLES:
        given = {**os.environ, "PATH": path, "PYTHONPATH": str(library)}
        done = subprocess.run([name, "--help"], env=given, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(f"usage: {name} ") or "no usable ROS 2" in done.stderr, done


def test_a_source_distribution_has_all_that_a_build_the_tests_and_a_reader_need(
    source_distribution: Path, sources: Path, wheel: zipfile.ZipFile
) -> None:
    built = {"build", "nucleus_bridge.egg-info"}
    wanted = {
        path.relative_to(sources)
        for path in sources.rglob("*")
        if path.is_file() and path.relative_to(sources).parts[0] not in built
    }
    there = {path.relative_to(source_distribution) for path in source_distribution.rglob("*") if path.is_file()}
    assert wanted <= there
    assert not [path for path in there if "__pycache__" in path.parts]
    again = zipfile.ZipFile(build("wheel", source_distribution, source_distribution.parent / "wheel"))
    assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_every_extra_that_a_message_or_a_page_names_exists(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    described = email.message_from_bytes(wheel.read(name))
    extras = set(described.get_all("Provides-Extra"))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / "nucleus_bridge").rglob("*.py")]
    named = {path: re.findall(r"nucleus[-_]bridge\[([a-z{},]+)\]", path.read_text()) for path in pages}
    assert {extra for found in named.values() for names in found for extra in names.split(",")} - extras == {"{extra}"}
    assert {"aws", "cloud", "ros"} <= extras


def test_colcon_runs_a_part_of_the_tests_without_measuring_coverage(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    required = email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist")
    assert [one for one in required if "pytest" in one and 'extra == "test"' in one]
    assert not [one for one in required if "pytest-cov" in one and 'extra == "test"' in one]
    settings = (ROOT / "pyproject.toml").read_text()
    (folders,) = re.findall(r"^testpaths = (.+)$", settings, re.MULTILINE)
    assert all((ROOT / folder).is_dir() for folder in ast.literal_eval(folders))
    assert '"-m", "not live and not slow"' in settings
    assert (ROOT / "Makefile").read_text().count("-m pytest $(EVERYWHERE) ") == 3


def test_pip_is_always_given_the_same_name() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *(ROOT / "nucleus_bridge").rglob("*.py")]
    assert [
        path for path in pages if re.search(r"nucleus_bridge\[[a-z{]|pip install '?nucleus_b", path.read_text())
    ] == []


def test_the_metadata_says_what_the_project_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    described = email.message_from_bytes(wheel.read(name))
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)}
    assert versions <= set(described.get_all("Classifier"))
    assert described["Requires-Python"] == ">=3.10"
    assert described["License-Expression"] or described["License"] == "Apache-2.0"
    assert "# nucleus_bridge" in wheel.read(name).decode()
    assert "lidar" in described["Keywords"]


def test_an_installed_wheel_works_outside_of_the_checkout(wheel_path: Path, tmp_path: Path) -> None:
    """Only the requirements come from this environment: the package itself is the wheel's."""
    prefix, outside = tmp_path / "prefix", tmp_path / "outside"
    outside.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--ignore-installed"]
    subprocess.run([*pip, "--prefix", str(prefix), str(wheel_path)], check=True, capture_output=True, cwd=outside)
    (home,) = prefix.rglob("nucleus_bridge/__init__.py")
    environment = {**os.environ, "PYTHONPATH": str(home.parent.parent)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "nucleus_bridge", *arguments]
        return subprocess.run(
            command, cwd=outside, env=environment, check=True, capture_output=True, text=True, timeout=300
        ).stdout

    where = [sys.executable, "-c", "import nucleus_bridge; print(nucleus_bridge.__file__)"]
    imported = subprocess.run(where, cwd=outside, env=environment, check=True, capture_output=True, text=True).stdout
    assert Path(imported.strip()) == home
    run("demo-drive", "drive", "--seconds", "1", "--points", "3000", "--cameras", "1")
    assert "lost: nothing" in run("convert", "drive", "--config", "drive.yaml", "--output", "spool")
    assert "0 bad" in run("validate", "spool")
    assert "index.html" in run("preview", "spool", "-o", "review")
    share = prefix / "share/nucleus_bridge"
    assert (share / "launch/record.launch.py").exists()
    assert load_config(share / "config/single_lidar_and_camera.yaml").lidars


def test_the_workflow_tests_every_python_that_the_package_is_for(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    classifiers = email.message_from_bytes(wheel.read(name)).get_all("Classifier")
    named = {found[1] for text in classifiers if (found := re.search(r"Python :: (3\.[0-9]+)$", text))}
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == named


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_the_forms_ask_for_the_version_and_those_about_data_for_what_is_in_it(form: Path) -> None:
    text = form.read_text()
    labels = [part["attributes"]["label"] for part in yaml.safe_load(text)["body"]]
    assert any("--version" in label for label in labels) or form.stem == "feature"
    assert any("inspect BAG --json" in label for label in labels) == (form.stem in ("recording", "feature"))
