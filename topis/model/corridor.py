"""Roads as a driver sees them: what lies straight ahead, and the corridor of a network."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.network import NOT_MOTOR, STRAIGHT, TURNAROUND, Network
from topis.units import JAM_SPACING_M

#: A corridor of more links than this is cut: a picture of it could not be read.
MOST_LINKS = 60
MOST_STOP_LINES = 12
#: Signals further upstream than this tell nothing: platoons have dispersed (s).
MOST_TRAVEL_S = 90.0
#: A road from a junction to itself is inside it up to this length; a longer one leads round.
INNER_M = 75.0


@dataclass(frozen=True)
class StopLine:
    """Where a corridor meets a signal; ``heads``: through heads in its state string."""

    junction: int
    link: int
    position_m: float
    heads: list[int]


@dataclass(frozen=True)
class Corridor:
    """A chain of links straight on, with the signals along it."""

    name: str
    links: list[int]
    length_m: float
    stop_lines: list[StopLine]

    def facts(self, network: Network) -> dict[str, object]:
        """For a manifest: by name, with the heads that show when to go on."""
        return {
            "name": self.name,
            "links": [network.link_ids[link] for link in self.links],
            "length_m": self.length_m,
            "stop_lines": [
                {
                    "junction": stop.junction,
                    "position_m": stop.position_m,
                    "link_id": network.link_ids[stop.link],
                    "head": stop.heads,
                }
                for stop in self.stop_lines
            ],
        }


def link_ahead(network: Network) -> NDArray[np.int32]:
    """The link straight on from each link (the only one, where there is one), -1 if none."""
    ahead = np.full(network.links, -1, dtype=np.int32)
    lanes = np.diff(network.link_lane_ptr)
    for link in range(network.links):
        first, last = network.link_move_ptr[link], network.link_move_ptr[link + 1]
        moves = np.arange(first, last)
        moves = moves[network.move_turn[moves] != TURNAROUND]
        straight = moves[network.move_turn[moves] == STRAIGHT]
        if len(straight):
            to = network.move_to_link[straight]
            ahead[link] = to[np.argmax(lanes[to])]
        elif len(moves) == 1:
            ahead[link] = network.move_to_link[moves[0]]
    return ahead


def find_corridor(network: Network, links: tuple[str, ...] = ()) -> Corridor | None:
    """The corridor named by its links, or else the one that passes most signals.

    Raises
    ------
    InputError
        A link is unknown, or the links do not follow one another.
    """
    if links:
        return _corridor(network, _named(network, links))
    ahead = link_ahead(network)
    signal = network.link_junction
    lanes = np.diff(network.link_lane_ptr)
    best: list[int] = []
    best_key: tuple[int, float] = (1, 0.0)
    fed = np.bincount(ahead[ahead >= 0], minlength=network.links)
    starts = np.flatnonzero((signal >= 0) | (fed == 0))
    for start in starts.tolist():
        chain: list[int] = []
        junctions: set[int] = set()
        here = start
        while here >= 0 and here not in chain and len(chain) < MOST_LINKS:
            if signal[here] >= 0:
                if len(junctions) >= MOST_STOP_LINES:
                    break
                junctions.add(int(signal[here]))
            chain.append(here)
            here = int(ahead[here])
        key = (len(junctions), float(lanes[chain].mean()))
        if key > best_key:
            best, best_key = chain, key
    return _corridor(network, best) if best else None


def _named(network: Network, names: tuple[str, ...]) -> list[int]:
    index = {name: i for i, name in enumerate(network.link_ids)}
    chain = []
    for name in names:
        if name not in index:
            raise InputError(
                f"corridor: link {name!r} is not in the network; see topis network show"
            )
        chain.append(index[name])
    for here, following in itertools.pairwise(chain):
        moves = slice(network.link_move_ptr[here], network.link_move_ptr[here + 1])
        if following not in network.move_to_link[moves]:
            raise InputError(
                f"corridor: {network.link_ids[following]!r} does not follow "
                f"{network.link_ids[here]!r}; name links in driving order"
            )
    return chain


def _corridor(network: Network, chain: list[int]) -> Corridor:
    stops, position_m = [], 0.0
    for number, link in enumerate(chain):
        position_m += float(network.link_length_m[link])
        junction = int(network.link_junction[link])
        onward = chain[number + 1] if number + 1 < len(chain) else -1
        heads = _heads(network, link, onward) if junction >= 0 else []
        if heads:
            stops.append(StopLine(junction, link, position_m, heads))
    name = f"{network.link_ids[chain[0]]} to {network.link_ids[chain[-1]]}"
    return Corridor(name, chain, position_m, stops)


def _heads(network: Network, link: int, onward: int) -> list[int]:
    """Heads of the connections that go on to the next link (any, after the last)."""
    junction = int(network.link_junction[link])
    lanes = network.link_lane_ptr[link], network.link_lane_ptr[link + 1]
    conns = np.arange(network.lane_conn_ptr[lanes[0]], network.lane_conn_ptr[lanes[1]])
    conns = conns[network.conn_group[conns] >= 0]
    wanted = network.move_to_link[network.conn_move[conns]] == onward
    if onward < 0:
        wanted = network.move_turn[network.conn_move[conns]] == STRAIGHT
    groups = np.unique(network.conn_group[conns[wanted]])
    first, last = network.junction_head_ptr[junction : junction + 2]
    return np.flatnonzero(np.isin(network.head_group[first:last], groups)).tolist()


@dataclass(frozen=True)
class RoadAhead:
    """The road from one stop line to the next.

    ``lanes``: of the signalised approach it ends at, none if there is no signal within
    reach; ``travel_s``: free travel time over it; ``storage_veh``: how many fit on it.
    """

    lanes: list[int]
    travel_s: float
    storage_veh: float

    @property
    def is_short(self) -> bool:
        """Whether it is inside a junction, if both its ends belong to the same."""
        return self.storage_veh * JAM_SPACING_M <= INNER_M * len(self.lanes)


def road_ahead(network: Network, ahead: NDArray[np.int32], link: int) -> RoadAhead:
    """The road straight on from the start of ``link``; ``ahead``: from `link_ahead`."""
    signalised = network.is_approach_lane
    travel_s = storage_veh = 0.0
    for _ in range(MOST_LINKS):
        if link < 0:
            break
        travel_s += float(network.link_length_m[link]) / float(network.link_speed_mps[link])
        if travel_s > MOST_TRAVEL_S:
            break
        lanes = range(network.link_lane_ptr[link], network.link_lane_ptr[link + 1])
        motor = [lane for lane in lanes if network.lane_use[lane] != NOT_MOTOR]
        storage_veh += len(motor) * float(network.link_length_m[link]) / JAM_SPACING_M
        found = [lane for lane in motor if signalised[lane]]
        if found:
            return RoadAhead(found, travel_s, storage_veh)
        link = int(ahead[link])
    return RoadAhead([], 0.0, float("inf"))
