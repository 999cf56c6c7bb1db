# SPDX-License-Identifier: Apache-2.0
"""The version of the package, and how manifests name the software."""

__version__ = "0.1.0"
SOFTWARE = f"nucleus_bridge {__version__}"
