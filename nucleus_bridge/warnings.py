# SPDX-License-Identifier: Apache-2.0
"""Every warning: its code, its text with figures, and the configuration line or command that remedies it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Weight(Enum):
    """What a warning means for the scenes."""

    NOTE = "note"  # a matter of taste, or already remedied
    LOSS = "loss"  # something is missing
    METRES = "metres"  # what comes out may be wrong by metres, or is not what it seems


@dataclass(frozen=True)
class Finding:
    """One warning about a recording, a scene or a live graph.

    Attributes:
        code: Fixed; scripts and pages go by it.
        subject: The kind of thing it is about: ``topic``, ``frame`` or ``sensor``.
        name: Its name.
        text: What contradicts what, with figures in human units.
        remedy: A configuration line or a command.
        weight: What it means for the scenes.
    """

    code: str
    subject: str
    name: str
    text: str
    remedy: str
    weight: Weight = Weight.METRES

    def as_json(self) -> dict[str, str]:
        """Return it as ``--json`` and manifests have it."""
        return {"code": self.code, self.subject: self.name, "text": self.text, "remedy": self.remedy}

    def __str__(self) -> str:
        """Return it as a terminal shows it."""
        return f"warning: {self.text} [{self.code}] ({self.remedy})"
