# SPDX-License-Identifier: Apache-2.0
"""A cloud thinned by a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucleus_bridge.model import FloatArray


def first_in_voxels(xyz: FloatArray, voxel_m: float) -> NDArray[np.intp]:
    """Return the index of the first point in each cube of a grid through the origin, ascending.

    Args:
        xyz: Shape (n, 3), metres.
        voxel_m: Length of a cube's edge.
    """
    cells = np.floor(xyz / voxel_m).astype(np.int64)
    order = np.lexsort((cells[:, 2], cells[:, 1], cells[:, 0]))  # stable: the first point of a cell stays first
    ordered = cells[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[begins])
