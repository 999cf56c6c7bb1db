# SPDX-License-Identifier: Apache-2.0
"""``nucleus-bridge serve``: the local receiver."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nucleus_bridge.errors import InputError, SceneError
from nucleus_bridge.preview.received import received_page
from nucleus_bridge.testing.receiver import (
    FAULT_NAMES,
    Receiver,
    Resolver,
    SceneRules,
    object_store_resolver,
    parse_fault,
    parse_job_end,
    resolvers_from_mappings,
)


def add_parser(commands: Any) -> argparse.ArgumentParser:  # noqa: ANN401 - argparse keeps its type private
    """Add the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="run the local receiver, a Nucleus-compatible server on this machine",
        description="Run a Nucleus-compatible HTTP server on 127.0.0.1 that keeps what it is sent in DIR. "
        "Prints its URL, for NUCLEUS_ENDPOINT. Any API key is taken. A task is completed by a file "
        "DIR/responses/<task id>/annotations.json (or .sfs, or point_segmentations.json).",
        epilog="example: nucleus-bridge serve /tmp/receiver --store file:///tmp/objects",
    )
    parser.add_argument("dir", metavar="DIR", type=Path, help="folder to keep everything in")
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1; 0 is any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        action="append",
        default=[],
        help="the object store that uploads use, so that items can be read: file:///folder, s3 or gs, or "
        "s3+http://host:port for an S3-compatible one (repeatable)",
    )
    parser.add_argument(
        "--map",
        metavar="PREFIX=FOLDER",
        action="append",
        default=[],
        help="read items below a URL prefix from a folder, such as s3://bucket=/some/folder (repeatable)",
    )
    parser.add_argument(
        "--fault",
        metavar="NAME=RATE",
        action="append",
        default=[],
        help=f"spoil a share of the requests (repeatable); NAME: {', '.join(FAULT_NAMES)}",
    )
    parser.add_argument(
        "--job-end",
        metavar="STATUS[=SHARE]",
        action="append",
        default=[],
        help="make the next job end as the service can end it, such as Cancelled, Errored_Hanging or "
        "Errored_Partial=0.5 (half of its work is done before); Queued and Running never end (repeatable, a job each)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse what the service takes and a writer hardly means: headings that are not of unit length, clouds "
        "without the device's pose, i on some points only, whole numbers written as floats",
    )
    parser.add_argument(
        "--secure-results",
        action="store_true",
        help="give out URLs of tasks' results that need the key, as accounts can",
    )
    parser.add_argument("--seed", type=int, default=0, help="which requests have the faults (default: %(default)s)")
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    resolvers = _resolvers(options.store, options.map)
    receiver = Receiver(
        options.dir,
        options.port,
        faults=[parse_fault(text) for text in options.fault],
        seed=options.seed,
        resolvers=resolvers,
        rules=SceneRules(extra_url_schemes=("file",), strict=options.strict),
        job_ends=[parse_job_end(text) for text in options.job_end],
        secure_results=options.secure_results,
        review_page=lambda payload: received_page(payload, partial(_read, resolvers)),
    ).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{receiver.url}", flush=True)
    try:
        receiver.serve_forever()
    except KeyboardInterrupt:
        receiver.stop()
    return 0


def _read(resolvers: Mapping[str, Resolver], url: str) -> bytes:
    resolver = resolvers.get(urlsplit(url).scheme)
    if resolver is None:
        raise SceneError(f"{url}: there is no --store or --map to read it from")
    content = resolver(url)
    return content if isinstance(content, bytes) else b"".join(content)


def _resolvers(stores: list[str], mappings: list[str]) -> dict[str, Resolver]:
    folders = list(mappings)
    found: dict[str, Resolver] = {}
    for text in stores:
        parts = urlsplit(text)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            folder.mkdir(parents=True, exist_ok=True)
            folders.append(f"file://{parts.path.rstrip('/')}={folder}")
        elif parts.scheme in ("s3+http", "s3+https"):
            found["s3"] = object_store_resolver(text.removeprefix("s3+"))
        elif text.partition(":")[0] in ("s3", "gs"):
            found[text.partition(":")[0]] = object_store_resolver()
        else:
            raise InputError(f"--store {text!r}: must be file:///folder, s3, gs or s3+http://host:port")
    return {**found, **resolvers_from_mappings(folders)}
