# SPDX-License-Identifier: Apache-2.0
"""``--help`` is enough to use a command: every option says what it does, and the examples are right."""

from __future__ import annotations

import argparse
import re
import shlex

import pytest

from nucleus_bridge.cli.main import COMMANDS, FIRST_STEPS, build_parser


def commands() -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    actions = commands()[name]._actions
    assert [action.option_strings or action.dest for action in actions if not action.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_takes(name: str) -> None:
    parser = build_parser()
    examples = re.findall(r"nucleus-bridge ([^;]+)", commands()[name].epilog or "")
    assert examples
    for example in examples:
        assert parser.parse_args(shlex.split(example)).run.__module__ == f"nucleus_bridge.cli.{name.replace('-', '_')}"


def test_the_first_steps_are_commands_that_there_are() -> None:
    parser = build_parser()
    lines = [line.strip() for line in FIRST_STEPS.splitlines() if line.startswith("  nucleus-bridge")]
    used = [shlex.split(re.split(r"\s{3,}", line)[0])[1:] for line in lines]
    assert [arguments[0] for arguments in used] == ["inspect", "init", "convert", "preview"]
    for arguments in used:
        parser.parse_args(arguments)
    assert FIRST_STEPS in parser.format_help()
