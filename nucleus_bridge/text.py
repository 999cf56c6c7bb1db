# SPDX-License-Identifier: Apache-2.0
"""Foreign text made fit for any terminal."""

from __future__ import annotations

_LONGEST_NAME = 200


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
