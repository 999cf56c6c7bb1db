# SPDX-License-Identifier: Apache-2.0
"""What every fuzzed target is, and what counts as a failure: any exception but its documented ones, a hang, or memory.

Who runs it (the suite with a seed, hypothesis, atheris) only decides where the bytes come from.
"""

from __future__ import annotations

import atexit
import random
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType

from mutation import mutate

CORPUS = Path(__file__).parent.parent / "corpus"
HANG_S = 60.0
MEMORY_BYTES = 1 << 30
LONGEST_TEXT = 100_000


class Hang(BaseException):
    """One case took far too long."""


class MemoryLimitError(Exception):
    """The memory was not there that the target asked for, although it refused the case politely."""


@dataclass
class Target:
    """One way for bytes from outside into the package.

    Attributes:
        name: Of the target and of its folder in the corpus.
        use: Takes the bytes the way users do and checks what comes of them.
        make_seeds: Gives good input.
        refusals: The documented exceptions; bad input ends in one of them or in something usable.
        tokens: Words that mean something in this kind of input.
        cases: How many mutated cases the suite runs.
    """

    name: str
    use: Callable[[bytes], object]
    make_seeds: Callable[[], Sequence[bytes]]
    refusals: tuple[type[Exception], ...]
    tokens: Sequence[bytes] = ()
    cases: int = 10_000
    refused: int = field(default=0, init=False)

    @cached_property
    def seeds(self) -> list[bytes]:
        return list(self.make_seeds())

    def run(self, data: bytes) -> None:
        """Use the bytes; whatever is wrong with them, this returns."""
        self.refused += is_refused(lambda: self.use(data), self.refusals)

    def found(self) -> Iterator[Path]:
        """Yield the cases that were failures once."""
        yield from sorted((CORPUS / self.name).glob("*"))

    def mutated(self, seed: int, cases: int) -> Iterator[bytes]:
        chance = random.Random(f"{self.name} {seed}")
        for number in range(cases):
            yield mutate(self.seeds[number % len(self.seeds)], self.seeds, self.tokens, chance)


def is_refused(use: Callable[[], object], refusals: tuple[type[Exception], ...]) -> bool:
    """Tell whether it ends in a refusal, which must be short and must not hide that memory ran out."""
    try:
        use()
    except refusals as refusal:
        if any(isinstance(cause, MemoryError) or "nsufficient memory" in str(cause) for cause in _causes(refusal)):
            raise MemoryLimitError(str(refusal)) from refusal
        if len(str(refusal)) > LONGEST_TEXT:
            raise AssertionError(f"a text of {len(str(refusal))} characters") from refusal
        return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def no_hang(seconds: float = HANG_S) -> Iterator[None]:
    """End what runs far too long; works in the main thread."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def scratch_folder(prefix: str) -> Path:
    """Make a folder that goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Memory:
    """Bounds what this process takes from here on: ``check`` complains above the limit, the system far above it.

    A library may catch that memory is refused and go on, so that the limit of the system alone would not tell.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_bytes
        self._most = _status_bytes("VmHWM") + limit_bytes
        ceiling = _status_bytes("VmSize") + 4 * limit_bytes
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))

    def check(self) -> None:
        """Complain once each time that the peak has grown by the limit."""
        peak = _status_bytes("VmHWM")
        if peak > self._most:
            grown, self._most = peak - self._most + self._limit, peak + self._limit
            raise MemoryLimitError(f"{grown} bytes were taken")


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
