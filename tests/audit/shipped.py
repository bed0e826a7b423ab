"""What the shipped signal programs of a SUMO net allow, read from the net file itself.

The limits are deliberately derived here a second time, with the XML parser and nothing of the
engine, so that a mistake in the engine's own importer cannot hide itself.
"""

import gzip
import heapq
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

GREEN = frozenset("Gg")
YELLOW = frozenset("yY")
DARK = frozenset("oO")
DEFAULT_YELLOW_MS = 3_000
DEFAULT_GREEN_MS = 5_000
DIRECT_MS = 15_000
"""A change from one link's green to another's counts as direct up to this interval."""

_RAIL = frozenset({"rail_signal", "rail_crossing"})

Pair = tuple[int, int]
PathName = str | os.PathLike[str]


@dataclass(frozen=True)
class Phase:
    """One phase of a program: shortest time it is shown, lamp state, phases that may follow."""

    shortest_ms: int
    state: str
    successors: tuple[int, ...]


@dataclass
class Signal:
    """The links of one traffic light and the limits its shipped programs set.

    Links are indices into the state string. `foes`, `apart` (never green together, but in
    different nodes, so the net says nothing about them), `together` and `major` hold pairs
    (i, j) with i < j; `intergreen_ms` and `all_red_ms` hold ordered pairs, from the link that
    loses its green to the one that gains it. `walk_ms`: time to walk each crossing at 1 m/s.
    """

    tls: str
    size: int
    names: list[str]
    vehicle: list[bool]
    nema: bool = False
    foes: set[Pair] = field(default_factory=set)
    apart: set[Pair] = field(default_factory=set)
    together: set[Pair] = field(default_factory=set)
    major: set[Pair] = field(default_factory=set)
    dark: set[int] = field(default_factory=set)
    yellow_ms: list[int] = field(default_factory=list)
    green_ms: list[int] = field(default_factory=list)
    intergreen_ms: dict[Pair, int] = field(default_factory=dict)
    all_red_ms: dict[Pair, int] = field(default_factory=dict)
    walk_ms: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Connection:
    tls: str
    link: int
    node: str
    request: int
    vehicle: bool
    name: str
    length_m: float = 0.0


def read_signals(net_path: PathName, additional: Iterable[PathName] = ()) -> dict[str, Signal]:
    """Read every road traffic light of a net (rail signals are left out).

    `additional` are files with further tlLogics. Raises ValueError when the net's connections
    and right-of-way requests do not fit together.
    """
    net = _parse(net_path)
    programs: dict[str, list[ElementTree.Element]] = {}
    for root in (net, *(_parse(path) for path in additional)):
        for logic in root.iter("tlLogic"):
            programs.setdefault(logic.get("id", ""), []).append(logic)
    connections, foes = _connections(net)
    by_tls: dict[str, list[_Connection]] = {}
    for connection in connections:
        by_tls.setdefault(connection.tls, []).append(connection)
    signals: dict[str, Signal] = {}
    for tls, logics in programs.items():
        if tls in by_tls and not any(logic.get("type") in _RAIL for logic in logics):
            signals[tls] = _signal(tls, by_tls[tls], foes, logics)
    return signals


def _parse(path: PathName) -> ElementTree.Element:
    if Path(path).suffix == ".gz":
        with gzip.open(path) as stream:
            return ElementTree.parse(stream).getroot()
    return ElementTree.parse(path).getroot()


def _connections(
    net: ElementTree.Element,
) -> tuple[list[_Connection], dict[str, list[str]]]:
    """Signalised connections with their place in the node's requests, and the foes of each node."""
    function = {edge.get("id", ""): edge.get("function", "normal") for edge in net.iter("edge")}
    length_m = {
        lane.get("id", ""): float(lane.get("length", "0"))
        for edge in net.iter("edge")
        if edge.get("function") == "crossing"
        for lane in edge.iter("lane")
    }
    leaving: dict[str, list[ElementTree.Element]] = {}
    for element in net.iter("connection"):
        leaving.setdefault(f"{element.get('from')}_{element.get('fromLane')}", []).append(element)
    found: list[_Connection] = []
    foes: dict[str, list[str]] = {}
    for node in net.iter("junction"):
        name = node.get("id", "")
        if node.get("type") in {"internal", *_RAIL}:
            continue
        requests = sorted(node.iter("request"), key=lambda item: int(item.get("index", "0")))
        foes[name] = [item.get("foes", "")[::-1] for item in requests]
        inside = node.get("intLanes", "").split()
        vehicles = 0
        for lane in node.get("incLanes", "").split():
            for element in leaving.get(lane, []):
                start, end = element.get("from", ""), element.get("to", "")
                if function.get(start) == "walkingarea":
                    if function.get(end) == "crossing":
                        row, metres = inside.index(f"{end}_0"), length_m[f"{end}_0"]
                        _append(found, element, name, row, vehicle=False, length_m=metres)
                    continue
                if function.get(end) == "walkingarea":
                    continue
                _append(found, element, name, vehicles, vehicle=True)
                vehicles += 1
        crossings = [lane for lane in inside if function.get(lane[:-2]) == "crossing"]
        for lane in crossings:
            # A crossing with a lamp for each direction has its second one on the way out.
            for element in leaving.get(lane, []):
                row = inside.index(lane)
                _append(found, element, name, row, vehicle=False, length_m=length_m[lane])
        if requests and vehicles + len(crossings) != len(requests):
            raise ValueError(
                f"junction {name!r} has {vehicles} connections and {len(crossings)} crossings "
                f"but {len(requests)} requests: rebuild the net with netconvert"
            )
    return found, foes


def _append(
    found: list[_Connection],
    element: ElementTree.Element,
    node: str,
    request: int,
    *,
    vehicle: bool,
    length_m: float = 0.0,
) -> None:
    if element.get("tl") is not None:
        link = int(element.get("linkIndex", "-1"))
        name = f"{element.get('from')}_{element.get('fromLane')}->{element.get('to')}"
        tls = element.get("tl", "")
        found.append(_Connection(tls, link, node, request, vehicle, name, length_m))


def _signal(
    tls: str,
    connections: list[_Connection],
    foes: dict[str, list[str]],
    logics: list[ElementTree.Element],
) -> Signal:
    programs = [_phases(logic) for logic in logics]
    states = [phase.state for program in programs for phase in program]
    size = max(len(state) for state in states)
    signal = Signal(tls, size, ["unused"] * size, [False] * size)
    signal.nema = any(logic.get("type") == "NEMA" for logic in logics)
    for connection in connections:
        signal.vehicle[connection.link] |= connection.vehicle
        signal.names[connection.link] = connection.name
        if not connection.vehicle:
            signal.walk_ms[connection.link] = round(1000 * connection.length_m)
    for state in set(states):
        green = [link for link, lamp in enumerate(state) if lamp in GREEN]
        signal.together.update(combinations(green, 2))
        major = [link for link in green if state[link] == "G"]
        signal.major.update(combinations(major, 2))
        signal.dark.update(link for link, lamp in enumerate(state) if lamp in DARK)
    nodes: dict[Pair, bool] = {}
    for one, other in combinations(connections, 2):
        if one.link == other.link:
            continue
        pair = (min(one.link, other.link), max(one.link, other.link))
        same = one.node == other.node
        nodes[pair] = nodes.get(pair, False) or same
        if same and foes[one.node] and foes[one.node][one.request][other.request] == "1":
            signal.foes.add(pair)
    signal.apart = {pair for pair, same in nodes.items() if not same} - signal.together
    for link in range(size):
        signal.yellow_ms.append(_yellow_ms(programs, link, signal.vehicle[link]))
        greens = (_shortest_run_ms(program, link, GREEN) for program in programs)
        signal.green_ms.append(min([DEFAULT_GREEN_MS, *(ms for ms in greens if ms is not None)]))
    _intergreens(signal, programs)
    return signal


def _phases(logic: ElementTree.Element) -> list[Phase]:
    elements = list(logic.iter("phase"))
    phases = []
    for index, element in enumerate(elements):
        duration_s = float(element.get("duration", "0"))
        if element.get("minDur") is not None:
            duration_s = min(duration_s or float("inf"), float(element.get("minDur", "0")))
        following = element.get("next")
        successors = (
            tuple(int(item) for item in following.replace(",", " ").split())
            if following
            else ((index + 1) % len(elements),)
        )
        phases.append(Phase(round(duration_s * 1000), element.get("state", ""), successors))
    return phases


def _shortest_path(
    program: list[Phase], start: int, until: Callable[[str], bool], avoid: Callable[[str], bool]
) -> tuple[int, list[int]] | None:
    """Quickest way from entering phase `start` to entering one whose state fulfils `until`.

    Returns the time and the phases passed, the last one included; None if there is no way that
    keeps clear of the states to `avoid`.
    """
    heap: list[tuple[int, list[int]]] = [(0, [start])]
    seen: set[int] = set()
    while heap:
        time_ms, path = heapq.heappop(heap)
        phase = program[path[-1]]
        if until(phase.state):
            return time_ms, path
        if path[-1] in seen or avoid(phase.state):
            continue
        seen.add(path[-1])
        for successor in phase.successors:
            heapq.heappush(heap, (time_ms + phase.shortest_ms, [*path, successor]))
    return None


def _edges(program: list[Phase]) -> Iterable[Pair]:
    return ((index, to) for index, phase in enumerate(program) for to in phase.successors)


def _shortest_run_ms(program: list[Phase], link: int, lamps: frozenset[str]) -> int | None:
    """Shortest time the link shows one of `lamps` without a break; None if it has no such run."""
    runs = []
    for before, after in _edges(program):
        if program[before].state[link] in lamps or program[after].state[link] not in lamps:
            continue
        found = _shortest_path(
            program, after, lambda state: state[link] not in lamps, lambda state: False
        )
        if found is not None:
            runs.append(found[0])
    return min(runs, default=None)


def _yellow_ms(programs: list[list[Phase]], link: int, vehicle: bool) -> int:
    """Yellow a link must show between green and red, 0 if the shipped programs show none."""
    if not vehicle:
        return 0
    for program in programs:
        for before, after in _edges(program):
            lamp, following = program[before].state[link], program[after].state[link]
            if lamp in GREEN and following not in GREEN | YELLOW | DARK:
                return 0
    runs = [_shortest_run_ms(program, link, YELLOW) for program in programs]
    return min([ms for ms in runs if ms is not None], default=DEFAULT_YELLOW_MS)


@dataclass(frozen=True)
class _Change:
    """One way a program takes a pair from the end of i's green to the next green of j."""

    interval_ms: int
    all_red_ms: int
    staged: bool
    """Some link has a whole green in between."""
    rival: bool
    """Another link's green ends in between: perhaps that, and not the end of i, holds j back."""


def _intergreens(signal: Signal, programs: list[list[Phase]]) -> None:
    """Fill `intergreen_ms` and `all_red_ms` for both orders of every conflicting pair."""
    conflicts = signal.foes - signal.together
    ordered = sorted(conflicts | {(j, i) for i, j in conflicts})
    changes = {
        (i, j): [change for program in programs for change in _changes(program, i, j)]
        for i, j in ordered
    }
    # Pedestrians lose their green well before the traffic beside them does, so what clears a
    # crossing is the whole way to the next conflicting green, that traffic's green included.
    direct = {
        (i, j): [
            change
            for change in found
            if change.interval_ms <= DIRECT_MS
            and not change.staged
            and not (change.rival and signal.vehicle[i])
        ]
        for (i, j), found in changes.items()
    }
    usual = [change for (i, _), found in direct.items() if signal.vehicle[i] for change in found]
    for pair in ordered:
        judged, i = direct[pair], pair[0]
        if not judged and signal.vehicle[i]:
            # A change the programs never make directly has to clear the first link all the same,
            # for at least as long as the quickest change they do make.
            least_ms = min((change.interval_ms for change in usual), default=0)
            least_red_ms = min((change.all_red_ms for change in usual), default=0)
            floor = _Change(max(signal.yellow_ms[i], least_ms), least_red_ms, False, False)
            judged = [floor, *changes[pair]]
        elif not judged:
            # Once the last walker is across, the rest of that phase is the traffic's own time.
            first_ms = min(_first_red_ms(programs, i), signal.walk_ms.get(i, 0))
            judged = [_Change(first_ms, first_ms, False, False), *changes[pair]]
        signal.intergreen_ms[pair] = min(change.interval_ms for change in judged)
        signal.all_red_ms[pair] = min(change.all_red_ms for change in judged)


def _changes(program: list[Phase], i: int, j: int) -> Iterable[_Change]:
    for before, after in _edges(program):
        if program[before].state[i] not in GREEN or program[after].state[i] in GREEN:
            continue
        found = _shortest_path(
            program,
            after,
            lambda state: state[j] in GREEN,
            lambda state: state[i] in GREEN,
        )
        if found is None:
            continue
        interval_ms, path = found
        states = [program[index].state for index in path]
        yellow_ms = 0
        for index in path[:-1]:
            if program[index].state[i] not in YELLOW:
                break
            yellow_ms += program[index].shortest_ms
        rival = any(
            lamp in GREEN and last not in GREEN
            for state in states[:-1]
            for lamp, last in zip(state, states[-1], strict=True)
        )
        staged = _stage_between([program[before].state, *states])
        yield _Change(interval_ms, interval_ms - yellow_ms, staged, rival)


def _first_red_ms(programs: list[list[Phase]], link: int) -> int:
    """Shortest phase the programs show right after the link's green ends."""
    return min(
        (
            program[after].shortest_ms
            for program in programs
            for before, after in _edges(program)
            if program[before].state[link] in GREEN and program[after].state[link] not in GREEN
        ),
        default=0,
    )


def _stage_between(states: list[str]) -> bool:
    """Whether some link begins and ends a green strictly within the sequence of states."""
    for lamps in zip(*states, strict=True):
        green = [lamp in GREEN for lamp in lamps]
        edges = list(pairwise(green))
        if (False, True) in edges and (True, False) in edges[edges.index((False, True)) :]:
            return True
    return False
