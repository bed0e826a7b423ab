"""Fixed plans on paper (`bench/fixed_plans.py`): what may change, and by how much."""

from __future__ import annotations

import random
from collections import Counter
from xml.etree.ElementTree import Element, SubElement

import pytest

from bench.fixed_plans import Move, Signals, Timing, least_rows_s

NORTH, WEST = ("n", "s"), ("w", "e")
# North and south, a walk beside it that ends 8 s earlier; then west and east.
ROWS = [(20, "GrG"), (8, "Grr"), (3, "yrr"), (2, "rrr"), (24, "rGr"), (3, "ryr")]


def program(rows: list[tuple[int, str]], **attributes: str) -> Element:
    logic = Element("tlLogic", id="J", type="static", programID="0", offset="10", **attributes)
    for row_s, state in rows:
        SubElement(logic, "phase", duration=str(row_s), state=state)
    return logic


def one_light(crossing_m: float = 16.0) -> Signals:
    """A junction J of two one-way streets, 140 m and 10 s from here, and a crossing."""
    net = Element("net")
    for edge, length_m in (("n", 140.0), ("s", 140.0), ("w", 140.0), ("e", 140.0), (":c", 0.0)):
        about = SubElement(net, "edge", id=edge)
        SubElement(about, "lane", length=str(length_m or crossing_m), speed="14")
    for link, (start, end) in enumerate([NORTH, WEST, (":w", ":c")]):
        ends = {"from": start, "to": end, "fromLane": "0"}
        SubElement(net, "connection", ends, tl="J", linkIndex=str(link))
    return Signals(net, [program(ROWS)])


@pytest.mark.parametrize(("crossing_m", "clear_s"), [(16.0, 11), (3.0, 1)])
def test_greens_that_may_change(crossing_m: float, clear_s: int) -> None:
    """A walk of 7 s, then 16 m at 1 m/s, less 5 s of yellow and all-red."""
    assert one_light(crossing_m).by_light["J"].least_s == {0: 7, 1: clear_s, 4: 5}


def test_a_walk_that_ends_with_its_green() -> None:
    rows = program([(20, "GrG"), (3, "yrr"), (2, "rrr"), (24, "rGr"), (3, "ryr")])
    assert least_rows_s(rows.findall("phase"), {2: 16.0}) == {0: 18, 3: 5}


def test_a_minimum_of_the_program_counts() -> None:
    rows = program(ROWS).findall("phase")
    rows[4].set("minDur", "12")
    assert least_rows_s(rows, {2: 3.0}) == {0: 7, 1: 1, 4: 12}


@pytest.mark.parametrize(("north_vph", "west_vph"), [(900, 300), (300, 900), (600, 600), (0, 0)])
def test_seconds_go_where_saturation_is(north_vph: int, west_vph: int) -> None:
    signal = one_light().by_light["J"]
    flows = Counter({NORTH: north_vph, WEST: west_vph})
    rows_s = signal.filled(90, flows)
    assert sum(rows_s) == 90
    assert [rows_s[k] for k in (2, 3, 5)] == [3, 2, 3]
    assert all(rows_s[k] >= least_s for k, least_s in signal.least_s.items())
    if north_vph and west_vph:
        north_s, west_s = (signal.green_s(m, list(rows_s)) for m in (NORTH, WEST))
        # Flow times the fourth power of saturation is least where greens are as the flows.
        assert north_s / west_s == pytest.approx(north_vph / west_vph, rel=0.15)


def test_random_changes_keep_cycle_and_least() -> None:
    signal, rng = one_light().by_light["J"], random.Random(3)
    timing = Timing(0, signal.filled(70, Counter()))
    edges = Counter({"n": 500, "w": 100})
    seen = set()
    for _ in range(300):
        timing = signal.changed(rng, timing, edges)
        assert sum(timing.rows_s) == 70
        assert 0 <= timing.offset_s < 70
        assert all(timing.rows_s[k] >= least_s for k, least_s in signal.least_s.items())
        seen.add(timing)
    assert len(seen) > 100


def test_platoons_find_green() -> None:
    """From the green of J to that of K, 140 m on: 140 m at 85 % of 14 m/s are 12 s."""
    net = Element("net")
    for edge in ("a", "b", "c"):
        SubElement(SubElement(net, "edge", id=edge), "lane", length="140", speed="14")
    moves: list[tuple[str, Move]] = [("J", ("a", "b")), ("K", ("b", "c"))]
    for light, (start, end) in moves:
        ends = {"from": start, "to": end, "fromLane": "0"}
        SubElement(net, "connection", ends, tl=light, linkIndex="0")
    logics = [program([(30, "G"), (3, "y"), (27, "r")]), program([(27, "r"), (30, "G"), (3, "y")])]
    logics[1].set("id", "K")
    vehicles = []
    for depart_s in range(0, 600, 60):
        vehicles.append(Element("vehicle", depart=str(depart_s)))
        SubElement(vehicles[-1], "route", edges="a b c")
    signals = Signals(net, logics)
    plan = signals.paper(60, vehicles)
    starts_s = [
        plan[light].offset_s + signals.by_light[light].start_s(move, plan[light].rows_s)
        for light, move in moves
    ]
    assert (starts_s[1] - starts_s[0]) % 60 == 12
