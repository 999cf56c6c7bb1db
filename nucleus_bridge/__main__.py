# SPDX-License-Identifier: Apache-2.0
"""``python -m nucleus_bridge`` is ``nucleus-bridge``."""

from __future__ import annotations

import sys

from nucleus_bridge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
