# SPDX-License-Identifier: Apache-2.0
"""The commands that the documents show, and a shell that runs them in a folder of its own."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from types import TracebackType

import nucleus_bridge

ROOT = Path(nucleus_bridge.__file__).parent.parent
SHELLS = ("console", "sh", "bash")
_FENCE = re.compile(r" *```(\w*)")
_PORT = re.compile(r"(http://127\.0\.0\.1):(?:[0-9]+|PORT)")
_DATASET = re.compile(r"\bds_[a-z0-9]{8,}")
_SIZE = re.compile(r"[0-9]+\.[0-9](?= [kMG]B)")
_LEAST_SIZE_AGREEMENT = 0.03
"""Versions of OpenCV write JPEG images of slightly different sizes."""


@dataclass(frozen=True)
class Step:
    """A command of a document, with what it prints there."""

    line: int
    command: str
    output: tuple[str, ...] = ()
    end: int = 0
    """Number of the line before the output."""


@dataclass(frozen=True)
class Block:
    """A fenced block of commands; one that shows any output shows all of it."""

    page: str
    steps: tuple[Step, ...]

    @property
    def shows_output(self) -> bool:
        return any(step.output for step in self.steps)


def pages() -> list[str]:
    """The documents that may hold commands."""
    return sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def fenced(page: str) -> Iterator[tuple[str, int, list[str]]]:
    """The fenced blocks of a page: language, number of the first line, lines without their indentation."""
    language, start, lines, indent = "", 0, [], 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = _FENCE.fullmatch(line.rstrip())
        if fence and not start:
            language, start, lines, indent = fence[1], number + 1, [], len(line) - len(line.lstrip())
        elif fence:
            yield language, start, lines
            start = 0
        elif start:
            lines.append(line[indent:] if not line[:indent].strip() else line)
    assert not start, f"{page}:{start - 1}: the block has no end"


def blocks(page: str) -> list[Block]:
    """The blocks of commands of a page. In a console block commands begin with a dollar, in others each line is one."""
    found = []
    for language, start, lines in fenced(page):
        if language in SHELLS:
            found.append(Block(page, tuple(_steps(language, start, lines))))
    return found


def _steps(language: str, start: int, lines: list[str]) -> Iterator[Step]:
    numbered = iter(enumerate(lines, start))
    step: Step | None = None
    for number, line in numbered:
        if language == "console" and not line.startswith("$ "):
            assert step, f"line {number}: output without a command"
            step = replace(step, output=(*step.output, line.rstrip()))
            continue
        if step:
            yield step
        step = None
        command, end = line.removeprefix("$ ") if language == "console" else line, number
        while command.endswith("\\"):
            end, more = next(numbered)
            command = command[:-1] + more.strip()
        if command.strip():
            step = Step(number, command, end=end)
    if step:
        yield step


def renew(page: str, printed: Mapping[Step, list[str]]) -> None:
    """Write what commands printed in the place of what the page shows; what it abbreviates stays."""
    lines = (ROOT / page).read_text().splitlines()
    for step in sorted(printed, key=lambda step: step.line, reverse=True):
        if "..." not in (line.strip() for line in step.output):
            first = lines[step.line - 1]
            indent = " " * (len(first) - len(first.lstrip()))
            shown = [(indent + line).rstrip() for line in printed[step]]
            lines[step.end : step.end + len(step.output)] = shown
    (ROOT / page).write_text("\n".join(lines) + "\n")


def agree(shown: Iterable[str], printed: Iterable[str]) -> bool:
    """Whether what is shown was printed. ``...`` is any lines, or the rest of one; ports, ids and sizes vary."""
    shown, printed = list(shown), list(printed)
    for place, (one, other) in enumerate(zip_longest(shown, printed)):
        if one is not None and one.strip() == "...":
            rest = shown[place + 1 :]
            return any(agree(rest, printed[start:]) for start in range(place, len(printed) + 1))
        if not _same(one, other):
            return False
    return True


def _same(shown: str | None, printed: str | None) -> bool:
    if shown is None or printed is None:
        return False
    if shown.endswith(" ..."):  # the rest of the line is left out
        shown = shown.removesuffix("...")
        printed = printed[: len(shown)]
    forms = [_SIZE.sub("SIZE", _DATASET.sub("ds", _PORT.sub(r"\1:PORT", line.rstrip()))) for line in (shown, printed)]
    sizes = zip(_SIZE.findall(shown), _SIZE.findall(printed), strict=False)
    return forms[0] == forms[1] and all(
        abs(float(one) - float(other)) <= _LEAST_SIZE_AGREEMENT * float(other) for one, other in sizes
    )


@dataclass
class Shell:
    """A bash whose ``/data``, ``/tmp`` and ``s3://`` lie in a folder; its servers end with it."""

    folder: Path
    home: str = "tmp/here"
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = self.folder / self.home
        programs = self.folder / "bin"
        for made in (self.work, self.folder / "data", self.folder / "store", programs):
            made.mkdir(parents=True, exist_ok=True)
        program = programs / "nucleus-bridge"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nucleus_bridge "$@"\n')
        program.chmod(0o755)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("NUCLEUS_", "SCALE_", "AWS_"))
        }
        self._environment = {**kept, "PATH": path, "COLUMNS": "160", **self.environment}
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.work,
            env=self._environment,
        )
        self._servers: list[subprocess.Popen[str]] = []
        self._port = ""

    def __enter__(self) -> Shell:  # noqa: PYI034 - Self is newer than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in [*self._servers, self._bash]:
            process.terminate()
            process.communicate(timeout=60)

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command; return its status and all that it printed, with paths as the documents have them."""
        own = command.partition("  #")[0].strip() if "#" in command else command
        own = _PORT.sub(rf"\1:{self._port}", own) if self._port else own
        own = re.sub(r"(?<![\w.])/(data|tmp)\b", rf"{self.folder}/\1", own)
        own = own.replace("s3://", f"file://{self.folder}/store/")
        if own.startswith("nucleus-bridge serve"):
            return 0, [self._documented(self.serve(own.removesuffix("&")))]
        mark = secrets.token_hex(8)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{own}\nprintf '\\n%s %s\\n' {mark} $?\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(mark):
                break
            lines.append(self._documented(line.rstrip("\n")))
        else:
            raise AssertionError(f"the shell ended in: {own}\n" + "\n".join(lines))
        del lines[-1]  # the line break before the mark
        return int(line.split()[1]), lines

    def must(self, command: str) -> list[str]:
        """Run a command that makes what a page takes for granted."""
        status, printed = self.run(command)
        assert status == 0, f"{command} ended with {status}:\n" + "\n".join(printed)
        return printed

    def serve(self, command: str) -> str:
        """Start a receiver, as if in another terminal; return its address."""
        server = subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, text=True, cwd=self.work, env=self._environment
        )
        self._servers.append(server)
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:([0-9]+)/v1/nucleus", address)
        assert found, f"{command} printed {address!r}"
        self._port = found[1]
        return address

    def _documented(self, line: str) -> str:
        return line.replace(f"file://{self.folder}/store/", "s3://").replace(str(self.folder), "")
