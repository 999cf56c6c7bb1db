# SPDX-License-Identifier: Apache-2.0
"""Set up what ``make`` needs, inside the checkout only.

No root, nothing outside changes, and a second run does nothing. Runs on a bare Python, before anything is installed.
The steps:

``core``    .venv with the package and its requirements
``dev``     the extras, the test tools and the linters besides
``ros``     a ROS 2 from Python wheels (the newest, or what the variable ``ROS`` names), and the messages that they lack
``client``  .venv-client with the real Nucleus client, kept apart from the project's own requirements, and pytest
``lidar_io``  .venv-lidar-io with Scale's own writer of annotation frames, which needs old libraries
``sfs``     .venv-sfs with Scale's own reader and validator of .sfs scenes, for Python 3.10 and 3.11
``nuscenes``  .venv-nuscenes with nuscenes-devkit, which needs old libraries
``cloudini``  .venv-cloudini with another encoder of Cloudini's format (GPL), which only tests call, as a program
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

NEWEST_ROS = "kilted"
ROS_WHEELS = {
    NEWEST_ROS: (),
    "jazzy": (
        "ros-rclpy<8",
        "ros-lifecycle-msgs<2.1",
        *(f"ros-{name}<5.4" for name in ("diagnostic-msgs", "geometry-msgs", "nav-msgs", "sensor-msgs")),
        *(f"ros-{name}<5.4" for name in ("std-msgs", "std-srvs")),
    ),
}
"""What keeps pip from taking the wheels of a newer distribution."""
ROOT = Path(__file__).resolve().parent.parent
ROS = os.environ.get("ROS", "")
"""The distribution whose wheels are installed; each but the newest has an environment of its own."""
VENV = ROOT / (".venv" if ROS in ("", NEWEST_ROS) else f".venv-{ROS}")
CLIENT_VENV = ROOT / ".venv-client"
LIDAR_IO_VENV = ROOT / ".venv-lidar-io"
SFS_VENV = ROOT / ".venv-sfs"
NUSCENES_VENV = ROOT / ".venv-nuscenes"
CLOUDINI_VENV = ROOT / ".venv-cloudini"
NOT_RUN = VENV / "not-run.txt"
"""What of the tests cannot run here and why, for the end of ``make test``."""

CLIENT = "scale-nucleus==0.22.3"
LIDAR_IO = "scale-lidar-io==1.2.5"
LIDAR_IO_NEEDS = (
    "boto3",
    "matplotlib",
    "numpy<2",
    "opencv-python-headless<4.12",
    "pandas<3",
    "pillow",
    "protobuf<4",
    "pyquaternion",
    "scaleapi",
    "scipy",
    "tqdm",
    "transforms3d",
    "ujson",
)
"""What of its requirements writing needs: its viewers and readers of other files take two gigabytes more."""
SFS = ("scale-sensor-fusion-io==0.5.4", "scale-json-binary==0.0.7")
SFS_LIBRARY = "libturbojpeg.so.0"
"""Without this library of the system Scale's package cannot be imported (Debian: libturbojpeg0)."""
NEWEST_SFS_PYTHON = (3, 11)
NUSCENES = "nuscenes-devkit==1.2.0"
CLOUDINI = "pureini==0.10.0"
NEWEST_NUSCENES_PYTHON = (3, 12)
MESSAGE_PACKAGES = ("tf2_msgs", "radar_msgs", "bond")
OLDEST_PYTHON, NEWEST_ROS_PYTHON = (3, 10), (3, 14)
PYTHON_NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def main(steps: list[str]) -> int:
    """Carry out ``steps`` in order; return the exit status."""
    known = {step.__name__: step for step in (core, dev, ros, client, lidar_io, sfs, nuscenes, cloudini)}
    if not steps or set(steps) - set(known):
        print(f"usage: {Path(__file__).name} {'|'.join(known)} ...", file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        print(
            f"{sys.executable} is Python {platform.python_version()}, but 3.10 or newer is needed; "
            "name one: make PYTHON=python3.x",
            file=sys.stderr,
        )
        return 1
    if ROS and ROS not in ROS_WHEELS:
        print(f"ROS={ROS} is not known here but {', '.join(ROS_WHEELS)}", file=sys.stderr)
        return 2
    try:
        for step in steps:
            known[step]()
    except SetupError as error:
        print(f"\nCannot set up {ROOT.name}: {error}", file=sys.stderr)
        return 1
    return 0


def core() -> None:
    """Install the package, what it needs to run, and the object stores."""
    make_venv(VENV)
    if not any(done(VENV, step) for step in ("core", "dev")):
        install(VENV, "nucleus_bridge", "-e", ".[cloud]")
        mark_done(VENV, "core")


def dev() -> None:
    """Install the package with its extras, the test tools and the linters."""
    make_venv(VENV)
    if not done(VENV, "dev"):
        install(VENV, "nucleus_bridge, its extras and the test tools", "-e", ".[all,coverage,test]")
        mark_done(VENV, "dev")


def ros() -> None:
    """Install ROS 2 from wheels and build the message packages that they lack; where there are none, note it."""
    make_venv(VENV)
    NOT_RUN.unlink(missing_ok=True)
    if done(VENV, "ros"):
        return
    try:
        install(VENV, f"ROS 2 {ROS or NEWEST_ROS} (rclpy)", "-e", ".[ros]", *ROS_WHEELS[ROS or NEWEST_ROS])
    except SetupError as error:
        if ros_wheels_exist():
            raise
        note_not_run(f"The live tests: no ROS 2 wheels for {PYTHON_NAME} on {platform.machine()}. {error}")
        return
    ensure_python_headers()
    say("building " + ", ".join(MESSAGE_PACKAGES))
    if run([str(VENV / "bin/python"), "-m", "nucleus_bridge", "ros-setup", *MESSAGE_PACKAGES], cwd=ROOT):
        raise SetupError("the ROS 2 message packages cannot be built, see above")
    mark_done(VENV, "ros")


def client() -> None:
    """Install the real Nucleus client in an environment of its own; where it cannot be had, note it."""
    make_venv(CLIENT_VENV)
    if done(CLIENT_VENV, "client"):
        return
    try:
        install(CLIENT_VENV, "the Nucleus client", CLIENT, "pytest")
    except SetupError as error:
        note_not_run(f"The tests with the real Nucleus client. {error}")
        return
    mark_done(CLIENT_VENV, "client")


def lidar_io() -> None:
    """Install Scale's writer of annotation frames in an environment of its own; where it cannot be had, note it."""
    make_venv(LIDAR_IO_VENV)
    if done(LIDAR_IO_VENV, "lidar_io"):
        return
    try:
        # Its libraries are old: where there are no wheels of them, building them is not worth the time.
        install(LIDAR_IO_VENV, "what Scale's writer of annotation frames needs", "--only-binary=:all:", *LIDAR_IO_NEEDS)
        install(LIDAR_IO_VENV, "Scale's writer of annotation frames", "--no-deps", LIDAR_IO)
    except SetupError as error:
        note_not_run(f"The tests beside Scale's writer of annotation frames. {error}")
        return
    mark_done(LIDAR_IO_VENV, "lidar_io")


def sfs() -> None:
    """Install Scale's packages for .sfs scenes in an environment of its own; where they cannot be had, note it."""
    what = "The tests with Scale's own reader and validator of .sfs scenes"
    if sys.version_info[:2] > NEWEST_SFS_PYTHON:
        note_not_run(f"{what}: they need Python 3.10 or 3.11, this is {platform.python_version()}.")
        return
    make_venv(SFS_VENV)
    if done(SFS_VENV, "sfs"):
        return
    try:
        install(SFS_VENV, "Scale's packages for .sfs scenes", *SFS)
    except SetupError as error:
        note_not_run(f"{what}. {error}")
        return
    if run([str(SFS_VENV / "bin/python"), "-c", "import scale_sensor_fusion_io"], cwd=ROOT):
        note_not_run(f"{what}: they need {SFS_LIBRARY}; apt install libturbojpeg0.")
        return
    mark_done(SFS_VENV, "sfs")


def nuscenes() -> None:
    """Install nuscenes-devkit in an environment of its own; where it cannot be had, note it."""
    what = "The tests of training sets with nuscenes-devkit"
    if sys.version_info[:2] > NEWEST_NUSCENES_PYTHON:
        note_not_run(f"{what}: they need Python 3.10 to 3.12, this is {platform.python_version()}.")
        return
    make_venv(NUSCENES_VENV)
    if done(NUSCENES_VENV, "nuscenes"):
        return
    try:
        install(NUSCENES_VENV, "nuscenes-devkit", NUSCENES)
    except SetupError as error:
        note_not_run(f"{what}. {error}")
        return
    mark_done(NUSCENES_VENV, "nuscenes")


def cloudini() -> None:
    """Install another encoder of Cloudini's format in an environment of its own; where it cannot be had, note it."""
    make_venv(CLOUDINI_VENV)
    if done(CLOUDINI_VENV, "cloudini"):
        return
    try:
        install(CLOUDINI_VENV, "another encoder of Cloudini's format", CLOUDINI)
    except SetupError as error:
        note_not_run(f"The tests with another encoder of Cloudini's format. {error}")
        return
    mark_done(CLOUDINI_VENV, "cloudini")


def ros_wheels_exist() -> bool:
    """Return whether this is a platform that the ROS 2 wheels are known to be there for."""
    libc, version = platform.libc_ver()
    new_enough = libc == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 28)
    return platform.machine() == "x86_64" and new_enough and sys.version_info[:2] <= NEWEST_ROS_PYTHON


def make_venv(venv: Path) -> None:
    """Make the virtual environment ``venv``, unless it is there, works and has this version of Python."""
    python = venv / "bin/python"
    probe = "import pip, sys; print(sys.version)"
    if python.exists():
        answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == sys.version.strip():
            return
    say(f"making {venv.relative_to(ROOT)} with Python {platform.python_version()}")
    shutil.rmtree(venv, ignore_errors=True)
    base = getattr(sys, "_base_executable", sys.executable)
    if importlib.util.find_spec("ensurepip"):
        failed = run([base, "-m", "venv", str(venv)])
    elif importlib.util.find_spec("virtualenv"):
        failed = run([base, "-m", "virtualenv", "--quiet", str(venv)])
    else:
        failed = run([base, "-m", "venv", "--without-pip", str(venv)]) or not install_debian_pip(venv)
    if failed:
        shutil.rmtree(venv, ignore_errors=True)
        raise SetupError(
            f"{base} cannot make virtual environments; apt install {PYTHON_NAME}-venv, or pip install virtualenv"
        )


def install_debian_pip(venv: Path) -> bool:
    """Install pip from Debian's package of its wheel, unpacked in a scratch folder; tell whether that worked."""
    with tempfile.TemporaryDirectory() as folder:
        unpack_debian_package("python3-pip-whl", Path(folder))
        wheels = sorted(Path(folder).glob("usr/share/python-wheels/pip-*.whl"))
        if not wheels:
            return False
        return not run([str(venv / "bin/python"), f"{wheels[-1]}/pip", "install", "-qq", "--no-index", str(wheels[-1])])


def ensure_python_headers() -> None:
    """Put Python.h, where it is not installed, into the include folder of .venv, from Debian's package of it."""
    folders = (Path(sysconfig.get_path("include")), VENV / "include" / PYTHON_NAME)
    if any((folder / "Python.h").exists() for folder in folders):
        return
    with tempfile.TemporaryDirectory() as folder:
        unpack_debian_package(f"lib{PYTHON_NAME}-dev", Path(folder))
        headers = Path(folder, "usr/include")
        if headers.exists():
            shutil.copytree(headers, VENV / "include", dirs_exist_ok=True)


def unpack_debian_package(name: str, target: Path) -> None:
    """Unpack a Debian package in ``target`` without installing it; do nothing where it cannot be had."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return
    say(f"unpacking the Debian package {name}")
    with tempfile.TemporaryDirectory() as folder:
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], cwd=folder)
        for package in Path(folder).glob("*.deb"):
            run(["dpkg-deb", "-x", str(package), str(target)])


def install(venv: Path, what: str, *requirements: str) -> None:
    """Install ``requirements`` with pip.

    Raises:
        SetupError: pip failed.
    """
    say(f"installing {what} into {venv.relative_to(ROOT)}")
    if run(
        [str(venv / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements],
        cwd=ROOT,
    ):
        raise SetupError(f"pip could not install {what}, see above")


def done(venv: Path, step: str) -> bool:
    """Return whether ``step`` was carried out for the requirements as they are now."""
    stamp = venv / f".done-{step}"
    return stamp.exists() and stamp.read_text() == requirements_key()


def mark_done(venv: Path, step: str) -> None:
    """Remember that ``step`` was carried out."""
    (venv / f".done-{step}").write_text(requirements_key())


def requirements_key() -> str:
    """Return what changes when the requirements change."""
    files = (ROOT / "setup.py", Path(__file__))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def note_not_run(what: str) -> None:
    """Say that some tests cannot run here, now and at the end of ``make test``."""
    say(f"NOT RUN: {what}")
    with NOT_RUN.open("a") as notes:
        notes.write(f"NOT RUN: {what}\n")


def say(what: str) -> None:
    """Tell a person what goes on."""
    print(f"== {what}", flush=True)


def run(command: list[str], cwd: str | Path | None = None) -> int:
    """Run ``command``; return its exit status."""
    return subprocess.run(command, cwd=cwd, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
