# SPDX-License-Identifier: Apache-2.0
"""Parameter files are read as ROS 2 reads them: the other side is rcl's own parser, through a node."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nucleus_bridge.config.sections import read_parameters, written
from nucleus_bridge.errors import ConfigError

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.live

Read = Callable[[Path, str], dict[str, Any]]
NAME = "nucleus_recorder"

WORDS = """
y Y yes yEs n N NO no on ON off Off true TRUE tRue false t f
0 -0 +0 1 -1 +1 00 010 -010 0777 08 09.5 0x10 0X1f -0x10 0x 0b11 0o10 1_000 1:30 1,5 1__0
1. .5 -.5 +.5 . + 1e3 1E-3 1e 1e+ 1.e2 00.1 -0.0 1d3 1f 0x1p3 0x1.8 0x.8p1 0x1p 1e308
1e309 -1e309 1e-308 2.3e-308 1e-309 1e-400 0e-400 0x1p2000 0x1p-2000
9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 0xffffffffffffffffff
.inf .Inf .INF .iNf +.inf -.INF inf Inf -inf infinity +Infinity nan NaN .nan .NaN .NAN -.nan +.nan -nan
~ null Null NULL = 2026-11-28 12:30:00 a/b /tf .. x.y a:b '1' "1" 'yes' "" '' 'it''s' "\\u00e9" \u00e9
"""
SCALARS = (*WORDS.split(), "9" * 5_000, "0" * 50 + "17", "0x" + "f" * 5_000, '"a b"', "a b", "!!str 5", "!!str yes")
LISTS = ("[]", "['']", "[1, 2]", "[1.0, .inf]", "[y, n]", "[a, 'b']", "['1', x]", "[0x10, 010]", "[~, null]")
PATTERNS = (
    *("/**", "/*", "/**/*", "/*/*", "/*/**", "/**/*/*"),
    *(NAME, f"/{NAME}", f"/**/{NAME}", f"/*/{NAME}", f"/r1/{NAME}", f"r1/{NAME}", f"/r1/r2/{NAME}", f"/r1/*/{NAME}"),
    *(
        "/r1/*",
        "/r1/**",
        f"/r1/**/{NAME}",
        "/**/r2/*",
        "/r2/*",
        "/other",
        "/r1/other",
        f"/{NAME}_2",
        "/*/other",
        "other",
    ),
)
SPACES = ("/", "/r1", "/r2", "/r1/r2", "/r2/r1/r2")


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """Read a file as a node of a full name is given it."""
    from rclpy.node import Node

    context = rclpy.Context()
    rclpy.init(args=[], context=context)

    def values(path: Path, full_name: str) -> dict[str, Any]:
        space, _, name = full_name.rpartition("/")
        node = Node(
            name,
            namespace=space or "/",
            context=context,
            cli_args=["--ros-args", "--params-file", str(path)],
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        try:
            return {key: value.value for key, value in node._parameter_overrides.items() if key != "use_sim_time"}
        finally:
            node.destroy_node()

    yield values
    context.try_shutdown()


def plain(values: dict[str, Any]) -> dict[str, str]:
    """Values with their types, not-a-number equal to itself; an empty list comes without a value from ROS 2."""
    lists = {key: [] if value is None else value for key, value in values.items()}
    as_lists = {
        key: value if isinstance(value, (str, bool, int, float)) else list(value) for key, value in lists.items()
    }
    return {key: repr(value) for key, value in as_lists.items()}


def test_scalars_and_lists_are_what_rcl_makes_of_them(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "scalars.yaml"
    lines = [f"    p{number}: {text}" for number, text in enumerate((*SCALARS, *LISTS))]
    path.write_text("/**:\n  ros__parameters:\n" + "\n".join(lines) + "\n")
    ours, theirs = plain(read_parameters(path, f"/{NAME}")), plain(read(path, f"/{NAME}"))
    differing = {
        line.strip(): (ours[key], theirs[key])
        for line in lines
        if ours[key := line.split(":")[0].strip()] != theirs[key]
    }
    assert not differing
    assert len(ours) == len(lines)


@pytest.mark.parametrize("seed", range(12))
def test_random_numbers_are_what_rcl_makes_of_them(tmp_path: Path, read: Read, seed: int) -> None:
    chance = random.Random(seed)
    texts = ["".join(chance.choices("0123456789.eExXabp+-_ninf", k=chance.randint(1, 7))) for _ in range(300)]
    texts = [text for text in texts if text not in ("-", ".", "...") and not text.startswith(("- ", "---", "..."))]
    path = tmp_path / "numbers.yaml"
    path.write_text("/**:\n  ros__parameters:\n" + "".join(f"    p{n}: {text}\n" for n, text in enumerate(texts)))
    ours, theirs = plain(read_parameters(path, f"/{NAME}")), plain(read(path, f"/{NAME}"))
    differing = [
        (text, ours[f"p{n}"], theirs[f"p{n}"]) for n, text in enumerate(texts) if ours[f"p{n}"] != theirs[f"p{n}"]
    ]
    assert not differing


def body(chance: random.Random, lead: str) -> str:
    """Parameters of one section, nested and dotted; no name twice, and no empty mapping (that is tested by itself)."""
    names = chance.sample(("a", "b", "c.d", "c.e", "f.g.h", "f.g.i", "j"), k=chance.randint(1, 5))
    lines = []
    for name in names:
        value = chance.choice((*SCALARS, *LISTS))
        head, _, rest = name.partition(".")
        if rest and chance.random() < 0.5 and sum(other.startswith(f"{head}.") for other in names) == 1:
            lines.append(f"{lead}{head}:\n{lead}  {rest}: {value}")
        else:
            lines.append(f"{lead}{name}: {value}")
    return "\n".join(lines) + "\n"


def parameter_file(chance: random.Random) -> str:
    """Sections of this node and of others in random order, some of them nested by namespace."""
    text = ""
    for pattern in chance.sample(PATTERNS, k=chance.randint(1, 8)):
        parts = pattern.split("/")
        cut = chance.randint(1, len(parts) - 1) if len(parts) > 2 and chance.random() < 0.4 else 0
        above, below = "/".join(parts[:cut]), "/".join(parts[cut:])
        if above and not text.count(f"\n{above}:") and not text.startswith(f"{above}:"):
            text += f"{above}:\n  '{below}':\n    ros__parameters:\n{body(chance, '      ')}"
        elif f"{pattern}:" not in text:
            text += f"{pattern}:\n  ros__parameters:\n{body(chance, '    ')}"
    return text


@pytest.mark.parametrize("seed", range(60))
def test_sections_apply_as_in_rcl(tmp_path: Path, read: Read, seed: int) -> None:
    chance = random.Random(1_000 + seed)
    path = tmp_path / "sections.yaml"
    for _ in range(5):
        path.write_text(parameter_file(chance))
        for space in SPACES:
            full_name = f"{space.rstrip('/')}/{NAME}"
            assert plain(read_parameters(path, full_name)) == plain(read(path, full_name)), path.read_text()


@pytest.mark.parametrize(
    "value",
    [
        "[1, 2.0]",
        "[1, x]",
        "[1, '2']",
        "[true, 1]",
        "[true, 'y']",
        "",
        "&b 5\n    q: *b",
        "{'': 1}",
        "{? [1] : 2}",
        "[x",
    ],
)
def test_what_rcl_refuses_is_refused(tmp_path: Path, read: Read, value: str) -> None:
    path = tmp_path / "refused.yaml"
    path.write_text(f"/**:\n  ros__parameters:\n    p: {value}\n")
    with pytest.raises(Exception, match=r"Couldn't parse params file|[Ff]ailed|[Ii]nvalid"):
        read(path, f"/{NAME}")
    with pytest.raises(ConfigError, match=r"refused\.yaml: "):
        read_parameters(path, f"/{NAME}")


def test_values_out_of_range_are_text_as_in_rcl(tmp_path: Path) -> None:
    path = tmp_path / "range.yaml"
    path.write_text("/**:\n  ros__parameters: {a: 1e309, b: 1e-400, c: .nan}\n")
    found = read_parameters(path)
    assert (found["a"], found["b"]) == ("1e309", "1e-400")
    assert isinstance(found["c"], float)
    assert math.isnan(found["c"])


@pytest.mark.parametrize("seed", range(4))
def test_what_is_written_is_read_back_by_rcl(tmp_path: Path, read: Read, seed: int) -> None:
    chance = random.Random(seed)
    odd = [
        *WORDS.split(),
        "",
        " a ",
        "a: b",
        "# no",
        "[x]",
        "*a",
        "&a",
        "!a",
        "- a",
        "a\nb",
        "\t",
        "\u00e9\u2603",
        "'",
        '"',
        "\\",
    ]
    odd += ["".join(chance.choices("0123456789.eExX+-_: #'\"aynoO~", k=chance.randint(1, 8))) for _ in range(200)]
    numbers = [0.0, -0.0, 1e-7, 1e22, 1.0, 0.1, float("inf"), -float("inf"), chance.uniform(-1e9, 1e9)]
    values: list[Any] = [
        *odd,
        *numbers,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        -(2**63),
        ["y", "1e3", "a b"],
        [1.0, 1e-9],
        [1, 2],
    ]
    path = tmp_path / "written.yaml"
    path.write_text(
        "/**:\n  ros__parameters:\n" + "".join(f"    p{n}: {written(value)}\n" for n, value in enumerate(values))
    )
    expected = {f"p{number}": value for number, value in enumerate(values)}
    assert plain(read(path, f"/{NAME}")) == plain(expected)
    assert plain(read_parameters(path)) == plain(expected)
