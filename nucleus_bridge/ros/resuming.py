# SPDX-License-Identifier: Apache-2.0
"""What a recorder that connects to the graph anew takes along from the connection before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nucleus_bridge.ros.healing import Healed
from nucleus_bridge.ros.leaving import resumed
from nucleus_bridge.ros.session import Progress


@dataclass(frozen=True)
class Resumed:
    """What was so far.

    Attributes:
        healed: Of the connections.
        progress: What they made: frames, scenes and losses.
        received: Messages taken, by topic.
        parameters: What was set while the node ran.
        is_paused: Whether the recording is paused.
        is_there: Whether there was a connection before this one.
    """

    healed: Healed = field(default_factory=Healed)
    progress: Progress = field(default_factory=Progress)
    received: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    is_paused: bool = False
    is_there: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return it for :func:`nucleus_bridge.ros.leaving.start_anew`."""
        return {
            "healed": self.healed.as_json(),
            "frames": self.progress.frames,
            "scenes": self.progress.scenes,
            "losses": self.progress.losses,
            "received": self.received,
            "parameters": self.parameters,
            "is_paused": self.is_paused,
        }

    @classmethod
    def read(cls) -> Resumed:
        """Take what there is from the connection before; nothing at a first start."""
        given = resumed()
        if not given:
            return cls(is_there=False)
        progress = Progress(given["frames"], given["scenes"], losses=given["losses"])
        healed = Healed.from_json(given["healed"])
        return cls(healed, progress, given["received"], given["parameters"], given["is_paused"])
