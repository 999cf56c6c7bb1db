# SPDX-License-Identifier: Apache-2.0
"""Give a local receiver the true boxes of a demo drive as labels of the scenes that were uploaded to it.

::

    python tools/label_demo.py DRIVE.truth.json SPOOL [--dataset NAME] [--tasks DIR]

Annotations go to ``NUCLEUS_ENDPOINT`` with ``NUCLEUS_API_KEY`` in the service's conventions; tasks are completed in the
receiver's folder. A second run changes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import requests

from nucleus_bridge.errors import InputError
from nucleus_bridge.testing.receiver.ground_truth import annotate_spool, boxes_of_drive, finish_tasks


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, help="the drive's .truth.json")
    parser.add_argument("spool", type=Path, help="the spool that was uploaded")
    parser.add_argument("--dataset", help="annotate the clouds of this dataset")
    parser.add_argument("--tasks", metavar="DIR", type=Path, help="complete the tasks in this folder of a receiver")
    parser.add_argument("--range", type=float, default=60.0, help="metres from the device's way (default: %(default)s)")
    options = parser.parse_args()
    try:
        boxes = boxes_of_drive(json.loads(options.truth.read_bytes()), options.range)
        if options.dataset:
            endpoint, key = os.environ.get("NUCLEUS_ENDPOINT", ""), os.environ.get("NUCLEUS_API_KEY", "")
            held = annotate_spool(endpoint, key, options.dataset, options.spool, boxes)
            print(f"{held} annotations of {len(boxes)} objects")
        if options.tasks:
            finished = finish_tasks(options.tasks, options.spool, boxes)
            print(f"{finished} {'task' if finished == 1 else 'tasks'} completed")
    except (InputError, OSError, ValueError, requests.RequestException) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
