# SPDX-License-Identifier: Apache-2.0
"""Run the tests of the service's own Python client, as they are, against the local receiver.

::

    git clone https://github.com/scaleapi/nucleus-python-client CHECKOUT
    python test/real_client_suite.py CHECKOUT [--all | --only FILE]

Nothing in the checkout is changed, and nothing of it is part of this project. What its tests' URLs point to is not on
this machine: clouds, images and masks of our own stand in their place. By default those files of tests run that concern
3D scenes, datasets, jobs and what is on them; ``--all`` runs every one. Tests that are left out are listed with the
reason, and the last lines are a table. The exit status is 1 when a test failed that was to pass.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from nucleus_bridge.testing.receiver import JobPace, Receiver

VIDEO = "video scenes, which the receiver does not take"
FILES = "local files sent as multipart forms, which the receiver does not take"
ACCOUNT = "needs what one account of the service's holds"
INDEX = "image search and embeddings, which have no place in a stand-in for lidar scenes"

FILES_OF_TESTS = {
    "test_scene.py": "",
    "test_jobs.py": "",
    "test_dataset.py": "",
    "test_annotation.py": "",
    "test_prediction.py": "",
    "test_models.py": "",
    "test_segmentation.py": "",
    "test_taxonomy.py": "",
    "test_track.py": "",
    "test_upload_response.py": "",
    "test_utils.py": "",
    "test_video_scene.py": VIDEO,
    "test_slice.py": "slices, which the receiver does not have",
    "test_autotag.py": INDEX,
    "test_autocurate.py": INDEX,
    "test_indexing.py": INDEX,
    "test_deduplication.py": INDEX,
    "test_local_deduplication.py": "no call of the service",
    "test_evaluation_v2.py": "evaluations, which the receiver does not make",
    "test_public_datasets.py": ACCOUNT,
    "test_test_launch_integration.py": "another service",
}
"""Files of tests, and why one is left out unless ``--all`` is given."""

LEFT_OUT = {
    "test_dataset_update_metadata_local": FILES,
    "test_dataset_append_local": FILES,
    "test_create_update_dataset_from_dir": FILES,
    "test_dataset_get_image_indexing_status": ACCOUNT,
    "test_dataset_get_object_indexing_status": ACCOUNT,
    "test_query": ACCOUNT,
    "test_dataset_slices": "slices, which the receiver does not have",
    "test_scene_category_gt_upload": VIDEO,
    "test_scene_category_pred_upload": VIDEO,
    "test_single_local_semseg_gt_upload": FILES,
    "test_batch_local_semseg_gt_upload": FILES,
    "test_segmentation_pred_upload_local": FILES,
}
"""Tests that are left out of the files that run, and why."""

POINT = {"x": 1.5, "y": -2.0, "z": 0.25, "i": 0.5}


def stand_in(url: str) -> bytes:
    """Return content of the kind that a URL of the client's tests names.

    Raises:
        FileNotFoundError: The URL is meant to lead nowhere.
    """
    name = url.partition("?")[0]
    if name.endswith(".json"):
        return json.dumps({"points": [POINT, {**POINT, "x": 2.5}]}).encode()
    if name.endswith((".jpg", ".jpeg")):
        return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(64)
    if name.endswith(".png"):
        return png()
    raise FileNotFoundError(name)


def png() -> bytes:
    """Return a grey picture of one pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\x00\x02")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def environment_for(receiver: Receiver, checkout: Path) -> dict[str, str]:
    """Return the variables under which the client's tests talk to the receiver, and to nothing else."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    for name in ("NUCLEUS_API_KEY", "NUCLEUS_LIMITED_ACCESS_KEY", "NUCLEUS_PYTEST_LIMITED_ACCESS_KEY", "S3_ENDPOINT"):
        kept.pop(name, None)
    endpoint = {"NUCLEUS_ENDPOINT": receiver.url, "NUCLEUS_PYTEST_API_KEY": "test_key"}
    return {**kept, **endpoint, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}


def run_file(python: str, checkout: Path, name: str, variables: Mapping[str, str]) -> Counter[str]:
    """Run one file of tests and return how many ended how."""
    deselected = [f"--deselect=tests/{name}::{test}" for test in LEFT_OUT]
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rfEs", f"tests/{name}", *deselected]
    finished = subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False)
    say(finished.stdout + finished.stderr)
    last = finished.stdout.strip().rpartition("\n")[2]
    found = re.findall(r"(\d+) (passed|failed|errors?|skipped|deselected)", last)
    counts = Counter({what.rstrip("s") if what.startswith("error") else what: int(count) for count, what in found})
    if finished.returncode not in (0, 1, 5):
        counts["error"] += 1
    return counts


def say(text: str) -> None:
    """Print what a person reads."""
    print(text, flush=True)  # noqa: T201 - this is a program


def main() -> int:
    """Run the files and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="checkout of the client's repository")
    parser.add_argument("--all", action="store_true", help="run the files that are left out, too")
    parser.add_argument(
        "--python",
        default=os.environ.get("NUCLEUS_BRIDGE_CLIENT_PYTHON", sys.executable),
        help="interpreter that has the client's requirements and pytest (default: NUCLEUS_BRIDGE_CLIENT_PYTHON)",
    )
    parser.add_argument("--only", metavar="FILE", help="run this file of tests alone, such as test_scene.py")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    if not (checkout / "tests/test_scene.py").is_file():
        parser.error(f"{checkout} is not a checkout of the client's repository: tests/test_scene.py is not there")
    usual = [name for name, reason in FILES_OF_TESTS.items() if options.all or not reason]
    chosen = [options.only] if options.only else usual
    results = {}
    with tempfile.TemporaryDirectory(prefix="real-client-suite-") as folder:
        web = {"http": stand_in, "https": stand_in}
        with Receiver(folder, resolvers=web, pace=JobPace(running_polls=0)) as receiver:
            variables = environment_for(receiver, checkout)
            for name in chosen:
                results[name] = run_file(options.python, checkout, name, variables)
    for test, reason in LEFT_OUT.items():
        say(f"left out  {test}: {reason}")
    for name, reason in FILES_OF_TESTS.items():
        if reason and name not in results:
            say(f"left out  {name}: {reason}")
    columns = ("passed", "failed", "error", "skipped", "deselected")
    say(f"\n{'file':28}" + "".join(f"{column:>11}" for column in columns))
    for name, counts in results.items():
        say(f"{name:28}" + "".join(f"{counts[column]:11}" for column in columns))
    total = sum(results.values(), Counter[str]())
    say(f"{'in all':28}" + "".join(f"{total[column]:11}" for column in columns))
    return 1 if total["failed"] or total["error"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
