# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target: ``python test/fuzz/run.py TARGET --runs 10000``, or guided by coverage with ``--atheris``.

A case that fails is written to ``--keep FOLDER``; once its cause is fixed it belongs in ``test/corpus/TARGET``.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE),
    *(str(HERE.parent / room) for room in ("", "recordings", "decode", "formats", "testing/receiver")),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=0, help="cases; 0: as many as the suite runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="folder for cases that fail")
    parser.add_argument("--memory-mb", type=int, default=1024, help="memory that the cases may take")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="let atheris choose the cases for so long")
    options = parser.parse_args()
    warnings.simplefilter("error", RuntimeWarning)  # of numpy: NaN where none was thought of
    if options.atheris:
        return guided(options)
    from harness import Memory, no_hang
    from targets import TARGETS

    target = TARGETS[options.target]
    for seed in target.seeds:
        target.run(seed)
    memory = Memory(options.memory_mb << 20)
    failures: set[str] = set()
    runs = options.runs or target.cases
    cases = [path.read_bytes() for path in target.found()]
    for cases_of in (cases, target.mutated(options.seed, runs)):
        for data in cases_of:
            try:
                with no_hang():
                    target.run(data)
                memory.check()
            except BaseException as error:
                keep(options, data, error, failures)
                if isinstance(error, KeyboardInterrupt):
                    raise
    print(f"{target.name}: {runs} cases and {len(cases)} found before, {target.refused} refused, {len(failures)} kinds")
    return 1 if failures else 0


def keep(options: argparse.Namespace, data: bytes, error: BaseException, failures: set[str]) -> None:
    """Write a failing case down, the first of its kind only."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    kind = f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"
    if kind in failures:
        return
    failures.add(kind)
    folder = options.keep / options.target
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    traceback.print_exception(error)
    print(f"{kind}: {path}", file=sys.stderr)


def guided(options: argparse.Namespace) -> int:
    """Run atheris, which looks for cases that reach new code; it ends with the first failure."""
    import atheris

    with atheris.instrument_imports(include=["nucleus_bridge"]):
        pass
    from targets import TARGETS

    target = TARGETS[options.target]
    corpus = options.keep / f"{target.name}.corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in (*target.seeds, *(path.read_bytes() for path in target.found())):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    arguments = [sys.argv[0], f"-max_total_time={options.atheris}", f"-artifact_prefix={options.keep}/{target.name}-"]
    arguments += ["-timeout=60", "-max_len=65536", f"-rss_limit_mb={options.memory_mb + 1024}", str(corpus)]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
