# SPDX-License-Identifier: Apache-2.0
"""The name that ``nucleus_bridge.testing.demo`` had in 0.1, for programs that still import from it."""

from nucleus_bridge.testing.demo import *  # noqa: F403
from nucleus_bridge.testing.demo import __all__  # noqa: F401
