# SPDX-License-Identifier: Apache-2.0
"""Archives of many recordings: found in folders and object stores, converted by many processes, catalogued."""
