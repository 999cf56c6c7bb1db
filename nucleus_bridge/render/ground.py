# SPDX-License-Identifier: Apache-2.0
"""Which points are ground, found by Patchwork (H. Lim, M. Oh and H. Myung, RA-L 2021) in one sweep at a time.

Of the library's methods this is the one that remembers nothing from sweep to sweep and writes nothing to the terminal,
so that the result is a function of the sweep.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.config import Config, GroundConfig
from nucleus_bridge.errors import ConfigError
from nucleus_bridge.model import FloatArray, PosedSweep

LIBRARY = "pypatchworkpp"
_FEWEST_POINTS = 10


def require_library(config: Config) -> None:
    """Check that the library is there if it will be asked.

    Raises:
        ConfigError: It is not.
    """
    if config.segments_ground and find_spec(LIBRARY) is None:
        raise ConfigError(
            f"ground.method: {config.ground.method} needs {LIBRARY}, which is not installed; "
            "pip install 'nucleus-bridge[ground]'"
        )


def find_ground(xyz: FloatArray, posed: PosedSweep, rules: GroundConfig) -> NDArray[np.bool_]:
    """Return which points of a sweep are ground.

    Args:
        xyz: Shape (n, 3), in the device frame, metres; z points up.
        posed: The sweep, whose mounting tells how high above the device frame the lidar is.
        rules: Says how high above the ground the device frame is.
    """
    is_ground = np.zeros(len(xyz), np.bool_)
    if posed.device_from_lidar is None:
        raise TypeError(posed.lidar)
    if len(xyz) < _FEWEST_POINTS:
        return is_ground
    mounting = posed.device_from_lidar.translation
    import pypatchworkpp  # noqa: PLC0415 - an extra

    parameters: Any = pypatchworkpp.PatchworkParams()
    parameters.sensor_height = float(mounting[2]) + rules.device_height_m
    segmentation = pypatchworkpp.patchwork(parameters)
    segmentation.estimateGround(np.ascontiguousarray(xyz - mounting, np.float32))
    is_ground[np.asarray(segmentation.getGroundIndices(), np.intp)] = True
    return is_ground
