# SPDX-License-Identifier: Apache-2.0
"""A suggested configuration as a commented parameter file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import yaml

from nucleus_bridge.inspect.report import BagReport
from nucleus_bridge.inspect.suggest import Suggestion

_WIDTH = 110


def config_text(report: BagReport, suggestion: Suggestion) -> str:
    """Write the parameter file; what is missing for a full scene stands loudly at its top."""
    lines = [f"# Made by `nucleus-bridge init` for {_plain(report.path)}; every choice says why."]
    if not report.whole:
        lines += _comment(f"From its first {report.read_s:.1f} s of {report.duration_s:.1f} s.", "")
    for text in suggestion.missing:
        lines += ["#", *_comment(f"MISSING: {text}", "")]
    for warning in (*report.warnings, *(f"{s.topic}: {w}" for s in report.sensors if s.name for w in s.warnings)):
        lines += ["#", *_comment(f"CHECK: {warning}", "")]
    lines += ["/**:", "  ros__parameters:"]
    lines += _section(_nested(suggestion.values), suggestion.reasons, "", "    ")
    text = "\n".join(lines) + "\n"
    yaml.safe_load(text)
    return text


def _nested(values: Mapping[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})  # type: ignore[assignment]
        branch[last] = value
    return tree


def _section(tree: Mapping[str, object], reasons: Mapping[str, list[str]], prefix: str, lead: str) -> Iterator[str]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield f"{lead}{_scalar(key)}:"
            yield from _section(value, reasons, f"{name}.", f"{lead}  ")
            continue
        for reason in reasons.get(name, []):
            yield from _comment(reason, lead)
        yield f"{lead}{_scalar(key)}: {_scalar(value)}"


def _scalar(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=False)
    return text.strip().removesuffix("...").strip()


def _comment(text: str, lead: str) -> list[str]:
    return [f"{lead}# {line}" for line in textwrap.wrap(_plain(text), _WIDTH - len(lead), break_long_words=False)]


def _plain(text: str) -> str:
    """Keep what a recording says from ending a comment line."""
    return "".join(character if character.isprintable() else "?" for character in text)
