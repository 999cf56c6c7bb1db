# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge convert`` for archives: many recordings, chunks, object stores and clusters."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

from nucleus_bridge.archive.executors import Workplace, dask_cluster, local_processes
from nucleus_bridge.archive.find import Found, local_path
from nucleus_bridge.archive.output import open_output
from nucleus_bridge.archive.result import FAILED, BagResult
from nucleus_bridge.archive.run import convert_archive
from nucleus_bridge.archive.work import Settings
from nucleus_bridge.cli.convert_report import finish, print_error, print_scenes
from nucleus_bridge.cli.progress import progress_bar
from nucleus_bridge.config import Config
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.text import counted


def convert_many(options: argparse.Namespace, config: Config, found: Found) -> int:
    """Convert what was found; return the exit status."""
    if options.force and local_path(options.output) is None:
        raise ConfigError(f"--force: objects in {options.output} are never overwritten; choose another prefix")
    if options.scratch is not None and not options.scratch.is_dir():
        raise ConfigError(f"--scratch {options.scratch}: no such folder")
    settings = Settings(
        config,
        _output(options),
        force=options.force,
        verify_images=options.verify_images,
        chunk_ns=round(options.chunk * 60e9),
        scratch=options.scratch.resolve() if options.scratch else None,
        scratch_bytes=options.scratch_limit,
    )
    results = [
        BagResult(argument, FAILED, error=f"{argument}: {reason}", is_input_error=True)
        for argument, reason in found.problems
    ]
    for result in results:
        print_error(result)
    total = len(found.bags) + len(results)
    with _workplace(options) as workplace, progress_bar(counted(total, "recording")) as bar:
        for result in convert_archive(found.bags, settings, open_output(settings.output), workplace):
            results.append(result)
            bar(len(results) / total)
            if not options.json:
                print_scenes(result)
            print_error(result)
    return finish(sorted(results, key=_bag), options, table=True)


def _workplace(options: argparse.Namespace) -> AbstractContextManager[Workplace]:
    return dask_cluster(options.cluster) if options.cluster else nullcontext(local_processes(options.workers))


def _output(options: argparse.Namespace) -> str:
    """Return the output as every worker may use it."""
    folder = local_path(options.output)
    return str(options.output) if folder is None else str(folder.resolve())


def _bag(result: BagResult) -> str:
    return result.bag
