# SPDX-License-Identifier: Apache-2.0
"""What writing labels came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Written:
    """What a writer wrote.

    Attributes:
        labels: How many.
        left_out: Scenes whose labels were not written, and why.
        notes: What else a person should know.
    """

    labels: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, scene: str, why: str, labels: int) -> None:
        """Note a scene that was not written."""
        self.left_out[scene] = f"{scene}: its {labels} labels are not written: {why}"
