"""Settings: dataclasses read from TOML, in which nothing unknown or impossible is accepted."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from topis.errors import InputError

T = TypeVar("T")


def setting(default: Any, low: float, high: float, text: str) -> Any:
    """A dataclass field with its legal range and a sentence for people."""
    return field(default=default, metadata={"low": low, "high": high, "text": text})


@dataclass(frozen=True)
class SensingLayout:
    """Which sensors a city has and how well they see.

    Junctions are split by seed into ones with cameras (`camera_junction_share`) and ones
    with loops; shares are 0 to 1.
    """

    name: str = "custom"
    camera_junction_share: float = setting(0.0, 0, 1, "share of junctions with cameras")
    camera_view_m: float = setting(100.0, 10, 500, "how far back from the stop line a camera sees")
    camera_zone_m: float = setting(
        0.0, 0, 500, "a camera counts in stretches of this length; 0: its whole view at once"
    )
    camera_missed_share: float = setting(0.05, 0, 0.9, "share of vehicles a camera misses")
    loop_approach_share: float = setting(
        1.0, 0, 1, "share of the approaches with loops, at junctions without cameras"
    )
    advance_m: float = setting(50.0, 5, 300, "distance of the upstream loop from the stop line")
    dead_share: float = setting(0.0, 0, 1, "share of the sensors that are dead")
    probe_share: float = setting(0.0, 0, 1, "share of vehicles that report their position")
    probe_period_s: float = setting(10.0, 1, 300, "time between two reports of a probe")
    probe_error_m: float = setting(5.0, 0, 100, "standard deviation of a reported position")
    research_only: bool = False


LAYOUTS = {
    layout.name: layout
    for layout in (
        SensingLayout("city", camera_junction_share=0.7, probe_share=0.1),
        SensingLayout("loops"),
        SensingLayout(
            "seoul",
            camera_junction_share=0.25,
            loop_approach_share=0.22,
            probe_share=0.1,
            probe_period_s=1.0,
        ),
        SensingLayout("sparse", loop_approach_share=0.5, dead_share=0.1, probe_share=0.1),
        SensingLayout(
            "ideal",
            camera_junction_share=1.0,
            camera_view_m=200.0,
            camera_zone_m=25.0,
            camera_missed_share=0.0,
            research_only=True,
        ),
    )
}


def sensing_layout(name_or_file: str) -> SensingLayout:
    """A layout by name (city, loops, sparse, ideal) or from a TOML file.

    Raises
    ------
    InputError
        Neither a known name nor a readable TOML file with known keys in range.
    """
    if name_or_file in LAYOUTS:
        return LAYOUTS[name_or_file]
    path = Path(name_or_file)
    if path.suffix != ".toml":
        raise InputError(
            f"sensing layout {name_or_file!r} is unknown; "
            f"choose one of {', '.join(LAYOUTS)} or a .toml file"
        )
    return from_toml(SensingLayout, path, table="sensing", name=path.stem)


def from_toml(kind: type[T], path: Path, table: str, **given: Any) -> T:
    """Build a settings dataclass from one table of a TOML file.

    Raises
    ------
    InputError
        Missing or broken file, unknown key, wrong type, NaN, value out of range.
    """
    values = _content(path, table, f"put settings in [{table}]")
    if not isinstance(values, dict):
        raise InputError.at(path, f"no table [{table}]", f"put settings in [{table}]")
    return kind(**{**given, **_checked(kind, path, table, values)})


def list_from_toml(kind: type[T], path: Path, table: str) -> list[T]:
    """Build a settings dataclass from each [[table]] of a TOML file, in its order.

    Raises
    ------
    InputError
        As of `from_toml`, or there is none.
    """
    entries = _content(path, table, f"put each entry in [[{table}]]")
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(e, dict) for e in entries)
    ):
        raise InputError.at(path, f"no table [[{table}]]", f"put each entry in [[{table}]]")
    return [
        kind(**_checked(kind, path, f"{table} {number}", values))
        for number, values in enumerate(entries, 1)
    ]


def _content(path: Path, table: str, cure: str) -> Any:
    try:
        text = path.read_bytes().decode()
        content = tomllib.loads(text)
    except FileNotFoundError:
        raise InputError.at(path, "no such file", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.at(path, f"cannot be read ({error})", "hand over a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError.at(path, f"not TOML ({error})", "see docs/simulate.md") from None
    for name in content:
        if name != table:
            raise InputError.at(path, f"unknown table or key {name!r}", cure)
    return content.get(table)


def _checked(kind: type[Any], path: Path, table: str, values: dict[str, Any]) -> dict[str, Any]:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    return {
        name: _check(path, f"{table}.{name}", fields.get(name), value, sorted(fields))
        for name, value in values.items()
    }


def _check(
    path: Path, name: str, known: dataclasses.Field[Any] | None, value: Any, names: list[str]
) -> Any:
    if known is None:
        raise InputError.at(path, f"unknown key {name!r}", f"known are {', '.join(names)}")
    wanted = str(known.type).removesuffix(" | None")
    if wanted in ("bool", "str"):
        if type(value).__name__ != wanted:
            raise InputError.at(path, f"{name} is {value!r}", f"give a {wanted}")
        return value
    if wanted == "tuple[str, ...]":
        if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
            raise InputError.at(path, f"{name} is {value!r}", "give a list of names")
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError.at(path, f"{name} is {value!r}", "give a finite number")
    if wanted == "int" and not isinstance(value, int):
        raise InputError.at(path, f"{name} is {value!r}", "give a whole number")
    low, high = known.metadata["low"], known.metadata["high"]
    if not low <= value <= high:
        raise InputError.at(path, f"{name} is {value!r}", f"give {low} to {high}")
    return value
