# SPDX-License-Identifier: Apache-2.0
"""One field of a settings dataclass is a whole parameter: table, page, ROS 2, checks, digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from nucleus_bridge.config.docs import page
from nucleus_bridge.config.loader import check_values
from nucleus_bridge.config.schema import NOT_A_PARAMETER, Scalar, Table, free, listed, required, setting
from nucleus_bridge.config.settings import SENSOR_GROUPS, TABLE
from nucleus_bridge.errors import ConfigError


@dataclass(frozen=True)
class SonarConfig:
    """A toy sensor."""

    name: str = field(metadata=NOT_A_PARAMETER)
    topic: str = field(metadata=required("Topic of the echoes.", is_topic=True))
    gain: Literal["low", "high"] = setting("low", "Gain of the receiver.")


@dataclass(frozen=True)
class PowerConfig:
    """A toy group."""

    reserve_s: float = setting(30.0, "Time to shut down.", minimum=1.0, maximum=90.0, live=True, shapes_output=False)
    cells: int = setting(4, "Cells of the battery.", minimum=1, is_later=True)
    curve_file: str = setting("", "Discharge curve.", is_file=True)


@dataclass(frozen=True)
class ToyConfig:
    """A toy configuration."""

    sonars: tuple[SonarConfig, ...] = listed("sonar_names", "Sonars to record.")
    power: PowerConfig = field(default_factory=PowerConfig)
    lever: tuple[float, ...] = setting((), "Lever arm in metres.")
    layers: tuple[Literal["sea", "air"], ...] = setting(("sea",), "Layers to keep.")
    note: tuple[tuple[str, Scalar], ...] = free("Anything.")
    base_dir: Path = field(default_factory=Path, metadata=NOT_A_PARAMETER)


TOY = Table(ToyConfig)
GIVEN = {
    "sonar_names": ["bow"],
    "sonars.bow.topic": "echo",
    "power.reserve_s": 5,
    "lever": [1, 0.5, 0],
    "note.crew": 3,
    "note.calm": True,
}


def built(**changes: Any) -> ToyConfig:
    values = check_values({**GIVEN, **{name.replace("__", "."): value for name, value in changes.items()}}, TOY)
    made: ToyConfig = TOY.built(values, base_dir=Path("/drives"))
    return made


def test_a_field_is_a_row_of_the_table_with_the_type_that_its_annotation_says() -> None:
    assert {row.name: row.type_name for row in TOY.rows} == {
        "sonar_names": "string_array",
        "sonars.*.topic": "string",
        "sonars.*.gain": "string",
        "power.reserve_s": "double",
        "power.cells": "integer",
        "power.curve_file": "string",
        "lever": "double_array",
        "layers": "string_array",
        "note.*": "scalar",
    }
    assert TOY.row_of("sonars.bow.gain").choices == ("low", "high")
    assert TOY.row_of("layers").choices == ("sea", "air")
    assert TOY.row_of("note.crew").type_name == "scalar"
    assert TOY.row_of("sonars.bow.topic").required


def test_a_field_is_a_line_of_the_page() -> None:
    text = page(TOY)
    assert "| `power.reserve_s` | double | `30.0` | 1 to 90 | Time to shut down. *live* |" in text
    assert "| `sonars.*.gain` | string | `low` | `low`, `high` | Gain of the receiver. |" in text
    assert "| `sonars.*.topic` | string | must be set |  | Topic of the echoes. |" in text
    assert "Discharge curve. *file* |" in text


def test_checked_values_become_settings() -> None:
    config = built()
    assert config == ToyConfig(
        sonars=(SonarConfig("bow", "/echo"),),
        power=PowerConfig(reserve_s=5.0),
        lever=(1.0, 0.5, 0.0),
        note=(("calm", True), ("crew", 3)),
        base_dir=Path("/drives"),
    )
    assert type(config.power.reserve_s) is float


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("power.reserve_s", 0.5, "power.reserve_s: must be a number from 1 to 90, not 0.5"),
        ("power.cells", 0, "power.cells: must be an integer of at least 1, not 0"),
        ("power.cells", True, "power.cells: must be an integer of at least 1, not True"),
        ("sonars.bow.gain", "loud", "sonars.bow.gain: must be one of low, high, not 'loud'"),
        ("layers", ["mud"], "layers: entries must be of sea, air, not 'mud'"),
        ("lever", [True], "lever: must be a list of numbers, not [True]"),
        ("note.crew", None, "note.crew: must be text, a finite number, or true or false, not None"),
        ("note.crew", float("inf"), "note.crew: must be text, a finite number, or true or false, not inf"),
        ("sonars.stern.gain", "low", "'stern' is not in sonar_names (bow)"),
        ("power.cell", 3, "the nearest name is 'power.cells'"),
    ],
)
def test_a_field_is_checked(name: str, value: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_values({**GIVEN, name: value}, TOY)
    assert told in str(caught.value)


def test_a_field_counts_in_the_digest_as_it_says(tmp_path: Path) -> None:
    def digest(**changes: Any) -> str:
        given = {**GIVEN, **{name.replace("__", "."): value for name, value in changes.items()}}
        return TOY.digest(check_values(given, TOY), tmp_path)

    plain = digest()
    assert digest(power__reserve_s=60.0) == plain  # shapes nothing
    assert digest(power__cells=4) == plain  # came later, at its default
    assert digest(power__cells=5) != plain
    assert digest(sonars__bow__gain="high") != plain
    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("1")
    by_content = digest(power__curve_file="a.csv")
    assert by_content == digest(power__curve_file="b.csv") != plain
    (tmp_path / "a.csv").write_text("2")
    assert digest(power__curve_file="a.csv") != by_content
    with pytest.raises(ConfigError, match=r"power\.curve_file: .*c\.csv cannot be read"):
        digest(power__curve_file="c.csv")


def test_a_later_key_leaves_the_digest_of_a_table_without_it(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Before:
        lever: tuple[float, ...] = setting((), "Lever arm in metres.")

    @dataclass(frozen=True)
    class After:
        lever: tuple[float, ...] = setting((), "Lever arm in metres.")
        buoy_names_kept: bool = setting(False, "Whether buoys keep their names.", is_later=True)
        sonars: tuple[SonarConfig, ...] = listed("sonar_names", "Sonars to record.", is_later=True)

    before, after = Table(Before), Table(After)
    old, new = check_values({}, before), check_values({}, after)
    assert before.digest(old, tmp_path) == after.digest(new, tmp_path)


def refused(annotation: str, default: object = "", name: str = "key") -> str:
    namespace = {"__annotations__": {name: annotation}, name: setting(default, "A key."), "__module__": __name__}
    with pytest.raises(TypeError) as caught:
        Table(dataclass(type("Odd", (), namespace)))
    return str(caught.value)


@pytest.mark.parametrize(
    "annotation",
    [
        "tuple[str | float, ...]",
        "tuple[tuple[float, ...], ...]",
        "tuple[float, float]",
        "dict[str, str]",
        "list[str]",
        "str | None",
        "Literal[1, 2]",
        "tuple[bool, ...]",
        "Path",
    ],
)
def test_what_a_parameter_of_ros_cannot_hold_has_no_way_in(annotation: str) -> None:
    assert "no parameter of ROS 2 holds" in refused(annotation)


def test_a_field_with_a_default_of_another_type_or_without_a_description_is_refused() -> None:
    assert "the default" in refused("int", "four")
    assert "the default 1 is not of type double" in refused("float", 1)
    assert "must be one of a, b" in refused("Literal['a', 'b']", "c")
    assert "named in small letters" in refused("str", "", "camelCase")

    @dataclass(frozen=True)
    class Mute:
        key: str = ""

    with pytest.raises(TypeError, match="has no description"):
        Table(Mute)

    @dataclass(frozen=True)
    class Terse:
        key: str = setting("", "a key")

    with pytest.raises(TypeError, match="is not a sentence"):
        Table(Terse)


def test_a_name_is_not_both_a_value_and_a_group() -> None:
    @dataclass(frozen=True)
    class Clash:
        sonar_names: str = setting("", "The names.")
        sonars: tuple[SonarConfig, ...] = listed("sonar_names", "Sonars to record.")

    with pytest.raises(TypeError, match="sonar_names is both a value and something else"):
        Table(Clash)

    @dataclass(frozen=True)
    class Prefix:
        power: PowerConfig = field(default_factory=PowerConfig)
        sonars: tuple[SonarConfig, ...] = listed("power", "Sonars to record.")

    with pytest.raises(TypeError, match="power is both a value and something else"):
        Table(Prefix)


def test_descriptors_of_ros_derive_from_the_field() -> None:
    pytest.importorskip("rclpy")
    from nucleus_bridge.ros.parameters import descriptor

    made = descriptor(TOY.row_of("power.reserve_s"))
    assert made.description == "Time to shut down."
    assert not made.read_only
    assert (made.floating_point_range[0].from_value, made.floating_point_range[0].to_value) == (1.0, 90.0)
    made = descriptor(TOY.row_of("power.cells"))
    assert made.read_only
    assert made.integer_range[0].from_value == 1
    assert descriptor(TOY.row_of("sonars.bow.gain")).additional_constraints == "one of: low, high"


def test_every_parameter_says_what_it_is_for() -> None:
    assert len(TABLE.rows) > 100
    for row in TABLE.rows:
        assert len(row.about.description) >= 15, row.name
        assert "|" not in row.about.description, row.name
        assert row.about.description[0].isupper() or row.about.description[0] == "`", row.name
        if row.about.live:
            assert not row.about.shapes_output, f"{row.name}: what shapes scenes cannot change while one is made"


def test_sensors_are_the_groups_whose_settings_have_a_kind_the_reference_first() -> None:
    assert SENSOR_GROUPS == ("lidars", "cameras", "radars")
