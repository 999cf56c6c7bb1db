# SPDX-License-Identifier: Apache-2.0
"""JSON and YAML are read strictly by one reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nucleus_bridge.errors import TextError
from nucleus_bridge.strict_text import parse_json, parse_yaml, read_text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "a": 2}', "key 'a' is given twice"),
        ('{"a": [{"b": 1, "b": 1}]}', "key 'b' is given twice"),
        ('{"a": NaN}', "holds NaN, which is not JSON"),
        ("[-Infinity]", "holds -Infinity, which is not JSON"),
        ("{", "is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        ("", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("1" * 5_000, "is not JSON"),
        (b"\xff", "is not UTF-8: invalid start byte at byte 0"),
    ],
)
def test_what_is_wrong_with_json_is_told_in_a_line(text: str | bytes, told: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_json(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_is_what_the_standard_library_makes_of_it() -> None:
    text = json.dumps({"a": [1, 2.5, -1e300, None, True, "é"], "b": {"c": {}}})
    assert parse_json(text) == parse_json(text.encode()) == json.loads(text)


def test_who_only_notes_repeated_keys_gets_the_last_value() -> None:
    repeated: list[str] = []
    assert parse_json('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}', repeated=repeated.extend) == {"a": 3, "b": {"c": 2}}
    assert repeated == ["c", "a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\na: 2", "line 2: key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "line 1: key 'b' is given twice"),
        ("1: a\n0x1: b", "line 2: key 1 is given twice"),
        ("a: &x [1]\nb: *x", "line 2: aliases (*x) cannot be used"),
        ("? [1]\n: 2", "line 1: a key must be plain text"),
        ("a: 99999999999999999999", "line 1: 99999999999999999999 does not fit 64 bits"),
        ("a: [", "not valid YAML at line 1"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("a: 2026-13-45", "not valid YAML"),
        ("[" * 100_000, "not valid YAML"),
    ],
)
def test_what_is_wrong_with_yaml_is_told_in_a_line(text: str, told: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_yaml(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_reads_powers_of_ten_as_numbers() -> None:
    assert parse_yaml("[1e-3, 2.5e2, 1.0, 3, text, yes]") == [0.001, 250.0, 1.0, 3, "text", True]


def test_aliases_of_aliases_take_no_memory() -> None:
    levels = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    with pytest.raises(TextError, match="aliases"):
        parse_yaml("\n".join(levels))


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("12345")
    assert read_text(path, 5) == "12345"
    with pytest.raises(TextError, match="cannot be read: it has more than 4 bytes"):
        read_text(path, 4)
    with pytest.raises(TextError, match="cannot be read: No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(TextError, match="cannot be read: Is a directory"):
        read_text(tmp_path)
    path.write_bytes(b"\xff")
    with pytest.raises(TextError, match="cannot be read: 'utf-8' codec"):
        read_text(path)
