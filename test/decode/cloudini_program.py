# SPDX-License-Identifier: Apache-2.0
"""Run in an environment that has ``pureini``: another encoder of Cloudini's format.

``cloudini_program.py LAYOUT.json POINTS OUT`` writes the points, packed as the layout says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pureini


def main(layout: str, points: str, out: str) -> None:
    """Encode a file of points."""
    wanted = json.loads(Path(layout).read_text())
    fields = [
        pureini.PointField(
            name=field["name"],
            offset=field["offset"],
            type=getattr(pureini.FieldType, field["type"]),
            resolution=field["resolution"],
        )
        for field in wanted["fields"]
    ]
    info = pureini.EncodingInfo(
        width=wanted["width"],
        height=1,
        point_step=wanted["point_step"],
        fields=fields,
        encoding_opt=getattr(pureini.EncodingOptions, wanted["encoding"]),
        compression_opt=getattr(pureini.CompressionOption, wanted["compression"]),
        version=wanted["version"],
    )
    Path(out).write_bytes(bytes(pureini.PointcloudEncoder(info).encode(Path(points).read_bytes())))


if __name__ == "__main__":
    main(*sys.argv[1:])
