# SPDX-License-Identifier: Apache-2.0
"""Words for a person: foreign text made fit for any terminal, and numbers of things."""

from __future__ import annotations

_LONGEST_NAME = 200


def counted(number: int, thing: str, things: str = "") -> str:
    """Return a number of things as English has it.

    >>> counted(1, "scene"), counted(2, "scene"), counted(0, "match", "matches")
    ('1 scene', '2 scenes', '0 matches')
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def why_not(error: Exception) -> str:
    """Return why a file cannot be used, without its name: whoever raises names it.

    >>> import errno, os
    >>> why_not(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "drive.jsonl"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error)


def printable(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return foreign text so that it can go to any terminal: escaped and cut to a reasonable length."""
    if len(text) > longest:
        text = text[:longest] + "..."
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def printable_lines(text: str) -> str:
    """Return foreign text of several lines so that it can go to any terminal: escaped, each line as a whole."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))
