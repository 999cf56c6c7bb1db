# SPDX-License-Identifier: Apache-2.0
"""Find words that came back too often and have a plainer or more correct one: ``python tools/words.py [FILE ...]``.

Reads the text files of the repository, or those that are given, and prints each place with what to write instead. The
exit status is 1 when there is any. A line that must hold such a word, as a test of this program does, ends with the
comment ``words: as is``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = {".css", ".html", ".js", ".md", ".py", ".rst", ".sh", ".sql", ".toml", ".xml", ".yaml", ".yml"}
NAMES = {"Containerfile", "Makefile"}
LEFT_OUT = ("test/vectors/", "test/corpus/", "tools/words.py")
ALLOWED = "words: as is"

COMPARED = (
    "better closer earlier farther faster fewer higher larger later less longer lower more older slower wider worse"
)
WORDS = {
    r"(?:told|tell|tells|telling) of": "report, describe, list; a callback is called with",
    r"heard of": "unknown",
    r"for ever": "forever, without end",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"processor time": "CPU time",
    r"holes?": "gap",
    r"so many-?th": "n-th",
    r"in vain": "without success",
    r"(?<!there )(?:is|are|was|were) no (?!(?:" + COMPARED.replace(" ", "|") + r")\b)": "is not a, are not",
    r"(?<!ROS )1 (?:scenes|frames|items|messages|recordings|sweeps|tasks|files)": "a number and its noun agree",
    r"an another": "another",
    r"informations": "information",
    r"(?:allows|allow) to": "lets, makes it possible to",
}
"""Expressions, and what to write instead."""

_FOUND = {
    re.compile(rf"(?<![\w-])(?:{word})(?:(?<=\s)|(?![\w-]))", re.IGNORECASE): better for word, better in WORDS.items()
}


def main(arguments: list[str]) -> int:
    """Print what is found; return the exit status."""
    paths = [Path(argument).resolve() for argument in arguments] or list(tracked())
    count = 0
    for path in paths:
        for number, word, better in findings(path.read_text(encoding="utf-8").splitlines()):
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{shown}:{number}: {word!r}: {better}")
            count += 1
    return 1 if count else 0


def tracked() -> Iterator[Path]:
    """Yield the text files of the repository; without git all that lie here."""
    asked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = asked.stdout.split("\n") if asked.returncode == 0 else _names()
    for name in sorted(filter(None, names)):
        path = ROOT / name
        if (path.suffix in KINDS or path.name in NAMES) and not name.startswith(LEFT_OUT) and path.is_file():
            yield path


def _names() -> Iterator[str]:
    for path in ROOT.rglob("*"):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith((".", "build/", "demo-output/")):
            yield name


def findings(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Yield number of the line, word and what to write instead."""
    for number, line in enumerate(lines, 1):
        if ALLOWED in line:
            continue
        for pattern, better in _FOUND.items():
            for found in pattern.finditer(line):
                yield number, found[0].strip(), better


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
