# SPDX-License-Identifier: Apache-2.0
"""Tells a fault of the whole from a fault of each scene: failures wait here until it is clear whose they are.

A bucket that the service cannot read, or a template that it refuses, fails every scene in the same way; nothing is
wrong with the scenes then. As long as no scene has succeeded since, failures are held. A few equal ones stop the run;
one success shows that the others are the scenes' own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from nucleus_bridge.errors import BridgeError
from nucleus_bridge.spool.state import SceneState, StateRecord

EQUAL_FAILURES = 3
_NUMBER = re.compile(r"\b(?:job|task|scn|ds)_\w+|[0-9a-f]*\d[0-9a-f]*")

Settle = Callable[[StateRecord, SceneState, str], None]


@dataclass(frozen=True)
class _Failure:
    record: StateRecord
    state: SceneState
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what belongs to this scene alone."""
        name = re.compile(rf"{re.escape(self.record.reference_id)}[\w.-]*")
        return _NUMBER.sub("#", name.sub("*", self.reason))


class Doubt:
    """Holds failures; ``settle`` is called with those that turn out to be their scenes' own.

    Args:
        settle: Gives a scene the state that its failure asks for.
        blame: Makes the error that stops the run, from the number of equal failures and the last reason.
    """

    def __init__(self, settle: Settle, blame: Callable[[int, str], BridgeError]) -> None:
        self._settle = settle
        self._blame = blame
        self._held: list[_Failure] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, record: StateRecord, state: SceneState, reason: str) -> None:
        """Hold a failure that would leave its scene in a state.

        Raises:
            BridgeError: It is the fault of the whole.
        """
        self._held.append(_Failure(record, state, reason))
        self._check(EQUAL_FAILURES)

    def clear(self) -> None:
        """Settle what is held, since a scene has succeeded."""
        held, self._held = self._held, []
        for failure in held:
            self._settle(failure.record, failure.state, failure.reason)

    def close(self) -> None:
        """Settle what is held, since no other scene comes that could tell.

        Raises:
            BridgeError: Several scenes would have to be set aside for one and the same reason.
        """
        if len(self._held) > 1 and all(failure.state is SceneState.QUARANTINED for failure in self._held):
            self._check(len(self._held))
        self.clear()

    def _check(self, enough: int) -> None:
        kind, count = Counter(failure.kind for failure in self._held).most_common(1)[0]
        if count >= enough:
            last = next(failure for failure in reversed(self._held) if failure.kind == kind)
            raise self._blame(count, last.reason)
