# SPDX-License-Identifier: Apache-2.0
"""What the service holds of the scenes of a spool, as far as a comparison has to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nucleus_bridge.formats.interface import UploadKind
from nucleus_bridge.spool.manifest import FileRecord
from nucleus_bridge.spool.state import SceneState, StateRecord


@dataclass(frozen=True)
class Difference:
    """What the service and the spool say differently of a scene.

    Attributes:
        kind: What it is, in two words.
        text: What differs, and what to do about it.
        state: The state that is true, if setting it repairs anything.
        changes: What belongs to that state.
        remains: Whether the destination stays as it is when the state is set.
    """

    kind: str
    text: str
    state: SceneState | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    remains: bool = False


class Holdings(Protocol):
    """The service's side.

    Attributes:
        kind: What scenes become; those of formats for something else are not compared.
        name: What holds the scenes, for messages.
    """

    kind: UploadKind
    name: str

    def look(self) -> None:
        """Look at all of it once, before the scenes are compared."""
        ...

    def expected(self, files: Iterable[FileRecord], sizes: Mapping[str, int]) -> dict[str, FileRecord]:
        """Return what the object store should hold of a scene, by path.

        Args:
            files: The files of its manifest.
            sizes: Path and size of what the store holds of it.
        """
        ...

    def compare(self, record: StateRecord, folder: Path) -> Difference | None:
        """Compare what is held of a scene with its state and, if that is there still, its folder."""
        ...

    def holds(self, reference_id: str) -> bool:
        """Whether something is held of a scene that the spool does not have."""
        ...
