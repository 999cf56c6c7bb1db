# SPDX-License-Identifier: Apache-2.0
"""Build message packages that a ROS 2 made of Python wheels lacks, into the virtual environment it is installed in.

``nucleus-bridge ros-setup`` takes seconds and a C++ compiler. The generators are those of
ROS 2, so what comes out is what a ROS 2 installation has: the same types, hashes and bytes on the wire.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus_bridge.errors import BridgeError, InputError
from nucleus_bridge.ros.interface_definitions import InterfacePackage

_GENERATORS = {
    "generator_c": "rosidl_generator_c.cli:GenerateC",
    "typesupport_fastrtps_c": "rosidl_typesupport_fastrtps_c.cli:GenerateFastRTPSCTypesupport",
    "typesupport_introspection_c": "rosidl_typesupport_introspection_c.cli:GenerateIntrospectionCTypesupport",
    "typesupport_c": "rosidl_typesupport_c.cli:GenerateCTypesupport",
    "generator_py": "rosidl_generator_py.cli:GeneratePython",
}
"""The parts of a message package, each a shared library, in an order in which they can be linked."""

_RUNTIME = (
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "rmw",
    "rcutils",
    "fastcdr",
)

_TYPESUPPORTS = ("typesupport_fastrtps_c", "typesupport_introspection_c", "typesupport_c")

_LOAD_AND_ROUND_TRIP = """
import importlib, sys
from rclpy.serialization import deserialize_message, serialize_message
package, *names = sys.argv[1:]
module = importlib.import_module(package + ".msg")
for name in names:
    message = getattr(module, name)()
    assert deserialize_message(serialize_message(message), type(message)) == message
"""


@dataclass(frozen=True)
class Installation:
    """A ROS 2 in a virtual environment: where it is, and the message packages it has."""

    prefix: Path
    packages: tuple[str, ...]

    @classmethod
    def active(cls) -> Installation:
        """Find the one that this Python runs in.

        Raises:
            InputError: There is none, or it lacks the message generators.
        """
        prefix = Path(sys.prefix)
        index = prefix / "share/ament_index/resource_index/rosidl_interfaces"
        if not index.is_dir() or not (prefix / "share/rosidl_generator_py").is_dir():
            raise InputError(
                f"{prefix} holds no ROS 2 with message generators. In a virtual environment, "
                "pip install 'nucleus-bridge[ros]' brings one; where ROS 2 is installed, build the package with colcon"
            )
        return cls(prefix, tuple(sorted(path.name for path in index.iterdir())))


def build(package: InterfacePackage, installation: Installation) -> None:
    """Generate, compile and install ``package``.

    Raises:
        InputError: A message, a package it needs or the compiler is missing or wrong.
        BridgeError: The result is not what it has to be.
    """
    for needed in package.depends:
        if needed not in installation.packages:
            remedy = f"pip install ros-{needed.replace('_', '-')}, or build it in the same way first"
            raise InputError(f"{package.name} contains messages of {needed}, which is not installed: {remedy}")
    with tempfile.TemporaryDirectory(prefix=f".{package.name}-", dir=installation.prefix) as folder:
        work, stage = Path(folder, "work"), Path(folder, "stage")
        _generate(package, installation, work)
        _check_type_hashes(package, work / "generator_c" / package.name)
        _compile(package, installation, work, stage)
        _collect(package, work, stage)
        _install(stage, installation.prefix)
    importlib.invalidate_caches()
    if problem := why_unusable(package):
        raise BridgeError(f"{package.name} was built, but does not work: {problem}")


def why_unusable(package: InterfacePackage) -> str:
    """Load the messages in a fresh Python and serialise each; return what went wrong, or ""."""
    command = [sys.executable, "-c", _LOAD_AND_ROUND_TRIP, package.name, *package.messages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    return (done.stderr.strip().splitlines() or ["it ended without output"])[-1] if done.returncode else ""


def _generate(package: InterfacePackage, installation: Installation, work: Path) -> None:
    """Write the sources of each part into a folder of its own: two of them use the same file names."""
    source, idl = work / "source", work / "idl"
    (source / "msg").mkdir(parents=True)
    for name, text in package.messages.items():
        (source / "msg" / f"{name}.msg").write_text(text, encoding="utf-8")
    os.environ["AMENT_PREFIX_PATH"] = str(installation.prefix)  # where the generators look for their templates
    include_paths = [str(installation.prefix / "share" / name) for name in installation.packages]
    logging.getLogger("rosidl_cli").setLevel(logging.ERROR)  # each wheel registers its generators twice
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            messages = [f"{source}:msg/{name}.msg" for name in package.messages]
            interfaces = _load("rosidl_adapter.cli:TranslateMsgToIDL")("msg").translate(package.name, messages, [], idl)
            for part, generator in _GENERATORS.items():
                _load(generator)(part).generate(package.name, interfaces, include_paths, work / part / package.name)
    except ImportError as error:
        raise InputError(
            f"the message generators are not complete: {error}; pip install 'nucleus-bridge[ros]'"
        ) from error
    except FileNotFoundError as error:
        absent = Path(error.filename)  # .../<package>/msg/<message>.json
        raise InputError(f"{package.name} contains {absent.parents[1].name}/{absent.stem}: no such message") from error
    except Exception as error:
        # The generators have no exception of their own in common; what they raise is about the messages.
        raise InputError(f"{package.name} cannot be generated: {type(error).__name__}: {error}") from error


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _check_type_hashes(package: InterfacePackage, generated: Path) -> None:
    for name, expected in package.type_hashes.items():
        hashes = json.loads((generated / f"msg/{name}.json").read_text(encoding="utf-8"))["type_hashes"]
        made = {entry["type_name"]: entry["hash_string"] for entry in hashes}[f"{package.name}/msg/{name}"]
        if made != expected:
            raise BridgeError(
                f"{package.name}/{name} would have the type hash {made}, but released ROS 2 has {expected}: "
                "real nodes would not match it"
            )


def _compile(package: InterfacePackage, installation: Installation, work: Path, stage: Path) -> None:
    """Compile the five shared libraries, and a Python extension module for each type support."""
    libraries, modules = stage / "lib", stage / "python" / package.name
    libraries.mkdir(parents=True)
    modules.mkdir(parents=True)
    # Every installed message package may be needed; the linker drops those that are not.
    foreign = [f"{name}__rosidl_{part}" for part in _GENERATORS for name in installation.packages]
    foreign = [name for name in [*foreign, *_RUNTIME] if (installation.prefix / f"lib/lib{name}.so").exists()]
    search = [*_include_flags(installation, work), f"-L{libraries}", f"-L{installation.prefix / 'lib'}"]
    own: list[str] = []
    for part in _GENERATORS:
        name = f"{package.name}__rosidl_{part}"
        sources = sorted(path for path in (work / part).rglob("msg/**/*") if path.suffix in (".c", ".cpp"))
        _link(libraries / f"lib{name}.so", sources, search, [*own, *foreign])
        own.insert(0, name)
    for part in _TYPESUPPORTS:
        source = work / "generator_py" / package.name / f"_{package.name}_s.ep.rosidl_{part}.c"
        _link(modules / f"{package.name}_s__rosidl_{part}.so", [source], search, [*own, *foreign])


def _include_flags(installation: Installation, work: Path) -> list[str]:
    include = installation.prefix / "include"
    folders = [work / part for part in _GENERATORS]
    folders += [include, *sorted(path for path in include.iterdir() if path.is_dir())]
    folders += [Path(np.get_include()), Path(sysconfig.get_path("include"))]
    return [f"-I{folder}" for folder in folders]


def _link(target: Path, sources: list[Path], search: list[str], libraries: list[str]) -> None:
    """Compile C or C++ ``sources`` and link them to the shared object ``target``.

    Raises:
        InputError: The compiler or Python's headers are missing.
        BridgeError: The compiler refused.
    """
    compiler = "g++" if sources[0].suffix == ".cpp" else "gcc"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(target), f"-Wl,-soname,{target.name}", *search]
    command += [*map(str, sources), "-Wl,--as-needed", *(f"-l{name}" for name in libraries)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - arguments are our own
    except FileNotFoundError as error:
        raise InputError(f"{compiler} is not there; apt install g++") from error
    if "Python.h" in done.stderr:
        raise InputError("the headers of Python are not there; apt install python3-dev")
    if done.returncode:
        raise BridgeError(f"{target.name} cannot be compiled:\n{done.stderr.strip()}")


def _collect(package: InterfacePackage, work: Path, stage: Path) -> None:
    """Put everything but the compiled parts where an installed package has it."""
    share, include = stage / "share" / package.name, stage / "include" / package.name / package.name
    index = stage / "share/ament_index/resource_index"
    for part in _GENERATORS:
        _copy(work / part / package.name, include, "*.h")
    _copy(work / "generator_py" / package.name, stage / "python" / package.name, "*.py")
    (stage / "python" / package.name / "__init__.py").touch()
    for folder, pattern in (("source", "*.msg"), ("idl", "*.idl"), (f"generator_c/{package.name}", "*.json")):
        _copy(work / folder, share, pattern)
    (share / "package.xml").write_text(_package_xml(package), encoding="utf-8")
    interfaces = sorted(path.relative_to(share).as_posix() for path in (share / "msg").iterdir())
    for resource, text in (("packages", ""), ("rosidl_interfaces", "\n".join(interfaces))):
        (index / resource).mkdir(parents=True)
        (index / resource / package.name).write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path, pattern: str) -> None:
    for path in source.rglob(pattern):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _package_xml(package: InterfacePackage) -> str:
    depends = "".join(f"  <depend>{name}</depend>\n" for name in package.depends)
    return f"""<?xml version="1.0"?>
<package format="3">
  <name>{package.name}</name>
  <version>0.0.0</version>
  <description>Messages, built by nucleus_bridge</description>
  <maintainer email="nobody@localhost.invalid">nobody</maintainer>
  <license>unknown</license>
{depends}  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
"""


def _install(stage: Path, prefix: Path) -> None:
    """Move every file to its place; a running program keeps the old file, and the ament index learns of it last."""
    places = {stage / "python": Path(sysconfig.get_path("platlib")), stage: prefix}
    for source, target in places.items():
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
