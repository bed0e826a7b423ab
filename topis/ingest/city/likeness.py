"""What a city is like: the published proportions it is built in, and what is assumed besides."""

from __future__ import annotations

from dataclasses import dataclass

from topis.errors import InputError

#: Fewer have no room for two banks and a crossing; more than ten times Seoul nobody asked for.
LEAST_SIGNALS, MOST_SIGNALS = 12, 128_000

ALLEY, COLLECTOR, SECONDARY, MAIN, TRUNK = range(5)
RANK_NAMES = ("alley", "collector", "secondary", "main", "trunk")
#: General lanes a direction by rank; km/h by rank. A trunk with a bus lane has one lane less.
LANES = (1, 1, 2, 3, 4)
SPEED_KMH = (30, 40, 50, 50, 60)
LANE_WIDTH_M = 3.2


@dataclass(frozen=True)
class Likeness:
    """Proportions of a real city. Sources and assumptions: docs/city.md."""

    name: str
    signals_per_district: int
    most_districts: int
    signals_per_bridge: int
    #: Mean distance between signals: 605 km2 / 12,800 signals is a square of 217 m.
    block_m: float
    #: The river is as wide as this share of the city's radius, within bounds.
    river_share: float
    river_m: tuple[float, float]
    signals_per_bus_line: float
    #: Of the general traffic, by vehicle kilometres (assumed; see docs/city.md).
    taxi_share: float
    truck_share: float


LIKENESSES = {
    "seoul": Likeness(
        "seoul",
        signals_per_district=512,
        most_districts=25,
        signals_per_bridge=400,
        block_m=225.0,
        river_share=0.08,
        river_m=(120.0, 900.0),
        signals_per_bus_line=32.0,
        taxi_share=0.12,
        truck_share=0.05,
    ),
}


def likeness(name: str) -> Likeness:
    """The proportions called ``name``.

    Raises
    ------
    InputError
        No such city.
    """
    if name not in LIKENESSES:
        raise InputError.at(
            f"--like {name}", "no such city", f"choose one of {', '.join(LIKENESSES)}"
        )
    return LIKENESSES[name]


def check_signals(signals: int) -> None:
    """Refuse sizes that cannot be built.

    Raises
    ------
    InputError
        Too few or too many signals.
    """
    if not LEAST_SIGNALS <= signals <= MOST_SIGNALS:
        raise InputError.at(
            f"--junctions {signals}",
            "no such size",
            f"give {LEAST_SIGNALS} to {MOST_SIGNALS:,} signals",
        )
