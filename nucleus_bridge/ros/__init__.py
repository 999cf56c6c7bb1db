# SPDX-License-Identifier: Apache-2.0
"""The live side: the only place that needs ROS 2, and importing this package alone does not."""
