# SPDX-License-Identifier: Apache-2.0
"""Whether cameras fit the clouds: edges of images against edges of clouds, and how sure that is."""
