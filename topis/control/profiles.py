"""What the offset of a link costs, by cyclic flow profiles.

As in TRANSYT (Robertson 1969, RRL LR 253): a queue leaves the stop line upstream at
saturation flow and what comes later as it comes, the platoon disperses on the way, and the
lanes downstream take it up each with its own green.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topis.control.coordination import BIN_S, Feeds, platoon_delay
from topis.control.timing import Timing
from topis.model.feeds import START_S
from topis.units import BASE_SAT_FLOW_VPS

F8 = NDArray[np.float64]
#: (upstream junction, downstream junction, delay for each difference of offsets in bins).
LinkDelays = list[tuple[int, int, F8]]

#: A queue that outlasts its green waits the same whenever the platoon comes: what a link
#: tells of offsets counts in full up to this degree of saturation, fading over the next part.
TELLS_UP_TO = 0.90
FADES_OVER = 0.15
#: A small step of an offset must save this share of the delay around its junction: less is
#: within what the profiles do not know, and each step disturbs what runs.
STEP_WORTH = 0.03
#: Robertson's dispersion: the first vehicles take this share of the mean travel time, and
#: the platoon spreads with the factor 1 / (1 + 0.35 * that time).
FIRST_SHARE = 0.8
SPREAD = 0.35


class Profiles:
    """Delay of the links between signals for every difference of their offsets."""

    def __init__(self, timing: Timing, feeds: Feeds) -> None:
        self._timing = timing
        self._feeds = feeds

    def delays(
        self,
        which: NDArray[np.intp],
        windows: dict[int, NDArray[np.int32]],
        flow_vps: NDArray[np.float32],
        bins: int,
    ) -> LinkDelays:
        """(upstream, downstream, vehicle-seconds a cycle for each difference) per link.

        ``which``: feeds to look at; ``windows``: `Timing.green_bins` of each junction;
        ``flow_vps`` float32[lanes].
        """
        network, feeds = self._timing.network, self._feeds
        platoons: dict[tuple[int, int], F8] = {}
        for k in which:
            up, link = int(network.move_junction[feeds.move[k]]), int(feeds.link[k])
            leaving = self._departures(int(feeds.move[k]), windows[up], flow_vps)
            spread = _disperse(leaving, float(feeds.travel_s[k]) + START_S)
            platoons[up, link] = platoons.get((up, link), 0.0) + spread
        return [
            (up, int(network.link_junction[link]), cost)
            for (up, link), platoon in platoons.items()
            if (cost := self._link_delay(link, platoon, windows, flow_vps)) is not None
        ]

    def _departures(self, move: int, shown: NDArray[np.int32], flow_vps: NDArray[np.float32]) -> F8:
        """Vehicles of a movement that leave in each bin of its junction's cycle."""
        network, timing = self._timing.network, self._timing
        conns = timing.conns_of(move)
        share = network.conn_share[conns].astype(np.float64)
        arriving = float((flow_vps[network.conn_from_lane[conns]] * share).sum()) * BIN_S
        junction = int(network.move_junction[move])
        capacity = timing.conn_green(junction, shown, conns) * BASE_SAT_FLOW_VPS * BIN_S
        capacity *= float(share.sum())
        leaving, queue = np.zeros(len(shown)), 0.0
        for _ in range(2):
            for b, most in enumerate(capacity.tolist()):
                leaving[b] = min(queue + arriving, most)
                queue += arriving - leaving[b]
        return leaving

    def _link_delay(
        self,
        link: int,
        platoon: F8,
        windows: dict[int, NDArray[np.int32]],
        flow_vps: NDArray[np.float32],
    ) -> F8 | None:
        network, timing = self._timing.network, self._timing
        down, bins = int(network.link_junction[link]), len(platoon)
        # Lanes with the same lights are one.
        lanes: dict[tuple[int, ...], list[int]] = {}
        for lane in range(*network.link_lane_ptr[[link, link + 1]].tolist()):
            conns = np.arange(*network.lane_conn_ptr[[lane, lane + 1]])
            groups = np.unique(network.conn_group[conns])
            if (groups >= 0).any():
                lanes.setdefault(tuple(groups.tolist()), []).append(lane)
        counted = sum(float(flow_vps[alike].sum()) for alike in lanes.values()) * bins * BIN_S
        total = float(platoon.sum())
        if total <= 0.0 or counted <= 0.0:
            return None
        # Counted downstream: what the platoon does not bring comes evenly.
        coming = platoon * min(counted / total, 1.0) + max(counted - total, 0.0) / bins
        cost = np.zeros(bins)
        for alike in lanes.values():
            first, last = network.lane_conn_ptr[[alike[0], alike[0] + 1]]
            green = timing.conn_green(down, windows[down], np.arange(first, last))
            share = float(flow_vps[alike].sum()) * bins * BIN_S / counted
            capacity = green * len(alike) * BASE_SAT_FLOW_VPS * BIN_S
            degree = share * counted / max(float(capacity.sum()), 1e-9)
            weight = min(max((TELLS_UP_TO + FADES_OVER - degree) / FADES_OVER, 0.0), 1.0)
            if weight > 0.0:
                within = coming * share * min(0.95 / max(degree, 1e-9), 1.0)
                cost += weight * platoon_delay(within, capacity, 0.0)
        return cost


def total_delay(pairs: LinkDelays, offset: NDArray[np.int64], bins: int) -> float:
    """Delay of all links at these offsets (bins), in vehicle-seconds a cycle."""
    return sum(float(t[(offset[d] - offset[u]) % bins]) for u, d, t in pairs)


def step_offsets(
    pairs: LinkDelays, start: NDArray[np.int64], bins: int, reach: int
) -> NDArray[np.int64]:
    """Offsets (bins) found by small steps, each of them worth it, at most ``reach`` from start.

    SCOOT's way (Hunt et al. 1981): no detour over worse offsets, so that every cycle on the
    way is better than the one before.
    """
    offset = start.copy()
    around: dict[int, LinkDelays] = {}
    for pair in pairs:
        around.setdefault(pair[0], []).append(pair)
        around.setdefault(pair[1], []).append(pair)
    for _ in range(reach):
        moved = False
        for junction, links in around.items():
            steps = (-1, 0, 1)
            costs = [_delay_moved(links, offset, junction, step, bins) for step in steps]
            best = int(np.argmin(costs))
            nearer = abs(offset[junction] + steps[best] - start[junction]) <= reach
            if nearer and costs[best] < costs[1] * (1.0 - STEP_WORTH):
                offset[junction] += steps[best]
                moved = True
        if not moved:
            break
    return offset


def _delay_moved(
    links: LinkDelays, offset: NDArray[np.int64], junction: int, step: int, bins: int
) -> float:
    """Delay of the links around a junction if its offset were a step later."""
    cost = 0.0
    for up, down, table in links:
        by = step if down == junction else -step
        cost += float(table[(offset[down] - offset[up] + by) % bins])
    return cost


def _disperse(leaving: F8, travel_s: float) -> F8:
    """The platoon as it reaches the next stop line, in bins of the same cycle."""
    first = FIRST_SHARE * travel_s / BIN_S
    whole, part = int(first), first - int(first)
    late = (1.0 - part) * np.roll(leaving, whole) + part * np.roll(leaving, whole + 1)
    factor = 1.0 / (1.0 + SPREAD * first)
    arriving, now = np.zeros(len(late)), float(late.mean())
    for _ in range(2):
        for b, vehicles in enumerate(late.tolist()):
            now += factor * (vehicles - now)
            arriving[b] = now
    return arriving
