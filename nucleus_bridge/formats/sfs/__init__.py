# SPDX-License-Identifier: Apache-2.0
"""Scale's sensor-fusion scene file, ``.sfs``: one file a scene."""
