# SPDX-License-Identifier: Apache-2.0
"""Package for both worlds: ament_python for colcon, an ordinary distribution for pip.

Everything stands here and nothing in pyproject.toml, because the setuptools of ROS 2 Humble
does not read it from there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

NAME = "nucleus_bridge"
VERSION = re.search(r'^__version__ = "(.+)"$', Path(NAME, "version.py").read_text(encoding="utf-8"), re.MULTILINE)[1]

# The lower bounds are what Ubuntu 22.04 ships, so that a ROS 2 Humble machine needs only rosbags from outside.
REQUIREMENTS = [
    'backports.zstd>=1; python_version < "3.14"',
    "lz4>=4",
    "numpy>=1.21",
    "opencv-python-headless>=4.5.4",
    "PyYAML>=5.4",
    "requests>=2.25",
    "rich>=11",
    "rosbags>=0.11.7",
]

EXTRAS = {
    "aws": ["boto3>=1.26"],  # profiles and SSO; keys and roles need "cloud" alone
    "cloud": ["obstore>=0.8"],
    "completion": ["argcomplete>=2"],
    "cluster": ["distributed>=2022.2"],
    "coverage": ["pytest-cov>=5"],  # not of "test": colcon would measure and write pages of it with each run
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "ruff"],
    "draco": ["DracoPy>=2.0"],
    "ground": ["pypatchworkpp>=1.4.1; python_version < '3.14'"],  # which it has wheels for
    "odometry": ["small_gicp>=1.0.1"],
    "packets": ["velodyne-decoder>=3.1"],
    "protobuf": ["protobuf>=3.20"],
    "rerun": ["rerun-sdk>=0.22"],
    # A ROS 2 without a ROS installation; the rosidl adapter does not declare that it needs catkin_pkg.
    "ros": [
        "catkin_pkg",
        "ros-diagnostic-msgs",
        "ros-geometry-msgs",
        "ros-lifecycle-msgs",
        "ros-nav-msgs",
        "ros-rclpy[fastrtps]>=7.1,<10",
        "ros-sensor-msgs",
        "ros-std-msgs",
        "ros-std-srvs",
    ],
    "test": [
        "argcomplete>=2",
        "flask",
        "flask-cors",
        "grpcio-tools",  # has protoc
        "hypothesis",
        "jsonschema>=4",
        "mcap",
        "moto[s3]>=5",
        "mypy==2.4.1",
        "numpy<2.5",  # the types of later ones are not for Python 3.10, which mypy checks for
        "playwright",
        "pytest>=7",
        "pytest-rerunfailures",
        "pytest-xdist",
        "ruff==0.17.5",
        "scipy",
        "setuptools>=70.1",
        "types-PyYAML",
        "types-protobuf",
        "types-requests",
        "zstandard",
    ],
    "video": ["av>=17"],
}
FOR_DEVELOPERS = {"coverage", "docs", "test"}
EXTRAS["all"] = [package for name in sorted(EXTRAS.keys() - FOR_DEVELOPERS - {"ros"}) for package in EXTRAS[name]]


def files(folder: str, pattern: str) -> list[str]:
    """Return the files of ``folder`` that match, as setuptools wants them."""
    return sorted(path.as_posix() for path in Path(folder).glob(pattern))


setup(
    name=NAME,
    version=VERSION,
    description="Lidar and camera data from ROS 2, live or recorded, to Scale Nucleus lidar scenes",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="nucleus_bridge maintainers",
    maintainer_email="maintainers@nucleus-bridge.invalid",
    keywords=["ROS 2", "rosbag2", "mcap", "lidar", "point cloud", "camera", "dataset", "annotation", "Scale Nucleus"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering",
        "Topic :: Scientific/Engineering :: GIS",
        "Typing :: Typed",
    ],
    # No urls: the project has no page of its own that they could lead to.
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: [path.relative_to(NAME).as_posix() for path in Path(NAME).rglob("*.*") if ".py" not in path.suffix]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch", "*.launch.py")),
        (f"share/{NAME}/config", files("config", "*.*")),
        (f"share/{NAME}/config/tasks", files("config/tasks", "*.yaml")),
        *([] if "bdist_wheel" in sys.argv else [("bin", files("bin", "*"))]),  # pip makes commands of its own
    ],
    zip_safe=False,
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "nucleus-bridge = nucleus_bridge.cli.main:main",
            "nucleus_recorder = nucleus_bridge.ros:run_recorder",
            "nucleus_uploader = nucleus_bridge.ros:run_uploader",
        ],
    },
)
