"""What the offsets of the active programs are worth: platoons through each link, as planned.

For each movement that leads on to another signal of the same cycle, what leaves upstream in its
green arrives a travel time later and is let go by the green downstream. Its delay at the planned
difference of offsets over the mean of all differences tells how well the plan carries it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis._core.platoon import queue_rows
from topis.control.coordination import BIN_S, Feeds
from topis.control.timing import Timing
from topis.units import BASE_SAT_FLOW_VPS

F8 = NDArray[np.float64]
#: Movements looked at in a piece.
PIECE = 4_000


@dataclass(frozen=True)
class _Alike:
    """Movements between junctions of one cycle: arrays [movements].

    ``shape`` float64[movements, bins]: of a vehicle's arrival, the chance of each bin;
    ``capacity`` float64[ways, 2 bins]: vehicles let go downstream, backwards and twice over;
    ``way``: its row for each movement; ``shift``: planned difference of offsets in bins.
    """

    bins: int
    feed: NDArray[np.int64]
    link: NDArray[np.int64]
    shape: F8
    capacity: F8
    way: NDArray[np.int64]
    shift: NDArray[np.int64]


class Progression:
    """Compiled from the active programs once.

    ``windows``: stage shown in each bin of each junction's cycle, -1 between two; ``cycle_s`` and
    ``offset_s`` float64[junctions].
    """

    def __init__(
        self,
        timing: Timing,
        feeds: Feeds,
        windows: list[NDArray[np.int32]],
        cycle_s: F8,
        offset_s: F8,
    ) -> None:
        self._network = network = timing.network
        self._feeds = feeds
        up = network.move_junction[feeds.move]
        down = network.link_junction[feeds.link]
        alike = np.flatnonzero(cycle_s[up] == cycle_s[down])
        bins = np.array([len(window) for window in windows], dtype=np.int64)
        self._sets = []
        for count in np.unique(bins[up[alike]]).tolist():
            which = alike[bins[up[alike]] == count]
            apart_s = offset_s[down[which]] - offset_s[up[which]]
            shift = np.round(apart_s / BIN_S).astype(np.int64) % count
            made = _compile(timing, feeds, windows, which, shift, count)
            if made is not None:
                self._sets.append(made)

    def rates(self, flow_vps: NDArray[np.float32], into: tuple[F8, F8]) -> Iterator[None]:
        """Add the delay of each link into ``planned`` and ``random`` float64[links], in pieces.

        As planned, and at offsets that nobody chose; vehicle-seconds a cycle.
        """
        network, feeds = self._network, self._feeds
        share = network.conn_share.astype(np.float64) * flow_vps[network.conn_from_lane]
        of_move = np.bincount(network.conn_move, share, minlength=len(network.move_turn))
        for made in self._sets:
            vps = of_move[feeds.move[made.feed]]
            some = np.flatnonzero(vps > 0.0)
            for first in range(0, len(some), PIECE):
                piece = some[first : first + PIECE]
                arrivals = made.shape[piece] * (vps[piece] * made.bins * BIN_S)[:, None]
                delay = np.empty_like(arrivals)
                queue_rows(arrivals, made.capacity, made.way[piece], np.empty(made.bins), delay)
                delay *= BIN_S
                at_plan = delay[np.arange(len(piece)), made.shift[piece]]
                np.add.at(into[0], made.link[piece], at_plan)
                np.add.at(into[1], made.link[piece], delay.mean(axis=1))
                yield


def _compile(
    timing: Timing,
    feeds: Feeds,
    windows: list[NDArray[np.int32]],
    which: NDArray[np.int64],
    shift: NDArray[np.int64],
    bins: int,
) -> _Alike | None:
    network = timing.network
    green: dict[int, F8] = {}
    let_go: dict[int, tuple[int, F8]] = {}
    kept, shapes, ways = [], [], []
    for place, feed in enumerate(which.tolist()):
        move, link = int(feeds.move[feed]), int(feeds.link[feed])
        up, down = int(network.move_junction[move]), int(network.link_junction[link])
        if move not in green:
            green[move] = timing.conn_green(up, windows[up], timing.conns_of(move))
        leaving = green[move]
        if not leaving.any():
            continue
        if link not in let_go:
            lanes = np.arange(*network.link_lane_ptr[[link, link + 1]])
            ahead = np.arange(*network.lane_conn_ptr[[lanes[0], lanes[-1] + 1]])
            open_share = timing.conn_green(down, windows[down], ahead)
            let_go[link] = len(let_go), open_share * len(lanes) * BASE_SAT_FLOW_VPS * BIN_S
        kept.append(place)
        shapes.append(_arriving(leaving / leaving.sum(), float(feeds.travel_s[feed]) / BIN_S))
        ways.append(let_go[link][0])
    if not kept:
        return None
    backwards = [np.tile(np.roll(row[::-1], 1), 2) for _, row in let_go.values()]
    return _Alike(
        bins, which[kept], feeds.link[which[kept]].astype(np.int64), np.array(shapes),
        np.array(backwards), np.array(ways, dtype=np.int64), shift[kept],
    )  # fmt: skip


def _arriving(leaving: F8, travel_bins: float) -> F8:
    """A platoon as it arrives: later, and a little spread by a short moving mean."""
    whole = int(np.floor(travel_bins))
    part = travel_bins - whole
    arrivals = (1 - part) * np.roll(leaving, whole) + part * np.roll(leaving, whole + 1)
    spread: F8 = (np.roll(arrivals, 1) + 2 * arrivals + np.roll(arrivals, -1)) / 4
    return spread
